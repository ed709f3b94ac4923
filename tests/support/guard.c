/* SPDX-License-Identifier: MIT */
#include "tests/support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MARGIN = 192, FILL = 0xA5, ALIGN = 64 };

struct guard guard_new(size_t n, size_t off)
{
    struct guard g = {.n = n, .off = off};
    const size_t all = (MARGIN + off + n + MARGIN + ALIGN - 1) / ALIGN * ALIGN;
    g.base = aligned_alloc(ALIGN, all);
    assert_non_null(g.base);
    memset(g.base, FILL, all);
    g.p = g.base + MARGIN + off;
    return g;
}

struct guard guard_of(const void *bytes, size_t n, size_t off)
{
    struct guard g = guard_new(n, off);
    if (n)
        memcpy(g.p, bytes, n);
    return g;
}

void guard_check(const struct guard *g)
{
    for (const unsigned char *b = g->base; b < g->p; b++)
        if (*b != FILL)
            fail_msg("a byte was written %td before the buffer of %zu", g->p - b, g->n);
    for (size_t i = 0; i < MARGIN; i++)
        if (g->p[g->n + i] != FILL)
            fail_msg("a byte was written %zu behind the buffer of %zu", i + 1, g->n);
}

void guard_free(struct guard *g)
{
    guard_check(g);
    free(g->base);
    *g = (struct guard){0};
}

uint32_t test_random_f32_bits(struct test_random *r)
{
    static const uint32_t SPECIAL[] = {
        0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000, 0x7F800001,
        0xFFBFFFFF, 0x7FFFFFFF, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF,
        0xFF7FFFFF, 0x7F7F8000, 0x7F7F7FFF, 0x3F808000, 0x3F818000, 0xBF808000, 0x33800000,
    };
    const uint64_t x = test_random_u64(r);
    if ((x & 3) == 0)
        return (uint32_t)(x >> 32);
    if ((x & 7) == 1)
        return SPECIAL[(x >> 32) % (sizeof SPECIAL / sizeof SPECIAL[0])];
    /* Exponents from 2^-10 to 2^-3. */
    return (uint32_t)((x >> 32 & 0x807FFFFF) | (117 + (x >> 8 & 7)) << 23);
}

/* SPDX-License-Identifier: MIT */
#include "tests/support/zip_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

struct bytes {
    unsigned char *p;
    size_t n, cap;
};

static void put(struct bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        assert_non_null(b->p);
    }
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

/* v in size bytes, least significant first */
static void put_le(struct bytes *b, uint64_t v, int size)
{
    for (int i = 0; i < size; i++)
        put(b, &(unsigned char){(unsigned char)(i < 8 ? v >> 8 * i : 0)}, 1);
}

static uint32_t crc_of(const struct zip_build_member *m)
{
    return (uint32_t)crc32(0, m->bytes.p, (uInt)m->bytes.n);
}

static void put_local(struct bytes *b, const struct zip_build_member *m)
{
    int later = (m->flags & ZIP_BUILD_DESCRIPTOR) != 0;
    put_le(b, 0x04034b50, 4);
    put_le(b, 20, 2);
    put_le(b, later ? 0x0808 : 0, 2);
    put_le(b, 0, 6); /* method, time, date */
    put_le(b, later ? 0 : crc_of(m), 4);
    put_le(b, later ? 0 : m->bytes.n, 4);
    put_le(b, later ? 0 : m->bytes.n, 4);
    put_le(b, strlen(m->name), 2);
    put_le(b, 6, 2);
    put(b, m->name, strlen(m->name));
    put(b, "FB\2\0ZZ", 6); /* torch pads with such a field */
    put(b, m->bytes.p, m->bytes.n);
    if (!later)
        return;
    int width = m->flags & ZIP_BUILD_WIDE ? 8 : 4;
    if (!(m->flags & ZIP_BUILD_BARE))
        put_le(b, 0x08074b50, 4);
    put_le(b, crc_of(m), 4);
    put_le(b, m->bytes.n, width);
    put_le(b, m->bytes.n, width);
}

static void put_central(struct bytes *b, const struct zip_build_member *m, uint64_t at)
{
    int wide = (m->flags & ZIP_BUILD_WIDE) != 0;
    put_le(b, 0x02014b50, 4);
    put_le(b, 20, 2);
    put_le(b, 20, 2);
    put_le(b, m->flags & ZIP_BUILD_DESCRIPTOR ? 0x0808 : 0, 2);
    put_le(b, 0, 6);
    put_le(b, crc_of(m), 4);
    put_le(b, wide ? 0xffffffff : m->bytes.n, 4);
    put_le(b, wide ? 0xffffffff : m->bytes.n, 4);
    put_le(b, strlen(m->name), 2);
    put_le(b, wide ? 28 : 0, 2);
    put_le(b, 0, 10); /* comment, disk, attributes */
    put_le(b, wide ? 0xffffffff : at, 4);
    put(b, m->name, strlen(m->name));
    if (wide) {
        put_le(b, 1, 2);
        put_le(b, 24, 2);
        put_le(b, m->bytes.n, 8);
        put_le(b, m->bytes.n, 8);
        put_le(b, at, 8);
    }
}

static void put_end64(struct bytes *b, size_t n, uint64_t offset, uint64_t bytes)
{
    uint64_t at = b->n;
    put_le(b, 0x06064b50, 4);
    put_le(b, 44, 8);
    put_le(b, 0x002d002d, 4);
    put_le(b, 0, 8);
    put_le(b, n, 8);
    put_le(b, n, 8);
    put_le(b, bytes, 8);
    put_le(b, offset, 8);
    put_le(b, 0x07064b50, 4);
    put_le(b, 0, 4);
    put_le(b, at, 8);
    put_le(b, 1, 4);
}

struct span zip_build(const struct zip_build_member *members, size_t n, unsigned flags,
                      const char *comment)
{
    struct bytes b = {0};
    uint64_t *at = calloc(n + 1, sizeof *at);
    assert_non_null(at);
    for (size_t i = 0; i < n; i++) {
        at[i] = b.n;
        put_local(&b, &members[i]);
    }
    uint64_t offset = b.n;
    for (size_t i = 0; i < n; i++)
        put_central(&b, &members[i], at[i]);
    uint64_t bytes = b.n - offset;
    free(at);
    if (flags & ZIP_BUILD_END64)
        put_end64(&b, n, offset, bytes);
    put_le(&b, 0x06054b50, 4);
    put_le(&b, 0, 4);
    put_le(&b, flags & ZIP_BUILD_END64 ? 0xffff : n, 2);
    put_le(&b, flags & ZIP_BUILD_END64 ? 0xffff : n, 2);
    put_le(&b, bytes, 4);
    put_le(&b, flags & ZIP_BUILD_END64 ? 0xffffffff : offset, 4);
    put_le(&b, strlen(comment), 2);
    put(&b, comment, strlen(comment));
    /* Exactly n bytes, so that a read past the end is noticed. */
    unsigned char *exact = malloc(b.n);
    assert_non_null(exact);
    memcpy(exact, b.p, b.n);
    free(b.p);
    return (struct span){exact, b.n};
}

size_t zip_build_find(struct span zip, char a, char b, size_t k)
{
    const unsigned char sig[4] = {'P', 'K', (unsigned char)a, (unsigned char)b};
    for (size_t i = 0; i + 4 <= zip.n; i++) {
        if (memcmp(zip.p + i, sig, 4) == 0 && k-- == 0)
            return i;
    }
    fail_msg("no record PK %d %d", a, b);
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/forward/forward.h"
#include "kernels/fp.h"
#include "tests/support/guard.h"

static const struct forward_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return forward_kernels(*isa);
}

static float uniform(struct test_random *r, float low, float high)
{
    return low + (high - low) * ((float)(test_random_u64(r) >> 40) * 0x1p-24F);
}

static const float *sorting;

static int descending(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const float x = sorting[i], y = sorting[j];
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y) ? (i > j) - (i < j) : isnan(x) - isnan(y);
    return x != y ? (x < y) - (x > y) : (i > j) - (i < j);
}

static int ascending(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    return (i > j) - (i < j);
}

static void check_top_k(const struct forward_kernels *f, const float *x, size_t n, size_t k)
{
    const size_t want_n = n < k ? n : k;
    uint32_t *const all = malloc(n * sizeof *all + 1);
    struct guard got = guard_new(want_n * sizeof *all, 0);
    assert_non_null(all);
    for (size_t i = 0; i < n; i++)
        all[i] = (uint32_t)i;
    sorting = x;
    qsort(all, n, sizeof *all, descending);
    qsort(all, want_n, sizeof *all, ascending);
    assert_int_equal(f->top_k((uint32_t *)(void *)got.p, x, n, k), want_n);
    if (want_n)
        assert_memory_equal(got.p, all, want_n * sizeof *all);
    guard_free(&got);
    free(all);
}

static float candidate(struct test_random *r, int kind)
{
    static const float FEW[] = {0.0F, -0.0F, 1.0F, NAN, -INFINITY, INFINITY, -0x1p-149F};
    switch (kind) {
    case 0:
        return FEW[test_random_below(r, 7)];
    case 1:
        return f32_from_bits((uint32_t)test_random_u64(r));
    case 2: /* as scores are: many exact zeros */
        return fmaxf(0.0F, uniform(r, -1.0F, 1.0F));
    case 3: /* differences in the last bits only */
        return f32_from_bits(0x3F800000 | (uint32_t)test_random_below(r, 8));
    case 4: /* and in the middle ones */
        return f32_from_bits(0xBF800000 | (uint32_t)test_random_below(r, 8) << 12);
    default:
        return uniform(r, -1.0F, 1.0F);
    }
}

static void the_k_largest_are_those_of_a_full_sort(void **state)
{
    const struct forward_kernels *f = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    static float x[5000];
    for (int round = 0; round < 3000; round++) {
        const size_t n = test_random_below(&r, round % 100 == 0 ? 5000 : round % 10 ? 80 : 2100);
        for (size_t i = 0; i < n; i++)
            x[i] = candidate(&r, round % 6);
        check_top_k(f, x, n, test_random_below(&r, n + 2));
    }
    check_top_k(f, x, 5000, 2048);
    for (int i = 0; i < 5000; i++)
        x[i] = i % 3 ? -0.0F : 0.0F;
    check_top_k(f, x, 5000, 2048); /* all equal: the first 2048 */
    for (int i = 0; i < 5000; i++)
        x[i] = NAN;
    x[4000] = -INFINITY;
    check_top_k(f, x, 5000, 1);
    check_top_k(f, x, 5000, 3);
}

int main(void)
{
    static enum isa isas[N_ISA] = {ISA_SCALAR, ISA_AVX2, ISA_AVX512};
#define OF(isa, test)                                                                              \
    {                                                                                              \
#test " (" #isa ")", test, NULL, NULL, &isas[isa]                                          \
    }
#define OF_ALL(test) OF(ISA_SCALAR, test), OF(ISA_AVX2, test), OF(ISA_AVX512, test)
    const struct CMUnitTest tests[] = {
        OF_ALL(the_k_largest_are_those_of_a_full_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

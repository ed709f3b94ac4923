/* SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "kernels/logits/logits.h"
#include "tests/support/guard.h"

static const struct logits_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return logits_kernels(*isa);
}

/* Equal bits, or both NaN. */
static int same(double a, double b)
{
    return !memcmp(&a, &b, sizeof a) || (isnan(a) && isnan(b));
}

/* Rows of every kind: any bits, any bits but NaN, logits, logits far apart, with masked ones. */
static void fill(float *z, size_t n, struct test_random *r)
{
    const uint64_t kind = test_random_below(r, 6);
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = test_random_f32_bits(r);
        const float x = f32_from_bits(bits);
        const float logit = (float)(int)(test_random_u64(r) >> 40) * 0x1p-19F - 16.0F;
        if (kind == 0)
            z[i] = x;
        else if (kind == 1)
            z[i] = isnan(x) || x == INFINITY ? -0.0F : x;
        else if (kind == 2)
            z[i] = 40.0F * logit; /* down to e^-1280 */
        else
            z[i] = kind == 3 && test_random_below(r, 3) == 0 ? -INFINITY : logit;
    }
    if (kind == 5 && n)
        z[test_random_below(r, n)] = f32_from_bits(test_random_f32_bits(r));
}

static void check_row(const struct logits_kernels *k, struct test_random *r, size_t n)
{
    const struct logits_kernels *s = logits_kernels(ISA_SCALAR);
    struct guard p = guard_new(4 * n, 4 * test_random_below(r, 16));
    struct guard q = guard_new(4 * n, 4 * test_random_below(r, 16));
    const float *const a = (const float *)(void *)p.p, *const b = (const float *)(void *)q.p;
    fill((float *)(void *)p.p, n, r);
    fill((float *)(void *)q.p, n, r);
    const float a_max = s->max(a, n), b_max = s->max(b, n), got_max = k->max(a, n);
    assert_true(f32_bits(a_max) == f32_bits(got_max) || (isnan(a_max) && isnan(got_max)));
    assert_true(same(k->sum_exp(a, (double)a_max, n), s->sum_exp(a, (double)a_max, n)));
    assert_true(same(k->sum_exp(a, 1.0, n), s->sum_exp(a, 1.0, n))); /* also above the maximum */
    struct logits_sums want, got;
    s->sums(&want, a, (double)a_max, b, (double)b_max, n);
    k->sums(&got, a, (double)a_max, b, (double)b_max, n);
    assert_true(same(got.p, want.p) && same(got.q, want.q) && same(got.cross, want.cross));
    assert_true(same(want.p, s->sum_exp(a, (double)a_max, n)));
    guard_free(&p);
    guard_free(&q);
}

static void sums_of_any_row_are_those_of_the_reference(void **state)
{
    const struct logits_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < 6000; i++)
        check_row(k, &r, i % 90);
    for (size_t i = 0; i < 200; i++)
        check_row(k, &r, 90 + test_random_below(&r, 400));
}

/* The exponential by itself: a row of 16 has one element per lane, all but one of them e^-inf. */
static void exp_of_doubles_of_all_sizes_is_that_of_the_reference(void **state)
{
    const struct logits_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    float z[16];
    for (int i = 0; i < 16; i++)
        z[i] = -INFINITY;
    for (int i = 0; i < 400000; i++) {
        const int lane = i % 16;
        const double wide = -800.0 + 1600.0 * (double)(test_random_u64(&r) >> 11) * 0x1p-53;
        const double x = i % 4 ? wide : ldexp(wide, -(int)test_random_below(&r, 1080));
        z[lane] = 0.0F;
        assert_true(same(k->sum_exp(z, -x, 16), logits_exp(x)));
        z[lane] = -INFINITY;
    }
    /* every limit, and the doubles around it */
    static const double LIMITS[] = {
        -746.0, -745.2, -745.1332191019411, -708.3964185322641, 709.782712893384, 709.8, 710.0};
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        double x = LIMITS[i] - 200.0 * 0x1p-43;
        z[0] = 0.0F;
        for (int j = 0; j < 400; j++, x += 0x1p-43)
            assert_true(same(k->sum_exp(z, -x, 16), logits_exp(x)));
    }
}

static void the_largest_is_found_wherever_it_is(void **state)
{
    const struct logits_kernels *k = variant_of(state);
    float z[70];
    for (size_t n = 1; n <= 70; n++)
        for (size_t at = 0; at < n; at++) {
            for (size_t i = 0; i < n; i++)
                z[i] = -2.0F - (float)i;
            z[at] = -1.0F;
            assert_true(k->max(z, n) == -1.0F);
            z[at] = -0.0F;
            assert_true(f32_bits(k->max(z, n)) == 0);
            z[at] = NAN;
            assert_true(isnan(k->max(z, n)));
        }
    assert_true(k->max(z, 0) == -INFINITY);
}

static void a_probability_of_zero_adds_nothing(void **state)
{
    const struct logits_kernels *k = variant_of(state);
    float p[40], q[40];
    struct logits_sums s;
    for (int i = 0; i < 40; i++) {
        p[i] = i % 2 ? -INFINITY : 0.0F;
        q[i] = i % 4 == 1 ? -INFINITY : 0.0F;
    }
    k->sums(&s, p, 0.0, q, 0.0, 40);
    assert_true(s.p == 20.0 && s.q == 30.0 && s.cross == 0.0);
    q[38] = -INFINITY; /* where p is 1 */
    k->sums(&s, p, 0.0, q, 0.0, 40);
    assert_true(s.p == 20.0 && s.q == 29.0 && s.cross == INFINITY);
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
        OF_ALL(sums_of_any_row_are_those_of_the_reference),
        OF_ALL(exp_of_doubles_of_all_sizes_is_that_of_the_reference),
        OF_ALL(the_largest_is_found_wherever_it_is),
        OF_ALL(a_probability_of_zero_adds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

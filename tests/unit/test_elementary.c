/* SPDX-License-Identifier: MIT */
/* Against the C library's long double functions, whose 64-bit results serve as the truth. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/numeric/elementary.h"
#include "tests/support/support.h"

_Static_assert(LDBL_MANT_DIG >= 64, "these tests need a long double wider than double");

enum { SAMPLES = 200000 };

/* Distance in units in the last place of a double as large as `want`, 0 when both are infinite. */
static double units(double got, long double want)
{
    if (isnan(got) || isinf(got) || fabsl(want) > (long double)DBL_MAX)
        return (long double)got == (long double)(double)want ? 0.0 : INFINITY;
    int e;
    (void)frexpl(want, &e);
    return (double)fabsl(((long double)got - want) / ldexpl(1.0L, (e < -1021 ? -1021 : e) - 53));
}

/* Uniform in [low, high). */
static double between(struct test_random *r, double low, double high)
{
    return low + (high - low) * ((double)(test_random_u64(r) >> 11) * 0x1p-53);
}

/* Any exponent and mantissa with magnitude below 2^top. */
static double any_below(struct test_random *r, int top)
{
    const double m = between(r, 1.0, 2.0) * (test_random_u64(r) & 1 ? 1.0 : -1.0);
    return ldexp(m, top - 1 - (int)test_random_below(r, (uint64_t)(1070 + top)));
}

static void exp_is_within_a_unit_everywhere(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    double worst = 0.0;
    for (int i = 0; i < SAMPLES; i++) {
        const double x = i % 3 == 0   ? between(&r, -745.2, 709.8)
                         : i % 3 == 1 ? between(&r, -2.0, 2.0)
                                      : any_below(&r, 9);
        worst = fmax(worst, units(prep_exp(x), expl((long double)x)));
        const double s = between(&r, -745.2, -708.0); /* subnormal results */
        worst = fmax(worst, units(prep_exp(s), expl((long double)s)));
    }
    print_message("exp: %.3f units\n", worst);
    assert_true(worst <= 1.1);
}

static void exp_at_the_edges(void **state)
{
    (void)state;
    assert_true(prep_exp(0.0) == 1.0 && prep_exp(-0.0) == 1.0);
    assert_true(prep_exp(-745.2) == 0.0 && prep_exp(-745.3) == 0.0 && prep_exp(-INFINITY) == 0.0);
    assert_true(prep_exp(-745.1) == 0x1p-1074);
    assert_true(prep_exp(709.7) < INFINITY && prep_exp(709.79) == INFINITY);
    assert_true(prep_exp(709.9) == INFINITY && prep_exp(INFINITY) == INFINITY);
    assert_true(isnan(prep_exp(NAN)));
    assert_true(prep_exp(0x1p-1074) == 1.0);
}

static void log_is_within_a_unit_everywhere(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    double worst = 0.0;
    for (int i = 0; i < SAMPLES; i++) {
        const double x = i % 3 == 0   ? between(&r, 0.5, 2.0)
                         : i % 3 == 1 ? 1.0 + any_below(&r, -2)
                                      : fabs(any_below(&r, 1024));
        worst = fmax(worst, units(prep_log(x), logl((long double)x)));
        const double s = ldexp((double)(1 + test_random_below(&r, 1 << 20)), -1074);
        worst = fmax(worst, units(prep_log(s), logl((long double)s)));
    }
    print_message("log: %.3f units\n", worst);
    assert_true(worst <= 1.1);
}

static void log_at_the_edges(void **state)
{
    (void)state;
    assert_true(prep_log(1.0) == 0.0);
    assert_true(prep_log(0.0) == -INFINITY && prep_log(-0.0) == -INFINITY);
    assert_true(prep_log(INFINITY) == INFINITY);
    assert_true(isnan(prep_log(-1.0)) && isnan(prep_log(-INFINITY)) && isnan(prep_log(NAN)));
    assert_true(units(prep_log(0x1p-1074), logl(0x1p-1074L)) <= 1.1);
    assert_true(units(prep_log(DBL_MIN), logl((long double)DBL_MIN)) <= 1.1);
    assert_true(units(prep_log(DBL_MAX), logl((long double)DBL_MAX)) <= 1.1);
}

static double sincos_error(double x)
{
    double s, c;
    prep_sincos(&s, &c, x);
    return fmax(units(s, sinl((long double)x)), units(c, cosl((long double)x)));
}

static void sine_and_cosine_are_within_a_unit_everywhere(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    double worst = 0.0;
    for (int i = 0; i < SAMPLES; i++) {
        worst = fmax(worst, sincos_error(between(&r, -4.0, 4.0)));
        worst = fmax(worst, sincos_error(between(&r, -0x1p30, 0x1p30)));
        worst = fmax(worst, sincos_error(any_below(&r, 30)));
        /* as near to a multiple of pi/2 as a double gets */
        const double n = (double)test_random_below(&r, 680000000);
        worst = fmax(worst, sincos_error((double)((long double)n * 1.57079632679489661923L)));
    }
    print_message("sin, cos: %.3f units\n", worst);
    assert_true(worst <= 1.1);
}

static void sine_and_cosine_at_the_edges(void **state)
{
    (void)state;
    /* The doubles below 2^30 nearest to a multiple of pi/2, from the continued fractions of
     * 2^k pi: for each binade the x = m 2^k, m < 2^53, with the least |x - n pi/2|. */
    static const double NEAREST[] = {
        0x1.6c6cbc45dc8dep+5,  0x1.6c6cbc45dc8dep+6, 0x1.b951f1572eba5p+23, 0x1.6c6cbc45dc8dep+7,
        0x1.b951f1572eba5p+24, 0x1.6c6cbc45dc8dep+8, 0x1.b951f1572eba5p+25, 0x1.6c6cbc45dc8dep+9};
    for (size_t i = 0; i < sizeof NEAREST / sizeof *NEAREST; i++)
        assert_true(sincos_error(NEAREST[i]) <= 1.1 && sincos_error(-NEAREST[i]) <= 1.1);
    double s, c;
    prep_sincos(&s, &c, 0.0);
    assert_true(s == 0.0 && c == 1.0);
    prep_sincos(&s, &c, 0x1p-1074);
    assert_true(s == 0x1p-1074 && c == 1.0);
    assert_true(sincos_error(0x1p30) <= 1.1 && sincos_error(-0x1p30) <= 1.1);
    static const double OUTSIDE[] = {0x1.0000000000001p30, -0x1p31, INFINITY, -INFINITY, NAN};
    for (size_t i = 0; i < sizeof OUTSIDE / sizeof *OUTSIDE; i++) {
        prep_sincos(&s, &c, OUTSIDE[i]);
        assert_true(isnan(s) && isnan(c));
    }
}

static void small_powers_are_within_a_unit(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    double worst = 0.0;
    for (int i = 0; i < SAMPLES; i++) {
        const double x = i % 2 ? between(&r, 0.0, 2e6) : fabs(any_below(&r, 80));
        const double y = between(&r, -8.0, 8.0);
        worst = fmax(worst, units(prep_pow(x, y), powl((long double)x, (long double)y)));
    }
    for (int i = 0; i < 32; i++) /* the frequencies of rotary embeddings */
        for (double theta = 1e4; theta < 2e7; theta *= 10.0) {
            const double y = -2.0 * i / 64.0;
            worst =
                fmax(worst, units(prep_pow(theta, y), powl((long double)theta, (long double)y)));
        }
    print_message("pow: %.3f units\n", worst);
    assert_true(worst <= 1.1);
}

static void the_error_of_large_powers_grows_as_documented(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < SAMPLES; i++) {
        const double x = between(&r, 0.7, 1.4), y = between(&r, -2000.0, 2000.0);
        const long double want = powl((long double)x, (long double)y);
        const double bound = 1.1 + fabs(y) * 0x1p-59 * 0x1p53;
        assert_true(units(prep_pow(x, y), want) <= bound);
    }
}

static void powers_at_the_edges(void **state)
{
    (void)state;
    assert_true(prep_pow(0.0, 0.0) == 1.0 && prep_pow(NAN, 0.0) == 1.0);
    assert_true(prep_pow(1.0, INFINITY) == 1.0 && prep_pow(1.0, NAN) == 1.0);
    assert_true(prep_pow(0.0, 2.0) == 0.0 && prep_pow(0.0, -2.0) == INFINITY);
    assert_true(prep_pow(INFINITY, 2.0) == INFINITY && prep_pow(INFINITY, -2.0) == 0.0);
    assert_true(prep_pow(2.0, INFINITY) == INFINITY && prep_pow(2.0, -INFINITY) == 0.0);
    assert_true(prep_pow(0.5, INFINITY) == 0.0 && prep_pow(0.5, -INFINITY) == INFINITY);
    assert_true(prep_pow(2.0, 1e300) == INFINITY && prep_pow(2.0, -1e300) == 0.0);
    assert_true(prep_pow(2.0, 10.0) == 1024.0 && prep_pow(2.0, -1074.0) == 0x1p-1074);
    assert_true(prep_pow(0x1p-1074, 1.0) == 0x1p-1074);
    assert_true(prep_pow(10.0, 2.0) == 100.0 && prep_pow(7.0, 1.0) == 7.0);
    assert_true(isnan(prep_pow(-1.0, 2.0)) && isnan(prep_pow(NAN, 1.0)));
    assert_true(isnan(prep_pow(2.0, NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_a_unit_everywhere),
        cmocka_unit_test(exp_at_the_edges),
        cmocka_unit_test(log_is_within_a_unit_everywhere),
        cmocka_unit_test(log_at_the_edges),
        cmocka_unit_test(sine_and_cosine_are_within_a_unit_everywhere),
        cmocka_unit_test(sine_and_cosine_at_the_edges),
        cmocka_unit_test(small_powers_are_within_a_unit),
        cmocka_unit_test(the_error_of_large_powers_grows_as_documented),
        cmocka_unit_test(powers_at_the_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

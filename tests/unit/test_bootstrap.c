/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/numeric/bootstrap.h"
#include "tests/support/support.h"

static double work[BOOTSTRAP_RESAMPLES];

static int near(double got, double want, double relative)
{
    return fabs(got - want) <= relative * fabs(want);
}

static void a_percentile_lies_between_order_statistics(void **state)
{
    (void)state;
    const double x[] = {1.0, 2.0, 4.0, 8.0, 16.0};
    assert_true(sample_percentile(x, 5, 0.0) == 1.0 && sample_percentile(x, 5, 1.0) == 16.0);
    assert_true(sample_percentile(x, 5, 0.5) == 4.0);
    assert_true(sample_percentile(x, 5, 0.125) == 1.5);
    assert_true(near(sample_percentile(x, 5, 0.95), 14.4, 1e-15)); /* 8 + 0.8 * 8 */
    assert_true(sample_percentile(x, 1, 0.3) == 1.0);
    assert_true(isnan(sample_percentile(x, 0, 0.5)));
    const double open[] = {1.0, 2.0, INFINITY};
    assert_true(sample_percentile(open, 3, 0.5) == 2.0);
    assert_true(sample_percentile(open, 3, 0.75) == INFINITY);
}

static void means_of_known_samples(void **state)
{
    (void)state;
    const double x[] = {1.0, 2.0, 4.0, 8.0, 16.0}, zero[] = {2.0, 0.0}, below[] = {2.0, -1.0};
    assert_true(sample_mean(x, 5) == 6.2);
    assert_true(near(sample_geometric_mean(x, 5), 4.0, 1e-15));
    assert_true(sample_geometric_mean(zero, 2) == 0.0);
    assert_true(isnan(sample_geometric_mean(below, 2)));
    assert_true(isnan(sample_mean(x, 0)) && isnan(sample_geometric_mean(x, 0)));
    /* far outside the range of a product of the values */
    double tiny[400];
    for (int i = 0; i < 400; i++)
        tiny[i] = i % 2 ? 1e-8 : 1e-6;
    assert_true(near(sample_geometric_mean(tiny, 400), 1e-7, 1e-13));
}

static void equal_values_leave_no_doubt(void **state)
{
    (void)state;
    const double x[] = {0.25, 0.25, 0.25, 0.25, 0.25, 0.25};
    struct bootstrap_interval b;
    bootstrap_mean(&b, x, 6, BOOTSTRAP_SEED, work);
    assert_true(b.mean == 0.25 && b.low == 0.25 && b.high == 0.25);
}

/*
 * Of zeros and ones in equal parts, 100 values: a resampled mean is binomial(100, 1/2) / 100, whose
 * 2.5 % and 97.5 % points are 0.40 and 0.60 exactly; with 10,000 draws the points found are off by
 * at most one step of 0.01.
 */
static void an_interval_of_coin_tosses_is_the_binomial_one(void **state)
{
    (void)state;
    double x[100];
    for (int i = 0; i < 100; i++)
        x[i] = i % 2;
    struct bootstrap_interval b;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        bootstrap_mean(&b, x, 100, seed, work);
        assert_true(b.mean == 0.5);
        assert_true(fabs(b.low - 0.40) <= 0.0101 && fabs(b.high - 0.60) <= 0.0101);
    }
    /* The spread of the resampled means is sqrt(1/4 / 100) = 0.05, known to 1 %. */
    double squares = 0.0;
    for (int i = 0; i < BOOTSTRAP_RESAMPLES; i++)
        squares += (work[i] - 0.5) * (work[i] - 0.5);
    assert_true(near(sqrt(squares / BOOTSTRAP_RESAMPLES), 0.05, 0.03));
}

/* Of 0 and 1, two values: the mean is 0, 1/2 or 1 with probability 1/4, 1/2 and 1/4. */
static void two_values_are_drawn_evenly(void **state)
{
    (void)state;
    const double x[] = {0.0, 1.0};
    struct bootstrap_interval b;
    bootstrap_mean(&b, x, 2, BOOTSTRAP_SEED, work);
    int n[3] = {0, 0, 0};
    for (int i = 0; i < BOOTSTRAP_RESAMPLES; i++)
        n[(int)(2.0 * work[i])]++;
    assert_int_equal(n[0] + n[1] + n[2], BOOTSTRAP_RESAMPLES);
    assert_true(abs(n[0] - 2500) < 220 && abs(n[1] - 5000) < 250 && abs(n[2] - 2500) < 220);
    assert_true(b.low == 0.0 && b.high == 1.0);
}

/* The bits that a seed stands for: base/random from 1 on, sums in the order drawn. */
static void a_seed_fixes_every_bit(void **state)
{
    (void)state;
    double x[48], again[BOOTSTRAP_RESAMPLES];
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 48; i++)
        x[i] = (double)(test_random_u64(&r) >> 11) * 0x1p-53;
    struct bootstrap_interval a, b, c;
    bootstrap_mean(&a, x, 48, 7, work);
    bootstrap_mean(&b, x, 48, 7, again);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_equal(work, again, sizeof again);
    bootstrap_mean(&c, x, 48, 8, again);
    assert_true(c.mean == a.mean && (c.low != a.low || c.high != a.high));
    const double y[] = {1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0};
    bootstrap_mean(&a, y, 7, BOOTSTRAP_SEED, work);
    assert_true(a.low == 0x1.9249249249249p+1 && a.high == 0x1.9b6db6db6db6ep+3);
}

static void a_difference_is_resampled_in_pairs(void **state)
{
    (void)state;
    double a[48], b[48], d[48];
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 48; i++) { /* b is a plus a small constant and less noise */
        a[i] = (double)(test_random_u64(&r) >> 11) * 0x1p-53;
        b[i] = a[i] + 0.01 + 0.001 * (double)(test_random_u64(&r) >> 11) * 0x1p-53;
        d[i] = a[i] - b[i];
    }
    struct bootstrap_interval paired, of_d, alone;
    bootstrap_difference(&paired, a, b, 48, 3, work);
    bootstrap_mean(&of_d, d, 48, 3, work);
    assert_memory_equal(&paired, &of_d, sizeof of_d);
    assert_true(paired.low < paired.mean && paired.mean < paired.high && paired.high < 0.0);
    bootstrap_mean(&alone, a, 48, 3, work); /* unpaired, nothing could be said */
    assert_true(alone.high - alone.low > 0.1 && paired.high - paired.low < 0.001);
}

static void what_is_not_finite_gives_nan(void **state)
{
    (void)state;
    const double x[] = {1.0, INFINITY, 2.0}, y[] = {1.0, INFINITY, 2.0}, z[] = {NAN};
    struct bootstrap_interval b;
    bootstrap_mean(&b, x, 3, 1, work);
    assert_true(isnan(b.mean) && isnan(b.low) && isnan(b.high));
    bootstrap_difference(&b, x, y, 3, 1, work);
    assert_true(isnan(b.mean) && isnan(b.low) && isnan(b.high));
    bootstrap_mean(&b, z, 1, 1, work);
    assert_true(isnan(b.mean) && isnan(b.low) && isnan(b.high));
    bootstrap_mean(&b, x, 0, 1, work);
    assert_true(isnan(b.mean) && isnan(b.low) && isnan(b.high));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_percentile_lies_between_order_statistics),
        cmocka_unit_test(means_of_known_samples),
        cmocka_unit_test(equal_values_leave_no_doubt),
        cmocka_unit_test(an_interval_of_coin_tosses_is_the_binomial_one),
        cmocka_unit_test(two_values_are_drawn_evenly),
        cmocka_unit_test(a_seed_fixes_every_bit),
        cmocka_unit_test(a_difference_is_resampled_in_pairs),
        cmocka_unit_test(what_is_not_finite_gives_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

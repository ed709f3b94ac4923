/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/engine/loops.h"
#include "tests/support/support.h"

/* ---- loops in planted streams ---- */

enum { N = 256 };

/* 256 tokens of a large vocabulary, the last `tail` of them with period p. */
static void plant(uint32_t *t, size_t p, size_t tail, uint64_t seed)
{
    struct test_random r = {seed};
    for (size_t i = 0; i < N; i++)
        t[i] = (uint32_t)test_random_below(&r, 150000);
    for (size_t i = N - tail; i < N; i++)
        t[i] = t[i - p];
}

static void finds_every_planted_period(void **state)
{
    uint32_t t[N];
    (void)state;
    for (size_t p = 1; p <= 32; p++) {
        size_t least = 3 * p > 48 ? 3 * p : 48;
        plant(t, p, least, p);
        struct loop_found f = loop_find(t, N);
        assert_int_equal(f.period, p);
        assert_int_equal(f.repeat, least);
        plant(t, p, least - 1, p);
        assert_int_equal(loop_find(t, N).period, 0);
    }
}

static void a_loop_that_was_left_is_none(void **state)
{
    uint32_t t[N];
    (void)state;
    plant(t, 3, 100, 7);
    t[N - 1] = 149999;
    assert_int_equal(loop_find(t, N).period, 0);
}

static void looks_at_the_last_128_tokens_only(void **state)
{
    uint32_t t[N];
    (void)state;
    plant(t, 32, 200, 5);
    assert_int_equal(loop_find(t, N).period, 32);
    assert_int_equal(loop_find(t, N).repeat, 128 - 32);
    /* One break inside the window leaves too few. */
    t[N - 1 - 95] ^= 1;
    assert_int_equal(loop_find(t, N).period, 0);
    /* Just outside the window nothing matters. */
    plant(t, 32, 200, 5);
    t[N - 129] ^= 1;
    assert_int_equal(loop_find(t, N).period, 32);
}

static void periods_beyond_32_are_none(void **state)
{
    uint32_t t[N];
    (void)state;
    plant(t, 33, 200, 9);
    assert_int_equal(loop_find(t, N).period, 0);
}

static void reports_the_shortest_period(void **state)
{
    uint32_t t[N];
    (void)state;
    plant(t, 1, 128, 1);
    assert_int_equal(loop_find(t, N).period, 1);
    plant(t, 4, 128, 1);
    assert_int_equal(loop_find(t, N).period, 4);
}

static void short_outputs_are_judged_by_what_they_have(void **state)
{
    uint32_t t[64];
    (void)state;
    memset(t, 0, sizeof t);
    assert_int_equal(loop_find(t, 0).period, 0);
    assert_int_equal(loop_find(t, 48).period, 0);
    assert_int_equal(loop_find(t, 49).period, 1);
}

static void clean_streams_do_not_loop(void **state)
{
    uint32_t t[N];
    struct loop_rate rate = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct test_random r = {seed};
        /* Also vocabularies of few words, where neighbours are often equal. */
        for (size_t i = 0; i < N; i++)
            t[i] = (uint32_t)test_random_below(&r, 2 + seed % 50);
        loop_rate_add(&rate, t, N);
    }
    loop_rate_finish(&rate);
    assert_int_equal(rate.loops, 0);
    assert_true(rate.proportion.high < 0.002);
}

/* ---- statistics, against closed forms in exact arithmetic ---- */

static void near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-12 * fabs(want) + 1e-300))
        fail_msg("got %.17g, want %.17g", got, want);
}

static void wilson_intervals_are_those_of_the_books(void **state)
{
    struct proportion p;
    (void)state;
    proportion_wilson(&p, 0, 220);
    near(p.low, 0);
    near(p.high, 3.841458820694124 / (220 + 3.841458820694124));
    proportion_wilson(&p, 64, 64);
    near(p.high, 1);
    near(p.low, 64 / (64 + 3.841458820694124));
    /* 10 of 40: Wilson's formula to 40 digits. */
    proportion_wilson(&p, 10, 40);
    near(p.rate, 0.25);
    near(p.low, 0.14187118639096305);
    near(p.high, 0.40193961420768026);
    proportion_wilson(&p, 1, 0);
    assert_true(isnan(p.low) && isnan(p.high));
    proportion_wilson(&p, 3, 2);
    assert_true(isnan(p.rate));
}

static void wilson_intervals_cover_the_true_rate(void **state)
{
    struct test_random r;
    int covered = 0;
    (void)state;
    test_random_init(&r);
    for (int i = 0; i < 4000; i++) {
        struct proportion p;
        uint64_t k = 0;
        for (int j = 0; j < 64; j++)
            k += test_random_below(&r, 10) < 3;
        proportion_wilson(&p, k, 64);
        covered += p.low <= 0.3 && 0.3 <= p.high;
    }
    assert_in_range(covered, 3700, 3900); /* 92.5 % to 97.5 % */
}

static void the_tail_of_a_coin_is_exact(void **state)
{
    (void)state;
    near(proportion_half_tail(0, 10), 1.0 / 1024);
    near(proportion_half_tail(3, 10), (1 + 10 + 45 + 120) / 1024.0);
    near(proportion_half_tail(10, 10), 1);
    near(proportion_half_tail(0, 1), 0.5);
    near(proportion_half_tail(50, 101), 0.5);
    near(proportion_half_tail(2500, 5001), 0.5);
    near(proportion_half_tail(400, 1000), 1.3642320780330092e-10);
    assert_true(proportion_half_tail(0, 5000) == 0);
}

static void the_sign_test_sees_only_pairs_that_disagree(void **state)
{
    struct proportion_pairs p = {0};
    (void)state;
    near(proportion_mcnemar(&p), 1);
    for (int i = 0; i < 64; i++)
        proportion_add_pair(&p, i < 30, i < 30);
    near(proportion_mcnemar(&p), 1);
    for (int i = 0; i < 6; i++)
        proportion_add_pair(&p, 1, 0);
    near(proportion_mcnemar(&p), 2.0 / 64); /* six of six: below 0.05 */
    proportion_add_pair(&p, 0, 1);
    near(proportion_mcnemar(&p), 2.0 * 8 / 128); /* six of seven: not */
    assert_int_equal(p.both, 30);
    assert_int_equal(p.neither, 34);
    struct proportion_pairs even = {0, 0, 5, 5};
    near(proportion_mcnemar(&even), 1);
}

static void a_value_below_all_draws_has_rank_0(void **state)
{
    static const double draws[] = {0.4, 0.1, 0.3, 0.2};
    (void)state;
    assert_int_equal(proportion_rank(0.05, draws, 4), 0);
    assert_int_equal(proportion_rank(0.1, draws, 4), 1);
    assert_int_equal(proportion_rank(0.25, draws, 4), 2);
    assert_int_equal(proportion_rank(1, draws, 4), 4);
    near(proportion_deviation(draws, 4), 0.12909944487358058);
    assert_true(isnan(proportion_deviation(draws, 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_planted_period),
        cmocka_unit_test(a_loop_that_was_left_is_none),
        cmocka_unit_test(looks_at_the_last_128_tokens_only),
        cmocka_unit_test(periods_beyond_32_are_none),
        cmocka_unit_test(reports_the_shortest_period),
        cmocka_unit_test(short_outputs_are_judged_by_what_they_have),
        cmocka_unit_test(clean_streams_do_not_loop),
        cmocka_unit_test(wilson_intervals_are_those_of_the_books),
        cmocka_unit_test(wilson_intervals_cover_the_true_rate),
        cmocka_unit_test(the_tail_of_a_coin_is_exact),
        cmocka_unit_test(the_sign_test_sees_only_pairs_that_disagree),
        cmocka_unit_test(a_value_below_all_draws_has_rank_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

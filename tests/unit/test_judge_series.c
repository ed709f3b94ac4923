/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/release/judge_series.h"
#include "tests/support/support.h"

enum { W = 3, N = 4, VOCAB = 7 };

static const uint32_t tokens[W * N] = {0, 1, 2, 3, 4, 5, 6, 0, 1, 1, 1, 1};

static void random_rows(float rows[W * N][VOCAB], uint64_t seed)
{
    struct test_random r = {seed};
    for (size_t i = 0; i < W * N * VOCAB; i++)
        rows[i / VOCAB][i % VOCAB] = (float)test_random_below(&r, 8000) / 1000.0f;
}

static double log_p(const float *z, size_t i)
{
    long double sum = 0;
    for (size_t k = 0; k < VOCAB; k++)
        sum += expl((long double)z[k]);
    return (double)((long double)z[i] - logl(sum));
}

static void start(struct judge_series *s, uint64_t ahead, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (judge_series_init(s, tokens, W, N, ahead, arena, &err))
        fail_msg("%s", err.msg);
}

static void finish(struct judge_series *s, const struct judge_series *other, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (judge_series_finish(s, other, arena, &err))
        fail_msg("%s", err.msg);
}

static void gives_the_likelihood_of_the_tokens_that_came(void **state)
{
    (void)state;
    static float z[W * N][VOCAB];
    const struct logits_kernels *k = logits_kernels(ISA_SCALAR);
    struct judge_series s;
    struct arena arena;
    arena_init(&arena, 0);
    random_rows(z, 1);
    for (uint64_t ahead = 1; ahead <= 2; ahead++) {
        start(&s, ahead, &arena);
        assert_int_equal(s.n_rows, N - (ahead - 1));
        double want = 0;
        for (uint64_t i = W * s.n_rows; i-- > 0;) { /* any order will do */
            judge_row_alone(&s, k, i, z[i], VOCAB);
            const uint64_t at = i % s.n_rows + ahead;
            if (at < N)
                want -= log_p(z[i], tokens[i / s.n_rows * N + at]);
        }
        finish(&s, NULL, &arena);
        want /= (double)(W * (N - ahead));
        assert_true(fabs(s.nll.mean - want) < 1e-14);
        assert_true(fabs(s.perplexity - exp(want)) < 1e-13 * exp(want));
        assert_true(s.nll.low <= s.nll.mean && s.nll.mean <= s.nll.high);
    }
    arena_fini(&arena);
}

static void measures_how_far_two_models_are_apart(void **state)
{
    (void)state;
    static float p[W * N][VOCAB], q[W * N][VOCAB];
    const struct logits_kernels *k = logits_kernels(ISA_SCALAR);
    struct judge_series a, b;
    struct arena arena;
    arena_init(&arena, 0);
    random_rows(p, 2);
    random_rows(q, 3);
    memcpy(q[5], p[5], sizeof q[5]);
    start(&a, 1, &arena);
    start(&b, 1, &arena);
    b.compared = 1;
    double kl = 0, largest = 0, more = 0;
    size_t same = 0, at = 0;
    for (size_t i = 0; i < W * N; i++) {
        double one = 0;
        size_t x = 0, y = 0;
        judge_row_alone(&a, k, i, p[i], VOCAB);
        judge_row_beside(&b, k, i, p[i], q[i], VOCAB);
        for (size_t t = 0; t < VOCAB; t++) {
            one += exp(log_p(p[i], t)) * (log_p(p[i], t) - log_p(q[i], t));
            x = p[i][t] > p[i][x] ? t : x;
            y = q[i][t] > q[i][y] ? t : y;
        }
        same += x == y;
        kl += one;
        if (one > largest) {
            largest = one;
            at = i;
        }
        if (i % N + 1 < N)
            more += log_p(p[i], tokens[i + 1]) - log_p(q[i], tokens[i + 1]);
    }
    assert_true(b.rows[5].kl == 0 && b.rows[5].same_first && b.rows[5].shared_of_five == 5);
    finish(&a, NULL, &arena);
    finish(&b, &a, &arena);
    assert_true(fabs(b.kl.mean - kl / (W * N)) < 1e-14);
    assert_true(fabs(b.more_nll.mean - more / (W * (N - 1))) < 1e-14);
    assert_true(fabs(b.kl_max - largest) < 1e-14);
    assert_int_equal(b.max_window, at / N);
    assert_int_equal(b.max_row, at % N);
    assert_true(fabs(b.first.mean - (double)same / (W * N)) < 1e-15);
    assert_true(b.kl_p50 <= b.kl_p90 && b.kl_p90 <= b.kl_p99 && b.kl_p99 <= b.kl_max);
    arena_fini(&arena);
}

static void a_saved_reference_says_the_same_as_the_model(void **state)
{
    (void)state;
    static float p[W * N][VOCAB], q[W * N][VOCAB];
    const struct logits_kernels *k = logits_kernels(ISA_SCALAR);
    struct prep_error err = PREP_ERROR_INIT;
    struct judge_series live_p, live_q, saved_p, saved_q;
    struct reference r;
    struct arena arena;
    arena_init(&arena, 0);
    random_rows(p, 4);
    random_rows(q, 5);
    assert_int_equal(reference_init(&r, tokens, W, N, VOCAB, &arena, &err), 0);
    start(&live_p, 1, &arena);
    start(&live_q, 1, &arena);
    start(&saved_p, 1, &arena);
    start(&saved_q, 1, &arena);
    live_q.compared = saved_q.compared = 1;
    for (size_t i = 0; i < W * N; i++) {
        assert_int_equal(reference_set_row(&r, k, i / N, i % N, p[i], &err), 0);
        const struct reference_row row = reference_row(&r, i / N, i % N);
        judge_row_alone(&live_p, k, i, p[i], VOCAB);
        judge_row_beside(&live_q, k, i, p[i], q[i], VOCAB);
        judge_row_saved(&saved_p, i, &row);
        judge_row_reference(&saved_q, k, i, &row, q[i], VOCAB);
        assert_true(saved_p.rows[i].nll == live_p.rows[i].nll);
        assert_true(saved_q.rows[i].nll == live_q.rows[i].nll);
        assert_true(fabs(saved_q.rows[i].kl - live_q.rows[i].kl) < 1e-14);
        assert_int_equal(saved_q.rows[i].same_first, live_q.rows[i].same_first);
        assert_int_equal(saved_q.rows[i].shared_of_five, live_q.rows[i].shared_of_five);
    }
    arena_fini(&arena);
}

static void says_when_a_difference_is_sure(void **state)
{
    (void)state;
    const struct bootstrap_interval above = {1, 0.5, 2}, below = {-1, -2, -0.1},
                                    around = {0.1, -0.1, 0.3}, none = {NAN, NAN, NAN},
                                    zero = {0, 0, 0};
    assert_int_equal(judge_sign(&above), 1);
    assert_int_equal(judge_sign(&below), -1);
    assert_int_equal(judge_sign(&around), 0);
    assert_int_equal(judge_sign(&none), 0);
    assert_int_equal(judge_sign(&zero), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_likelihood_of_the_tokens_that_came),
        cmocka_unit_test(measures_how_far_two_models_are_apart),
        cmocka_unit_test(a_saved_reference_says_the_same_as_the_model),
        cmocka_unit_test(says_when_a_difference_is_sure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

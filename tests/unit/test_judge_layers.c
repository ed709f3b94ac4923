/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libprep/release/judge_layers.h"
#include "tests/support/support.h"

enum { W = 5, ELEMENTS = 300 };

static void init(struct judge_layers *l, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (judge_layers_init(l, 2, W, arena, &err))
        fail_msg("%s", err.msg);
}

static void add(struct judge_ratio *to, const float *a, const float *b, const float *base,
                uint64_t first, uint64_t n, int n_threads)
{
    const struct judge_states s = {first, n, ELEMENTS, n_threads};
    const size_t at = (size_t)first * ELEMENTS;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(judge_ratio_add(to, &s, a + at, b + at, base ? base + at : NULL, &err), 0);
}

static void sums_do_not_depend_on_units_and_threads(void **state)
{
    (void)state;
    static float x[W * ELEMENTS], y[W * ELEMENTS], q[W * ELEMENTS];
    struct test_random r;
    struct judge_layers l;
    struct arena arena;
    long double above = 0, below = 0, all = 0;
    arena_init(&arena, 0);
    test_random_init(&r);
    for (size_t i = 0; i < W * ELEMENTS; i++) {
        x[i] = (float)test_random_below(&r, 1000) / 7.0f;
        y[i] = x[i] + (float)test_random_below(&r, 1000) / 70.0f;
        q[i] = y[i] + (float)test_random_below(&r, 1000) / 700.0f;
        const long double e = (long double)q[i] - (long double)y[i];
        const long double m = (long double)y[i] - (long double)x[i];
        above += e * e;
        below += m * m;
        all += (long double)y[i] * (long double)y[i];
    }
    init(&l, &arena);
    add(&l.layers[0].block, y, q, x, 0, W, 1);
    add(&l.layers[1].block, y, q, x, 3, 2, 7);
    add(&l.layers[1].block, y, q, x, 0, 3, 2);
    add(&l.layers[0].hidden, y, q, NULL, 0, W, 2);
    judge_layers_finish(&l);
    assert_true(l.layers[0].block_error == l.layers[1].block_error);
    assert_true(fabs(l.layers[0].block_error - (double)(above / below)) < 1e-14);
    assert_true(fabs(l.layers[0].hidden_error - (double)(above / all)) < 1e-16);
    assert_true(isnan(l.layers[1].hidden_error) && isnan(l.layers[0].forced_error));
    assert_true(isnan(l.layers[0].expert_share) && isnan(l.layers[0].position_share));
    arena_fini(&arena);
}

static void counts_experts_in_any_order_and_under_new_numbers(void **state)
{
    (void)state;
    const int32_t original[4] = {7, 1, 3, 0}, other[4] = {0, 3, 7, 2}, renamed[4] = {1, 2, 3, 0};
    const int map[4] = {0, 1, 3, 7}; /* the pruned model's experts 0..3 */
    struct judge_layers l;
    struct arena arena;
    arena_init(&arena, 0);
    init(&l, &arena);
    judge_experts_add(&l.layers[0], original, other, 4, NULL);
    judge_experts_add(&l.layers[1], original, renamed, 4, map);
    judge_layers_finish(&l);
    assert_true(l.layers[0].expert_share == 0.75);
    assert_true(l.layers[1].expert_share == 1.0);
    arena_fini(&arena);
}

static void counts_shared_positions(void **state)
{
    (void)state;
    const uint32_t a[5] = {1, 4, 5, 9, 12}, b[4] = {0, 4, 9, 13};
    struct judge_layers l;
    struct arena arena;
    arena_init(&arena, 0);
    init(&l, &arena);
    judge_positions_add(&l.layers[0], a, 5, b, 4);
    judge_positions_add(&l.layers[0], a, 5, a, 5);
    judge_positions_add(&l.layers[1], a, 5, b, 0);
    judge_layers_finish(&l);
    assert_true(l.layers[0].position_share == 0.7);
    assert_true(l.layers[1].position_share == 0);
    arena_fini(&arena);
}

/* However rows come in tiles: the chain of a window, the mean of windows. */
static void kl_is_the_mean_of_rows_whatever_the_tiles(void **state)
{
    enum { ROWS = 7, N = W * ROWS };
    struct prep_error err = PREP_ERROR_INIT;
    struct bootstrap_interval want;
    double kl[N], windows[W] = {0};
    double *work;
    struct test_random r;
    struct judge_layers l;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    test_random_init(&r);
    for (size_t i = 0; i < N; i++) {
        kl[i] = 1.0 / (double)(1 + test_random_below(&r, 100000));
        windows[i / ROWS] += kl[i];
    }
    for (size_t w = 0; w < W; w++)
        windows[w] /= ROWS;
    init(&l, &arena);
    assert_int_equal(judge_layers_finish_kl(&l, ROWS, &arena, &err), 0);
    assert_false(l.has_kl);
    assert_null(l.layers[0].window_kl);
    assert_int_equal(judge_layers_init_kl(&l, &arena, &err), 0);
    judge_layer_add_kl(&l.layers[0], ROWS, 0, kl, N);
    judge_layer_add_kl(&l.layers[1], ROWS, 2 * ROWS, kl + 2 * ROWS, N - 2 * ROWS);
    for (size_t i = 0; i < 2 * ROWS; i += 4)
        judge_layer_add_kl(&l.layers[1], ROWS, i, kl + i, 2 * ROWS - i < 4 ? 2 * ROWS - i : 4);
    assert_int_equal(judge_layers_finish_kl(&l, ROWS, &arena, &err), 0);
    work = arena_alloc(&arena, BOOTSTRAP_RESAMPLES * sizeof *work, &err);
    assert_non_null(work);
    bootstrap_mean(&want, windows, W, BOOTSTRAP_SEED, work);
    for (int i = 0; i < 2; i++) {
        assert_memory_equal(l.layers[i].window_kl, windows, sizeof windows);
        assert_memory_equal(&l.layers[i].kl, &want, sizeof want);
    }
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_do_not_depend_on_units_and_threads),
        cmocka_unit_test(counts_experts_in_any_order_and_under_new_numbers),
        cmocka_unit_test(counts_shared_positions),
        cmocka_unit_test(kl_is_the_mean_of_rows_whatever_the_tiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

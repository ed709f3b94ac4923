/* SPDX-License-Identifier: MIT */
/* Attention and the indexer over stored keys: the bytes of F32 keys that hold the same values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/ops_cpu.h"
#include "tests/support/support.h"

enum {
    HEADS = 5,
    RANK = 150, /* two scales, the second for 22 values */
    ROPE = 6,
    WIDE = RANK + ROPE,
    DIM = 40,
    TOP_K = 33,
    MOST = 700,
    QUERIES = 21,
};

static const struct ops_cpu_shape SHAPE = {.widest = 8,
                                           .heads = HEADS,
                                           .nope = 4,
                                           .rope = ROPE,
                                           .value = 4,
                                           .rank = RANK,
                                           .index_heads = HEADS,
                                           .index_dim = DIM,
                                           .top_k = TOP_K,
                                           .n_experts = 1};

static float *values(struct test_random *r, size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = ((float)test_random_below(r, 2001) - 1000) * 1e-3F;
    return x;
}

/* Stored rows, and F32 keys of the same values. */
struct keys {
    unsigned char *stored;
    float *f32;
};

static struct keys store(struct test_random *r, const struct kv_row *row)
{
    const struct kv_row plain = {KV_F32, row->n, row->n_scaled};
    const size_t bytes = kv_row_bytes(row);
    float *x = values(r, MOST * row->n);
    struct keys k = {malloc(MOST * bytes), x};
    assert_non_null(k.stored);
    for (size_t i = 0; i < MOST; i++) {
        kv_row_store(k.stored + i * bytes, row, x + i * row->n);
        kv_row_load(x + i * row->n, row, k.stored + i * bytes);
    }
    assert_int_equal(kv_row_bytes(&plain), row->n * sizeof *x);
    return k;
}

static void free_keys(struct keys *k)
{
    free(k->stored);
    free(k->f32);
}

static void check_attend(struct ops *ops, enum kv_form form, size_t position, int sparse)
{
    struct test_random r;
    test_random_init(&r);
    const struct kv_row row = {form, WIDE, RANK};
    struct keys keys = store(&r, &row);
    float *q = values(&r, QUERIES * HEADS * WIDE);
    float *y[2];
    uint32_t selected[QUERIES * TOP_K];
    for (size_t i = 0; i < QUERIES; i++)
        for (size_t k = 0; k < TOP_K; k++)
            selected[i * TOP_K + k] = (uint32_t)(k * (position / TOP_K) + i);
    for (int stored = 0; stored < 2; stored++) {
        struct prep_error err = PREP_ERROR_INIT;
        size_t bad = OPS_ALL_FINITE;
        struct ops_run run = {.n = QUERIES,
                              .position = position,
                              .keys = stored ? (void *)keys.stored : (void *)keys.f32,
                              .form = stored ? form : KV_F32};
        y[stored] = calloc(QUERIES * HEADS * RANK, sizeof(float));
        const struct ops_attend p = {.y = y[stored],
                                     .q = q,
                                     .runs = &run,
                                     .n_runs = 1,
                                     .heads = HEADS,
                                     .rank = RANK,
                                     .rope = ROPE,
                                     .selected = sparse ? selected : NULL,
                                     .top_k = TOP_K,
                                     .scale = 0.25F};
        assert_int_equal(ops->attend(ops->self, &p, &bad, &err), 0);
        assert_int_equal(bad, OPS_ALL_FINITE);
    }
    assert_memory_equal(y[1], y[0], QUERIES * HEADS * RANK * sizeof(float));
    free(y[0]);
    free(y[1]);
    free(q);
    free_keys(&keys);
}

static void check_select(struct ops *ops, enum kv_form form, size_t position)
{
    struct test_random r;
    test_random_init(&r);
    const struct kv_row row = {form, DIM, DIM};
    struct keys keys = store(&r, &row);
    float *iq = values(&r, QUERIES * HEADS * DIM), *g = values(&r, QUERIES * HEADS);
    uint32_t selected[2][QUERIES * TOP_K];
    memset(selected, 0, sizeof selected);
    for (int stored = 0; stored < 2; stored++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct ops_run run = {.n = QUERIES,
                              .position = position,
                              .keys = stored ? (void *)keys.stored : (void *)keys.f32,
                              .form = stored ? form : KV_F32};
        const struct ops_select p = {.selected = selected[stored],
                                     .iq = iq,
                                     .g = g,
                                     .runs = &run,
                                     .n_runs = 1,
                                     .heads = HEADS,
                                     .dim = DIM,
                                     .top_k = TOP_K,
                                     .scale = 0.25F};
        assert_int_equal(ops->select(ops->self, &p, &err), 0);
    }
    assert_memory_equal(selected[1], selected[0], sizeof selected[0]);
    free(iq);
    free(g);
    free_keys(&keys);
}

static void stored_keys_give_the_bytes_of_their_values(void **state)
{
    static const size_t positions[] = {0, 12, 100, 127, 128, MOST - QUERIES};
    (void)state;
    for (int isa = 0; isa <= (int)cpu_isa(); isa++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct ops ops;
        /* 2 blocks of queries: with 5 threads heads are shared out by 3. */
        assert_int_equal(ops_cpu_open(&ops, &SHAPE, isa % 2 ? 5 : 2, (enum isa)isa, &err), 0);
        assert_int_equal(ops.reserve(ops.self, MOST, &err), 0);
        for (int form = KV_BF16; form < N_KV_FORMS; form++)
            for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
                check_attend(&ops, (enum kv_form)form, positions[i], 0);
                check_attend(&ops, (enum kv_form)form, positions[i], 1);
                check_select(&ops, (enum kv_form)form, positions[i]);
            }
        ops.close(ops.self);
    }
}

/* One thread, and so many that a head has one of its own. */
static void threads_change_no_bit_of_attention(void **state)
{
    static const size_t positions[] = {0, 30, 100, MOST - QUERIES};
    struct test_random r;
    (void)state;
    test_random_init(&r);
    const struct kv_row row = {KV_BF16, WIDE, RANK};
    struct keys keys = store(&r, &row);
    float *q = values(&r, QUERIES * HEADS * WIDE), *y[2];
    uint32_t selected[QUERIES * TOP_K];
    for (size_t at = 0; at < sizeof positions / sizeof *positions; at++) {
        for (size_t i = 0; i < QUERIES * TOP_K; i++)
            selected[i] = (uint32_t)(i % TOP_K * (1 + positions[at] / TOP_K));
        for (int many = 0; many < 2; many++) {
            struct prep_error err = PREP_ERROR_INIT;
            size_t bad = OPS_ALL_FINITE;
            struct ops ops;
            struct ops_run run = {
                .n = QUERIES, .position = positions[at], .keys = keys.stored, .form = KV_BF16};
            y[many] = calloc(QUERIES * HEADS * RANK, sizeof(float));
            const struct ops_attend p = {.y = y[many],
                                         .q = q,
                                         .runs = &run,
                                         .n_runs = 1,
                                         .heads = HEADS,
                                         .rank = RANK,
                                         .rope = ROPE,
                                         .selected = selected,
                                         .top_k = TOP_K,
                                         .scale = 0.25F};
            assert_int_equal(ops_cpu_open(&ops, &SHAPE, many ? 40 : 1, N_ISA - 1, &err), 0);
            assert_int_equal(ops.reserve(ops.self, MOST, &err), 0);
            assert_int_equal(ops.attend(ops.self, &p, &bad, &err), 0);
            assert_int_equal(bad, OPS_ALL_FINITE);
            ops.close(ops.self);
        }
        assert_memory_equal(y[1], y[0], QUERIES * HEADS * RANK * sizeof(float));
        free(y[0]);
        free(y[1]);
    }
    free(q);
    free_keys(&keys);
}

static void threads_change_no_choice(void **state)
{
    static const size_t positions[] = {0, 12, 30, 100, MOST - QUERIES};
    struct test_random r;
    (void)state;
    test_random_init(&r);
    const struct kv_row row = {KV_FP8, DIM, DIM};
    struct keys keys = store(&r, &row);
    float *iq = values(&r, QUERIES * HEADS * DIM), *g = values(&r, QUERIES * HEADS);
    for (size_t at = 0; at < sizeof positions / sizeof *positions; at++) {
        uint32_t selected[2][QUERIES * TOP_K];
        memset(selected, 0, sizeof selected);
        for (int many = 0; many < 2; many++) {
            struct prep_error err = PREP_ERROR_INIT;
            struct ops ops;
            struct ops_run run = {
                .n = QUERIES, .position = positions[at], .keys = keys.stored, .form = KV_FP8};
            const struct ops_select p = {.selected = selected[many],
                                         .iq = iq,
                                         .g = g,
                                         .runs = &run,
                                         .n_runs = 1,
                                         .heads = HEADS,
                                         .dim = DIM,
                                         .top_k = TOP_K,
                                         .scale = 0.25F};
            assert_int_equal(ops_cpu_open(&ops, &SHAPE, many ? 9 : 1, N_ISA - 1, &err), 0);
            assert_int_equal(ops.reserve(ops.self, MOST, &err), 0);
            assert_int_equal(ops.select(ops.self, &p, &err), 0);
            ops.close(ops.self);
        }
        assert_memory_equal(selected[1], selected[0], sizeof selected[0]);
    }
    free(iq);
    free(g);
    free_keys(&keys);
}

static void rows_are_stored_as_one_by_one(void **state)
{
    static const struct kv_row rows[] = {
        {KV_F32, WIDE, RANK}, {KV_BF16, WIDE, RANK}, {KV_FP8, WIDE, RANK}};
    enum { N = 75, LD = WIDE + 3 };
    struct prep_error err = PREP_ERROR_INIT;
    struct test_random r;
    struct ops ops;
    (void)state;
    test_random_init(&r);
    float *x = values(&r, N * LD);
    assert_int_equal(ops_cpu_open(&ops, &SHAPE, 3, N_ISA - 1, &err), 0);
    assert_int_equal(ops.reserve(ops.self, MOST, &err), 0);
    for (size_t k = 0; k < 3; k++) {
        const size_t bytes = kv_row_bytes(&rows[k]);
        unsigned char *have = malloc(N * bytes), *want = malloc(N * bytes);
        assert_true(have && want);
        assert_int_equal(ops.store_keys(ops.self, have, &rows[k], x, LD, N, &err), 0);
        for (size_t i = 0; i < N; i++)
            kv_row_store(want + i * bytes, &rows[k], x + i * LD);
        assert_memory_equal(have, want, N * bytes);
        free(have);
        free(want);
    }
    ops.close(ops.self);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_keys_give_the_bytes_of_their_values),
        cmocka_unit_test(threads_change_no_bit_of_attention),
        cmocka_unit_test(threads_change_no_choice),
        cmocka_unit_test(rows_are_stored_as_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

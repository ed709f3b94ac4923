/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/reference.h"
#include "libprep/numeric/elementary.h"
#include "tests/support/support.h"

enum { S = 2, N = 3, VOCAB = 300 };

static const uint32_t tokens[S * N] = {0, 299, 5, 7, 7, 8};

static float logit(struct test_random *r)
{
    return (float)(int64_t)(test_random_below(r, 20001) - 10000) / 1000.0f;
}

static void fill(struct reference *r, float rows[S * N][VOCAB], struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_random random;
    test_random_init(&random);
    if (reference_init(r, tokens, S, N, VOCAB, arena, &err))
        fail_msg("%s", err.msg);
    strcpy(r->identity.shape, "test vocab 300");
    memset(r->identity.final_norm_sha256, 'a', SHA256_HEX - 1);
    memset(r->identity.tokenizer_sha256, 'b', SHA256_HEX - 1);
    for (size_t i = 0; i < S * N; i++) {
        for (size_t k = 0; k < VOCAB; k++)
            rows[i][k] = logit(&random);
        if (reference_set_row(r, logits_kernels(ISA_SCALAR), i / N, i % N, rows[i], &err))
            fail_msg("%s", err.msg);
    }
}

static const char *save(const struct reference *r, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span bytes;
    if (reference_write(&bytes, r, arena, &err))
        fail_msg("%s", err.msg);
    const char *path = test_path("%s/ref.safetensors", test_temp_dir());
    test_write(path, bytes.p, bytes.n);
    return path;
}

static void expect_refused(const struct reference *r, struct arena *arena, const char *words)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct reference again;
    assert_int_equal(reference_read(&again, &io_posix, save(r, arena), arena, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_string_equal(err.tag, "REFERENCE");
    if (!strstr(err.msg, words))
        fail_msg("'%s' does not say '%s'", err.msg, words);
}

static void reads_what_it_writes(void **state)
{
    (void)state;
    static float rows[S * N][VOCAB];
    struct prep_error err = PREP_ERROR_INIT;
    struct metadata_pair more = {"tool", "test"};
    struct reference r, again;
    struct arena arena;
    struct span a, b;
    arena_init(&arena, 0);
    fill(&r, rows, &arena);
    r.metadata = &more;
    r.n_metadata = 1;
    assert_int_equal(reference_read(&again, &io_posix, save(&r, &arena), &arena, &err), 0);
    assert_string_equal(reference_metadata(&again, "tool"), "test");
    assert_int_equal(again.top_k, 256);
    assert_memory_equal(again.tokens, tokens, sizeof tokens);
    assert_memory_equal(again.top_ids, r.top_ids, S * N * 256 * 4);
    assert_memory_equal(again.top_logits, r.top_logits, S * N * 256 * 4);
    assert_memory_equal(again.logsumexp, r.logsumexp, S * N * 8);
    assert_memory_equal(again.tail, r.tail, S * N * 8);
    assert_memory_equal(again.next_logits, r.next_logits, S * (N - 1) * 4);
    assert_int_equal(reference_check(&again, &r.identity, "file", "model", &err), 0);
    again.metadata = &more;
    again.n_metadata = 1;
    assert_int_equal(reference_write(&a, &r, &arena, &err), 0);
    assert_int_equal(reference_write(&b, &again, &arena, &err), 0);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
    arena_fini(&arena);
}

static void keeps_the_largest_and_what_the_rest_weighs(void **state)
{
    (void)state;
    static float rows[S * N][VOCAB];
    struct reference r;
    struct arena arena;
    arena_init(&arena, 0);
    fill(&r, rows, &arena);
    for (size_t i = 0; i < S * N; i++) {
        const struct reference_row row = reference_row(&r, i / N, i % N);
        long double all = 0, rest = 0;
        size_t smaller = 0;
        for (size_t k = 0; k < VOCAB; k++)
            all += expl((long double)rows[i][k]);
        rest = all;
        for (size_t k = 0; k < 256; k++) {
            assert_true(row.logits[k] == rows[i][row.ids[k]]);
            rest -= expl((long double)row.logits[k]);
        }
        for (size_t k = 0; k < VOCAB; k++)
            smaller += rows[i][k] < row.logits[255];
        assert_true(smaller <= VOCAB - 256);
        assert_true(fabs(row.logsumexp - (double)logl(all)) < 1e-13);
        assert_true(fabs(row.tail - (double)(rest / all)) < 1e-15);
        assert_int_equal(row.has_next, i % N != N - 1);
        if (row.has_next)
            assert_true(row.next_logit == rows[i][tokens[i + 1]]);
    }
    arena_fini(&arena);
}

static void gives_equal_logits_by_rising_id(void **state)
{
    (void)state;
    static float rows[S * N][VOCAB];
    struct prep_error err = PREP_ERROR_INIT;
    struct reference r;
    struct arena arena;
    arena_init(&arena, 0);
    fill(&r, rows, &arena);
    for (size_t k = 0; k < VOCAB; k++)
        rows[0][k] = k == 290 ? 2.0f : 1.0f;
    assert_int_equal(reference_set_row(&r, logits_kernels(ISA_SCALAR), 0, 0, rows[0], &err), 0);
    const struct reference_row row = reference_row(&r, 0, 0);
    assert_int_equal(row.ids[0], 290);
    for (uint32_t k = 1; k < 256; k++)
        assert_int_equal(row.ids[k], k - 1);
    arena_fini(&arena);
}

static void refuses_a_row_that_is_not_finite(void **state)
{
    (void)state;
    static float rows[S * N][VOCAB];
    struct prep_error err = PREP_ERROR_INIT;
    struct reference r;
    struct arena arena;
    arena_init(&arena, 0);
    fill(&r, rows, &arena);
    rows[4][17] = NAN;
    assert_int_equal(reference_set_row(&r, logits_kernels(ISA_SCALAR), 1, 1, rows[4], &err), -1);
    assert_string_equal(err.tag, "NONFINITE");
    assert_non_null(strstr(err.msg, "sequence 1, position 1: the logit of token 17"));
    arena_fini(&arena);
}

static void a_small_vocabulary_has_no_tail(void **state)
{
    (void)state;
    const uint32_t two[2] = {1, 0};
    const float row[3] = {0.5f, 2.0f, -1.0f};
    struct prep_error err = PREP_ERROR_INIT;
    struct reference r, again;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(reference_init(&r, two, 1, 2, 3, &arena, &err), 0);
    strcpy(r.identity.shape, "tiny");
    strcpy(r.identity.final_norm_sha256, "n");
    strcpy(r.identity.tokenizer_sha256, "none");
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            reference_set_row(&r, logits_kernels(ISA_SCALAR), 0, (uint64_t)i, row, &err), 0);
    assert_int_equal(r.top_k, 3);
    assert_true(r.tail[0] == 0);
    assert_int_equal(reference_read(&again, &io_posix, save(&r, &arena), &arena, &err), 0);
    r.tail[1] = 1e-9;
    expect_refused(&r, &arena, "impossible tail");
    arena_fini(&arena);
}

static void refuses_rows_that_contradict_themselves(void **state)
{
    (void)state;
    static float rows[S * N][VOCAB];
    struct reference r;
    struct arena arena;
    arena_init(&arena, 0);
    fill(&r, rows, &arena);
    const uint32_t id = r.top_ids[9];
    const float x = r.top_logits[3], next = r.next_logits[0];

    r.top_ids[9] = r.top_ids[8];
    expect_refused(&r, &arena, "sequence 0, position 0: the row names a token twice");
    r.top_ids[9] = id;
    r.top_logits[3] = r.top_logits[2] + 1;
    expect_refused(&r, &arena, "not sorted");
    r.top_logits[3] = NAN;
    expect_refused(&r, &arena, "top_logits[3] is nan");
    r.top_logits[3] = x;
    r.next_logits[0] = 50;
    expect_refused(&r, &arena, "next token");
    r.next_logits[0] = next;
    r.logsumexp[5] += 0.001;
    expect_refused(&r, &arena, "sequence 1, position 2: the row has probabilities that do not");
    r.logsumexp[5] -= 0.001;
    r.tail[2] = -1e-9;
    expect_refused(&r, &arena, "impossible tail");
    r.tail[2] = 0;
    r.top_ids[0] = VOCAB;
    expect_refused(&r, &arena, "want an id from 0 to 299");
    arena_fini(&arena);
}

static void refuses_another_model_or_tokenizer(void **state)
{
    (void)state;
    static float rows[S * N][VOCAB];
    struct reference r;
    struct arena arena;
    arena_init(&arena, 0);
    fill(&r, rows, &arena);
    for (int i = 0; i < 3; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct reference_identity have = r.identity;
        char *const part[] = {have.shape, have.tokenizer_sha256, have.final_norm_sha256};
        part[i][0] = '?';
        assert_int_equal(reference_check(&r, &have, "ref.st", "model", &err), -1);
        assert_int_equal(err.code, PREP_EDATA);
        assert_string_equal(err.tag, i == 1 ? "REFERENCE_TOKENIZER" : "REFERENCE_MODEL");
        assert_non_null(strstr(err.msg, "ref.st: made "));
    }
    arena_fini(&arena);
}

static void refuses_impossible_sizes(void **state)
{
    (void)state;
    const uint64_t sizes[][3] = {{0, 3, 9},
                                 {1, 1, 9},
                                 {1, 3, 1},
                                 {1, 3, 1 << 25},
                                 {UINT64_MAX / 2, 3, 9},
                                 {1 << 30, 1 << 30, 300}};
    struct arena arena;
    arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct reference r;
        assert_int_equal(
            reference_init(&r, tokens, sizes[i][0], sizes[i][1], sizes[i][2], &arena, &err), -1);
        assert_int_equal(err.code, PREP_EUSAGE);
    }
    arena_fini(&arena);
}

static void refuses_other_files(void **state)
{
    (void)state;
    static float rows[S * N][VOCAB];
    struct prep_error err = PREP_ERROR_INIT;
    struct reference r, again;
    struct arena arena;
    arena_init(&arena, 0);
    const char *path = test_path("%s/glm-nano/model-00001-of-00004.safetensors", test_data());
    assert_int_equal(reference_read(&again, &io_posix, path, &arena, &err), -1);
    assert_string_equal(err.tag, "REFERENCE");
    assert_non_null(strstr(err.msg, "want \"prep-reference\" version \"1\""));
    prep_error_clear(&err);
    fill(&r, rows, &arena);
    path = save(&r, &arena);
    struct test_bytes file = test_read(path);
    test_write(path, file.p, file.n - 1);
    assert_int_equal(reference_read(&again, &io_posix, path, &arena, &err), -1);
    assert_string_equal(err.tag, "SHORT_DATA");
    prep_error_clear(&err);
    file.p[file.n - 4] ^= 1; /* a token */
    test_write(path, file.p, file.n);
    assert_int_equal(reference_read(&again, &io_posix, path, &arena, &err), -1);
    assert_non_null(strstr(err.msg, "tokens have the hash"));
    free(file.p);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(keeps_the_largest_and_what_the_rest_weighs),
        cmocka_unit_test(gives_equal_logits_by_rising_id),
        cmocka_unit_test(refuses_a_row_that_is_not_finite),
        cmocka_unit_test(a_small_vocabulary_has_no_tail),
        cmocka_unit_test(refuses_rows_that_contradict_themselves),
        cmocka_unit_test(refuses_another_model_or_tokenizer),
        cmocka_unit_test(refuses_impossible_sizes),
        cmocka_unit_test(refuses_other_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

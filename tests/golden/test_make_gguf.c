/* SPDX-License-Identifier: MIT */
/*
 * GGUF files of glm-nano against those of llama.cpp's converter and quantizer (nano-golden.json):
 * whole files in strict parity; by default every tensor but indexer.proj, and every key but prep.*.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libprep/base/json.h"
#include "tests/support/gguf_made.h"
#include "tests/support/support.h"

static struct prep_error err;
static struct test_bytes golden_text;
static struct json golden;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    golden_text = test_read(test_path("%s/gguf/nano-golden.json", test_data()));
    return json_parse(&golden, (char *)golden_text.p, golden_text.n, "golden", &err);
}

static int teardown(void **state)
{
    (void)state;
    json_free(&golden);
    free(golden_text.p);
    arena_fini(&arena);
    return 0;
}

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

/* As the golden files were made. */
static struct gguf_job parity(const char *const *rungs, size_t n)
{
    struct gguf_job job = gguf_made_job(nano(), rungs, n);
    job.strict_parity = 1;
    job.names_from_folder = 1;
    return job;
}

static uint32_t golden_file(const char *name)
{
    uint32_t f = json_get(&golden, json_get(&golden, 0, "files"), name);
    assert_int_not_equal(f, JSON_NONE);
    return f;
}

static const char *text_of(uint32_t object, const char *key)
{
    const char *s = json_string(&golden, json_get(&golden, object, key), &arena, NULL, &err);
    assert_non_null(s);
    return s;
}

/* Bytes of the file `made` are those of the golden `name`. */
static void same_file(const char *dir, const char *made, const char *name)
{
    struct test_bytes b = test_read(test_path("%s/%s", dir, made));
    char hex[SHA256_HEX];
    sha256_hex(b.p, b.n, hex);
    free(b.p);
    if (strcmp(hex, text_of(golden_file(name), "sha256")))
        fail_msg("%s: not the bytes of %s", made, name);
}

/* ---- whole files ---- */

static void the_converters_files(void **state)
{
    (void)state;
    static const char *const rungs[] = {"BF16", "F16"};
    struct gguf_job job = parity(rungs, 2);
    const char *dir = gguf_made_run(&job);
    same_file(dir, "glm-nano-BF16.gguf", "nano-bf16.gguf");
    same_file(dir, "glm-nano-F16.gguf", "conv-f16.gguf");
}

static const char *const ladder[] = {"Q8_0",   "Q4_K_M", "Q2_K",  "Q3_K_M",
                                     "Q5_K_M", "Q6_K",   "IQ4_XS"};

enum { N_LADDER = sizeof ladder / sizeof *ladder };

/* Scalar K-quants under a sanitizer would take minutes: two rungs are enough there. */
static size_t n_rungs(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 2;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return 2;
#endif
#endif
    return N_LADDER;
}

static void the_quantizers_ladder_in_one_reading(void **state)
{
    (void)state;
    struct gguf_job job = parity(ladder, n_rungs());
    const char *dir = gguf_made_run(&job);
    for (size_t i = 0; i < n_rungs(); i++)
        same_file(dir, test_path("glm-nano-%s.gguf", ladder[i]),
                  test_path("nano-%s.gguf", ladder[i]));
}

/* The name of the importance matrix, as typed, is in the files. */
static void the_ladder_with_an_importance_matrix(void **state)
{
    (void)state;
    char before[4096];
    struct gguf_job job = parity(ladder, n_rungs());
    struct test_bytes b = test_read(test_path("%s/gguf/nano-imatrix.gguf", test_data()));
    const char *work = test_temp_dir();
    test_write(test_path("%s/nano-imatrix.gguf", work), b.p, b.n);
    free(b.p);
    char *source = realpath(nano(), NULL);
    assert_non_null(source);
    assert_non_null(getcwd(before, sizeof before));
    job.source = source;
    job.imatrix = "nano-imatrix.gguf";
    assert_int_equal(chdir(work), 0);
    const char *dir = gguf_made_run(&job);
    assert_int_equal(chdir(before), 0);
    free(source);
    assert_non_null(strstr(gguf_made_warnings(), "IMATRIX_NO_MTP"));
    for (size_t i = 0; i < n_rungs(); i++)
        same_file(dir, test_path("glm-nano-%s.gguf", ladder[i]),
                  test_path("nano-%s-imat.gguf", ladder[i]));
}

static void files_without_the_mtp_layer_and_of_it_alone(void **state)
{
    (void)state;
    static const char *const both[] = {"BF16", "Q4_K_M"};
    struct gguf_job job = parity(both, 2);
    job.mtp = GGUF_JOB_DROP;
    const char *dir = gguf_made_run(&job);
    same_file(dir, "glm-nano-BF16.gguf", "conv-nomtp.gguf");
    same_file(dir, "glm-nano-Q4_K_M.gguf", "nomtp-Q4_K_M.gguf");
    job = parity(both, 1);
    job.mtp = GGUF_JOB_SEPARATE;
    dir = gguf_made_run(&job);
    same_file(dir, "glm-nano-BF16.gguf", "conv-nomtp.gguf");
    same_file(dir, "mtp-glm-nano-BF16.gguf", "conv-mtp.gguf");
}

static void parts_by_size_and_by_count(void **state)
{
    (void)state;
    static const char *const rungs[] = {"BF16"};
    struct gguf_job job = parity(rungs, 1);
    job.split_bytes = 12000000;
    const char *dir = gguf_made_run(&job);
    for (int i = 1; i <= 4; i++)
        same_file(dir, test_path("glm-nano-BF16-%05d-of-00004.gguf", i),
                  test_path("csplit-%05d-of-00004.gguf", i));
    job = parity(rungs, 1);
    job.split_tensors = 50;
    job.first_empty = 1;
    dir = gguf_made_run(&job);
    for (int i = 1; i <= 4; i++)
        same_file(dir, test_path("glm-nano-BF16-%05d-of-00004.gguf", i),
                  test_path("csplitn-%05d-of-00004.gguf", i));
    /* What fits one part is no set, not even of two. */
    job.split_tensors = 1000;
    dir = gguf_made_run(&job);
    same_file(dir, "glm-nano-BF16.gguf", "nano-bf16.gguf");
}

/* ---- the default ---- */

static void sha_of_tensor(const struct test_bytes *b, const struct gguf_tensor_info *t,
                          char hex[SHA256_HEX])
{
    assert_true(t->offset + t->bytes <= b->n);
    sha256_hex(b->p + t->offset, (size_t)t->bytes, hex);
}

static void check_tensors(const struct gguf *g, const struct test_bytes *b, uint32_t file)
{
    size_t n = 0, kept = 0;
    uint32_t list = json_get(&golden, file, "tensors");
    for (uint32_t i = json_first(&golden, list); i != JSON_NONE; i = json_next(&golden, i), n++) {
        char hex[SHA256_HEX];
        const char *name = text_of(i, "name");
        const struct gguf_tensor_info *t = gguf_find_tensor(g, name);
        assert_non_null(t);
        if (strstr(name, "indexer.proj")) {
            assert_int_equal(t->type, GGML_F32);
            kept++;
            continue;
        }
        assert_string_equal(ggml_type_info(t->type)->name, text_of(i, "type"));
        sha_of_tensor(b, t, hex);
        if (strcmp(hex, text_of(i, "sha256")))
            fail_msg("%s: other bytes", name);
    }
    assert_int_equal(n, g->n_tensors);
    assert_int_equal(kept, 6);
}

/* Keys of the parity file in order, then prep.*. */
static void check_keys(const struct gguf *a, const struct gguf *b)
{
    size_t n = 0;
    while (n < b->n_kvs && strncmp(b->kvs[n].key, "prep.", 5) != 0)
        n++;
    assert_int_equal(n, a->n_kvs);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(a->kvs[i].key, b->kvs[i].key);
        assert_int_equal(a->kvs[i].bytes.n, b->kvs[i].bytes.n);
        assert_memory_equal(a->kvs[i].bytes.p, b->kvs[i].bytes.p, a->kvs[i].bytes.n);
    }
    assert_true(b->n_kvs > n);
    for (; n < b->n_kvs; n++)
        assert_int_equal(strncmp(b->kvs[n].key, "prep.", 5), 0);
}

static void the_default_differs_in_indexer_proj_and_provenance_alone(void **state)
{
    (void)state;
    static const char *const rungs[] = {"Q4_K_M"};
    struct gguf a, b;
    struct gguf_job job = parity(rungs, 1);
    const char *strict = gguf_made_run(&job);
    job.strict_parity = 0;
    const char *dir = test_path("%s/glm-nano-Q4_K_M.gguf", gguf_made_run(&job));
    struct test_bytes bytes = test_read(dir);
    assert_int_equal(
        gguf_open(&a, &io_posix, test_path("%s/glm-nano-Q4_K_M.gguf", strict), NULL, &err), 0);
    assert_int_equal(gguf_open(&b, &io_posix, dir, NULL, &err), 0);
    check_tensors(&b, &bytes, golden_file("nano-Q4_K_M.gguf"));
    check_keys(&a, &b);
    free(bytes.p);
    gguf_free(&a);
    gguf_free(&b);
}

/* ---- sources ---- */

static void slow_and_fast_instructions_give_the_same_bytes(void **state)
{
    (void)state;
    static const char *const rungs[] = {"Q8_0", "Q4_0"};
    struct gguf_job job = gguf_made_job(nano(), rungs, 2);
    const char *fast = gguf_made_run(&job);
    job.isa = ISA_SCALAR;
    const char *slow = gguf_made_run(&job);
    const char *difference = test_folder_difference(fast, slow, NULL);
    if (difference)
        fail_msg("%s", difference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_converters_files),
        cmocka_unit_test(the_quantizers_ladder_in_one_reading),
        cmocka_unit_test(the_ladder_with_an_importance_matrix),
        cmocka_unit_test(files_without_the_mtp_layer_and_of_it_alone),
        cmocka_unit_test(parts_by_size_and_by_count),
        cmocka_unit_test(the_default_differs_in_indexer_proj_and_provenance_alone),
        cmocka_unit_test(slow_and_fast_instructions_give_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

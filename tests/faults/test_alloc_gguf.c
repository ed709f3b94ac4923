/* SPDX-License-Identifier: MIT */
/*
 * GGUF files with the n-th allocation failing: planning a ladder of the nano, reading a file, an
 * importance matrix, a file as a source. The table of a tokenizer makes thousands of allocations of
 * one kind; those are sampled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/model/source.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/gguf_made.h"
#include "tests/support/support.h"

static const char *const rungs[] = {"Q8_0", "family:Q4_K_M", "BF16"};

typedef int (*once_fn)(const void *arg, struct prep_error *err);

static int plan_once(const void *arg, struct prep_error *err)
{
    struct report report;
    struct gguf_result r;
    report_init(&report);
    int rc = gguf_job_run(&r, arg, &report, err);
    gguf_result_free(&r);
    report_fini(&report);
    return rc;
}

static int source_once(const void *arg, struct prep_error *err)
{
    struct source s;
    int rc = source_open(&s, &io_posix, arg, NULL, err);
    source_close(&s);
    return rc;
}

static int imatrix_once(const void *arg, struct prep_error *err)
{
    struct imatrix m, sum;
    struct arena arena;
    struct span out;
    const char *path = arg;
    if (imatrix_open(&m, &io_posix, path, 1, err))
        return -1;
    arena_init(&arena, 0);
    int rc = imatrix_merge(&sum, &m, &path, 1, 0, err);
    rc = rc || imatrix_write(&sum, &arena, &out, err) ||
         imatrix_write_legacy(&sum, &arena, &out, err);
    imatrix_free(&sum);
    imatrix_free(&m);
    arena_fini(&arena);
    return rc;
}

/* Every one of the first few hundred, then one in a growing stride. */
static void fail_each(once_fn once, const void *arg)
{
    for (uint64_t n = 1;; n += n < 300 ? 1 : n / 100) {
        struct prep_error err = PREP_ERROR_INIT;
        fault_alloc_at(n);
        int rc = once(arg, &err);
        uint64_t seen = fault_alloc_stop();
        if (rc && err.code != PREP_ENOMEM)
            fail_msg("allocation %llu: %s", (unsigned long long)n, err.msg);
        if (seen >= n)
            continue;
        assert_int_equal(rc, 0);
        assert_true(seen > 0);
        return;
    }
}

static void planning_a_ladder_fails_cleanly(void **state)
{
    (void)state;
    static const char *const patterns[] = {"ffn_up=q5_0", "attn_output=bf16"};
    static const char text[] = "{\"2\":[0,1,2,3],\"3\":[0,1,2,3],\"4\":[1,2,3,4]}";
    const char *map = test_path("%s/map.json", test_temp_dir());
    test_write(map, text, sizeof text - 1);
    struct gguf_job job = gguf_made_job(test_path("%s/glm-nano", test_data()), rungs, 3);
    job.keep_map = map;
    job.mtp = GGUF_JOB_DROP;
    job.patterns = patterns;
    job.n_patterns = 2;
    job.imatrix = test_path("%s/gguf/nano-imatrix-16.gguf", test_data());
    job.split_bytes = 3000000;
    fail_each(plan_once, &job);
}

static void opening_a_file_as_a_source_fails_cleanly(void **state)
{
    (void)state;
    struct gguf_job job = gguf_made_job(test_path("%s/glm-nano", test_data()), rungs, 1);
    job.split_tensors = 60;
    const char *dir = gguf_made_run(&job);
    fail_each(source_once, test_path("%s/glm-nano-Q8_0-00001-of-00003.gguf", dir));
}

static void importance_matrices_fail_cleanly(void **state)
{
    (void)state;
    fail_each(imatrix_once, test_path("%s/gguf/nano-imatrix-16.gguf", test_data()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planning_a_ladder_fails_cleanly),
        cmocka_unit_test(opening_a_file_as_a_source_fails_cleanly),
        cmocka_unit_test(importance_matrices_fail_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

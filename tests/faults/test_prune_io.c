/* SPDX-License-Identifier: MIT */
/*
 * The whole of reap-prune on the rand32 checkpoint, with every outside call and every allocation
 * failing once: from reading the observations to the renamed manifest.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/prune/job.h"
#include "libprep/store/executor.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/fault_io.h"
#include "tests/support/support.h"

/* Instrumented builds are several times slower: they take a sample, the release build takes all. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 7 };
#else
enum { STRIDE = 1 };
#endif

/* Paths are made before the faults begin. */
static const char *source, *runs[2], *want;

static int set_up(void **state)
{
    (void)state;
    const char *rand32 = test_path("%s/observations/rand32", test_data());
    source = test_path("%s/checkpoint", rand32);
    runs[0] = test_path("%s/run-a/observations_1024_cosine.pt", rand32);
    runs[1] = test_path("%s/run-b.obs.safetensors", rand32);
    return 0;
}

static int prune(const struct io *io, const char *out, struct prep_error *err)
{
    struct prune_job job = {.io = io,
                            .source = source,
                            .observations = runs,
                            .n_observations = 2,
                            .options = {.size = SIZE_KEEP, .keep = 24}};
    struct exec_options opt = {
        .io = io, .dir = out, .n_threads = 1, .block_bytes = 128 << 10, .sync_bytes = 128 << 10};
    struct prune_result result;
    struct exec_result done;
    struct report report;
    *err = (struct prep_error)PREP_ERROR_INIT;
    report_init(&report);
    int rc = prune_job_run(&result, &job, 1, &report, err) ||
             plan_execute(result.plan, &opt, &done, err);
    prune_result_free(&result);
    report_fini(&report);
    return rc;
}

static void make_reference(void)
{
    struct prep_error err;
    want = test_path("%s/want", test_temp_dir());
    if (prune(&io_posix, want, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

/* What a fault left behind must not look finished; the next run must end with the right bytes. */
static void expect_resumes(const char *out, const char *what, uint64_t n)
{
    struct prep_error err;
    if (test_exists(test_path("%s/model.safetensors.index.json", out)) &&
        !test_exists(test_path("%s/config.json", out)))
        fail_msg("%s %llu: an index before its config", what, (unsigned long long)n);
    int finished = test_exists(test_path("%s/" EXEC_MANIFEST, out)) &&
                   !test_exists(test_path("%s/" EXEC_STATE_DIR, out));
    if (!finished && prune(&io_posix, out, &err))
        fail_msg("%s %llu: the next run fails: %s: %s", what, (unsigned long long)n, err.tag,
                 err.msg);
    const char *fault = test_folder_difference(want, out, NULL);
    if (fault)
        fail_msg("%s %llu: %s", what, (unsigned long long)n, fault);
}

static void every_failing_call_is_reported_and_resumed_from(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EACCES};
    unsigned kinds = FAULT_ANY & ~(FAULT_BIT(FAULT_ADVISE) | FAULT_BIT(FAULT_COPY_RANGE) |
                                   FAULT_BIT(FAULT_CLOSE));
    make_reference();
    struct fault_io f;
    fault_io_init(&f);
    for (uint64_t n = 1;; n += STRIDE) {
        const char *out = test_path("%s/out", test_temp_dir());
        struct prep_error err;
        fault_io_fail(&f, kinds, n, errors[n % 3]);
        int rc = prune(&f.io, out, &err);
        if (!f.fired) {
            assert_int_equal(rc, 0);
            assert_true(n > 100);
            break;
        }
        int code = prep_exit_code(err.code);
        if (rc && code != 65 && code != 66 && code != 73 && code != 74)
            fail_msg("call %llu (%s): exit code %d: %s", (unsigned long long)n,
                     fault_call_name(f.fired_call), code, err.msg);
        expect_resumes(out, "call", n);
        test_remove_tree(out);
    }
    fault_io_fini(&f);
}

static void every_failing_allocation_is_reported_and_resumed_from(void **state)
{
    (void)state;
    make_reference();
    for (uint64_t n = 1;; n += STRIDE) {
        const char *out = test_path("%s/out", test_temp_dir());
        struct prep_error err;
        fault_alloc_at(n);
        int rc = prune(&io_posix, out, &err);
        uint64_t seen = fault_alloc_stop();
        if (seen < n) {
            assert_int_equal(rc, 0);
            assert_true(n > 100);
            break;
        }
        if (rc && err.code != PREP_ENOMEM)
            fail_msg("allocation %llu: exit code %d: %s", (unsigned long long)n,
                     prep_exit_code(err.code), err.msg);
        expect_resumes(out, "allocation", n);
        test_remove_tree(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failing_call_is_reported_and_resumed_from),
        cmocka_unit_test(every_failing_allocation_is_reported_and_resumed_from),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}

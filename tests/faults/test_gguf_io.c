/* SPDX-License-Identifier: MIT */
/*
 * make-gguf on the nano, two rungs in one reading, weighed by an importance matrix, with an outside
 * call failing: from opening the source to the renamed manifest. Calls are sampled; the first
 * hundred, which open things, are all taken.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fault_io.h"
#include "tests/support/gguf_made.h"
#include "tests/support/support.h"

#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 97, ALL = 20 };
#else
enum { STRIDE = 23, ALL = 100 };
#endif

static const char *const rungs[] = {"Q4_0", "Q8_0"};

static int make(const struct io *io, const char *out, struct prep_error *err)
{
    struct gguf_job job = gguf_made_job(test_path("%s/glm-nano", test_data()), rungs, 2);
    struct exec_options opt = {
        .io = io, .dir = out, .n_threads = 1, .block_bytes = 1 << 20, .sync_bytes = 1 << 20};
    struct gguf_result result;
    struct exec_result done;
    struct report report;
    *err = (struct prep_error)PREP_ERROR_INIT;
    job.io = io;
    job.mtp = GGUF_JOB_DROP;
    job.split_tensors = 70;
    job.imatrix = test_path("%s/gguf/nano-imatrix-16.gguf", test_data());
    report_init(&report);
    int rc =
        gguf_job_run(&result, &job, &report, err) || plan_execute(result.plan, &opt, &done, err);
    gguf_result_free(&result);
    report_fini(&report);
    return rc;
}

/* What a fault left behind must not look finished; the next run must end with the right bytes. */
static void expect_resumes(const char *want, const char *out, uint64_t n)
{
    struct prep_error err;
    int finished = test_exists(test_path("%s/" EXEC_MANIFEST, out)) &&
                   !test_exists(test_path("%s/" EXEC_STATE_DIR, out));
    if (!finished && make(&io_posix, out, &err))
        fail_msg("call %llu: the next run fails: %s: %s", (unsigned long long)n, err.tag, err.msg);
    const char *fault = test_folder_difference(want, out, NULL);
    if (fault)
        fail_msg("call %llu: %s", (unsigned long long)n, fault);
}

static void every_failing_call_is_reported_and_resumed_from(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, EACCES};
    const unsigned kinds = FAULT_ANY & ~(FAULT_BIT(FAULT_ADVISE) | FAULT_BIT(FAULT_COPY_RANGE) |
                                         FAULT_BIT(FAULT_CLOSE));
    const char *want = test_path("%s/want", test_temp_dir());
    struct prep_error err;
    struct fault_io f;
    if (make(&io_posix, want, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    fault_io_init(&f);
    for (uint64_t n = 1;; n += n < ALL ? 1 : STRIDE) {
        const char *out = test_path("%s/out", test_temp_dir());
        fault_io_fail(&f, kinds, n, errors[n % 3]);
        int rc = make(&f.io, out, &err);
        if (!f.fired) {
            assert_int_equal(rc, 0);
            assert_true(n > 100);
            break;
        }
        const int code = prep_exit_code(err.code);
        if (rc && code != 65 && code != 66 && code != 73 && code != 74)
            fail_msg("call %llu (%s): exit code %d: %s", (unsigned long long)n,
                     fault_call_name(f.fired_call), code, err.msg);
        expect_resumes(want, out, n);
        test_remove_tree(out);
    }
    fault_io_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failing_call_is_reported_and_resumed_from),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

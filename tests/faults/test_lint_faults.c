/* SPDX-License-Identifier: MIT */
/* Linting and planning a repair when the n-th allocation or the n-th call fails, for every n. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libprep/release/repair.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/fault_io.h"
#include "tests/support/support.h"

/* A checkpoint of 900 kB with faults of several families, most of which can be mended. */
static const char *path;

static int lint(const struct io *io, struct prep_error *err)
{
    const struct lint_options opt = {.n_threads = 1, .source = path, .tp = 3, .ep = 3};
    struct lint l;
    int rc = lint_run(&l, io, path, &opt, err);
    if (!rc)
        assert_int_equal(l.n_faults, 31);
    if (!rc) {
        struct report report;
        report_init(&report);
        rc = report_ok(&report, err) || lint_facts(report.facts, &l, err);
        report_fini(&report);
    }
    lint_fini(&l);
    return rc ? -1 : 0;
}

static int repair(const struct io *io, struct prep_error *err)
{
    const struct repair_job job = {.io = io, .source = path, .n_threads = 1};
    struct repair_result r;
    struct report report;
    report_init(&report);
    int rc = repair_job_run(&r, &job, &report, err);
    if (!rc)
        assert_non_null(r.plan);
    repair_result_free(&r);
    report_fini(&report);
    return rc;
}

static int (*const works[])(const struct io *, struct prep_error *) = {lint, repair};

enum { N_WORKS = sizeof works / sizeof *works };

static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (int w = 0; w < N_WORKS; w++) {
        for (uint64_t n = 1;; n++) {
            struct prep_error err = PREP_ERROR_INIT;
            fault_alloc_at(n);
            int rc = works[w](&io_posix, &err);
            if (fault_alloc_stop() < n) {
                assert_int_equal(rc, 0);
                break;
            }
            if (rc)
                assert_int_equal(err.code, PREP_ENOMEM);
        }
    }
}

/* What cannot be read is no verdict. */
static void any_call_may_fail(void **state)
{
    static const int kinds[] = {FAULT_OPEN, FAULT_PREAD, FAULT_FSTAT, FAULT_LIST};
    (void)state;
    for (int w = 0; w < N_WORKS; w++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            for (uint64_t n = 1, more = 1; more; n++) {
                struct prep_error err = PREP_ERROR_INIT;
                struct fault_io f;
                fault_io_init(&f);
                fault_io_fail(&f, FAULT_BIT(kinds[k]), n, EIO);
                int rc = works[w](&f.io, &err);
                more = f.fired != 0;
                if (!more)
                    assert_int_equal(rc, 0);
                else if (rc)
                    assert_true(err.code == PREP_EIO || err.code == PREP_ENOINPUT);
                fault_io_fini(&f);
            }
        }
    }
}

static int find_fixture(void **state)
{
    (void)state;
    path = test_path("%s/nvfp4/tiny_glm/autoround_0.12.2_unequal_gate_up", test_data());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(any_call_may_fail),
    };
    return cmocka_run_group_tests(tests, find_fixture, NULL);
}

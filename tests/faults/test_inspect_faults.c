/* SPDX-License-Identifier: MIT */
/* Opening, checking and comparing when the n-th allocation or the n-th call fails, for every n. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libprep/release/compare.h"
#include "libprep/release/inspect_check.h"
#include "tests/support/fault_alloc.h"
#include "tests/support/fault_io.h"
#include "tests/support/support.h"

/* A checkpoint, and a keep-map through which it differs from itself in many places. */
struct things {
    struct inspected a, map;
    struct findings findings;
    struct comparison comparison;
};

static const char *checkpoint_path, *map_path;

static void fini(struct things *t)
{
    comparison_fini(&t->comparison);
    findings_fini(&t->findings);
    inspect_close(&t->map);
    inspect_close(&t->a);
    *t = (struct things){0};
}

/* Comparing data opens and reads files for each of 500 tensors: not for every case. */
static int look(struct things *t, const struct io *io, int read_data, struct prep_error *err)
{
    const struct check_options check = {.read_data = 1, .verify = {.n_threads = 1}};
    struct compare_options compare = {.read_data = read_data, .verify = {.n_threads = 1}};
    struct report report;
    int rc = -1;
    *t = (struct things){0};
    report_init(&report);
    if (inspect_open(&t->a, io, checkpoint_path, &report, err) ||
        inspect_open(&t->map, io, map_path, &report, err))
        goto out;
    compare.map = &t->map.map;
    if (inspect_check(&t->findings, &t->a, &check, &report, err) ||
        compare_checkpoints(&t->comparison, &t->a, &t->a, &compare, &report, err) ||
        report_ok(&report, err))
        goto out;
    assert_false(comparison_equal(&t->comparison));
    rc = 0;
out:
    report_fini(&report);
    if (rc)
        fini(t);
    return rc;
}

static int tell(const struct things *t, struct prep_error *err)
{
    struct report report;
    report_init(&report);
    int rc = report_ok(&report, err) || inspect_facts(report.facts, &t->a, NULL, err) ||
             inspect_facts(report.facts, &t->map, NULL, err) ||
             findings_facts(report.facts, &t->findings, err) ||
             compare_facts(report.facts, &t->comparison, err);
    report_fini(&report);
    return rc ? -1 : 0;
}

static void any_allocation_may_fail_while_looking(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct things t;
        fault_alloc_at(n);
        int rc = look(&t, &io_posix, 1, &err);
        uint64_t seen = fault_alloc_stop();
        fini(&t);
        if (seen < n) {
            assert_int_equal(rc, 0);
            break;
        }
        if (rc)
            assert_int_equal(err.code, PREP_ENOMEM);
    }
}

static void any_allocation_may_fail_while_telling(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct things t;
    int rc;
    (void)state;
    assert_int_equal(look(&t, &io_posix, 1, &err), 0);
    for (uint64_t n = 1;; n++) {
        struct prep_error e = PREP_ERROR_INIT;
        fault_alloc_at(n);
        rc = tell(&t, &e);
        if (fault_alloc_stop() < n)
            break;
        if (rc)
            assert_int_equal(e.code, PREP_ENOMEM);
    }
    assert_int_equal(rc, 0);
    fini(&t);
}

/* Nothing that cannot be read is passed over: the run ends, says where, and is no verdict. */
static void any_call_may_fail(void **state)
{
    static const int kinds[] = {FAULT_OPEN, FAULT_PREAD, FAULT_FSTAT, FAULT_LIST};
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (uint64_t n = 1, more = 1; more; n++) {
            struct prep_error err = PREP_ERROR_INIT;
            struct fault_io f;
            struct things t;
            fault_io_init(&f);
            fault_io_fail(&f, FAULT_BIT(kinds[k]), n, EIO);
            int rc = look(&t, &f.io, 0, &err);
            more = f.fired != 0;
            if (!more)
                assert_int_equal(rc, 0);
            else if (rc)
                assert_true(err.code == PREP_EIO || err.code == PREP_ENOINPUT);
            fini(&t);
            fault_io_fini(&f);
        }
    }
}

static int find_fixtures(void **state)
{
    (void)state;
    checkpoint_path = test_path("%s/observations/rand32/checkpoint", test_data());
    map_path = test_path("%s/observations/rand32/expected/keep_map-32-24.json", test_data());
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail_while_looking),
        cmocka_unit_test(any_allocation_may_fail_while_telling),
        cmocka_unit_test(any_call_may_fail),
    };
    return cmocka_run_group_tests(tests, find_fixtures, NULL);
}

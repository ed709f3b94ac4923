/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/parallel.h"

enum { N = 500 };

struct work {
    unsigned char done[N];
    size_t bad[3]; /* indices that fail */
};

static int task(size_t i, void *arg, struct prep_error *err)
{
    struct work *w = arg;
    w->done[i]++;
    for (int k = 0; k < 3; k++)
        if (w->bad[k] == i)
            return prep_fail_tag(err, PREP_EDATA, "BAD", "index %zu", i);
    return 0;
}

static void every_index_runs_once(void **state)
{
    (void)state;
    static const int threads[] = {0, 1, 2, 7, 1000};
    for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct work w = {.bad = {N, N, N}};
        assert_int_equal(prep_parallel_for(N, threads[k], task, &w, &err), 0);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(w.done[i], 1);
        assert_int_equal(err.code, PREP_OK);
    }
}

static void the_lowest_failing_index_is_reported(void **state)
{
    (void)state;
    static const int threads[] = {1, 7};
    for (size_t k = 0; k < 2; k++) {
        for (int round = 0; round < 50; round++) {
            struct prep_error err = PREP_ERROR_INIT;
            struct work w = {.bad = {499, 123, 124}};
            assert_int_equal(prep_parallel_for(N, threads[k], task, &w, &err), -1);
            assert_string_equal(err.msg, "index 123");
            assert_string_equal(err.tag, "BAD");
            for (size_t i = 0; i <= 123; i++)
                assert_int_equal(w.done[i], 1);
        }
    }
}

static void an_earlier_error_stays(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct work w = {.bad = {0, 1, 2}};
    prep_fail(&err, PREP_EIO, "before");
    assert_int_equal(prep_parallel_for(N, 7, task, &w, &err), -1);
    assert_string_equal(err.msg, "before");
}

static void nothing_to_do_is_done(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(prep_parallel_for(0, 7, task, NULL, &err), 0);
    assert_true(prep_default_threads() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_once),
        cmocka_unit_test(the_lowest_failing_index_is_reported),
        cmocka_unit_test(an_earlier_error_stays),
        cmocka_unit_test(nothing_to_do_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

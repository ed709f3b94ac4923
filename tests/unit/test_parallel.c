/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/parallel.h"

enum { N = 1000 };

static int square(size_t i, void *arg, struct prep_error *err)
{
    (void)err;
    ((uint64_t *)arg)[i] = (uint64_t)i * i;
    return 0;
}

static void every_index_runs_once_for_any_thread_count(void **state)
{
    (void)state;
    static const int threads[] = {0, 1, 2, 3, 7, 64};
    for (size_t t = 0; t < sizeof threads / sizeof threads[0]; t++) {
        uint64_t out[N];
        struct prep_error err = PREP_ERROR_INIT;
        memset(out, 0xff, sizeof out);
        assert_int_equal(prep_parallel_for(N, threads[t], square, out, &err), 0);
        for (size_t i = 0; i < N; i++)
            assert_int_equal(out[i], i * i);
    }
}

static int fail_from(size_t i, void *arg, struct prep_error *err)
{
    size_t first = *(const size_t *)arg;
    if (i >= first)
        return prep_fail(err, PREP_EDATA, "index %zu", i);
    return 0;
}

static void the_lowest_error_is_reported(void **state)
{
    (void)state;
    static const size_t firsts[] = {0, 1, 500, N - 1};
    for (size_t k = 0; k < sizeof firsts / sizeof firsts[0]; k++)
        for (int threads = 1; threads <= 4; threads++) {
            size_t first = firsts[k];
            char want[32];
            struct prep_error err = PREP_ERROR_INIT;
            assert_int_equal(prep_parallel_for(N, threads, fail_from, &first, &err), -1);
            snprintf(want, sizeof want, "index %zu", first);
            assert_string_equal(err.msg, want);
        }
}

static void nothing_to_do_is_done(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(prep_parallel_for(0, 4, square, NULL, &err), 0);
    assert_true(prep_default_threads() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_index_runs_once_for_any_thread_count),
        cmocka_unit_test(the_lowest_error_is_reported),
        cmocka_unit_test(nothing_to_do_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

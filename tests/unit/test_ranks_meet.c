/* SPDX-License-Identifier: MIT */
/* What is built from meetings, on ranks that are threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tests/support/ranks_threads.h"

enum { MOST = 5, N = 40000 };

static int check(int ok, const char *what, struct prep_error *err)
{
    return ok ? 0 : prep_fail(err, PREP_EVERIFY, "%s", what);
}

static int least_and_sums(struct ranks *r, void *arg, struct prep_error *err)
{
    const uint64_t n = (uint64_t)r->size;
    uint64_t least = 100 - (uint64_t)r->rank, x[N];
    (void)arg;
    for (uint64_t i = 0; i < N; i++)
        x[i] = i * (uint64_t)(r->rank + 1) + (i == 7 ? UINT64_MAX : 0);
    if (ranks_least(r, &least, err) || ranks_add_u64(r, x, N, err))
        return -1;
    int good = least == 101 - n;
    for (uint64_t i = 0; i < N; i++)
        good &= x[i] == i * (n * (n + 1) / 2) - (i == 7 ? n : 0);
    return check(good, "a sum is wrong", err);
}

static void the_smallest_and_the_sum_are_on_every_rank(void **state)
{
    (void)state;
    struct prep_error errs[MOST];
    for (int n = 1; n <= MOST; n++) {
        ranks_run_threads(n, least_and_sums, NULL, errs);
        for (int i = 0; i < n; i++)
            assert_string_equal(errs[i].msg, "");
    }
}

static int compare(struct ranks *r, void *arg, struct prep_error *err)
{
    const int *odd = arg;
    char text[RANKS_SAME] = "the same";
    text[1] = r->rank == *odd ? 'H' : 'h';
    return ranks_same(r, text, sizeof text, "reads something else", err);
}

static void a_rank_that_has_something_else_is_named_by_all(void **state)
{
    (void)state;
    struct prep_error errs[MOST];
    int odd = -1;
    ranks_run_threads(3, compare, &odd, errs);
    for (int i = 0; i < 3; i++)
        assert_int_equal(errs[i].code, PREP_OK);
    odd = 2;
    ranks_run_threads(4, compare, &odd, errs);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(errs[i].code, PREP_EDATA);
        assert_string_equal(errs[i].msg, "rank 2: reads something else");
    }
    ranks_run_threads(1, compare, &odd, errs);
    assert_int_equal(errs[0].code, PREP_OK);
}

/* One fails before the others come to their next meeting, whichever that is. */
static int fail_early(struct ranks *r, void *arg, struct prep_error *err)
{
    const int *which = arg;
    uint64_t x = 1;
    if (r->rank == 1)
        return prep_fail_tag(err, PREP_ECREATE, "NO_ROOM", "the disk is full");
    return *which == 0   ? ranks_least(r, &x, err)
           : *which == 1 ? ranks_add_u64(r, &x, 1, err)
                         : ranks_same(r, &x, sizeof x, "differs", err);
}

static void a_rank_that_failed_is_not_waited_for(void **state)
{
    (void)state;
    struct prep_error errs[MOST];
    for (int which = 0; which < 3; which++) {
        ranks_run_threads(3, fail_early, &which, errs);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(errs[i].code, PREP_ECREATE);
            assert_string_equal(errs[i].msg, "rank 1: the disk is full");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_and_the_sum_are_on_every_rank),
        cmocka_unit_test(a_rank_that_has_something_else_is_named_by_all),
        cmocka_unit_test(a_rank_that_failed_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

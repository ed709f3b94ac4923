/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "kernels/fp.h"
#include "libprep/numeric/exact_sum.h"

static double sum_of(const float *x, size_t n)
{
    struct exact_sum s = {0};
    exact_sum_add_squares(&s, x, n);
    return exact_sum_value(&s);
}

static void small_terms_are_not_lost_beside_large_ones(void **state)
{
    (void)state;
    const float x[] = {0x1p30F, 0x1p-20F, 3, 0, -0.0F};
    assert_true(sum_of(x, 5) == 0x1p60); /* rounded once, at the end */
    struct exact_sum s = {0};
    exact_sum_add_squares(&s, x, 5);
    const float large = 0x1p30F;
    struct exact_sum minus = {0};
    exact_sum_add_squares(&minus, &large, 1);
    for (int i = 0; i < EXACT_SUM_DIGITS; i++)
        s.digits[i] -= minus.digits[i];
    assert_true(exact_sum_value(&s) == 9 + 0x1p-40);
}

static void ends_of_the_range_are_exact(void **state)
{
    (void)state;
    const float least = 0x1p-149F, most = 0x1.fffffep127F, one = 1;
    assert_true(sum_of(&least, 1) == 0x1p-298);
    assert_true(sum_of(&most, 1) == (double)most * (double)most);
    assert_true(sum_of(&one, 0) == 0);
    float many[64];
    for (int i = 0; i < 64; i++)
        many[i] = most;
    assert_true(sum_of(many, 64) == 64 * ((double)most * (double)most));
}

static void order_and_parts_do_not_matter(void **state)
{
    (void)state;
    enum { N = 5000 };
    static float x[N], y[N];
    uint32_t seed = 7;
    double plain = 0;
    for (size_t i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = ldexpf((float)(seed >> 8) * 0x1p-23F - 1, (int)(seed >> 4) % 60 - 30);
        y[N - 1 - i] = x[i];
        plain += (double)x[i] * (double)x[i];
    }
    struct exact_sum a = {0}, b = {0}, part = {0};
    exact_sum_add_squares(&a, x, N);
    exact_sum_add_squares(&part, y, 1234);
    exact_sum_add_squares(&b, y + 1234, N - 1234);
    exact_sum_merge(&b, &part);
    exact_sum_settle(&a);
    assert_memory_equal(a.digits, b.digits, sizeof a.digits);
    const double v = exact_sum_value(&a);
    assert_true(v == exact_sum_value(&b));
    assert_true(fabs(v / plain - 1) < 1e-12);
}

static void what_is_not_finite_is_seen(void **state)
{
    (void)state;
    const float x[] = {1, INFINITY, 2}, y[] = {1, NAN, INFINITY};
    assert_true(isinf(sum_of(x, 3)));
    assert_true(isnan(sum_of(y, 3)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_terms_are_not_lost_beside_large_ones),
        cmocka_unit_test(ends_of_the_range_are_exact),
        cmocka_unit_test(order_and_parts_do_not_matter),
        cmocka_unit_test(what_is_not_finite_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

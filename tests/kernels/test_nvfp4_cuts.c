/* SPDX-License-Identifier: MIT */
/* The factors of kernels/nvfp4/nvfp4_group.h, on numbers that random weights do not meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "kernels/nvfp4/nvfp4_group.h"
#include "tests/support/support.h"

static const float boundary[] = {0, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};

static float cut_of(double exact)
{
    float cut = (float)exact;
    return (double)cut > exact ? nextafterf(cut, 0) : cut;
}

/* The code above an even boundary is even: it gets the tie. */
static int passes(float y, int j)
{
    return j % 2 == 0 && j > 0 ? y >= boundary[j] : y > boundary[j];
}

static void check_product(int j, float o)
{
    float cut = cut_of(nvfp4_cut_factors[1][j] * (1 / (double)o));
    float above = nextafterf(cut, INFINITY);
    if (passes(cut * o, j) || !passes(above * o, j))
        fail_msg("cut %d of products with %a is %a", j, (double)o, (double)cut);
}

static void check_quotient(int j, float d)
{
    float cut = cut_of(nvfp4_cut_factors[0][j] * (double)d);
    float above = nextafterf(cut, INFINITY);
    if (passes(cut / d, j) || !passes(above / d, j))
        fail_msg("cut %d of quotients by %a is %a", j, (double)d, (double)cut);
}

/* Products which equal t + h or t - h: x has few bits, o the other factor of that number. */
static void products_on_a_boundary_go_to_the_even_code(void **state)
{
    (void)state;
    static const double edge[] = {0.25 + 0x1p-26, 0.75 - 0x1p-25, 1.25 + 0x1p-24, 1.75 - 0x1p-24,
                                  2.5 + 0x1p-23,  3.5 - 0x1p-23,  5 + 0x1p-22};
    int n_products = 0;
    for (int j = 1; j < NVFP4_CUTS; j++) {
        uint32_t number = (uint32_t)(edge[j - 1] * 0x1p26);
        for (uint32_t x = 3; x < 5000; x += 2) {
            if (number % x == 0 && number / x < 1u << 24) {
                check_product(j, (float)(number / x));
                check_product(j, (float)(number / x) * 0x1p-20f);
                n_products++;
            }
        }
    }
    assert_true(n_products > 0);
}

/* Subnormal numbers and those whose sign is lost among them. */
static void cuts_separate_neighbours(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 80000; i++) {
        float m = 1 + (float)test_random_below(&r, 1 << 24) * 0x1p-24f;
        check_product(i % NVFP4_CUTS, ldexpf(m, (int)test_random_below(&r, 200) - 100));
        check_quotient(i % NVFP4_CUTS, ldexpf(m, (int)test_random_below(&r, 240) - 120));
        check_quotient(i % NVFP4_CUTS, ldexpf(m, -(int)test_random_below(&r, 18) - 127));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_on_a_boundary_go_to_the_even_code),
        cmocka_unit_test(cuts_separate_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

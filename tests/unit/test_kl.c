/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "libprep/numeric/kl.h"
#include "tests/support/support.h"

enum { VOCABULARY = 154880 };

static const struct logits_kernels *kernels(void)
{
    return logits_kernels(N_ISA - 1);
}

static double log_sum_exp(const float *z, size_t n)
{
    return kl_log_sum_exp(kernels(), z, n);
}

static double kl(const float *p, const float *q, size_t n)
{
    return kl_divergence(kernels(), p, q, n);
}

static int near(double got, double want, double error)
{
    return fabs(got - want) <= error;
}

static void log_sum_exp_of_known_rows(void **state)
{
    (void)state;
    const float one[] = {-3.25F}, two[] = {2.0F, 2.0F}, far[] = {1000.0F, 0.0F};
    assert_true(log_sum_exp(one, 1) == -3.25);
    assert_true(near(log_sum_exp(two, 2), 2.69314718055994531, 1e-15)); /* 2 + ln 2 */
    assert_true(log_sum_exp(far, 2) == 1000.0);
    const float masked[] = {-INFINITY, 0.5F, -INFINITY};
    assert_true(log_sum_exp(masked, 3) == 0.5);
    float *flat = calloc(VOCABULARY, sizeof *flat);
    assert_non_null(flat);
    assert_true(near(log_sum_exp(flat, VOCABULARY), log(VOCABULARY), 1e-14));
    free(flat);
}

/* p = (e, 1) / (e + 1), q = (1, 1) / 2: KL = ln 2 - H(p), H(p) = ln(1 + e) - e / (1 + e). */
static void kl_of_known_rows(void **state)
{
    (void)state;
    const float p[] = {1.0F, 0.0F}, q[] = {5.0F, 5.0F};
    const double e = exp(1.0), entropy = log(1.0 + e) - e / (1.0 + e);
    assert_true(near(kl(p, q, 2), log(2.0) - entropy, 1e-15));
    /* the other way: mean of -ln(2 p_i) */
    assert_true(near(kl(q, p, 2), log(1.0 + e) - 0.5 - log(2.0), 1e-15));
    const float sure[] = {0.0F, -INFINITY, -INFINITY}, flat[] = {1.0F, 1.0F, 1.0F};
    assert_true(near(kl(sure, flat, 3), log(3.0), 1e-15));
    assert_true(kl(flat, sure, 3) == INFINITY);
    assert_true(kl(sure, sure, 3) == 0.0);
}

static void kl_ignores_a_constant_and_is_zero_for_equal_rows(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    float p[1000], q[1000], shifted[1000];
    for (int i = 0; i < 1000; i++) {
        p[i] = (float)(int)test_random_below(&r, 1 << 16) * 0x1p-12F;
        q[i] = p[i] + (float)(int)test_random_below(&r, 256) * 0x1p-12F;
        shifted[i] = q[i] + 64.0F;
    }
    assert_true(kl(p, p, 1000) == 0.0);
    assert_true(kl(p, q, 1000) > 1e-5 && kl(p, q, 1000) < 1e-3);
    assert_true(near(kl(p, shifted, 1000), kl(p, q, 1000), 1e-16));
}

/* Against the definition in long double, on a row as long as the vocabulary. */
static void kl_of_a_vocabulary_is_good_to_the_last_digits(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    float *p = malloc(VOCABULARY * sizeof *p), *q = malloc(VOCABULARY * sizeof *q);
    assert_true(p && q);
    long double zp = 0.0L, zq = 0.0L, want = 0.0L;
    for (int i = 0; i < VOCABULARY; i++) {
        p[i] = (float)(int)(test_random_u64(&r) >> 40) * 0x1p-19F - 16.0F;
        q[i] = p[i] + (float)(int)(test_random_u64(&r) >> 44) * 0x1p-26F;
        zp += expl((long double)p[i]);
        zq += expl((long double)q[i]);
    }
    for (int i = 0; i < VOCABULARY; i++)
        want += expl((long double)p[i]) / zp *
                ((long double)p[i] - (long double)q[i] - logl(zp) + logl(zq));
    const double got = kl(p, q, VOCABULARY);
    print_message("KL %.17g, error %.2g\n", got, (double)((long double)got - want));
    assert_true(near(got, (double)want, 1e-14));
    assert_true(near(log_sum_exp(p, VOCABULARY), (double)logl(zp), 1e-14));
    for (enum isa isa = ISA_SCALAR; isa < N_ISA; isa++)
        assert_true(kl_divergence(logits_kernels(isa), p, q, VOCABULARY) == got);
    free(p);
    free(q);
}

static void what_is_no_distribution_gives_nan(void **state)
{
    (void)state;
    const float good[] = {1.0F, 2.0F, 3.0F};
    const float bad[][3] = {{1.0F, NAN, 2.0F},
                            {NAN, 1.0F, 2.0F},
                            {INFINITY, 1.0F, 2.0F},
                            {-INFINITY, -INFINITY, -INFINITY}};
    for (int i = 0; i < 4; i++) {
        assert_true(isnan(log_sum_exp(bad[i], 3)));
        assert_true(isnan(kl(bad[i], good, 3)) && isnan(kl(good, bad[i], 3)));
    }
}

static void the_largest_come_first_and_ties_go_to_the_lower_id(void **state)
{
    (void)state;
    const float z[] = {1.0F, NAN, 3.0F, -0.0F, 0.0F, 3.0F, -INFINITY, 2.0F};
    const uint32_t want[] = {2, 5, 7, 0, 3, 4, 6, 1};
    uint32_t ids[9] = {99, 99, 99, 99, 99, 99, 99, 99, 99};
    for (size_t k = 0; k <= 8; k++) {
        assert_int_equal(kl_top_k(ids, z, 8, k), k);
        assert_memory_equal(ids, want, k * sizeof *ids);
        assert_int_equal(ids[k], k == 8 ? 99 : ids[k]);
    }
    assert_int_equal(kl_top_k(ids, z, 8, 9), 8);
    assert_memory_equal(ids, want, sizeof want);
    assert_int_equal(ids[8], 99);
    assert_int_equal(kl_top_k(ids, z, 0, 5), 0);
}

static const float *sorting;

static int descending(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const float x = sorting[i], y = sorting[j];
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y) ? (i > j) - (i < j) : isnan(x) - isnan(y);
    return x != y ? (x < y) - (x > y) : (i > j) - (i < j);
}

static void the_largest_are_those_of_a_full_sort(void **state)
{
    (void)state;
    static const float FEW[] = {0.0F, -0.0F, 1.0F, -1.0F, NAN, INFINITY, -INFINITY};
    struct test_random r;
    test_random_init(&r);
    for (int round = 0; round < 2000; round++) {
        float z[64];
        uint32_t all[64], got[64];
        const size_t n = 1 + test_random_below(&r, 64), k = test_random_below(&r, n + 1);
        for (size_t i = 0; i < n; i++) {
            all[i] = (uint32_t)i;
            z[i] = round % 2 ? FEW[test_random_below(&r, 7)]
                             : f32_from_bits((uint32_t)test_random_u64(&r));
        }
        sorting = z;
        qsort(all, n, sizeof *all, descending);
        assert_int_equal(kl_top_k(got, z, n, k), k);
        assert_memory_equal(got, all, k * sizeof *all);
    }
}

static void agreement_counts_the_first_and_the_five(void **state)
{
    (void)state;
    const float p[] = {9.0F, 8.0F, 7.0F, 6.0F, 5.0F, 4.0F, 3.0F};
    const float close[] = {8.0F, 9.0F, 7.0F, 6.0F, 5.0F, 4.0F, 3.0F};
    const float reverse[] = {3.0F, 4.0F, 5.0F, 6.0F, 7.0F, 8.0F, 9.0F};
    struct kl_agreement a;
    kl_agree(&a, p, p, 7);
    assert_true(a.same_first == 1 && a.first_in_five == 1 && a.shared_of_five == 5);
    kl_agree(&a, p, close, 7);
    assert_true(a.same_first == 0 && a.first_in_five == 1 && a.shared_of_five == 5);
    kl_agree(&a, p, reverse, 7); /* 0..4 against 6..2 */
    assert_true(a.same_first == 0 && a.first_in_five == 0 && a.shared_of_five == 3);
    kl_agree(&a, p, reverse, 3);
    assert_true(a.same_first == 0 && a.first_in_five == 1 && a.shared_of_five == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_sum_exp_of_known_rows),
        cmocka_unit_test(kl_of_known_rows),
        cmocka_unit_test(kl_ignores_a_constant_and_is_zero_for_equal_rows),
        cmocka_unit_test(kl_of_a_vocabulary_is_good_to_the_last_digits),
        cmocka_unit_test(what_is_no_distribution_gives_nan),
        cmocka_unit_test(the_largest_come_first_and_ties_go_to_the_lower_id),
        cmocka_unit_test(the_largest_are_those_of_a_full_sort),
        cmocka_unit_test(agreement_counts_the_first_and_the_five),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

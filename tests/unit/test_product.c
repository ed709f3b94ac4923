/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "libprep/numeric/product.h"
#include "tests/support/guard.h"

typedef int (*product_fn)(const struct matmul *p, const struct matmul_kernels *k, int n_threads,
                          struct prep_error *err);

struct form {
    product_fn multiply;
    int nn;
    enum matmul_type type;
};

static float *numbers(struct test_random *r, size_t n)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)test_random_below(r, 2001) * 0x1p-10f - 1;
    return x;
}

static void check(const struct form *f, const size_t shape[3], int n_threads, struct test_random *r)
{
    const size_t m = shape[0], n = shape[1], k = shape[2], ldc = n + 3;
    const struct matmul_kernels *kernels = matmul_kernels(ISA_AVX512);
    struct guard work = guard_new(product_work_bytes(kernels, n_threads), 0);
    struct guard c = guard_new(m * ldc * 4, 4);
    float *a = numbers(r, m * k), *b = numbers(r, n * k), *want = malloc(m * n * sizeof *want);
    assert_non_null(want);
    struct matmul p = {.m = m, .n = n, .k = k, .a = a, .lda = k, .b = b, .b_type = f->type};
    if (f->type == MATMUL_BF16) /* any bits will do, the first half of them */
        for (size_t i = 0; i < n * k; i++)
            ((unsigned char *)b)[2 * i + 1] &= 0x3F; /* finite */
    p.ldb = f->nn ? n : k;
    p.c = want;
    p.ldc = n;
    if (f->nn)
        matmul_nn_scalar(&p);
    else
        matmul_nt_scalar(&p);
    p.c = (float *)(void *)c.p;
    p.ldc = ldc;
    p.work = work.p;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(f->multiply(&p, kernels, n_threads, &err), 0);
    for (size_t i = 0; i < m; i++)
        assert_memory_equal(p.c + i * ldc, want + i * n, n * 4);
    free(a);
    free(b);
    free(want);
    guard_free(&work);
    guard_free(&c);
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    static const struct form FORMS[] = {{product_nt, 0, MATMUL_F32},
                                        {product_nt, 0, MATMUL_BF16},
                                        {product_nn, 1, MATMUL_F32},
                                        {product_nn, 1, MATMUL_BF16}};
    /* By columns, by rows, too narrow for all threads, too small for any, one row. */
    static const size_t SHAPES[][3] = {{40, 301, 300}, {700, 9, 500},  {150, 40, 600},
                                       {3, 4, 5},      {1, 5000, 513}, {0, 4, 4}};
    (void)state;
    struct test_random r;
    test_random_init(&r);
    for (size_t f = 0; f < sizeof FORMS / sizeof FORMS[0]; f++)
        for (size_t s = 0; s < sizeof SHAPES / sizeof SHAPES[0]; s++)
            for (int n_threads = 1; n_threads <= 7; n_threads += 3)
                check(&FORMS[f], SHAPES[s], n_threads, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

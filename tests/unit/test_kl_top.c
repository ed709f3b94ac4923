/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libprep/numeric/kl.h"
#include "libprep/numeric/kl_top.h"
#include "tests/support/support.h"

enum { N = 1000, TOP = 40 };

struct pair {
    float p[N], q[N];
    uint32_t ids[N], sorted[N];
    float logits[N];
    struct kl_top top;
};

static void make(struct pair *x, size_t n_ids)
{
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < N; i++) {
        x->p[i] = (float)test_random_below(&r, 12000) / 1000.0f;
        x->q[i] = x->p[i] + (float)test_random_below(&r, 1000) / 1000.0f;
    }
    kl_top_k(x->ids, x->p, N, n_ids);
    x->top = (struct kl_top){.ids = x->ids, .logits = x->logits, .n_ids = n_ids};
    x->top.logsumexp = kl_log_sum_exp(logits_kernels(ISA_SCALAR), x->p, N);
    long double tail = 1;
    for (size_t i = 0; i < n_ids; i++) {
        x->logits[i] = x->p[x->ids[i]];
        tail -= expl((long double)x->logits[i] - (long double)x->top.logsumexp);
    }
    x->top.tail = n_ids == N ? 0 : (double)tail;
}

static void is_the_divergence_when_every_token_is_listed(void **state)
{
    (void)state;
    static struct pair x;
    const struct logits_kernels *k = logits_kernels(ISA_SCALAR);
    make(&x, N);
    const double want = kl_divergence(k, x.p, x.q, N);
    assert_true(want > 0.01);
    assert_true(fabs(kl_top_divergence(k, &x.top, x.q, N, x.sorted) - want) < 1e-13);
}

static void joins_the_tokens_that_are_not_listed(void **state)
{
    (void)state;
    static struct pair x;
    const struct logits_kernels *k = logits_kernels(ISA_SCALAR);
    make(&x, TOP);
    /* The same from p and q over TOP + 1 outcomes, in long double. */
    long double q_all = 0, q_rest, kl = 0;
    for (size_t i = 0; i < N; i++)
        q_all += expl((long double)x.q[i]);
    q_rest = q_all;
    for (size_t i = 0; i < TOP; i++) {
        const long double lp = (long double)x.logits[i] - (long double)x.top.logsumexp;
        const long double e = expl((long double)x.q[x.ids[i]]);
        kl += expl(lp) * (lp - logl(e / q_all));
        q_rest -= e;
    }
    kl += (long double)x.top.tail * logl((long double)x.top.tail * q_all / q_rest);
    const double have = kl_top_divergence(k, &x.top, x.q, N, x.sorted);
    assert_true(x.top.tail > 0.1);
    assert_true(fabs(have - (double)kl) < 1e-13);
    assert_true(have < kl_divergence(k, x.p, x.q, N));
}

static void sums_what_stands_between_the_ids(void **state)
{
    (void)state;
    const float z[6] = {0, 1, 2, 3, 4, 5};
    const uint32_t ids[3] = {0, 3, 5}, none[1] = {0}, all[6] = {0, 1, 2, 3, 4, 5};
    const struct logits_kernels *k = logits_kernels(ISA_SCALAR);
    const double want = exp(-4.0) + exp(-3.0) + exp(-1.0);
    assert_true(fabs(kl_sum_outside(k, z, 5, 6, ids, 3) - want) < 1e-15);
    assert_true(kl_sum_outside(k, z, 5, 6, all, 6) == 0);
    assert_true(kl_sum_outside(k, z, 5, 6, none, 0) == k->sum_exp(z, 5, 6));
}

static void is_zero_for_equal_rows_and_infinite_where_q_is_zero(void **state)
{
    (void)state;
    static struct pair x;
    const struct logits_kernels *k = logits_kernels(ISA_SCALAR);
    make(&x, TOP);
    assert_true(fabs(kl_top_divergence(k, &x.top, x.p, N, x.sorted)) < 1e-14);
    x.q[x.ids[3]] = -INFINITY;
    assert_true(isinf(kl_top_divergence(k, &x.top, x.q, N, x.sorted)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_divergence_when_every_token_is_listed),
        cmocka_unit_test(joins_the_tokens_that_are_not_listed),
        cmocka_unit_test(sums_what_stands_between_the_ids),
        cmocka_unit_test(is_zero_for_equal_rows_and_infinite_where_q_is_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

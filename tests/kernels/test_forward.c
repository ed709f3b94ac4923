/* SPDX-License-Identifier: MIT */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/forward/forward.h"
#include "kernels/fp.h"
#include "tests/support/guard.h"

enum { MOST = 300, HEADS = 5 };

static const struct forward_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return forward_kernels(*isa);
}

/* Equal bytes, but any NaN is as good as any other. */
static void same_floats(const void *got, const void *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        float a, b;
        memcpy(&a, (const char *)got + 4 * i, 4);
        memcpy(&b, (const char *)want + 4 * i, 4);
        if (f32_bits(a) != f32_bits(b) && !(isnan(a) && isnan(b)))
            fail_msg("%s: element %zu of %zu is %a, want %a", what, i, n, (double)a, (double)b);
    }
}

/* Rows */

enum kind { ORDINARY, SMALL, LARGE, SUBNORMAL, ANY_BITS, ONE_STRANGE, FEW_VALUES, N_KINDS };

static float uniform(struct test_random *r, float low, float high)
{
    return low + (high - low) * ((float)(test_random_u64(r) >> 40) * 0x1p-24F);
}

static float number(struct test_random *r, enum kind kind)
{
    static const float FEW[] = {0.0F, -0.0F, 1.0F, -1.0F, 0.5F, 2.0F};
    switch (kind) {
    case SMALL:
        return uniform(r, -1e-3F, 1e-3F);
    case LARGE:
        return uniform(r, -120.0F, 120.0F);
    case SUBNORMAL:
        return f32_from_bits((uint32_t)test_random_u64(r) & 0x80FFFFFF);
    case ANY_BITS:
        return f32_from_bits(test_random_f32_bits(r));
    case FEW_VALUES:
        return FEW[test_random_below(r, 6)];
    default:
        return uniform(r, -4.0F, 4.0F);
    }
}

static void fill(float *x, size_t n, struct test_random *r)
{
    static const float STRANGE[] = {INFINITY, -INFINITY, NAN, FLT_MAX, -FLT_MAX, FLT_MIN};
    const enum kind kind = (enum kind)test_random_below(r, N_KINDS);
    for (size_t i = 0; i < n; i++)
        x[i] = number(r, kind);
    if (kind == ONE_STRANGE && n)
        x[test_random_below(r, n)] = STRANGE[test_random_below(r, 6)];
}

/* Every function as one of y and up to three other rows. */
struct args {
    float *y;           /* 2 n */
    const float *a, *b; /* n; a: HEADS ld for scores */
    const float *c;     /* n */
    size_t n, ld;
    float s;
};

typedef void (*call_fn)(const struct forward_kernels *k, const struct args *p);

static void rmsnorm(const struct forward_kernels *k, const struct args *p)
{
    k->rmsnorm(p->y, p->a, p->b, p->n, fabsf(p->s));
}

static void rmsnorm_in_place(const struct forward_kernels *k, const struct args *p)
{
    k->rmsnorm(p->y, p->y, p->b, p->n, 1e-5F);
}

static void layernorm(const struct forward_kernels *k, const struct args *p)
{
    k->layernorm(p->y, p->a, p->b, p->c, p->n, fabsf(p->s));
}

static void layernorm_in_place(const struct forward_kernels *k, const struct args *p)
{
    k->layernorm(p->y, p->y, p->b, p->c, p->n, 1e-6F);
}

static void rope_pairs(const struct forward_kernels *k, const struct args *p)
{
    k->rope(p->y, p->b, p->c, p->n, 1);
}

static void rope_halves(const struct forward_kernels *k, const struct args *p)
{
    k->rope(p->y, p->b, p->c, p->n, 0);
}

static void softmax(const struct forward_kernels *k, const struct args *p)
{
    if (p->n)
        k->softmax(p->y, p->n, p->s);
}

static void sigmoid(const struct forward_kernels *k, const struct args *p)
{
    k->sigmoid(p->y, p->a, p->n);
}

static void sigmoid_in_place(const struct forward_kernels *k, const struct args *p)
{
    k->sigmoid(p->y, p->y, p->n);
}

static void silu_mul(const struct forward_kernels *k, const struct args *p)
{
    k->silu_mul(p->y, p->a, p->b, p->n);
}

static void silu_mul_in_place(const struct forward_kernels *k, const struct args *p)
{
    k->silu_mul(p->y, p->y, p->b, p->n);
}

static void add(const struct forward_kernels *k, const struct args *p)
{
    k->add(p->y, p->a, p->n);
}

static void axpy(const struct forward_kernels *k, const struct args *p)
{
    k->axpy(p->y, p->s, p->a, p->n);
}

static void index_scores(const struct forward_kernels *k, const struct args *p)
{
    k->index_scores(p->y, p->c, p->a, p->n < HEADS ? p->n : HEADS, p->ld, p->n, p->s);
}

static const struct {
    const char *name;
    call_fn call;
} CALLS[] = {
    {"rmsnorm", rmsnorm},
    {"rmsnorm in place", rmsnorm_in_place},
    {"layernorm", layernorm},
    {"layernorm in place", layernorm_in_place},
    {"rope, pairs", rope_pairs},
    {"rope, halves", rope_halves},
    {"softmax", softmax},
    {"sigmoid", sigmoid},
    {"sigmoid in place", sigmoid_in_place},
    {"silu_mul", silu_mul},
    {"silu_mul in place", silu_mul_in_place},
    {"add", add},
    {"axpy", axpy},
    {"index_scores", index_scores},
};

enum { N_CALLS = sizeof CALLS / sizeof *CALLS };

/* Buffers at any float's address, exactly as long as the function may use. */
static void check_call(const struct forward_kernels *k, struct test_random *r, size_t call,
                       size_t n)
{
    const size_t y_n =
        CALLS[call].call == rope_pairs || CALLS[call].call == rope_halves ? 2 * n : n;
    const size_t ld = n + test_random_below(r, 4);
    const size_t a_n = CALLS[call].call == index_scores ? HEADS * ld : n;
    struct guard y = guard_new(4 * y_n, 4 * test_random_below(r, 16));
    struct guard a = guard_new(4 * a_n, 4 * test_random_below(r, 16));
    struct guard b = guard_new(4 * n, 4 * test_random_below(r, 16));
    struct guard c = guard_new(4 * n, 4 * test_random_below(r, 16));
    fill((float *)(void *)y.p, y_n, r);
    fill((float *)(void *)a.p, a_n, r);
    fill((float *)(void *)b.p, n, r);
    fill((float *)(void *)c.p, n, r);
    float want[2 * MOST];
    if (y_n)
        memcpy(want, y.p, 4 * y_n);
    struct args p = {.y = want,
                     .a = (const float *)(void *)a.p,
                     .b = (const float *)(void *)b.p,
                     .c = (const float *)(void *)c.p,
                     .n = n,
                     .ld = ld,
                     .s = number(r, ONE_STRANGE)};
    CALLS[call].call(forward_kernels(ISA_SCALAR), &p);
    p.y = (float *)(void *)y.p;
    CALLS[call].call(k, &p);
    same_floats(y.p, want, y_n, CALLS[call].name);
    guard_free(&y);
    guard_free(&a);
    guard_free(&b);
    guard_free(&c);
}

static void every_function_gives_the_bytes_of_the_reference(void **state)
{
    const struct forward_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t call = 0; call < N_CALLS; call++) {
        for (size_t n = 0; n < 12 * 70; n++)
            check_call(k, &r, call, n % 70);
        for (size_t i = 0; i < 300; i++)
            check_call(k, &r, call, 70 + test_random_below(&r, MOST - 70));
    }
}

/* The exponential, through sigmoid: every 509th float there is. */
static void sigmoid_of_floats_of_all_sizes_is_that_of_the_reference(void **state)
{
    enum { PIECE = 4096 };
    const struct forward_kernels *k = variant_of(state);
    float x[PIECE], got[PIECE], want[PIECE];
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
        size_t n = 0;
        for (; n < PIECE && bits < UINT64_C(1) << 32; bits += 509)
            x[n++] = f32_from_bits((uint32_t)bits);
        k->sigmoid(got, x, n);
        forward_sigmoid_scalar(want, x, n);
        same_floats(got, want, n, "sigmoid");
    }
}

/* Where exp becomes 0 and infinite: every float around the limits, as softmax's differences. */
static void exp_near_its_limits_is_that_of_the_reference(void **state)
{
    enum { PIECE = 4096 };
    static const float FROM[] = {-104.6F, -104.0F, -103.98F, -87.35F, 88.7F, 88.73F, 89.4F};
    const struct forward_kernels *k = variant_of(state);
    float x[PIECE], got[PIECE], want[PIECE];
    for (size_t i = 0; i < sizeof FROM / sizeof *FROM; i++) {
        for (size_t j = 0; j < PIECE; j++)
            x[j] = f32_from_bits(f32_bits(FROM[i]) - PIECE / 2 + (uint32_t)j);
        k->sigmoid(got, x, PIECE);
        forward_sigmoid_scalar(want, x, PIECE);
        same_floats(got, want, PIECE, "sigmoid");
        for (size_t j = 0; j < PIECE; j++)
            x[j] = -fabsf(x[j]);
        x[0] = 0.0F;
        memcpy(got, x, sizeof x);
        memcpy(want, x, sizeof x);
        k->softmax(got, PIECE, 1.0F);
        forward_softmax_scalar(want, PIECE, 1.0F);
        same_floats(got, want, PIECE, "softmax");
    }
}

static double units(float got, long double want)
{
    int e;
    if (fabsl(want) > (long double)FLT_MAX)
        return (double)got == (double)INFINITY ? 0.0 : INFINITY;
    (void)frexpl(want, &e);
    return (double)fabsl(((long double)got - want) / ldexpl(1.0L, (e < -125 ? -125 : e) - 24));
}

static void exp_is_within_a_unit(void **state)
{
    (void)state;
    double worst = 0.0;
    for (uint32_t bits = f32_bits(0x1p-30F); bits < f32_bits(104.5F); bits += 997) {
        const float x = f32_from_bits(bits);
        worst = fmax(worst, units(forward_exp(-x), expl((long double)-x)));
        worst = fmax(worst, units(forward_exp(x), expl((long double)x)));
    }
    print_message("exp: %.3f units\n", worst);
    assert_true(worst <= 1.0);
    assert_true(forward_exp(0.0F) == 1.0F && forward_exp(-0.0F) == 1.0F);
    assert_true(forward_exp(-INFINITY) == 0.0F && forward_exp(INFINITY) == INFINITY);
    assert_true(isnan(forward_exp(NAN)));
    assert_true(forward_exp(-103.9F) == 0x1p-149F && forward_exp(-104.1F) == 0.0F);
}

/* Norms */

/*
 * Inputs of size 1e-3: their mean square, 1e-6, is of the size of the epsilons, so that the wrong
 * one of 1e-5 and 1e-6 changes the result by a factor of 2.3.
 */
enum { NORM_N = 128 };

static void small_row(float *x)
{
    for (int i = 0; i < NORM_N; i++)
        x[i] = 1e-3F * (i % 2 ? 1.0F : -1.0F) * (1.0F + 0.25F * (float)(i % 5 - 2));
}

static void check_rmsnorm_epsilon(const struct forward_kernels *k, float eps)
{
    float x[NORM_N], w[NORM_N], y[NORM_N];
    small_row(x);
    double squares = 0.0;
    for (int i = 0; i < NORM_N; i++) {
        w[i] = 0.5F + 0.01F * (float)i;
        squares += (double)x[i] * (double)x[i];
    }
    k->rmsnorm(y, x, w, NORM_N, eps);
    const double s = 1.0 / sqrt(squares / NORM_N + (double)eps);
    for (int i = 0; i < NORM_N; i++) {
        const double want = (double)x[i] * s * (double)w[i];
        assert_true(fabs((double)y[i] - want) <= 1e-6 * fabs(want));
    }
}

static void rmsnorm_adds_epsilon_to_the_mean_square(void **state)
{
    const struct forward_kernels *k = variant_of(state);
    check_rmsnorm_epsilon(k, 1e-5F);
    check_rmsnorm_epsilon(k, 1e-6F);
    check_rmsnorm_epsilon(k, 0.0F);
}

static void check_layernorm_epsilon(const struct forward_kernels *k, float eps)
{
    float x[NORM_N], w[NORM_N], b[NORM_N], y[NORM_N];
    small_row(x);
    double mean = 0.0, squares = 0.0;
    for (int i = 0; i < NORM_N; i++) {
        x[i] += 0.002F; /* the mean is removed, and is not part of the variance */
        w[i] = 0.5F + 0.01F * (float)i;
        b[i] = 0.125F * (float)(i % 7 - 3);
        mean += (double)x[i] / NORM_N;
    }
    for (int i = 0; i < NORM_N; i++)
        squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    k->layernorm(y, x, w, b, NORM_N, eps);
    const double s = 1.0 / sqrt(squares / NORM_N + (double)eps);
    for (int i = 0; i < NORM_N; i++) {
        const double want = ((double)x[i] - mean) * s * (double)w[i] + (double)b[i];
        assert_true(fabs((double)y[i] - want) <= 2e-6);
    }
}

static void layernorm_adds_epsilon_to_the_variance(void **state)
{
    const struct forward_kernels *k = variant_of(state);
    check_layernorm_epsilon(k, 1e-6F);
    check_layernorm_epsilon(k, 1e-5F);
    check_layernorm_epsilon(k, 0.0F);
}

static void a_row_of_zeros_stays_zero(void **state)
{
    const struct forward_kernels *k = variant_of(state);
    float x[19] = {0}, w[19], b[19], y[19];
    for (int i = 0; i < 19; i++) {
        w[i] = 3.0F;
        b[i] = (float)i;
    }
    k->rmsnorm(y, x, w, 19, 1e-6F);
    for (int i = 0; i < 19; i++)
        assert_true(y[i] == 0.0F);
    k->layernorm(y, x, w, b, 19, 1e-6F);
    assert_memory_equal(y, b, sizeof y);
}

/* Rotation */

static void rope_rotates_both_kinds_of_pairs(void **state)
{
    enum { HALF = 32 };
    const struct forward_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    float c[HALF], s[HALF], x[2 * HALF], pairs[2 * HALF], halves[2 * HALF];
    for (int i = 0; i < HALF; i++) {
        const double angle = 0.1 * (double)i + 1.0;
        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
    for (int i = 0; i < 2 * HALF; i++)
        x[i] = uniform(&r, -2.0F, 2.0F);
    memcpy(pairs, x, sizeof x);
    for (int i = 0; i < 2 * HALF; i++)
        halves[i / 2 + (i % 2 ? HALF : 0)] = x[i];
    k->rope(pairs, c, s, HALF, 1);
    k->rope(halves, c, s, HALF, 0);
    for (int i = 0; i < HALF; i++) {
        const double a = (double)x[2 * i], b = (double)x[2 * i + 1];
        const double u = a * (double)c[i] - b * (double)s[i];
        const double v = b * (double)c[i] + a * (double)s[i];
        assert_true(fabs((double)pairs[2 * i] - u) < 5e-7);
        assert_true(fabs((double)pairs[2 * i + 1] - v) < 5e-7);
        assert_true(halves[i] == pairs[2 * i] && halves[i + HALF] == pairs[2 * i + 1]);
    }
    const float quarter_cos[2] = {0.0F, 0.0F}, quarter_sin[2] = {1.0F, 1.0F};
    float q[4] = {1.0F, 2.0F, 3.0F, 4.0F};
    k->rope(q, quarter_cos, quarter_sin, 2, 1);
    assert_true(q[0] == -2.0F && q[1] == 1.0F && q[2] == -4.0F && q[3] == 3.0F);
}

/* Softmax and its kin */

static void softmax_of_extremes(void **state)
{
    const struct forward_kernels *k = variant_of(state);
    float one[1] = {-1e30F}, equal[3] = {7.0F, 7.0F, 7.0F};
    k->softmax(one, 1, 0.5F);
    assert_true(one[0] == 1.0F);
    k->softmax(equal, 3, 2.0F);
    assert_true(equal[0] == 1.0F / 3.0F && equal[1] == equal[0] && equal[2] == equal[0]);
    float masked[5] = {-INFINITY, 3.0F, -INFINITY, 3.0F, -INFINITY};
    k->softmax(masked, 5, 1.0F);
    assert_true(masked[0] == 0.0F && masked[1] == 0.5F && masked[3] == 0.5F && masked[4] == 0.0F);
    float wide[4] = {FLT_MAX, -FLT_MAX, 0.0F, FLT_MAX};
    k->softmax(wide, 4, 1.0F);
    assert_true(wide[0] == 0.5F && wide[1] == 0.0F && wide[2] == 0.0F && wide[3] == 0.5F);
    float none[3] = {-INFINITY, -INFINITY, -INFINITY}, nan[3] = {0.0F, NAN, 1.0F};
    float inf[3] = {0.0F, INFINITY, 1.0F};
    k->softmax(none, 3, 1.0F);
    k->softmax(nan, 3, 1.0F);
    k->softmax(inf, 3, 1.0F);
    for (int i = 0; i < 3; i++)
        assert_true(isnan(none[i]) && isnan(nan[i]) && isnan(inf[i]));
    float scaled[2] = {0.0F, 64.0F};
    k->softmax(scaled, 2, 0.015625F); /* 0 and 1 */
    assert_true(fabs((double)scaled[1] - exp(1.0) / (1.0 + exp(1.0))) < 1e-7);
}

static void softmax_of_a_long_row_adds_up_to_one(void **state)
{
    enum { LONG = 4099 };
    const struct forward_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    static float x[LONG];
    for (int i = 0; i < LONG; i++)
        x[i] = uniform(&r, -9.0F, 9.0F);
    k->softmax(x, LONG, 1.0F);
    double sum = 0.0;
    for (int i = 0; i < LONG; i++)
        sum += (double)x[i];
    assert_true(fabs(sum - 1.0) < 1e-6);
}

static void sigmoid_and_silu_at_the_edges(void **state)
{
    const struct forward_kernels *k = variant_of(state);
    const float x[7] = {0.0F, -0.0F, INFINITY, -INFINITY, NAN, 200.0F, -200.0F};
    const float ones[7] = {1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 2.0F, 1.0F};
    float y[7];
    k->sigmoid(y, x, 7);
    assert_true(y[0] == 0.5F && y[1] == 0.5F && y[2] == 1.0F && y[3] == 0.0F && isnan(y[4]));
    assert_true(y[5] == 1.0F && y[6] == 0.0F);
    k->silu_mul(y, x, ones, 7);
    assert_true(f32_bits(y[0]) == 0 && f32_bits(y[1]) == 0x80000000 && y[2] == INFINITY);
    assert_true(isnan(y[3]) && isnan(y[4])); /* -inf / inf */
    assert_true(y[5] == 400.0F && f32_bits(y[6]) == 0x80000000);
}

/* Scores of the indexer */

static void index_scores_add_what_is_positive_over_heads(void **state)
{
    const struct forward_kernels *k = variant_of(state);
    const float g[3] = {1.0F, -2.0F, 0.5F};
    const float dots[3][4] = {
        {1.0F, -1.0F, NAN, 4.0F}, {3.0F, 2.0F, 1.0F, -8.0F}, {-5.0F, 8.0F, 1.0F, -0.0F}};
    float y[3];
    k->index_scores(y, g, dots[0], 3, 4, 3, 2.0F);
    assert_true(y[0] == 2.0F - 12.0F && y[1] == -8.0F + 8.0F && isnan(y[2]));
    k->index_scores(y, g, dots[0] + 3, 3, 4, 1, 2.0F);
    assert_true(y[0] == 8.0F);
    k->index_scores(y, g, dots[0], 0, 4, 3, 2.0F);
    assert_true(y[0] == 0.0F && y[1] == 0.0F && y[2] == 0.0F);
}

/* Finite or not */

static void one_infinity_or_nan_is_found_wherever_it_is(void **state)
{
    static const uint32_t BAD[] = {0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001};
    const struct forward_kernels *k = variant_of(state);
    for (size_t n = 0; n < 150; n++) {
        struct guard g = guard_new(4 * n, 4 * (n % 16));
        float *const x = (float *)(void *)g.p;
        for (size_t i = 0; i < n; i++)
            x[i] = i % 2 ? FLT_MAX : -0x1p-149F;
        assert_true(k->all_finite(x, n));
        for (size_t i = 0; i < n; i++) {
            const float kept = x[i];
            x[i] = f32_from_bits(BAD[i % 4]);
            assert_false(k->all_finite(x, n));
            assert_true(k->all_finite(x, i));
            x[i] = kept;
        }
        guard_free(&g);
    }
}

int main(void)
{
    static enum isa isas[N_ISA] = {ISA_SCALAR, ISA_AVX2, ISA_AVX512};
#define OF(isa, test)                                                                              \
    {                                                                                              \
#test " (" #isa ")", test, NULL, NULL, &isas[isa]                                          \
    }
#define OF_ALL(test) OF(ISA_SCALAR, test), OF(ISA_AVX2, test), OF(ISA_AVX512, test)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_a_unit),
        OF_ALL(every_function_gives_the_bytes_of_the_reference),
        OF_ALL(sigmoid_of_floats_of_all_sizes_is_that_of_the_reference),
        OF_ALL(exp_near_its_limits_is_that_of_the_reference),
        OF_ALL(rmsnorm_adds_epsilon_to_the_mean_square),
        OF_ALL(layernorm_adds_epsilon_to_the_variance),
        OF_ALL(a_row_of_zeros_stays_zero),
        OF_ALL(rope_rotates_both_kinds_of_pairs),
        OF_ALL(softmax_of_extremes),
        OF_ALL(softmax_of_a_long_row_adds_up_to_one),
        OF_ALL(sigmoid_and_silu_at_the_edges),
        OF_ALL(index_scores_add_what_is_positive_over_heads),
        OF_ALL(one_infinity_or_nan_is_found_wherever_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

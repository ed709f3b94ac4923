/* SPDX-License-Identifier: MIT */
/*
 * Rounding of activations to NVFP4: every variant against the scalar kernel, byte for byte, and the
 * scalar one against its formula. PREP_TEST_SEED chooses other random numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4.h"
#include "tests/support/support.h"

enum { BLOCK = NVFP4_BLOCK, MOST = 6 * BLOCK, GUARD = 16 };

/* What a block of inputs is like. */
enum kind {
    ANY_BITS,
    FINITE_BITS,
    NEAR_ONE,
    WITH_OUTLIERS,
    SUBNORMAL,
    ON_BOUNDARIES,
    ZEROS,
    N_KINDS
};

static float uniform(struct test_random *r)
{
    return (float)test_random_below(r, 1 << 24) * 0x1p-24F;
}

static float sign(struct test_random *r)
{
    return test_random_below(r, 2) ? -1 : 1;
}

/* On, or one step beside, a boundary between two codes when the block's step is a power of two. */
static float boundary(struct test_random *r)
{
    static const float at[] = {0.25F, 0.75F, 1.25F, 1.75F, 2.5F, 3.5F, 5, 6};
    const uint32_t bits = f32_bits(at[test_random_below(r, 8)]);
    return f32_from_bits(bits + (uint32_t)test_random_below(r, 3) - 1);
}

static float element(struct test_random *r, enum kind kind)
{
    const float any = f32_from_bits((uint32_t)test_random_u64(r));
    switch (kind) {
    case ANY_BITS:
        return any;
    case FINITE_BITS:
        return isfinite(any) ? any : 0;
    case WITH_OUTLIERS:
        return sign(r) * uniform(r) * (test_random_below(r, 20) ? 0.01F : 1);
    case SUBNORMAL:
        return sign(r) * uniform(r) * 0x1p-126F;
    case ON_BOUNDARIES:
        return sign(r) * boundary(r);
    case ZEROS:
        return test_random_below(r, 50) ? sign(r) * 0.0F : sign(r) * uniform(r);
    default:
        return sign(r) * uniform(r);
    }
}

/* The variant a test is about. */
static const struct nvfp4_kernels *variant(void **state)
{
    const enum isa isa = *(const enum isa *)*state;
    const struct nvfp4_kernels *k = nvfp4_kernels(isa);
    if (k->isa != isa)
        skip();
    return k;
}

/* Many magnitudes: block scales saturate, vanish and lie between. Powers of two make ties. */
static float any_scale(struct test_random *r, enum kind kind)
{
    const float m = kind == ON_BOUNDARIES ? 1 : 1 + uniform(r);
    return ldexpf(m, (int)test_random_below(r, 30) - 26);
}

static void compare(const float *want, const float *got, const float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        if (f32_bits(want[i]) != f32_bits(got[i]))
            fail_msg("scale %a, input %zu of %zu, %a: %a, want %a", (double)scale, i, n,
                     (double)x[i], (double)got[i], (double)want[i]);
}

static void rounds_like_the_scalar_kernel(void **state)
{
    static float in[MOST + GUARD], want[MOST], got[MOST + GUARD];
    const struct nvfp4_kernels *k = variant(state), *scalar = nvfp4_kernels(ISA_SCALAR);
    struct test_random r;
    size_t changed = 0;
    test_random_init(&r);
    for (int i = 0; i < 300 * N_KINDS; i++) {
        const enum kind kind = (enum kind)(i % N_KINDS);
        const size_t n = BLOCK * (1 + test_random_below(&r, MOST / BLOCK));
        float *x = in + test_random_below(&r, GUARD), *y = got + (x - in);
        const float scale = any_scale(&r, kind);
        memset(got, 0xA5, sizeof got);
        for (size_t j = 0; j < n; j++)
            x[j] = element(&r, kind);
        scalar->inputs(want, x, n, scale);
        k->inputs(y, x, n, scale);
        compare(want, y, x, n, scale);
        for (size_t j = 0; j < MOST + GUARD; j++)
            if (got + j < y || got + j >= y + n)
                assert_true(f32_bits(got[j]) == 0xA5A5A5A5U);
        for (size_t j = 0; j < n; j++)
            changed += f32_bits(want[j]) != f32_bits(x[j]);
        memcpy(y, x, n * sizeof *y);
        k->inputs(y, y, n, scale); /* in place */
        compare(want, y, x, n, scale);
    }
    assert_true(changed > 1000);
}

/* The formula, in another way: the nearest of all levels, an even code where two are as near. */
static void inputs_become_the_nearest_level(void **state)
{
    static const float LEVELS[] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
    const struct nvfp4_kernels *k = variant(state);
    float x[BLOCK], y[BLOCK];
    struct test_random r;
    test_random_init(&r);
    for (int round = 0; round < 200; round++) {
        x[0] = 6 * 0x1p-7F; /* s = 16, d = 2^-7 */
        for (size_t i = 1; i < BLOCK; i++)
            x[i] = sign(&r) * (round % 2 ? uniform(&r) * x[0] : fminf(boundary(&r), 6) * 0x1p-7F);
        k->inputs(y, x, BLOCK, 0x1p-11F);
        for (size_t i = 0; i < BLOCK; i++) {
            const float q = fabsf(x[i]) * 128;
            size_t best = 0;
            for (size_t l = 1; l < 8; l++) {
                const float old = fabsf(q - LEVELS[best]), new = fabsf(q - LEVELS[l]);
                best = new < old || (new <= old &&l % 2 == 0) ? l : best;
            }
            assert_float_equal(y[i], copysignf(LEVELS[best] * 0x1p-7F, x[i]), 0);
        }
    }
}

static void what_a_scale_cannot_hold_saturates_or_becomes_zero(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    const float scale = 0x1p-11F;
    float x[BLOCK] = {1e6F}, y[BLOCK];
    k->inputs(y, x, BLOCK, scale);
    assert_true(y[0] == 6 * 448 * scale);
    for (size_t i = 0; i < BLOCK; i++)
        x[i] = i % 2 ? 0x1p-30F : -0x1p-30F; /* the block's scale rounds to 0 */
    k->inputs(y, x, BLOCK, scale);
    for (size_t i = 0; i < BLOCK; i++)
        assert_true(f32_bits(y[i]) == 0);
}

static void a_block_is_rounded_by_itself(void **state)
{
    const struct nvfp4_kernels *k = variant(state);
    float x[3 * BLOCK], y[3 * BLOCK], alone[BLOCK];
    for (size_t i = 0; i < 3 * BLOCK; i++)
        x[i] = i / BLOCK == 1 ? 0 : (float)i * 0.37F - 5;
    x[2 * BLOCK + 3] = NAN;
    k->inputs(y, x, 3 * BLOCK, 0x1p-7F);
    k->inputs(alone, x, BLOCK, 0x1p-7F);
    compare(alone, y, x, BLOCK, 0x1p-7F);
    for (size_t i = 0; i < BLOCK; i++) {
        assert_true(f32_bits(y[BLOCK + i]) == 0);
        assert_true(isnan(y[2 * BLOCK + i]));
    }
    k->inputs(y, x, 0, 1); /* no inputs are no work */
    compare(alone, y, x, BLOCK, 0x1p-7F);
}

#define VARIANT(isa, test)                                                                         \
    {                                                                                              \
#isa " " #test, test, NULL, NULL, (void *)&isa                                             \
    }

int main(void)
{
    static const enum isa plain = ISA_SCALAR, avx2 = ISA_AVX2, avx512 = ISA_AVX512;
    const struct CMUnitTest tests[] = {
        VARIANT(avx2, rounds_like_the_scalar_kernel),
        VARIANT(avx512, rounds_like_the_scalar_kernel),
        VARIANT(plain, inputs_become_the_nearest_level),
        VARIANT(avx2, inputs_become_the_nearest_level),
        VARIANT(avx512, inputs_become_the_nearest_level),
        VARIANT(plain, what_a_scale_cannot_hold_saturates_or_becomes_zero),
        VARIANT(avx2, what_a_scale_cannot_hold_saturates_or_becomes_zero),
        VARIANT(avx512, what_a_scale_cannot_hold_saturates_or_becomes_zero),
        VARIANT(plain, a_block_is_rounded_by_itself),
        VARIANT(avx2, a_block_is_rounded_by_itself),
        VARIANT(avx512, a_block_is_rounded_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

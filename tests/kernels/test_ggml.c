/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "kernels/ggml/ggml.h"
#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_fp4.h"
#include "kernels/ggml/ggml_layout.h"
#include "kernels/load.h"
#include "libprep/format/ggml_type.h"
#include "tests/support/guard.h"

static const unsigned TYPES[] = {
    GGML_F16,  GGML_BF16, GGML_Q8_0, GGML_Q4_0, GGML_Q4_1,   GGML_Q5_0,   GGML_Q5_1,  GGML_Q2_K,
    GGML_Q3_K, GGML_Q4_K, GGML_Q5_K, GGML_Q6_K, GGML_IQ4_NL, GGML_IQ4_XS, GGML_MXFP4, GGML_NVFP4,
};

enum { N_TYPES = sizeof TYPES / sizeof TYPES[0] };

static enum isa isa_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return *isa;
}

/* Quantizing */

static float gauss(struct test_random *r)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(int32_t)test_random_u64(r) * 0x1p-31f;
    return sum;
}

/* A value of one of the kinds; every run of 16 has a scale of its own, some none. */
static float value(struct test_random *r, uint64_t kind, float scale)
{
    const float g = gauss(r);
    switch (kind) {
    case 0:
        return f32_from_bits(test_random_f32_bits(r));
    case 1: /* ties */
        return (float)((int)test_random_below(r, 65) - 32) * 0.25f * scale;
    case 2: /* squares underflow */
        return g * 0x1p-75f * scale;
    case 3: /* squares overflow */
        return g * 0x1p64f * scale;
    case 4: /* subnormal, or nearly */
        return g * 0x1p-126f * scale;
    case 5: /* as large as can be */
        return g * 0x1p125f * scale;
    case 6: /* one sign */
        return (fabsf(g) + 0.5f) * (test_random_below(r, 40) ? scale : -scale);
    case 7: /* sums of levels that are nearly equal; around the smallest that is not zero */
        return g * 1e-15f * scale;
    case 8: /* outliers */
        return test_random_below(r, 50) ? g * scale : 1000 * g;
    default:
        return g * scale;
    }
}

static void fill_values(float *x, size_t n, struct test_random *r)
{
    const uint64_t kind = test_random_below(r, 16);
    float scale = 1;
    for (size_t i = 0; i < n; i++) {
        if (i % 16 == 0)
            scale = test_random_below(r, 6)   ? fabsf(gauss(r))
                    : test_random_below(r, 2) ? 0.0f
                                              : 1.0f;
        x[i] = scale != 0 ? value(r, kind, scale) : i & 1 ? -0.0f : 0.0f;
        if (kind == 9)
            x[i] = scale - 0.3f; /* constant runs of both signs */
    }
    if (test_random_below(r, 12) == 0)
        x[test_random_below(r, n)] = test_random_below(r, 2) ? -INFINITY : NAN;
}

static void fill_weights(float *w, size_t n, struct test_random *r)
{
    const uint64_t kind = test_random_below(r, 5);
    for (size_t i = 0; i < n; i++) {
        const float g = gauss(r);
        w[i] = kind == 0 ? 1.0f : kind == 1 ? 0.0f : g * g;
        if (kind == 2 && test_random_below(r, 3) == 0)
            w[i] = 0;
        if (kind == 3)
            w[i] *= i % 2 ? 1e30f : 1e-30f;
    }
}

static void check_quantizing(const struct ggml_codec *c, struct test_random *r, size_t n_rows,
                             size_t n_cols, int weighted)
{
    const struct ggml_codec *scalar = ggml_codec(ISA_SCALAR, c->type);
    const size_t n = n_rows * n_cols, n_bytes = n / c->block * c->block_bytes;
    const size_t off = test_random_below(r, 16);
    struct guard x = guard_new(4 * n, 4 * off), w = guard_new(4 * n_cols, 4 * (off ^ 5));
    struct guard want = guard_new(n_bytes, 0), got = guard_new(n_bytes, off);
    for (size_t i = 0; i < n_rows; i++)
        fill_values((float *)(void *)x.p + i * n_cols, n_cols, r);
    fill_weights((float *)(void *)w.p, n_cols, r);
    const float *imatrix = weighted ? (const float *)(void *)w.p : NULL;
    scalar->quantize_rows(want.p, (const float *)(void *)x.p, n_rows, n_cols, imatrix);
    c->quantize_rows(got.p, (const float *)(void *)x.p, n_rows, n_cols, imatrix);
    for (size_t i = 0; i < n_bytes; i++)
        if (got.p[i] != want.p[i])
            fail_msg("type %d, %zu rows of %zu, weights %d: byte %zu of block %zu is %u, want %u",
                     c->type, n_rows, n_cols, weighted, i % c->block_bytes, i / c->block_bytes,
                     got.p[i], want.p[i]);
    guard_free(&x);
    guard_free(&w);
    guard_free(&want);
    guard_free(&got);
}

static void quantizes_any_rows_as_the_reference_does(void **state)
{
    const enum isa isa = isa_of(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < N_TYPES; i++) {
        const struct ggml_codec *c = ggml_codec(isa, TYPES[i]);
        for (int k = 0; k < 120; k++) {
            const size_t n_cols = c->block * (1 + test_random_below(&r, k % 10 ? 5 : 40));
            check_quantizing(c, &r, test_random_below(&r, k % 10 ? 5 : 2), n_cols, k % 2);
        }
    }
}

static void a_row_does_not_depend_on_its_neighbours(void **state)
{
    enum { ROWS = 5, COLS = 768 };
    const enum isa isa = isa_of(state);
    static float x[ROWS * COLS], w[COLS];
    static uint8_t all[4 * ROWS * COLS], one[4 * COLS];
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < ROWS; i++)
        fill_values(x + i * COLS, COLS, &r);
    fill_weights(w, COLS, &r);
    for (int i = 0; i < N_TYPES; i++) {
        const struct ggml_codec *c = ggml_codec(isa, TYPES[i]);
        const size_t bytes = (size_t)COLS / c->block * c->block_bytes;
        c->quantize_rows(all, x, ROWS, COLS, w);
        for (size_t k = 0; k < ROWS; k++) {
            c->quantize_rows(one, x + k * COLS, 1, COLS, w);
            assert_memory_equal(one, all + k * bytes, bytes);
        }
    }
}

static void a_block_that_is_not_finite_gets_a_nan_and_zeros(void **state)
{
    const enum isa isa = isa_of(state);
    static float x[1024], back[1024];
    static uint8_t b[4096];
    for (int i = 2; i < N_TYPES; i++) {
        const struct ggml_codec *c = ggml_codec(isa, TYPES[i]);
        const size_t n = 1024u / c->block, bad = n / 2;
        for (size_t k = 0; k < 1024; k++)
            x[k] = (float)(k % 7) - 3;
        c->quantize_rows(b, x, 1, 1024, NULL);
        assert_int_equal(ggml_first_bad(c, b, n), n);
        x[bad * c->block + 5] = i % 2 ? NAN : -INFINITY;
        c->quantize_rows(b, x, 1, 1024, NULL);
        assert_int_equal(ggml_first_bad(c, b, n), bad);
        memset(b + bad * c->block_bytes, 0, c->block_bytes);
        assert_int_equal(ggml_first_bad(c, b, n), n);
        c->dequantize_rows(back, b, 1, 1024);
        for (size_t k = 0; k < c->block; k++)
            assert_true(back[bad * c->block + k] == 0);
    }
}

/* Decoding */

static void check_decoding(const struct ggml_codec *c, struct test_random *r, size_t n_blocks)
{
    const struct ggml_codec *scalar = ggml_codec(ISA_SCALAR, c->type);
    const size_t n = n_blocks * c->block, off = test_random_below(r, 64);
    struct guard b = guard_new(n_blocks * c->block_bytes, off);
    struct guard want = guard_new(4 * n, 0), got = guard_new(4 * n, off / 4 * 4);
    for (size_t i = 0; i < b.n; i++)
        b.p[i] = (unsigned char)test_random_u64(r);
    scalar->dequantize_rows((float *)(void *)want.p, b.p, 1, n);
    c->dequantize_rows((float *)(void *)got.p, b.p, 1, n);
    for (size_t i = 0; i < n; i++)
        if (load_u32_at(got.p, i) != load_u32_at(want.p, i))
            fail_msg("type %d: value %zu of block %zu is %08X, want %08X", c->type, i % c->block,
                     i / c->block, load_u32_at(got.p, i), load_u32_at(want.p, i));
    guard_free(&b);
    guard_free(&want);
    guard_free(&got);
}

static void decodes_any_bytes_as_the_reference_does(void **state)
{
    const enum isa isa = isa_of(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < N_TYPES; i++)
        for (int k = 0; k < 400; k++)
            check_decoding(ggml_codec(isa, TYPES[i]), &r, test_random_below(&r, k % 20 ? 6 : 60));
}

/* NaN and infinity in halves, largest and smallest scales: random bytes seldom have them. */
static void decodes_every_half_as_a_scale(void **state)
{
    const enum isa isa = isa_of(state);
    for (int i = 2; i < N_TYPES; i++) {
        const struct ggml_codec *c = ggml_codec(isa, TYPES[i]);
        const struct ggml_codec *scalar = ggml_codec(ISA_SCALAR, c->type);
        for (unsigned h = 0; h < 0x10000; h += 7) {
            uint8_t b[256];
            float want[256], got[256];
            for (size_t k = 0; k < c->block_bytes; k += 2) {
                store_u16_at(b, k / 2, (uint16_t)(k % 12 ? h : ~h));
                if (k + 1 == c->block_bytes)
                    b[k] = (uint8_t)h;
            }
            scalar->dequantize_rows(want, b, 1, c->block);
            c->dequantize_rows(got, b, 1, c->block);
            assert_memory_equal(got, want, 4 * c->block);
        }
    }
}

/* Parts */

static void types_are_those_of_the_format(void **state)
{
    (void)state;
    for (int isa = 0; isa < N_ISA; isa++) {
        for (int i = 0; i < N_TYPES; i++) {
            const struct ggml_type_info *info = ggml_type_info(TYPES[i]);
            const struct ggml_codec *c = ggml_codec((enum isa)isa, TYPES[i]);
            assert_int_equal(c->type, TYPES[i]);
            assert_int_equal(c->block, info->block);
            assert_int_equal(c->block_bytes, info->block_bytes);
        }
        assert_null(ggml_codec((enum isa)isa, GGML_IQ2_XXS));
        assert_null(ggml_codec((enum isa)isa, GGML_F32));
        assert_null(ggml_codec((enum isa)isa, 100000));
    }
}

/* The nearest value, the larger of two, for every quarter and its neighbours. */
static void iq4_indices_are_nearest(void **state)
{
    (void)state;
    for (int i = -600; i <= 600; i++) {
        for (int side = -1; side <= 1; side++) {
            const float v = side ? nextafterf((float)i / 4, (float)side * 1e9f) : (float)i / 4;
            int best = 0;
            for (int k = 1; k < 16; k++)
                if (fabs((double)ggml_iq4_values[k] - (double)v) <=
                    fabs((double)ggml_iq4_values[best] - (double)v))
                    best = k;
            assert_int_equal(ggml_iq4_index(v), best);
        }
    }
    assert_int_equal(ggml_iq4_index(INFINITY), 15);
    assert_int_equal(ggml_iq4_index(-INFINITY), 0);
    assert_int_equal(ggml_iq4_index(NAN), 15);
}

/* Just below a power of two the rounding of log2f decides; the library's agrees with ours. */
static void mxfp4_exponents_follow_the_rounded_logarithm(void **state)
{
    (void)state;
    for (int k = -148; k <= 128; k++) {
        float x = k == 128 ? 0x1.fffffep127f : ldexpf(1, k);
        for (int i = 0; i < 100 && x > 0; i++) {
            const int want = (int)floorf(log2f(x)) - 2 + 127;
            assert_int_equal(ggml_mxfp4_exponent(x), (uint8_t)want);
            x = nextafterf(x, 0);
        }
    }
    assert_int_equal(ggml_mxfp4_exponent(0), 0);
}

static void nvfp4_codes_round_halves_up(void **state)
{
    (void)state;
    for (int code = 1; code < 0x78; code++) {
        const float x = f32_from_e4m3((uint8_t)code), above = f32_from_e4m3((uint8_t)(code + 1));
        assert_true(nvfp4_scale((uint8_t)code) == x / 2);
        assert_int_equal(ggml_nvfp4_code(x), code);
        assert_int_equal(ggml_nvfp4_code(nextafterf((x + above) / 2, 0)), code);
        /* Between the largest subnormal and the smallest normal number it does not round up, and
         * from 256 on there is but one code. */
        const int up = code == 7 ? 7 : code == 0x77 ? 0x7E : code + 1;
        assert_int_equal(ggml_nvfp4_code((x + above) / 2), up);
    }
    assert_int_equal(ggml_nvfp4_code(256), 0x7E);
    assert_int_equal(ggml_nvfp4_code(1e30f), 0x7E);
    assert_int_equal(ggml_nvfp4_code(-1), 0);
    assert_int_equal(ggml_nvfp4_code(0x1p-11f), 0);
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
        cmocka_unit_test(types_are_those_of_the_format),
        cmocka_unit_test(iq4_indices_are_nearest),
        cmocka_unit_test(mxfp4_exponents_follow_the_rounded_logarithm),
        cmocka_unit_test(nvfp4_codes_round_halves_up),
        OF_ALL(quantizes_any_rows_as_the_reference_does),
        OF_ALL(a_row_does_not_depend_on_its_neighbours),
        OF_ALL(a_block_that_is_not_finite_gets_a_nan_and_zeros),
        OF_ALL(decodes_any_bytes_as_the_reference_does),
        OF_ALL(decodes_every_half_as_a_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "tests/support/stored.h"
#include "tests/support/tiny_linear.h"

struct decoded {
    struct test_linears t;
    struct linear *l;
    struct span inputs[LINEAR_PARTS];
    float *f32;
    uint16_t *bf16;
    struct prep_error err;
    struct linear_counts counts;
};

static void decoded_open(struct decoded *d, const char *extra, const struct tiny_part *parts)
{
    linears_open(&d->t, tiny_write_module(parts, extra));
    d->l = &d->t.all.items[0];
    d->f32 = calloc(d->l->out * d->l->in, 4);
    d->bf16 = calloc(d->l->out * d->l->in, 2);
    assert_true(d->f32 && d->bf16);
    inputs_read(d->inputs, d->t.ckpt, d->l);
}

static void decoded_close(struct decoded *d)
{
    inputs_free(d->inputs, d->l);
    free(d->f32);
    free(d->bf16);
    linears_close(&d->t);
}

static unsigned char *bytes_of(struct decoded *d, int i)
{
    return (unsigned char *)(uintptr_t)d->inputs[i].p;
}

static int decode_rows(struct decoded *d, uint64_t first, uint64_t n)
{
    struct linear_codec codec;
    linear_codec_init(&codec, N_ISA - 1);
    const struct linear_rows rows = {first, n, d->f32, d->bf16, &d->counts};
    d->err = (struct prep_error)PREP_ERROR_INIT;
    d->counts = (struct linear_counts){0};
    return linear_decode_rows(d->l, &codec, d->inputs, &rows, &d->err);
}

static void assert_refused(struct decoded *d, const char *tag, const char *text)
{
    assert_int_equal(decode_rows(d, 0, d->l->out), -1);
    if (strcmp(d->err.tag, tag) != 0 || !strstr(d->err.msg, text))
        fail_msg("%s: %s", d->err.tag, d->err.msg);
}

static void plain_values_keep_their_bits(void **state)
{
    (void)state;
    static const enum dtype DTYPES[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    for (int k = 0; k < 3; k++) {
        const struct tiny_part parts[TINY_PARTS] = {{DTYPES[k], 40, 30, "weight"}};
        struct decoded d;
        decoded_open(&d, "", parts);
        assert_int_equal(decode_rows(&d, 3, 37), 0);
        for (size_t i = 0; i < 37 * 30; i++) {
            const size_t at = 3 * 30 + i;
            float want = 0;
            if (DTYPES[k] == DTYPE_F32)
                want = f32_from_bits(load_u32_at(d.inputs[0].p, at));
            else if (DTYPES[k] == DTYPE_F16)
                want = f32_from_f16(load_u16_at(d.inputs[0].p, at));
            else
                want = f32_from_bf16(load_u16_at(d.inputs[0].p, at));
            assert_int_equal(f32_bits(d.f32[i]), f32_bits(want));
            if (DTYPES[k] == DTYPE_BF16)
                assert_int_equal(d.bf16[i], load_u16_at(d.inputs[0].p, at));
            else
                assert_int_equal(d.bf16[i], bf16_from_f32(want));
        }
        decoded_close(&d);
    }
}

static void fp8_values_are_judged(void **state)
{
    (void)state;
    static const struct tiny_part PARTS[TINY_PARTS] = {{DTYPE_F8_E4M3, 130, 200, "weight"},
                                                       {DTYPE_F32, 2, 2, "weight_scale_inv"}};
    struct decoded d;
    decoded_open(&d, TINY_FP8 "}", PARTS);
    unsigned char *codes = bytes_of(&d, 0), *scales = bytes_of(&d, 1);
    memset(codes, 0x38, d.inputs[0].n); /* 1.0 */
    for (size_t i = 0; i < 4; i++)
        store_u32_at(scales, i, f32_bits(0.5f));
    store_u32_at(scales, 1, 0); /* a block of signed zeros is legal */
    assert_int_equal(decode_rows(&d, 0, 130), 0);
    assert_int_equal(d.counts.zero_scales, 1);
    assert_int_equal(f32_bits(d.f32[0]), f32_bits(0.5f));
    assert_int_equal(f32_bits(d.f32[128]), 0);
    store_u32_at(scales, 3, f32_bits(0x1p127f));
    codes[129 * 200 + 199] = 0x7E;
    assert_int_equal(decode_rows(&d, 128, 2), 0);
    assert_int_equal(d.counts.overflows, 1);
    codes[129 * 200 + 150] = 0xFF;
    codes[129 * 200 + 199] = 0x7F;
    assert_refused(&d, "SRC_FP8_NAN_CODE",
                   "code 0xFF (NaN) in row 129, column 150, the first of 2");
    assert_int_equal(decode_rows(&d, 0, 129), 0); /* other rows do not mind */
    codes[129 * 200 + 150] = codes[129 * 200 + 199] = 0;
    store_u32_at(scales, 2, f32_bits(-0.5f));
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "block [1, 0] is -0.5");
    store_u32_at(scales, 2, 0x7FC00000);
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "nan");
    store_u32_at(scales, 2, 0x7F800000);
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "inf");
    decoded_close(&d);
}

static void fp8_scales_may_be_exponents(void **state)
{
    (void)state;
    static const struct tiny_part PARTS[TINY_PARTS] = {{DTYPE_F8_E4M3, 8, 300, "weight"},
                                                       {DTYPE_F8_E8M0, 1, 3, "weight_scale_inv"}};
    struct decoded d;
    decoded_open(&d, TINY_FP8 "}", PARTS);
    memset(bytes_of(&d, 0), 0x38, d.inputs[0].n);
    memcpy(bytes_of(&d, 1), "\x7F\x00\x86", 3);
    assert_int_equal(decode_rows(&d, 0, 8), 0);
    assert_int_equal(f32_bits(d.f32[0]), f32_bits(1.0f));
    assert_int_equal(f32_bits(d.f32[128]), f32_bits(0x1p-127f));
    assert_int_equal(f32_bits(d.f32[256]), f32_bits(128.0f));
    bytes_of(&d, 1)[2] = 255;
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "block [0, 2]");
    decoded_close(&d);
}

static void nvfp4_values_are_judged(void **state)
{
    (void)state;
    static const struct tiny_part PARTS[TINY_PARTS] = {{DTYPE_U8, 8, 32, "weight"},
                                                       {DTYPE_F8_E4M3, 8, 4, "weight_scale"},
                                                       {DTYPE_F32, -1, -1, "weight_scale_2"}};
    static const uint32_t BAD[] = {0, 0x80000000, 0x7F800000, 0x7FC00000, 0xBF800000};
    struct decoded d;
    decoded_open(&d, TINY_MODELOPT "}", PARTS);
    memset(bytes_of(&d, 1), 0x38, 32);
    bytes_of(&d, 1)[5] = 0;
    store_u32_at(bytes_of(&d, 2), 0, f32_bits(0.25f));
    assert_int_equal(decode_rows(&d, 0, 8), 0);
    assert_int_equal(d.counts.zero_scales, 1);
    bytes_of(&d, 1)[6] = 0x7F;
    assert_refused(&d, "SCALE_VALUE", "row 1, block 2 is 0x7F (NaN)");
    bytes_of(&d, 1)[6] = 0xB8;
    assert_refused(&d, "SCALE_VALUE", "negative");
    bytes_of(&d, 1)[6] = 0x38;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        store_u32_at(bytes_of(&d, 2), 0, BAD[i]);
        assert_refused(&d, "SCALE_VALUE", "weight_scale_2 is");
    }
    decoded_close(&d);
}

static void integer_values_are_judged(void **state)
{
    (void)state;
    static const struct tiny_part PARTS[TINY_PARTS] = {{DTYPE_I32, 16, 16, "qweight"},
                                                       {DTYPE_F16, 2, 16, "scales"},
                                                       {DTYPE_I32, 2, 2, "qzeros"},
                                                       {DTYPE_I32, 128, -1, "g_idx"}};
    struct decoded d;
    decoded_open(&d, TINY_GPTQ ", \"group_size\": 64, \"sym\": true}", PARTS);
    for (size_t i = 0; i < 32; i++)
        store_u16_at(bytes_of(&d, 1), i, f16_from_f32(i % 2 ? 0.5f : -0.5f));
    memset(bytes_of(&d, 2), 0x77, 16);
    for (size_t i = 0; i < 128; i++)
        store_u32_at(bytes_of(&d, 3), i, (uint32_t)(i / 64));
    assert_int_equal(decode_rows(&d, 0, 16), 0);
    store_u16_at(bytes_of(&d, 1), 16 + 3, 0); /* group 1 of output 3 */
    assert_int_equal(decode_rows(&d, 0, 16), 0);
    assert_int_equal(d.counts.zero_scales, 1);
    store_u16_at(bytes_of(&d, 1), 16 + 3, 0x7C00);
    assert_refused(&d, "SCALE_VALUE", "output 3, group 1 is inf");
    assert_int_equal(decode_rows(&d, 4, 12), 0);
    store_u16_at(bytes_of(&d, 1), 16 + 3, 0x3800);
    memset(bytes_of(&d, 2), 0x88, 16);
    assert_refused(&d, "QZEROS", "is 9, want 8 with sym");
    d.l->symmetric = 0;
    assert_int_equal(decode_rows(&d, 0, 16), 0);
    d.l->symmetric = 1;
    memset(bytes_of(&d, 2), 0x77, 16);
    store_u32_at(bytes_of(&d, 3), 100, 2);
    assert_refused(&d, "G_IDX", "group of input 100 is 2, want 0 to 1");
    store_u32_at(bytes_of(&d, 3), 100, 0xFFFFFFFF);
    assert_refused(&d, "G_IDX", "is -1");
    decoded_close(&d);
}

static void a_wrong_weight_shape_is_refused(void **state)
{
    (void)state;
    static const struct tiny_part PARTS[TINY_PARTS] = {{DTYPE_I32, 12, 16, "weight_packed"},
                                                       {DTYPE_BF16, 12, 1, "weight_scale"},
                                                       {DTYPE_I64, 2, -1, "weight_shape"}};
    struct decoded d;
    decoded_open(&d, TINY_CT "}", PARTS);
    for (size_t i = 0; i < 12; i++)
        store_u16_at(bytes_of(&d, 1), i, 0x3C00);
    memset(bytes_of(&d, 2), 0, 16);
    bytes_of(&d, 2)[0] = 12;
    bytes_of(&d, 2)[8] = 127;
    assert_refused(&d, "WEIGHT_SHAPE", "says [12, 127], the codes are [12, 128]");
    bytes_of(&d, 2)[8] = 128;
    assert_int_equal(decode_rows(&d, 0, 12), 0);
    decoded_close(&d);
}

static void rows_outside_are_a_bug_of_the_caller(void **state)
{
    (void)state;
    static const struct tiny_part PARTS[TINY_PARTS] = {{DTYPE_BF16, 8, 8, "weight"}};
    struct decoded d;
    decoded_open(&d, "", PARTS);
    assert_int_equal(decode_rows(&d, 8, 0), 0);
    assert_int_equal(decode_rows(&d, 8, 1), -1);
    assert_int_equal(d.err.code, PREP_EBUG);
    assert_int_equal(decode_rows(&d, UINT64_MAX, 2), -1);
    d.inputs[0].n--;
    assert_int_equal(decode_rows(&d, 0, 1), -1);
    assert_int_equal(d.err.code, PREP_EBUG);
    decoded_close(&d);
}

/* Repacking */

static void says_what_cannot_be_repacked(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    struct linear from = {.name = "m", .out = 32, .in = 128}, to;
    const struct linear_want nvfp4 = {.form = LINEAR_NVFP4_CT, .with_input = 1};
    struct linear_want gptq = {.form = LINEAR_GPTQ, .group = 64, .scale_dtype = DTYPE_F16};
    const char *why;
    arena_init(&arena, 0);
    struct linear a, b;
    assert_int_equal(linear_layout(&a, &from, &nvfp4, &arena, &err), 0);
    assert_int_equal(linear_layout(&b, &from, &gptq, &arena, &err), 0);
    assert_false(linear_can_repack(&a, &b, &why));
    assert_non_null(why);
    b.symmetric = 0;
    assert_int_equal(linear_layout(&to, &from, &gptq, &arena, &err), 0);
    assert_false(linear_can_repack(&to, &b, &why));
    gptq.group = 12;
    assert_int_equal(linear_layout(&to, &from, &gptq, &arena, &err), -1);
    assert_int_equal(err.code, PREP_EUNSUP);
    arena_fini(&arena);
}

static void check_reciprocal(float x, enum linear_form of, size_t *n, size_t *lost)
{
    const enum linear_form other = of == LINEAR_NVFP4_CT ? LINEAR_NVFP4_MODELOPT : LINEAR_NVFP4_CT;
    if (!(x >= 0x1p-125f && x <= 0x1p125f))
        return;
    const float there = linear_reciprocal(x, other), plain = 1.0f / x;
    const uint32_t a = f32_bits(there), b = f32_bits(plain);
    assert_int_equal(f32_bits(linear_reciprocal(there, of)), f32_bits(x));
    assert_true(a <= b + 2 && b <= a + 2);
    if (of == LINEAR_NVFP4_MODELOPT)
        assert_int_equal(a, b);
    *lost += 1.0f / plain != x;
    ++*n;
}

/* Every positive BF16 maximum, in the arithmetic of every writer. */
static void reciprocals_of_globals_come_back(void **state)
{
    (void)state;
    size_t n = 0, lost = 0;
    for (uint32_t h = 1; h < 0x7F80; h++) {
        const float a = f32_from_bf16((uint16_t)h);
        const float r = f32_from_bf16(bf16_from_f32(1.0f / a)), s = 1.0f / a;
        check_reciprocal(a / 2688.0f, LINEAR_NVFP4_MODELOPT, &n, &lost);
        check_reciprocal(a / 1536.0f, LINEAR_NVFP4_MODELOPT, &n, &lost);
        check_reciprocal(f32_from_bf16(bf16_from_f32(2688.0f * r)), LINEAR_NVFP4_CT, &n, &lost);
        check_reciprocal(2688.0f * s, LINEAR_NVFP4_CT, &n, &lost);
    }
    assert_true(n > 100000);
    assert_true(lost > n / 9 && lost < n / 6); /* what plain reciprocals would lose */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_values_keep_their_bits),
        cmocka_unit_test(fp8_values_are_judged),
        cmocka_unit_test(fp8_scales_may_be_exponents),
        cmocka_unit_test(nvfp4_values_are_judged),
        cmocka_unit_test(integer_values_are_judged),
        cmocka_unit_test(a_wrong_weight_shape_is_refused),
        cmocka_unit_test(rows_outside_are_a_bug_of_the_caller),
        cmocka_unit_test(says_what_cannot_be_repacked),
        cmocka_unit_test(reciprocals_of_globals_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

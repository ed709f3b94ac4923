/* SPDX-License-Identifier: MIT */
/* The specification of F16, BF16 and the plain blocks of 32: docs/formats/ggml-blocks.md. */
#include <math.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_layout.h"
#include "kernels/ggml/ggml_variants.h"

void ggml_quantize_rows_f16_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                   const float *imatrix)
{
    (void)imatrix;
    for (size_t i = 0; i < n_rows * n_cols; i++) {
        const uint16_t sign = (uint16_t)(f32_bits(src[i]) >> 16 & 0x8000);
        store_u16_at(dst, i, src[i] == src[i] ? f16_from_f32(src[i]) : (uint16_t)(sign | 0x7E00));
    }
}

void ggml_quantize_rows_bf16_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    (void)imatrix;
    for (size_t i = 0; i < n_rows * n_cols; i++)
        store_u16_at(dst, i, bf16_from_f32(src[i]));
}

void ggml_dequantize_rows_f16_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    for (size_t i = 0; i < n_rows * n_cols; i++)
        dst[i] = f32_from_f16(load_u16_at(src, i));
}

void ggml_dequantize_rows_bf16_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    for (size_t i = 0; i < n_rows * n_cols; i++)
        dst[i] = f32_from_bf16(load_u16_at(src, i));
}

/* What a conversion to int gives on x86 for numbers out of range and NaN, and C leaves open. */
static int truncated(float v)
{
    return v >= -0x1p31f && v < 0x1p31f ? (int)v : INT32_MIN;
}

static float inverse(float d)
{
    return d != 0 ? 1 / d : 0;
}

static void q8_0_block(uint8_t *b, const struct ggml_values *v)
{
    float amax = 0;
    for (int i = 0; i < 32; i++)
        amax = fabsf(v->x[i]) > amax ? fabsf(v->x[i]) : amax;
    const float d = amax / 127, id = inverse(d);
    ggml_put_half(b, 0, d);
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)truncated(roundf(v->x[i] * id));
}

/* Codes 0 ... 2 nm - 1 around nm; the value of largest magnitude becomes 0. */
static float signed_levels(uint8_t *level, const float *x, int nm)
{
    float amax = 0, m = 0;
    for (int i = 0; i < 32; i++) {
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            m = x[i];
        }
    }
    const float d = m / (float)-nm, id = inverse(d);
    for (int i = 0; i < 32; i++) {
        const int8_t l = (int8_t)truncated(x[i] * id + ((float)nm + 0.5f));
        level[i] = (uint8_t)(l < 2 * nm - 1 ? l : 2 * nm - 1);
    }
    return d;
}

static float signed_fit(uint8_t *level, const struct ggml_values *v, int nm)
{
    float wt[32];
    if (!v->w)
        return signed_levels(level, v->x, nm);
    ggml_weigh(wt, v->x, v->w, 32, v->sigma2);
    return ggml_fit_symmetric(level, v->x, 32, nm, wt);
}

static void q4_0_block(uint8_t *b, const struct ggml_values *v)
{
    uint8_t level[32];
    ggml_put_half(b, 0, signed_fit(level, v, 8));
    nibbles_pack(b + 2, level);
}

static void q5_0_block(uint8_t *b, const struct ggml_values *v)
{
    uint8_t level[32];
    ggml_put_half(b, 0, signed_fit(level, v, 16));
    q5_pack(b + 2, level);
}

/* Codes 0 ... nm from the minimum up; returns the step. */
static float offset_levels(uint8_t *level, float *min, const float *x, int nm)
{
    float low = x[0], high = x[0];
    for (int i = 1; i < 32; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    const float d = (high - low) / (float)nm, id = inverse(d);
    for (int i = 0; i < 32; i++) {
        const int l = truncated((x[i] - low) * id + 0.5f);
        const int8_t l8 = (int8_t)l;
        level[i] = (uint8_t)(nm == 31 ? l : l8 < 15 ? l8 : 15);
    }
    *min = low;
    return d;
}

static void offset_fit(uint8_t *b, uint8_t *level, const struct ggml_values *v, int nm)
{
    const struct ggml_affine_rule rule = {nm, -0.9f, 0.05f, 36, 0};
    float wt[32], min;
    if (!v->w) {
        ggml_put_half(b, 0, offset_levels(level, &min, v->x, nm));
        ggml_put_half(b, 1, min);
        return;
    }
    ggml_weigh(wt, v->x, v->w, 32, v->sigma2);
    ggml_put_half(b, 0, ggml_fit_affine(&min, level, v->x, wt, 32, &rule));
    ggml_put_half(b, 1, -min);
}

static void q4_1_block(uint8_t *b, const struct ggml_values *v)
{
    uint8_t level[32];
    offset_fit(b, level, v, 15);
    nibbles_pack(b + 4, level);
}

static void q5_1_block(uint8_t *b, const struct ggml_values *v)
{
    uint8_t level[32];
    offset_fit(b, level, v, 31);
    q5_pack(b + 4, level);
}

static const struct ggml_type Q8_0 = {SLOT_Q8_0, 32, 34, 1, q8_0_block, half_factors, q8_0_unpack};
static const struct ggml_type Q4_0 = {SLOT_Q4_0, 32, 18, 1, q4_0_block, half_factors, q4_0_unpack};
static const struct ggml_type Q4_1 = {SLOT_Q4_1,         32,         20, 1, q4_1_block,
                                      half_pair_factors, q4_1_unpack};
static const struct ggml_type Q5_0 = {SLOT_Q5_0, 32, 22, 1, q5_0_block, half_factors, q5_0_unpack};
static const struct ggml_type Q5_1 = {SLOT_Q5_1,         32,         24, 1, q5_1_block,
                                      half_pair_factors, q5_1_unpack};

void ggml_quantize_rows_q8_0_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    (void)imatrix;
    ggml_quantize_scalar(dst, src, n_rows, n_cols, NULL, &Q8_0);
}

void ggml_dequantize_rows_q8_0_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q8_0);
}

void ggml_quantize_rows_q4_0_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q4_0);
}

void ggml_dequantize_rows_q4_0_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q4_0);
}

void ggml_quantize_rows_q4_1_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q4_1);
}

void ggml_dequantize_rows_q4_1_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q4_1);
}

void ggml_quantize_rows_q5_0_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q5_0);
}

void ggml_dequantize_rows_q5_0_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q5_0);
}

void ggml_quantize_rows_q5_1_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q5_1);
}

void ggml_dequantize_rows_q5_1_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q5_1);
}

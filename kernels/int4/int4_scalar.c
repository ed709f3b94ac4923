/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "kernels/fp.h"
#include "kernels/int4/int4_variants.h"
#include "kernels/load.h"

/* f16(1e-5): scales this small would lose their bits. */
static const float SMALLEST_SIGNED = 168 * 0x1p-24f;

float int4_scale(enum int4_rule rule, float mn, float mx, uint16_t *stored)
{
    const float a = -mn;
    const float largest = a > mx ? a : mx;
    float s;
    switch (rule) {
    case INT4_SIGNED:
        s = f32_from_f16(f16_from_f32((mx < a ? a : -mx) / 8.0f));
        if (s < 0.0f)
            s = s < -SMALLEST_SIGNED ? s : -SMALLEST_SIGNED;
        else
            s = s > SMALLEST_SIGNED ? s : SMALLEST_SIGNED;
        *stored = f16_from_f32(s);
        return s;
    case INT4_CLASSIC:
        if (largest == 0.0f)
            s = 2.0f / 15.0f;
        else
            s = (largest + (mn < 0.0f ? largest : 0.0f)) / 15.0f;
        *stored = f16_from_f32(s);
        return s;
    case INT4_BF16:
        break;
    }
    *stored = bf16_from_f32(largest / 7.5f);
    if (*stored == 0)
        *stored = 0x3C00; /* 2^-7, the resolution of the type */
    return f32_from_bf16(*stored);
}

/* Clamping first gives the same code as clamping last, and no overflow. A NaN becomes -8. */
static unsigned quantize(float w, float s, enum int4_rule rule)
{
    float t = w / s;
    t = t > -8.0f ? t : -8.0f;
    t = t < 7.0f ? t : 7.0f;
    if (rule == INT4_BF16)
        t = f32_from_bf16(bf16_from_f32(t));
    return (unsigned)((int)rintf(t) + 8);
}

void int4_rtn_scalar(uint32_t *words, uint16_t *scales, const float *w, size_t n, size_t group,
                     enum int4_rule rule)
{
    for (size_t at = 0; at < n; at += group, w += group) {
        float mn = 0.0f, mx = 0.0f;
        for (size_t i = 0; i < group; i++) {
            mn = w[i] < mn ? w[i] : mn;
            mx = w[i] > mx ? w[i] : mx;
        }
        const float s = int4_scale(rule, mn, mx, scales++);
        for (size_t i = 0; i < group; i += 8) {
            uint32_t word = 0;
            for (unsigned k = 0; k < 8; k++)
                word |= quantize(w[i + k], s, rule) << 4 * k;
            *words++ = word;
        }
    }
}

static float value(uint32_t word, size_t i, float scale, int zero)
{
    const int code = (int)(word >> 4 * (i % 8) & 15);
    return (float)(code - zero) * scale;
}

void int4_decode_f32_scalar(float *dst, const void *words, size_t n, float scale, int zero)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = value(load_u32_at(words, i / 8), i, scale, zero);
}

void int4_decode_bf16_scalar(uint16_t *dst, const void *words, size_t n, float scale, int zero)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = bf16_from_f32(value(load_u32_at(words, i / 8), i, scale, zero));
}

void int4_transpose_scalar(void *dst, size_t dst_step, const void *src, size_t src_step,
                           size_t n_rows, size_t n_cols)
{
    for (size_t r = 0; r < n_rows; r++)
        for (size_t c = 0; c < n_cols; c++)
            store_u32_at(dst, c * dst_step + r, load_u32_at(src, r * src_step + c));
}

void int4_finish_sums(double sums[2], const double error[16], const double signal[16])
{
    sums[0] = 0.0;
    sums[1] = 0.0;
    for (int i = 0; i < 16; i++) {
        sums[0] += error[i];
        sums[1] += signal[i];
    }
}

void int4_error_sums_scalar(double sums[2], const float *w, const float *q, size_t n)
{
    double error[16] = {0}, signal[16] = {0};
    for (size_t i = 0; i < n; i++) {
        const double x = (double)w[i], d = x - (double)q[i];
        error[i % 16] += d * d;
        signal[i % 16] += x * x;
    }
    int4_finish_sums(sums, error, signal);
}

/* SPDX-License-Identifier: MIT */
/* The specification of MXFP4 and NVFP4: docs/formats/ggml-blocks.md. */
#include <math.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_fp4.h"
#include "kernels/ggml/ggml_layout.h"
#include "kernels/ggml/ggml_variants.h"

static float largest(const float *x, int n)
{
    float amax = 0;
    for (int i = 0; i < n; i++)
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
    return amax;
}

/* The value of the table nearest to x / d, the first of equals. */
static uint8_t nearest(float x, float d)
{
    int best = 0;
    for (int i = 1; i < 16; i++)
        if (fabsf((float)ggml_fp4_values[i] * d - x) < fabsf((float)ggml_fp4_values[best] * d - x))
            best = i;
    return (uint8_t)best;
}

/* floorf(log2f(x)) for x > 0, log2f rounded to nearest: what is hardly below 2^k counts as 2^k. */
static int floor_log2(float x)
{
    /* ln 2 * 2^j rounded down: so many steps of 2^-24 below 1 have a logarithm that rounds to 0
     * when k is added, if 2^(j - 23) is the distance of floats below k. */
    static const uint8_t steps[9] = {0, 0, 1, 2, 5, 11, 22, 44, 88};
    int k;
    const float fraction = frexpf(x, &k); /* in [1/2, 1): x = fraction * 2^k */
    const unsigned below = (1u << 24) - (unsigned)(fraction * 0x1p24f);
    const unsigned magnitude = (unsigned)(k > 0 ? k - 1 : -k); /* of floats just below k */
    int j = 0;
    while (magnitude >> j)
        j++;
    return below <= steps[j] ? k : k - 1;
}

uint8_t ggml_mxfp4_exponent(float amax)
{
    return amax > 0 ? (uint8_t)(floor_log2(amax) - 2 + 127) : 0;
}

uint8_t ggml_nvfp4_code(float x)
{
    if (!(x > 0))
        return 0;
    if (x > 448)
        x = 448;
    int e = (int)(f32_bits(x) >> 23 & 0xFF) - 127 + 7;
    if (e <= 0) {
        const int m = (int)(x * 512 + 0.5f);
        return (uint8_t)(m > 7 ? 7 : m);
    }
    if (e >= 15)
        return 0x7E;
    int m = (int)(f32_bits(x) >> 20 & 7) + (int)(f32_bits(x) >> 19 & 1);
    if (m > 7) {
        m = 0;
        e++;
    }
    return (uint8_t)(e >= 15 ? 0x7E : e << 3 | m);
}

static void mxfp4_block(uint8_t *b, const struct ggml_values *v)
{
    uint8_t level[32];
    b[0] = ggml_mxfp4_exponent(largest(v->x, 32));
    for (int i = 0; i < 32; i++)
        level[i] = nearest(v->x[i], mxfp4_scale(b[0]));
    nibbles_pack(b + 1, level);
}

static void nvfp4_block(uint8_t *b, const struct ggml_values *v)
{
    uint8_t level[64];
    for (int g = 0; g < 4; g++) {
        b[g] = ggml_nvfp4_code(largest(v->x + 16 * g, 16) / 6);
        for (int i = 0; i < 16; i++)
            level[16 * g + i] = nearest(v->x[16 * g + i], nvfp4_scale(b[g]));
    }
    nvfp4_pack(b, level);
}

static const struct ggml_type MXFP4 = {SLOT_MXFP4,    32,          17, 1, mxfp4_block,
                                       mxfp4_factors, mxfp4_unpack};
static const struct ggml_type NVFP4 = {SLOT_NVFP4,    64,          36, 4, nvfp4_block,
                                       nvfp4_factors, nvfp4_unpack};

void ggml_quantize_rows_mxfp4_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                     const float *imatrix)
{
    (void)imatrix;
    ggml_quantize_scalar(dst, src, n_rows, n_cols, NULL, &MXFP4);
}

void ggml_dequantize_rows_mxfp4_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &MXFP4);
}

void ggml_quantize_rows_nvfp4_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                     const float *imatrix)
{
    (void)imatrix;
    ggml_quantize_scalar(dst, src, n_rows, n_cols, NULL, &NVFP4);
}

void ggml_dequantize_rows_nvfp4_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &NVFP4);
}

/* SPDX-License-Identifier: MIT */
/* The specification of IQ4_NL and IQ4_XS: docs/formats/ggml-blocks.md. */
#include <math.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_k.h"
#include "kernels/ggml/ggml_layout_q456.h"
#include "kernels/ggml/ggml_variants.h"

/* Scale of 32 values; sigma2 is used with weights only. */
static float fit(const float *x, const float *w, float sigma2)
{
    float wt[32];
    for (int i = 0; i < 32; i++)
        wt[i] = x[i] * x[i];
    if (w)
        ggml_weigh(wt, x, w, 32, sigma2);
    return ggml_fit_iq4(x, wt);
}

static void put_levels(uint8_t *level, const float *x, float d)
{
    const float id = d != 0 ? 1 / d : 0;
    for (int i = 0; i < 32; i++)
        level[i] = (uint8_t)ggml_iq4_index(id * x[i]);
}

static void iq4_nl_block(uint8_t *b, const struct ggml_values *v)
{
    uint8_t level[32];
    const float d = fit(v->x, v->w, ggml_sum_squares(v->x, 32) * (2.0f / 32));
    ggml_put_half(b, 0, d);
    put_levels(level, v->x, d);
    nibbles_pack(b + 2, level);
}

static void iq4_xs_block(uint8_t *b, const struct ggml_values *v)
{
    const float sigma2 = ggml_sum_squares(v->x, 256) * (2.0f / 256);
    float scale[8], d[8];
    uint8_t level[256];
    for (int j = 0; j < 8; j++)
        scale[j] = fit(v->x + 32 * j, v->w ? v->w + 32 * j : NULL, sigma2);
    ggml_iq4_xs_put_scales(b, d, scale);
    for (int j = 0; j < 8; j++)
        put_levels(level + 32 * j, v->x + 32 * j, d[j]);
    iq4_xs_pack(b, level);
}

static const struct ggml_type IQ4_NL = {SLOT_IQ4_NL,  32,           18,           1,
                                        iq4_nl_block, half_factors, iq4_nl_unpack};
static const struct ggml_type IQ4_XS = {SLOT_IQ4_XS,    256,          136, 8, iq4_xs_block,
                                        iq4_xs_factors, iq4_xs_unpack};

void ggml_quantize_rows_iq4_nl_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                      const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &IQ4_NL);
}

void ggml_dequantize_rows_iq4_nl_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &IQ4_NL);
}

void ggml_quantize_rows_iq4_xs_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                      const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &IQ4_XS);
}

void ggml_dequantize_rows_iq4_xs_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &IQ4_XS);
}

/* SPDX-License-Identifier: MIT */
/* The specification of Q2_K, Q3_K, Q4_K, Q5_K and Q6_K: docs/formats/ggml-blocks.md. */
#include <math.h>
#include <string.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_k.h"
#include "kernels/ggml/ggml_layout_q23.h"
#include "kernels/ggml/ggml_layout_q456.h"
#include "kernels/ggml/ggml_scalar.h"

/* A block being made: 256 values, their importance or NULL, and what is known so far. */
struct block {
    const float *x, *w;
    struct ggml_k_fit fit;
    uint8_t level[GGML_SUPER];
};

static float sum(const float *x, int n)
{
    float t = 0;
    for (int i = 0; i < n; i++)
        t += x[i];
    return t;
}

/* The codes for the stored factors of n_sub sub-blocks; those of the search where d is 0. */
static void requantize(struct block *k, const float *d, const float *m, int n_sub, int low,
                       int high)
{
    for (int i = 0; i < GGML_SUPER; i++) {
        const int j = i / (GGML_SUPER / n_sub);
        if (d[j] != 0) {
            const int l = ggml_nearest((k->x[i] + m[j]) / d[j]);
            k->level[i] = (uint8_t)(ggml_clamp(l, low, high) - low);
        }
    }
}

/* Q2_K, Q4_K, Q5_K: scale and minimum of each sub-block. */

static const struct ggml_affine_rule Q2_PLAIN = {3, -0.5f, 0.1f, 15, 1};
static const struct ggml_affine_rule Q2_WEIGHTED = {3, -0.9f, 0.05f, 36, 0};
static const struct ggml_affine_rule Q4_PLAIN = {15, -1.0f, 0.1f, 20, 0};
static const struct ggml_affine_rule Q4_WEIGHTED = {15, -0.9f, 0.05f, 36, 0};
static const struct ggml_affine_rule Q5_PLAIN = {31, -0.5f, 0.1f, 15, 0};
static const struct ggml_affine_rule Q5_WEIGHTED = {31, -0.9f, 0.05f, 36, 0};

static void fit_affine(struct block *k, int j, int n, const float *wt,
                       const struct ggml_affine_rule *rule)
{
    struct ggml_k_fit *f = &k->fit;
    f->scale[j] = ggml_fit_affine(&f->min[j], k->level + n * j, k->x + n * j, wt, n, rule);
    f->weight[j] = sum(wt, n);
}

static void q2_k_search(struct block *k)
{
    const float sigma2 = ggml_sum_squares(k->x, GGML_SUPER) / 256;
    for (int j = 0; j < 16; j++) {
        float wt[16];
        for (int i = 0; i < 16; i++)
            wt[i] = fabsf(k->x[16 * j + i]);
        if (k->w)
            ggml_weigh(wt, k->x + 16 * j, k->w + 16 * j, 16, sigma2);
        fit_affine(k, j, 16, wt, k->w ? &Q2_WEIGHTED : &Q2_PLAIN);
    }
}

static void q45_k_search(struct block *k, const struct ggml_affine_rule *plain,
                         const struct ggml_affine_rule *weighted)
{
    const float sigma2 = 2 * ggml_sum_squares(k->x, GGML_SUPER) / 256;
    for (int j = 0; j < 8; j++) {
        const float *x = k->x + 32 * j;
        const float av = sqrtf(ggml_sum_squares(x, 32) / 32);
        float wt[32];
        for (int i = 0; i < 32; i++)
            wt[i] = av + fabsf(x[i]);
        if (k->w)
            ggml_weigh(wt, x, k->w + 32 * j, 32, sigma2);
        fit_affine(k, j, 32, wt, k->w ? weighted : plain);
    }
}

static void q4_k_search(struct block *k)
{
    q45_k_search(k, &Q4_PLAIN, &Q4_WEIGHTED);
}

static void q5_k_search(struct block *k)
{
    q45_k_search(k, &Q5_PLAIN, &Q5_WEIGHTED);
}

/* Q3_K, Q6_K: a signed scale for each sub-block. */

static void q3_k_search(struct block *k)
{
    const float sigma2 = 2 * ggml_sum_squares(k->x, GGML_SUPER) / 256;
    for (int j = 0; j < 16; j++) {
        const float *x = k->x + 16 * j;
        float wt[16];
        if (!k->w) {
            k->fit.scale[j] = ggml_fit_refined(k->level + 16 * j, x);
            continue;
        }
        ggml_weigh(wt, x, k->w + 16 * j, 16, sigma2);
        k->fit.weight[j] = sum(wt, 16);
        k->fit.scale[j] = ggml_fit_symmetric(k->level + 16 * j, x, 16, 4, wt);
    }
}

static void q6_k_search(struct block *k)
{
    for (int j = 0; j < 16; j++)
        k->fit.scale[j] = ggml_fit_symmetric(k->level + 16 * j, k->x + 16 * j, 16, 32,
                                             k->w ? k->w + 16 * j : NULL);
}

static void q2_k_block(uint8_t *b, const struct ggml_values *v)
{
    struct block k = {.x = v->x, .w = v->w};
    float d[16], m[16];
    q2_k_search(&k);
    ggml_q2_k_put_scales(b, &k.fit, k.w != NULL);
    q2_k_factors(d, m, b);
    requantize(&k, d, m, 16, 0, 3);
    q2_k_pack(b, k.level);
}

static void q3_k_block(uint8_t *b, const struct ggml_values *v)
{
    struct block k = {.x = v->x, .w = v->w};
    float d[16], m[16];
    q3_k_search(&k);
    ggml_q3_k_put_scales(b, &k.fit, k.w != NULL);
    q3_k_factors(d, m, b);
    requantize(&k, d, m, 16, -4, 3);
    q3_k_pack(b, k.level);
}

static void q4_k_block(uint8_t *b, const struct ggml_values *v)
{
    struct block k = {.x = v->x, .w = v->w};
    float d[16], m[16];
    q4_k_search(&k);
    ggml_q45_k_put_scales(b, &k.fit, k.w != NULL);
    s6_factors(d, m, b);
    requantize(&k, d, m, 8, 0, 15);
    q4_k_pack(b, k.level);
}

static void q5_k_block(uint8_t *b, const struct ggml_values *v)
{
    struct block k = {.x = v->x, .w = v->w};
    float d[16], m[16];
    q5_k_search(&k);
    ggml_q45_k_put_scales(b, &k.fit, k.w != NULL);
    s6_factors(d, m, b);
    requantize(&k, d, m, 8, 0, 31);
    q5_k_pack(b, k.level);
}

static void q6_k_block(uint8_t *b, const struct ggml_values *v)
{
    struct block k = {.x = v->x, .w = v->w};
    float d[16], m[16];
    q6_k_search(&k);
    if (!ggml_q6_k_put_scales(b, &k.fit, k.w != NULL))
        return;
    q6_k_factors(d, m, b);
    requantize(&k, d, m, 16, -32, 31);
    q6_k_pack(b, k.level);
}

static const struct ggml_type Q2_K = {SLOT_Q2_K,  256,          84,         16,
                                      q2_k_block, q2_k_factors, q2_k_unpack};
static const struct ggml_type Q3_K = {SLOT_Q3_K,  256,          110,        16,
                                      q3_k_block, q3_k_factors, q3_k_unpack};
static const struct ggml_type Q4_K = {SLOT_Q4_K, 256, 144, 8, q4_k_block, s6_factors, q4_k_unpack};
static const struct ggml_type Q5_K = {SLOT_Q5_K, 256, 176, 8, q5_k_block, s6_factors, q5_k_unpack};
static const struct ggml_type Q6_K = {SLOT_Q6_K,  256,          210,        16,
                                      q6_k_block, q6_k_factors, q6_k_unpack};

void ggml_quantize_rows_q2_k_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q2_K);
}

void ggml_dequantize_rows_q2_k_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q2_K);
}

void ggml_quantize_rows_q3_k_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q3_K);
}

void ggml_dequantize_rows_q3_k_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q3_K);
}

void ggml_quantize_rows_q4_k_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q4_K);
}

void ggml_dequantize_rows_q4_k_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q4_K);
}

void ggml_quantize_rows_q5_k_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q5_K);
}

void ggml_dequantize_rows_q5_k_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q5_K);
}

void ggml_quantize_rows_q6_k_scalar(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    ggml_quantize_scalar(dst, src, n_rows, n_cols, imatrix, &Q6_K);
}

void ggml_dequantize_rows_q6_k_scalar(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    ggml_dequantize_scalar(dst, src, n_rows * n_cols, &Q6_K);
}

/* SPDX-License-Identifier: MIT */
/* The specification of Q2_K, Q3_K, Q4_K, Q5_K and Q6_K: docs/formats/ggml-blocks.md. */
#include <math.h>
#include <string.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_k.h"
#include "kernels/ggml/ggml_layout_q23.h"
#include "kernels/ggml/ggml_layout_q456.h"
#include "kernels/ggml/ggml_variants.h"

/* A block being made: 256 values, their importance or NULL, sigma2 with it; what was found. */
struct block {
    const float *x, *w;
    float sigma2;
    struct ggml_k_fit fit;
    uint8_t level[GGML_SUPER];
};

/* The search for sub-block j. */
typedef void search_fn(struct block *k, int j);

static float sum(const float *x, int n)
{
    float t = 0;
    for (int i = 0; i < n; i++)
        t += x[i];
    return t;
}

/* Q2_K, Q4_K, Q5_K: scale and minimum of each sub-block. */

static const struct ggml_affine_rule Q2_PLAIN = {3, -0.5f, 0.1f, 15, 1};
static const struct ggml_affine_rule Q2_WEIGHTED = {3, -0.9f, 0.05f, 36, 0};
static const struct ggml_affine_rule Q4_PLAIN = {15, -1.0f, 0.1f, 20, 0};
static const struct ggml_affine_rule Q4_WEIGHTED = {15, -0.9f, 0.05f, 36, 0};
static const struct ggml_affine_rule Q5_PLAIN = {31, -0.5f, 0.1f, 15, 0};
static const struct ggml_affine_rule Q5_WEIGHTED = {31, -0.9f, 0.05f, 36, 0};

/* wt: weights without importance. */
static void fit_affine(struct block *k, int j, int n, float *wt,
                       const struct ggml_affine_rule *rule)
{
    struct ggml_k_fit *f = &k->fit;
    const float *x = k->x + n * j;
    if (k->w)
        ggml_weigh(wt, x, k->w + n * j, (size_t)n, k->sigma2);
    f->scale[j] = ggml_fit_affine(&f->min[j], k->level + n * j, x, wt, n, rule);
    f->weight[j] = sum(wt, n);
}

static void q2_k_search(struct block *k, int j)
{
    float wt[16];
    for (int i = 0; i < 16; i++)
        wt[i] = fabsf(k->x[16 * j + i]);
    fit_affine(k, j, 16, wt, k->w ? &Q2_WEIGHTED : &Q2_PLAIN);
}

static void q45_k_search(struct block *k, int j, const struct ggml_affine_rule *rule)
{
    const float *x = k->x + 32 * j;
    const float av = sqrtf(ggml_sum_squares(x, 32) / 32);
    float wt[32];
    for (int i = 0; i < 32; i++)
        wt[i] = av + fabsf(x[i]);
    fit_affine(k, j, 32, wt, rule);
}

static void q4_k_search(struct block *k, int j)
{
    q45_k_search(k, j, k->w ? &Q4_WEIGHTED : &Q4_PLAIN);
}

static void q5_k_search(struct block *k, int j)
{
    q45_k_search(k, j, k->w ? &Q5_WEIGHTED : &Q5_PLAIN);
}

/* Q3_K, Q6_K: a signed scale for each sub-block. */

static void q3_k_search(struct block *k, int j)
{
    const float *x = k->x + 16 * j;
    float wt[16];
    if (!k->w) {
        k->fit.scale[j] = ggml_fit_refined(k->level + 16 * j, x);
        return;
    }
    ggml_weigh(wt, x, k->w + 16 * j, 16, k->sigma2);
    k->fit.weight[j] = sum(wt, 16);
    k->fit.scale[j] = ggml_fit_symmetric(k->level + 16 * j, x, 16, 4, wt);
}

static void q6_k_search(struct block *k, int j)
{
    k->fit.scale[j] =
        ggml_fit_symmetric(k->level + 16 * j, k->x + 16 * j, 16, 32, k->w ? k->w + 16 * j : NULL);
}

static const struct k_type {
    enum ggml_slot slot;
    int n_sub, low, high; /* sub-blocks; codes less low are stored */
    float sigma2;         /* times the sum of squares / 256 */
    search_fn *search;
    ggml_round_scales_fn *round;
    ggml_store_scales_fn *store;
    void (*factors)(float *d, float *m, const uint8_t *b);
    void (*pack)(uint8_t *b, const uint8_t *level);
} K_TYPES[] = {
    {SLOT_Q2_K, 16, 0, 3, 1, q2_k_search, ggml_q2_k_round, ggml_q2_k_store, q2_k_factors,
     q2_k_pack},
    {SLOT_Q3_K, 16, -4, 3, 2, q3_k_search, ggml_q3_k_round, ggml_q3_k_store, q3_k_factors,
     q3_k_pack},
    {SLOT_Q4_K, 8, 0, 15, 2, q4_k_search, ggml_q45_k_round, ggml_q45_k_store, s6_factors,
     q4_k_pack},
    {SLOT_Q5_K, 8, 0, 31, 2, q5_k_search, ggml_q45_k_round, ggml_q45_k_store, s6_factors,
     q5_k_pack},
    {SLOT_Q6_K, 16, -32, 31, 0, q6_k_search, ggml_q6_k_round, ggml_q6_k_store, q6_k_factors,
     q6_k_pack},
};

static const struct k_type *k_type(enum ggml_slot slot)
{
    const struct k_type *t = K_TYPES;
    while (t->slot != slot)
        t++;
    return t;
}

static void block_init(struct block *k, const struct k_type *t, const float *x, const float *w)
{
    k->x = x;
    k->w = w;
    k->sigma2 = w ? t->sigma2 * ggml_sum_squares(x, GGML_SUPER) / 256 : 0;
}

void ggml_k_search_again(uint8_t *level, enum ggml_slot slot, const float *x, const float *w, int j)
{
    const struct k_type *t = k_type(slot);
    const int n = GGML_SUPER / t->n_sub;
    struct block k;
    block_init(&k, t, x, w);
    t->search(&k, j);
    memcpy(level + n * j, k.level + n * j, (size_t)n);
}

/* The codes for the stored factors; those of the search where d is 0. */
static void requantize(struct block *k, const struct k_type *t, const uint8_t *b)
{
    float d[16], m[16];
    t->factors(d, m, b);
    for (int i = 0; i < GGML_SUPER; i++) {
        const int j = i / (GGML_SUPER / t->n_sub);
        if (d[j] != 0) {
            const int l = ggml_nearest((k->x[i] + m[j]) / d[j]);
            k->level[i] = (uint8_t)(ggml_clamp(l, t->low, t->high) - t->low);
        }
    }
}

static void k_block(uint8_t *b, const struct ggml_values *v, enum ggml_slot slot)
{
    const struct k_type *t = k_type(slot);
    struct ggml_k_scales r;
    struct block k;
    block_init(&k, t, v->x, v->w);
    for (int j = 0; j < t->n_sub; j++)
        t->search(&k, j);
    t->round(&r, &k.fit, k.w != NULL);
    t->store(b, &r);
    if (slot == SLOT_Q6_K && r.d == 0) { /* nothing to scale: codes of 0 are 0 bytes, not 32 */
        memset(b, 0, 210);
        return;
    }
    requantize(&k, t, b);
    t->pack(b, k.level);
}

static void q2_k_block(uint8_t *b, const struct ggml_values *v)
{
    k_block(b, v, SLOT_Q2_K);
}

static void q3_k_block(uint8_t *b, const struct ggml_values *v)
{
    k_block(b, v, SLOT_Q3_K);
}

static void q4_k_block(uint8_t *b, const struct ggml_values *v)
{
    k_block(b, v, SLOT_Q4_K);
}

static void q5_k_block(uint8_t *b, const struct ggml_values *v)
{
    k_block(b, v, SLOT_Q5_K);
}

static void q6_k_block(uint8_t *b, const struct ggml_values *v)
{
    k_block(b, v, SLOT_Q6_K);
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

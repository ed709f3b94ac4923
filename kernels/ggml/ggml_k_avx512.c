/* SPDX-License-Identifier: MIT */
/* The K types; ggml_lanes_k.h says how. */
#include "kernels/ggml/ggml_rows_avx512.h"

#include "kernels/ggml/ggml_lanes_k.h"
#include "kernels/ggml/ggml_variants.h"

static const struct k_lanes Q2_K = {
    SLOT_Q2_K,       84,           16,       0, 3, 1, q2_k_lanes, ggml_q2_k_round, q2_k_lanes_round,
    ggml_q2_k_store, q2_k_factors, q2_k_pack};
static const struct k_lanes Q3_K = {SLOT_Q3_K,
                                    110,
                                    16,
                                    -4,
                                    3,
                                    2,
                                    q3_k_lanes,
                                    ggml_q3_k_round,
                                    q3_k_lanes_round,
                                    ggml_q3_k_store,
                                    q3_k_factors,
                                    q3_k_pack};
static const struct k_lanes Q4_K = {SLOT_Q4_K,
                                    144,
                                    8,
                                    0,
                                    15,
                                    2,
                                    q4_k_lanes,
                                    ggml_q45_k_round,
                                    q45_k_lanes_round,
                                    ggml_q45_k_store,
                                    s6_factors,
                                    q4_k_pack};
static const struct k_lanes Q5_K = {SLOT_Q5_K,
                                    176,
                                    8,
                                    0,
                                    31,
                                    2,
                                    q5_k_lanes,
                                    ggml_q45_k_round,
                                    q45_k_lanes_round,
                                    ggml_q45_k_store,
                                    s6_factors,
                                    q5_k_pack};
static const struct k_lanes Q6_K = {
    SLOT_Q6_K,       210,          16,       -32, 31, 0, q6_k_lanes, ggml_q6_k_round, NULL,
    ggml_q6_k_store, q6_k_factors, q6_k_pack};

void ggml_quantize_rows_q2_k_avx512(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    k_quantize_rows(dst, src, n_rows, n_cols, imatrix, &Q2_K);
}

void ggml_quantize_rows_q3_k_avx512(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    k_quantize_rows(dst, src, n_rows, n_cols, imatrix, &Q3_K);
}

void ggml_quantize_rows_q4_k_avx512(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    k_quantize_rows(dst, src, n_rows, n_cols, imatrix, &Q4_K);
}

void ggml_quantize_rows_q5_k_avx512(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    k_quantize_rows(dst, src, n_rows, n_cols, imatrix, &Q5_K);
}

void ggml_quantize_rows_q6_k_avx512(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    k_quantize_rows(dst, src, n_rows, n_cols, imatrix, &Q6_K);
}

/* SPDX-License-Identifier: MIT */
/* Everything but the K types; ggml_lanes_q.h, ggml_lanes_iq4.h and ggml_vectors*.h say how. */
#include "kernels/ggml/ggml_rows_avx2.h"

#include "kernels/ggml/ggml_lanes_iq4.h"
#include "kernels/ggml/ggml_lanes_q.h"
#include "kernels/ggml/ggml_variants.h"
#include "kernels/ggml/ggml_vectors.h"
#include "kernels/ggml/ggml_vectors_fp4.h"
#include "kernels/ggml/ggml_vectors_q45.h"

void ggml_quantize_rows_f16_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                 const float *imatrix)
{
    const size_t n = n_rows * n_cols;
    uint8_t *b = dst;
    size_t i = 0;
    (void)imatrix;
    for (; i + 8 <= n; i += 8)
        f16_vector(b + 2 * i, src + i);
    ggml_quantize_rows_f16_scalar(b + 2 * i, src + i, 1, n - i, NULL);
}

void ggml_quantize_rows_bf16_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                  const float *imatrix)
{
    const size_t n = n_rows * n_cols;
    uint8_t *b = dst;
    size_t i = 0;
    (void)imatrix;
    for (; i + 8 <= n; i += 8)
        bf16_vector(b + 2 * i, src + i);
    ggml_quantize_rows_bf16_scalar(b + 2 * i, src + i, 1, n - i, NULL);
}

void ggml_quantize_rows_q8_0_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                  const float *imatrix)
{
    (void)imatrix;
    vector_quantize(dst, src, n_rows * n_cols, 32, 34, q8_0_vector);
}

void ggml_quantize_rows_mxfp4_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                   const float *imatrix)
{
    (void)imatrix;
    vector_quantize(dst, src, n_rows * n_cols, 32, 17, mxfp4_vector);
}

void ggml_quantize_rows_nvfp4_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                   const float *imatrix)
{
    (void)imatrix;
    vector_quantize(dst, src, n_rows * n_cols, 64, 36, nvfp4_vector);
}

void ggml_quantize_rows_q4_0_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                  const float *imatrix)
{
    if (imatrix)
        q_quantize_weighted(dst, src, n_rows, n_cols, imatrix, 18, q4_0_lanes);
    else
        vector_quantize(dst, src, n_rows * n_cols, 32, 18, q4_0_vector);
}

void ggml_quantize_rows_q4_1_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                  const float *imatrix)
{
    if (imatrix)
        q_quantize_weighted(dst, src, n_rows, n_cols, imatrix, 20, q4_1_lanes);
    else
        vector_quantize(dst, src, n_rows * n_cols, 32, 20, q4_1_vector);
}

void ggml_quantize_rows_q5_0_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                  const float *imatrix)
{
    if (imatrix)
        q_quantize_weighted(dst, src, n_rows, n_cols, imatrix, 22, q5_0_lanes);
    else
        vector_quantize(dst, src, n_rows * n_cols, 32, 22, q5_0_vector);
}

void ggml_quantize_rows_q5_1_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                  const float *imatrix)
{
    if (imatrix)
        q_quantize_weighted(dst, src, n_rows, n_cols, imatrix, 24, q5_1_lanes);
    else
        vector_quantize(dst, src, n_rows * n_cols, 32, 24, q5_1_vector);
}

void ggml_quantize_rows_iq4_nl_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    iq4_nl_quantize(dst, src, n_rows, n_cols, imatrix);
}

void ggml_quantize_rows_iq4_xs_avx2(void *dst, const float *src, size_t n_rows, size_t n_cols,
                                    const float *imatrix)
{
    iq4_xs_quantize(dst, src, n_rows, n_cols, imatrix);
}

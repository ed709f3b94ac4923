/* SPDX-License-Identifier: MIT */
/*
 * forward_variants.h - the vector functions behind struct forward_kernels.
 *
 * Private to the family; what they do is said in forward.h.
 */
#ifndef KERNELS_FORWARD_FORWARD_VARIANTS_H
#define KERNELS_FORWARD_FORWARD_VARIANTS_H

#include "kernels/forward/forward.h"

#ifdef __cplusplus
extern "C" {
#endif

void forward_rmsnorm_avx2(float *y, const float *x, const float *w, size_t n, float eps);
void forward_layernorm_avx2(float *y, const float *x, const float *w, const float *b, size_t n,
                            float eps);
void forward_rope_avx2(float *x, const float *cos, const float *sin, size_t half, int interleaved);
void forward_softmax_avx2(float *x, size_t n, float scale);
void forward_sigmoid_avx2(float *y, const float *x, size_t n);
void forward_silu_mul_avx2(float *y, const float *gate, const float *up, size_t n);
void forward_add_avx2(float *y, const float *x, size_t n);
void forward_axpy_avx2(float *y, float a, const float *x, size_t n);
void forward_index_scores_avx2(float *y, const float *g, const float *dots, size_t n_heads,
                               size_t ld, size_t n, float scale);
int forward_all_finite_avx2(const float *x, size_t n);
size_t forward_top_k_avx2(uint32_t *index, const float *x, size_t n, size_t k);

void forward_rmsnorm_avx512(float *y, const float *x, const float *w, size_t n, float eps);
void forward_layernorm_avx512(float *y, const float *x, const float *w, const float *b, size_t n,
                              float eps);
void forward_rope_avx512(float *x, const float *cos, const float *sin, size_t half,
                         int interleaved);
void forward_softmax_avx512(float *x, size_t n, float scale);
void forward_sigmoid_avx512(float *y, const float *x, size_t n);
void forward_silu_mul_avx512(float *y, const float *gate, const float *up, size_t n);
void forward_add_avx512(float *y, const float *x, size_t n);
void forward_axpy_avx512(float *y, float a, const float *x, size_t n);
void forward_index_scores_avx512(float *y, const float *g, const float *dots, size_t n_heads,
                                 size_t ld, size_t n, float scale);
int forward_all_finite_avx512(const float *x, size_t n);
size_t forward_top_k_avx512(uint32_t *index, const float *x, size_t n, size_t k);

#ifdef __cplusplus
}
#endif
#endif

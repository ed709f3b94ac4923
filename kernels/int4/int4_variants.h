/* SPDX-License-Identifier: MIT */
/*
 * int4_variants.h - the functions behind struct int4_kernels.
 *
 * Private to the family; what they do is said in int4.h.
 */
#ifndef KERNELS_INT4_INT4_VARIANTS_H
#define KERNELS_INT4_INT4_VARIANTS_H

#include "kernels/int4/int4.h"

#ifdef __cplusplus
extern "C" {
#endif

void int4_rtn_scalar(uint32_t *words, uint16_t *scales, const float *w, size_t n, size_t group,
                     enum int4_rule rule);
void int4_decode_f32_scalar(float *dst, const void *words, size_t n, float scale, int zero);
void int4_decode_bf16_scalar(uint16_t *dst, const void *words, size_t n, float scale, int zero);
void int4_transpose_scalar(void *dst, size_t dst_step, const void *src, size_t src_step,
                           size_t n_rows, size_t n_cols);
void int4_error_sums_scalar(double sums[2], const float *w, const float *q, size_t n);

void int4_rtn_avx2(uint32_t *words, uint16_t *scales, const float *w, size_t n, size_t group,
                   enum int4_rule rule);
void int4_decode_f32_avx2(float *dst, const void *words, size_t n, float scale, int zero);
void int4_decode_bf16_avx2(uint16_t *dst, const void *words, size_t n, float scale, int zero);
void int4_transpose_avx2(void *dst, size_t dst_step, const void *src, size_t src_step,
                         size_t n_rows, size_t n_cols);
void int4_error_sums_avx2(double sums[2], const float *w, const float *q, size_t n);

void int4_rtn_avx512(uint32_t *words, uint16_t *scales, const float *w, size_t n, size_t group,
                     enum int4_rule rule);
void int4_decode_f32_avx512(float *dst, const void *words, size_t n, float scale, int zero);
void int4_decode_bf16_avx512(uint16_t *dst, const void *words, size_t n, float scale, int zero);
void int4_transpose_avx512(void *dst, size_t dst_step, const void *src, size_t src_step,
                           size_t n_rows, size_t n_cols);
void int4_error_sums_avx512(double sums[2], const float *w, const float *q, size_t n);

/* The partial sums of each kind, added in order. */
void int4_finish_sums(double sums[2], const double error[16], const double signal[16]);

#ifdef __cplusplus
}
#endif
#endif

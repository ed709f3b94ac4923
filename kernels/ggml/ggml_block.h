/* SPDX-License-Identifier: MIT */
/*
 * ggml_block.h - what every quantizer of blocks shares: the walk over a tensor, refusals, weights.
 *
 * Private to the family.
 */
#ifndef KERNELS_GGML_GGML_BLOCK_H
#define KERNELS_GGML_GGML_BLOCK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ggml_slot {
    SLOT_F16,
    SLOT_BF16,
    SLOT_Q8_0,
    SLOT_Q4_0,
    SLOT_Q4_1,
    SLOT_Q5_0,
    SLOT_Q5_1,
    SLOT_Q2_K,
    SLOT_Q3_K,
    SLOT_Q4_K,
    SLOT_Q5_K,
    SLOT_Q6_K,
    SLOT_IQ4_NL,
    SLOT_IQ4_XS,
    SLOT_MXFP4,
    SLOT_NVFP4,
    N_SLOTS
};

/* A block to be made: its values, their importance or NULL; sigma2 is that of the row, with w. */
struct ggml_values {
    const float *x, *w;
    float sigma2;
};

/* A type as the scalar walks see it. */
struct ggml_type {
    enum ggml_slot slot;
    size_t n, bytes; /* of a block */
    size_t n_sub;    /* runs of equal length with one pair of factors */
    void (*quantize)(uint8_t *b, const struct ggml_values *v);
    void (*factors)(float *d, float *m, const uint8_t *b);
    void (*unpack)(int8_t *q, const uint8_t *b);
};

void ggml_quantize_scalar(uint8_t *b, const float *src, size_t n_rows, size_t n_cols,
                          const float *imatrix, const struct ggml_type *t);

void ggml_dequantize_scalar(float *dst, const uint8_t *b, size_t n, const struct ggml_type *t);

/* What a block which holds NaN or infinity becomes: zeros, its first scale NaN. */
void ggml_put_bad(uint8_t *b, enum ggml_slot slot);

int ggml_all_finite(const float *x, size_t n);

/* Sum of squares, in order. */
float ggml_sum_squares(const float *x, size_t n);

/* wt_i = w_i * sqrt(sigma2 + x_i * x_i) */
void ggml_weigh(float *wt, const float *x, const float *w, size_t n, float sigma2);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * convert.h - rows of numbers from one float format to another.
 *
 * Stored values are little-endian bytes at any address (src of the widening conversions), numbers
 * in memory are arrays.
 *
 * Shapes     n elements; dst and src do not overlap
 * Exact      every variant gives the scalar reference's bytes for all inputs: subnormals are kept,
 *            infinities stay, a NaN keeps sign and upper payload bits. bf16_to_f32 leaves a
 *            signalling NaN as it is (it only moves bits); the others make it quiet.
 * Threads    pure functions
 */
#ifndef KERNELS_CONVERT_CONVERT_H
#define KERNELS_CONVERT_CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct convert_kernels {
    void (*bf16_to_f32)(float *dst, const void *src, size_t n);
    void (*f16_to_f32)(float *dst, const void *src, size_t n);
    void (*f32_to_bf16)(uint16_t *dst, const float *src, size_t n); /* to nearest, ties to even */
};

/* The table of the highest level within the limit; it is constant. */
const struct convert_kernels *convert_kernels(enum isa limit);

void convert_bf16_to_f32_scalar(float *dst, const void *src, size_t n);
void convert_f16_to_f32_scalar(float *dst, const void *src, size_t n);
void convert_f32_to_bf16_scalar(uint16_t *dst, const float *src, size_t n);

void convert_bf16_to_f32_avx2(float *dst, const void *src, size_t n);
void convert_f16_to_f32_avx2(float *dst, const void *src, size_t n);
void convert_f32_to_bf16_avx2(uint16_t *dst, const float *src, size_t n);

void convert_bf16_to_f32_avx512(float *dst, const void *src, size_t n);
void convert_f16_to_f32_avx512(float *dst, const void *src, size_t n);
void convert_f32_to_bf16_avx512(uint16_t *dst, const float *src, size_t n);

#ifdef __cplusplus
}
#endif
#endif

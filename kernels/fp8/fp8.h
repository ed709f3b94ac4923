/* SPDX-License-Identifier: MIT */
/*
 * fp8.h - rows of E4M3 codes with a scale per block of columns (block-scaled FP8 checkpoints).
 *
 *   p[j] = f32(value(code[j]) * scale[j / block])    one multiplication, subnormals kept
 *   bf16 = p rounded to nearest, ties to even
 *
 * Shapes     codes [n], scales [ceil(n / block)], block >= 1: one row and the row of scales of its
 *            block of rows
 * Exact      every variant gives the scalar reference's bytes for all inputs. A product that is no
 *            number (a NaN code or scale, 0 times infinity) is 0x7FC00000, in BF16 0x7FC0
 * Threads    pure functions
 */
#ifndef KERNELS_FP8_FP8_H
#define KERNELS_FP8_FP8_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fp8_kernels {
    void (*decode_f32)(float *dst, const uint8_t *codes, size_t n, const float *scales,
                       size_t block);
    void (*decode_bf16)(uint16_t *dst, const uint8_t *codes, size_t n, const float *scales,
                        size_t block);
    size_t (*count_nan)(const uint8_t *codes, size_t n); /* codes 0x7F and 0xFF */
};

/* The table of the highest level within the limit; it is constant. */
const struct fp8_kernels *fp8_kernels(enum isa limit);

void fp8_decode_f32_scalar(float *dst, const uint8_t *codes, size_t n, const float *scales,
                           size_t block);
void fp8_decode_bf16_scalar(uint16_t *dst, const uint8_t *codes, size_t n, const float *scales,
                            size_t block);
size_t fp8_count_nan_scalar(const uint8_t *codes, size_t n);

void fp8_decode_f32_avx2(float *dst, const uint8_t *codes, size_t n, const float *scales,
                         size_t block);
void fp8_decode_bf16_avx2(uint16_t *dst, const uint8_t *codes, size_t n, const float *scales,
                          size_t block);
size_t fp8_count_nan_avx2(const uint8_t *codes, size_t n);

void fp8_decode_f32_avx512(float *dst, const uint8_t *codes, size_t n, const float *scales,
                           size_t block);
void fp8_decode_bf16_avx512(uint16_t *dst, const uint8_t *codes, size_t n, const float *scales,
                            size_t block);
size_t fp8_count_nan_avx512(const uint8_t *codes, size_t n);

#ifdef __cplusplus
}
#endif
#endif

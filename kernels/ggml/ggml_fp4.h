/* SPDX-License-Identifier: MIT */
/*
 * ggml_fp4.h - the scales of MXFP4 and NVFP4 blocks, the same for every variant.
 *
 * Private to the family. amax is finite and not negative.
 */
#ifndef KERNELS_GGML_GGML_FP4_H
#define KERNELS_GGML_GGML_FP4_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* E8M0 of the largest magnitude of a block. */
uint8_t ggml_mxfp4_exponent(float amax);

/* Unsigned E4M3, halves up, at most 448. */
uint8_t ggml_nvfp4_code(float x);

#ifdef __cplusplus
}
#endif
#endif

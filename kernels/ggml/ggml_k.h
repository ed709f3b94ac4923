/* SPDX-License-Identifier: MIT */
/*
 * ggml_k.h - what the variants of the K types and IQ4_XS share: from the scales of sub-blocks to
 * the bytes of a block.
 *
 * A quantizer searches a scale, for some types a minimum, for each sub-block; rounds these together
 * (put_scales); and finds the codes anew with what was stored. Only where the stored product of
 * scales is 0 do the codes of the search stay.
 *
 * Private to the family.
 */
#ifndef KERNELS_GGML_GGML_K_H
#define KERNELS_GGML_GGML_K_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What was found for the sub-blocks of one block; weight: sums of weights, where there are some. */
struct ggml_k_fit {
    float scale[16], min[16], weight[16];
};

/* Rounds the scales of a block and stores them in b; returns 0 when the block is all zero bytes. */
typedef int ggml_put_scales_fn(uint8_t *b, const struct ggml_k_fit *fit, int weighted);

ggml_put_scales_fn ggml_q2_k_put_scales, ggml_q3_k_put_scales, ggml_q45_k_put_scales,
    ggml_q6_k_put_scales;

/* scale [8]; d [8]: what the values of each sub-block are divided by. */
void ggml_iq4_xs_put_scales(uint8_t *b, float *d, const float *scale);

#ifdef __cplusplus
}
#endif
#endif

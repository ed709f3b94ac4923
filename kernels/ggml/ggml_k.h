/* SPDX-License-Identifier: MIT */
/*
 * ggml_k.h - what the variants of the K types and IQ4_XS share: from the scales of sub-blocks to
 * the bytes of a block.
 *
 * A quantizer searches a scale, for some types a minimum, for each sub-block; rounds these together
 * (round, store); and finds the codes anew with what was stored. Only where the stored product of
 * scales is 0 do the codes of the search stay.
 *
 * Private to the family.
 */
#ifndef KERNELS_GGML_GGML_K_H
#define KERNELS_GGML_GGML_K_H

#include <stdint.h>

#include "kernels/ggml/ggml_block.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What was found for the sub-blocks of one block; weight: sums of weights, where there are some. */
struct ggml_k_fit {
    float scale[16], min[16], weight[16];
};

/* Scales and minima as whole numbers, and what they are multiplied by. */
struct ggml_k_scales {
    uint8_t s[16], m[16];
    float d, dmin;
};

/* From what was found to what is stored. */
typedef void ggml_round_scales_fn(struct ggml_k_scales *r, const struct ggml_k_fit *fit,
                                  int weighted);
typedef void ggml_store_scales_fn(uint8_t *b, const struct ggml_k_scales *r);

ggml_round_scales_fn ggml_q2_k_round, ggml_q3_k_round, ggml_q45_k_round, ggml_q6_k_round;
ggml_store_scales_fn ggml_q2_k_store, ggml_q3_k_store, ggml_q45_k_store, ggml_q6_k_store;

/* scale [8]; d [8]: what the values of each sub-block are divided by. */
void ggml_iq4_xs_put_scales(uint8_t *b, float *d, const float *scale);

/*
 * The codes which the search gives sub-block j of the block x, in level [256]: they stay where the
 * stored scales multiply to 0. w NULL: without weights.
 */
void ggml_k_search_again(uint8_t *level, enum ggml_slot slot, const float *x, const float *w,
                         int j);

#ifdef __cplusplus
}
#endif
#endif

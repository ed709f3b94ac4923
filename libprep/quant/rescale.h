/* SPDX-License-Identifier: MIT */
/*
 * rescale.h - bring an NVFP4 linear under a larger global scale, without its source.
 *
 * Engines compute gate and up of an expert with one global scale. Where the two are stored with
 * different ones, the half with the smaller is rewritten: with s2 its own weight_scale_2
 * (1/weight_global_scale) and G the larger one, every block scale S becomes
 * e4m3(clamp(S * s2 / G, 2^-9, 448)); 0 and NaN stay, codes do not change. The error is at most
 * half a step of E4M3, and none when the ratio is a power of two and nothing underflows.
 *
 * Shapes     inputs: block scales E4M3 of any shape, own global F32, global of the other F32;
 *            outputs: block scales, global
 * Ownership  struct rescale is the argument of the step and outlives the plan
 * Errors     PREP_EDATA when the other global is not the larger one
 * Threads    a pure step
 */
#ifndef PREP_QUANT_RESCALE_H
#define PREP_QUANT_RESCALE_H

#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rescale {
    int divides;             /* compressed-tensors: the global is a divisor */
    uint32_t scales, global; /* numbers of the outputs, from the layout */
};

int rescale_step(const struct step_memory *m, const void *rescale, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

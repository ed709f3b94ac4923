/* SPDX-License-Identifier: MIT */
/*
 * logits_variants.h - the functions behind struct logits_kernels.
 *
 * Private to the family; what they do is said in logits.h.
 */
#ifndef KERNELS_LOGITS_LOGITS_VARIANTS_H
#define KERNELS_LOGITS_LOGITS_VARIANTS_H

#include "kernels/logits/logits.h"

#ifdef __cplusplus
extern "C" {
#endif

float logits_max_scalar(const float *z, size_t n);
double logits_sum_exp_scalar(const float *z, double max, size_t n);
void logits_sums_scalar(struct logits_sums *to, const float *p, double p_max, const float *q,
                        double q_max, size_t n);

#ifdef __cplusplus
}
#endif
#endif

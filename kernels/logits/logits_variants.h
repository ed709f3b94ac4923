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

float logits_max_avx2(const float *z, size_t n);
double logits_sum_exp_avx2(const float *z, double max, size_t n);
void logits_sums_avx2(struct logits_sums *to, const float *p, double p_max, const float *q,
                      double q_max, size_t n);

float logits_max_avx512(const float *z, size_t n);
double logits_sum_exp_avx512(const float *z, double max, size_t n);
void logits_sums_avx512(struct logits_sums *to, const float *p, double p_max, const float *q,
                        double q_max, size_t n);

/* The lanes of the three sums. */
struct logits_lanes {
    double p[LOGITS_LANES], q[LOGITS_LANES], cross[LOGITS_LANES];
};

/* The last n elements of two rows. */
struct logits_rest {
    const float *p, *q;
    double p_max, q_max;
    size_t n;
};

/* Add the last n elements of a row, of which a multiple of LANES went before, and fold. */
double logits_finish_sum(double lane[LOGITS_LANES], const float *z, double max, size_t n);
void logits_finish_sums(struct logits_sums *to, struct logits_lanes *lanes,
                        const struct logits_rest *rest);

#ifdef __cplusplus
}
#endif
#endif

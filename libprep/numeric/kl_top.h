/* SPDX-License-Identifier: MIT */
/*
 * kl_top.h - KL divergence from a distribution of which only the largest probabilities are known.
 *
 * The tokens that are not listed count as one outcome, "any other", of probability t in p and u in
 * q: the sum over the listed of p_i (log p_i - log q_i), plus t (log t - log u). Joining outcomes
 * never makes a divergence larger, so this is a lower bound of the full one.
 *
 * Shapes     z [n] logits; ids [n_ids], each once
 * Units      nats
 * Ownership  caller memory
 * Errors     none: NaN in a row gives NaN; +inf when q is 0 where p is not
 * Threads    pure functions
 */
#ifndef PREP_NUMERIC_KL_TOP_H
#define PREP_NUMERIC_KL_TOP_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/logits/logits.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sum of e^(z_i - max) over all i that are not in ids (ascending), gap by gap. */
double kl_sum_outside(const struct logits_kernels *k, const float *z, double max, size_t n,
                      const uint32_t *ids, size_t n_ids);

struct kl_top {
    const uint32_t *ids; /* any order */
    const float *logits; /* [n_ids] of p */
    size_t n_ids;
    double logsumexp; /* of p, all tokens */
    double tail;      /* t */
};

/* q: all its logits; sorted: work memory [n_ids], holds the ids in ascending order afterwards. */
double kl_top_divergence(const struct logits_kernels *k, const struct kl_top *p, const float *q,
                         size_t n, uint32_t *sorted);

#ifdef __cplusplus
}
#endif
#endif

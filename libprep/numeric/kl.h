/* SPDX-License-Identifier: MIT */
/*
 * kl.h - two rows of logits compared: how far one model's next-token distribution is from another.
 *
 * p = softmax of a row; KL(p || q) = sum over i of p_i (log p_i - log q_i), in nats. Logits are
 * F32, everything behind them F64. The sums are those of kernels/logits, so that the bits do not
 * depend on the machine. A logit of -inf is a probability of 0.
 *
 * Shapes     rows of n F32 logits, 0 < n < 2^32
 * Ownership  caller memory; the table comes from logits_kernels()
 * Errors     none: NaN or +inf in a row, or -inf everywhere, gives NaN; +inf when q is 0
 *            where p is not
 * Threads    pure functions
 */
#ifndef PREP_NUMERIC_KL_H
#define PREP_NUMERIC_KL_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/logits/logits.h"

#ifdef __cplusplus
extern "C" {
#endif

/* log sum e^z_i. The negative log-likelihood of token t is this minus z[t]. */
double kl_log_sum_exp(const struct logits_kernels *k, const float *z, size_t n);

/* KL(p || q), p and q given by their logits; 0 for equal rows. The error is about 1e-15, absolute,
 * for 10^5 logits, so that a value below that may be negative. */
double kl_divergence(const struct logits_kernels *k, const float *p, const float *q, size_t n);

/*
 * The ids of the k largest logits, largest first; equal logits: the lower id first; -0 equals +0;
 * NaN loses to everything. Returns how many: the lower of k and n. For small k.
 */
size_t kl_top_k(uint32_t *ids, const float *z, size_t n, size_t k);

struct kl_agreement {
    int same_first;     /* p and q have the same most likely token */
    int first_in_five;  /* p's most likely token is among q's five */
    int shared_of_five; /* how many of p's five are among q's five: 0..5 */
};

void kl_agree(struct kl_agreement *to, const float *p, const float *q, size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * proportion.h - counts of yes and no: how sure one may be of a rate, and of a difference of two.
 *
 * Wilson's score interval (Wilson, JASA 22, 1927) for k of n at 95 %; McNemar's exact sign test
 * (McNemar, Psychometrika 12, 1947) for two methods tried on the same cases: of the cases on which
 * they disagree, each side is as likely as the other if the methods are alike.
 *
 * Ownership  nothing is kept
 * Errors     none: what is not defined is NaN (k > n, n = 0)
 * Threads    pure functions; sums in a fixed order, so the same bits everywhere
 */
#ifndef PREP_NUMERIC_PROPORTION_H
#define PREP_NUMERIC_PROPORTION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct proportion {
    double rate;      /* k / n */
    double low, high; /* 95 % */
};

void proportion_wilson(struct proportion *to, uint64_t k, uint64_t n);

/* P(X <= k) for X binomial with n trials of probability 1/2; 1 from k = n on. */
double proportion_half_tail(uint64_t k, uint64_t n);

struct proportion_pairs {
    uint64_t both, neither;
    uint64_t only_first, only_second; /* the pairs that tell something */
};

/* Add a case: did it happen under the first, under the second? */
static inline void proportion_add_pair(struct proportion_pairs *p, int first, int second)
{
    p->both += first && second;
    p->neither += !first && !second;
    p->only_first += first && !second;
    p->only_second += !first && second;
}

/* Two-sided p-value; 1 when no pair disagrees. */
double proportion_mcnemar(const struct proportion_pairs *p);

/*
 * Where a value stands among draws: 0 when it is below all of them. Draws equal to it count as
 * below, so that "below the lowest" means strictly below.
 */
size_t proportion_rank(double value, const double *draws, size_t n);
/* Standard deviation of a sample, with n - 1; NaN for n < 2. */
double proportion_deviation(const double *x, size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * logits.h - the sums over one vocabulary row that likelihood and KL divergence are made of.
 *
 * F32 logits, F64 arithmetic. A sum is defined to the bit: LOGITS_LANES partial sums, lane l a
 * chain over the elements l, l + LANES, ... from 0, then folded by halves: lane i += lane i +
 * LANES/2, ... until one is left. e^x is logits_exp().
 *
 * Shapes     rows of n F32 elements
 * Exact      every variant gives the scalar reference's bytes; NaN comes out as some NaN
 * Threads    pure functions
 */
#ifndef KERNELS_LOGITS_LOGITS_H
#define KERNELS_LOGITS_LOGITS_H

#include <stddef.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LOGITS_LANES = 16 };

/*
 * e^x in binary64, within 1.1 units in the last place: x = n ln 2 + r, |r| <= ln(2)/2, ln 2 in two
 * parts, a polynomial of degree 13 in r by Horner's rule with fma, then two multiplications by
 * powers of two. 0 below -745.2, +inf above 709.8, NaN for NaN.
 */
double logits_exp(double x);
/* e^(x + tail), |tail| below a unit in the last place of x. */
double logits_exp_sum(double x, double tail);

struct logits_sums {
    double p, q;  /* sum e^(p_i - p_max), sum e^(q_i - q_max) */
    double cross; /* sum e^(p_i - p_max) ((p_i - p_max) - (q_i - q_max)) by fma; the factor e = 0
                     gives nothing, whatever stands beside it */
};

struct logits_kernels {
    /* The largest; NaN where there is one; -inf for n = 0; +0 for a zero of either sign. */
    float (*max)(const float *z, size_t n);
    /* sum e^(z_i - max). */
    double (*sum_exp)(const float *z, double max, size_t n);
    void (*sums)(struct logits_sums *to, const float *p, double p_max, const float *q, double q_max,
                 size_t n);
};

/* The table of the highest level within the limit; it is constant. */
const struct logits_kernels *logits_kernels(enum isa limit);

#ifdef __cplusplus
}
#endif
#endif

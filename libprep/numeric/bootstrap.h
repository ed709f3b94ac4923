/* SPDX-License-Identifier: MIT */
/*
 * bootstrap.h - means, percentiles, and how sure one may be of them.
 *
 * A figure measured on windows of text is the mean of its window values. Its 95 % interval comes
 * from BOOTSTRAP_RESAMPLES resamples: each draws n of the n values with replacement and takes
 * their mean; the 2.5 % and 97.5 % points of those means are the interval's ends. Two methods
 * measured on the same windows are compared by the same resampling of their differences.
 *
 * The draws are prep_random_below(n) of base/random.h, started at `seed`, one after the other,
 * resample by resample; a mean adds its values in the order drawn. So a seed fixes every bit.
 *
 * Shapes     x, a, b [n]; work [BOOTSTRAP_RESAMPLES], holds the sorted means afterwards
 * Ownership  caller memory
 * Errors     none: where n is 0 or a value is not finite, a result is NaN
 * Threads    pure functions
 */
#ifndef PREP_NUMERIC_BOOTSTRAP_H
#define PREP_NUMERIC_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BOOTSTRAP_RESAMPLES = 10000, BOOTSTRAP_SEED = 1 };

struct bootstrap_interval {
    double mean;      /* of the sample itself */
    double low, high; /* 2.5 % and 97.5 % points of the resampled means */
};

void bootstrap_mean(struct bootstrap_interval *to, const double *x, size_t n, uint64_t seed,
                    double *work);
/* Of a[i] - b[i]: an interval below 0 says that a is lower. */
void bootstrap_difference(struct bootstrap_interval *to, const double *a, const double *b, size_t n,
                          uint64_t seed, double *work);

/* The values added in index order, divided by n. */
double sample_mean(const double *x, size_t n);
/* e to the mean of the logarithms. 0 where a value is 0, NaN where one is negative. */
double sample_geometric_mean(const double *x, size_t n);
/* Ascending. NaN is not allowed. */
void sample_sort(double *x, size_t n);
/* Linear interpolation between order statistics: position q (n - 1), 0 <= q <= 1. */
double sample_percentile(const double *sorted, size_t n, double q);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "libprep/base/random.h"
#include "libprep/numeric/bootstrap.h"
#include "libprep/numeric/elementary.h"

double sample_mean(const double *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

double sample_geometric_mean(const double *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += prep_log(x[i]);
    return prep_exp(sum / (double)n);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sample_sort(double *x, size_t n)
{
    qsort(x, n, sizeof *x, ascending);
}

double sample_percentile(const double *sorted, size_t n, double q)
{
    if (!n)
        return NAN;
    const double at = q * (double)(n - 1), below = floor(at);
    const size_t i = (size_t)below;
    if (at == below || sorted[i] == sorted[i + 1])
        return sorted[i];
    return fma(at - below, sorted[i + 1] - sorted[i], sorted[i]);
}

/* b may be NULL: nothing is subtracted. */
static double value(const double *a, const double *b, size_t i)
{
    return b ? a[i] - b[i] : a[i];
}

static void resample(struct bootstrap_interval *to, const double *a, const double *b, size_t n,
                     uint64_t seed, double *work)
{
    struct prep_random random = {seed};
    double sum = 0.0;
    *to = (struct bootstrap_interval){NAN, NAN, NAN};
    for (size_t i = 0; i < n; i++)
        sum += value(a, b, i);
    if (!n || !isfinite(sum))
        return;
    to->mean = sum / (double)n;
    for (size_t r = 0; r < BOOTSTRAP_RESAMPLES; r++) {
        double drawn = 0.0;
        for (size_t i = 0; i < n; i++)
            drawn += value(a, b, (size_t)prep_random_below(&random, n));
        work[r] = drawn / (double)n;
    }
    sample_sort(work, BOOTSTRAP_RESAMPLES);
    to->low = sample_percentile(work, BOOTSTRAP_RESAMPLES, 0.025);
    to->high = sample_percentile(work, BOOTSTRAP_RESAMPLES, 0.975);
}

void bootstrap_mean(struct bootstrap_interval *to, const double *x, size_t n, uint64_t seed,
                    double *work)
{
    resample(to, x, NULL, n, seed, work);
}

void bootstrap_difference(struct bootstrap_interval *to, const double *a, const double *b, size_t n,
                          uint64_t seed, double *work)
{
    resample(to, a, b, n, seed, work);
}

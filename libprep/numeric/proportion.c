/* SPDX-License-Identifier: MIT */
#include "libprep/numeric/proportion.h"

#include <math.h>

#include "libprep/numeric/bootstrap.h"

/* 97.5 % point of the normal distribution: scipy.stats.norm.ppf(0.975). */
#define Z_95 1.959963984540054

void proportion_wilson(struct proportion *to, uint64_t k, uint64_t n)
{
    if (!n || k > n) {
        *to = (struct proportion){(double)NAN, (double)NAN, (double)NAN};
        return;
    }
    const double p = (double)k / (double)n, m = (double)n, z2 = Z_95 * Z_95;
    const double middle = (p + z2 / (2 * m)) / (1 + z2 / m);
    const double half = Z_95 / (1 + z2 / m) * sqrt(p * (1 - p) / m + z2 / (4 * m * m));
    to->rate = p;
    /* At the ends the interval touches them exactly; rounding must not pass them. */
    to->low = k == 0 ? 0 : middle - half;
    to->high = k == n ? 1 : middle + half;
}

double proportion_half_tail(uint64_t k, uint64_t n)
{
    if (k >= n)
        return 1;
    /* C(n, k) / 2^n as term * 2^scale: the product grows beyond a double for n > 1000. */
    double term = 1, sum;
    int64_t scale = -(int64_t)n;
    for (uint64_t i = 1; i <= k; i++) {
        int e;
        term = frexp(term * ((double)(n - k + i) / (double)i), &e);
        scale += e;
    }
    /* Then downwards: C(n, i - 1) = C(n, i) i / (n - i + 1). */
    sum = term;
    for (uint64_t i = k; i > 0 && term > 0; i--) {
        term *= (double)i / (double)(n - i + 1);
        sum += term;
    }
    if (scale < -2000)
        return 0;
    sum = ldexp(sum, (int)scale);
    return sum < 1 ? sum : 1;
}

double proportion_mcnemar(const struct proportion_pairs *p)
{
    const uint64_t n = p->only_first + p->only_second;
    const uint64_t low = p->only_first < p->only_second ? p->only_first : p->only_second;
    if (!n)
        return 1;
    const double both = 2 * proportion_half_tail(low, n);
    return both < 1 ? both : 1;
}

size_t proportion_rank(double value, const double *draws, size_t n)
{
    size_t below = 0;
    for (size_t i = 0; i < n; i++)
        below += draws[i] <= value;
    return below;
}

double proportion_deviation(const double *x, size_t n)
{
    const double mean = sample_mean(x, n);
    double sum = 0;
    if (n < 2)
        return (double)NAN;
    for (size_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sqrt(sum / (double)(n - 1));
}

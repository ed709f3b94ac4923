/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/logits/logits.h"
#include "kernels/logits/logits_variants.h"

/* 2^n for -1022 <= n <= 1023. */
static double power_of_two(int n)
{
    const uint64_t u = (uint64_t)(n + 1023) << 52;
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Where e^x is neither 0 nor infinite for being out of range, nor NaN. */
static int ordinary(double x)
{
    return x >= -745.2 && x <= 709.8;
}

static double extreme(double x)
{
    return x < -745.2 ? 0.0 : x > 709.8 ? INFINITY : x;
}

/* x = n ln 2 + r + low, low being what rounding r lost. */
static double reduce(double *r, double *low, double x)
{
    const double n = rint(x * 0x1.71547652b82fep+0);
    const double high = fma(n, -0x1.62e42fefa38p-1, x);
    *r = fma(n, -0x1.ef35793c7673p-45, high);
    *low = fma(n, -0x1.ef35793c7673p-45, high - *r);
    return n;
}

/*
 * (e^r - 1) / r. The coefficients are 1/13! ... 1/1!; at |r| <= 0.3466 the first term left out,
 * r^13/14!, is below 2e-17.
 */
static double quotient(double r)
{
    double p = 0x1.6124613a86d09p-33;
    p = fma(p, r, 0x1.1eed8eff8d898p-29);
    p = fma(p, r, 0x1.ae64567f544e4p-26);
    p = fma(p, r, 0x1.27e4fb7789f5cp-22);
    p = fma(p, r, 0x1.71de3a556c734p-19);
    p = fma(p, r, 0x1.a01a01a01a01ap-16);
    p = fma(p, r, 0x1.a01a01a01a01ap-13);
    p = fma(p, r, 0x1.6c16c16c16c17p-10);
    p = fma(p, r, 0x1.1111111111111p-7);
    p = fma(p, r, 0x1.5555555555555p-5);
    p = fma(p, r, 0x1.5555555555555p-3);
    p = fma(p, r, 0x1p-1);
    p = fma(p, r, 1.0);
    return p;
}

static double scale(double y, double n)
{
    const int half = (int)n / 2;
    return y * power_of_two(half) * power_of_two((int)n - half);
}

double logits_exp(double x)
{
    double r, low;
    if (!ordinary(x))
        return extreme(x);
    const double n = reduce(&r, &low, x);
    return scale(1.0 + fma(r, quotient(r), low), n);
}

double logits_exp_sum(double x, double tail)
{
    double r, low;
    if (!ordinary(x))
        return extreme(x);
    const double n = reduce(&r, &low, x), p = quotient(r), rest = low + tail;
    return scale(1.0 + fma(r, p, fma(rest, r * p, rest)), n);
}

static double fold(double lane[LOGITS_LANES])
{
    for (int width = LOGITS_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

float logits_max_scalar(const float *z, size_t n)
{
    float m = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        if (isnan(z[i]))
            return z[i];
        m = z[i] > m ? z[i] : m;
    }
    return m + 0.0F;
}

double logits_finish_sum(double lane[LOGITS_LANES], const float *z, double max, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lane[i % LOGITS_LANES] += logits_exp((double)z[i] - max);
    return fold(lane);
}

double logits_sum_exp_scalar(const float *z, double max, size_t n)
{
    double lane[LOGITS_LANES] = {0};
    return logits_finish_sum(lane, z, max, n);
}

void logits_finish_sums(struct logits_sums *to, struct logits_lanes *lanes,
                        const struct logits_rest *rest)
{
    for (size_t i = 0; i < rest->n; i++) {
        const size_t l = i % LOGITS_LANES;
        const double a = (double)rest->p[i] - rest->p_max, b = (double)rest->q[i] - rest->q_max;
        const double e = logits_exp(a);
        lanes->p[l] += e;
        lanes->q[l] += logits_exp(b);
        lanes->cross[l] = e == 0.0 ? lanes->cross[l] : fma(e, a - b, lanes->cross[l]);
    }
    *to = (struct logits_sums){fold(lanes->p), fold(lanes->q), fold(lanes->cross)};
}

void logits_sums_scalar(struct logits_sums *to, const float *p, double p_max, const float *q,
                        double q_max, size_t n)
{
    struct logits_lanes lanes = {{0}, {0}, {0}};
    logits_finish_sums(to, &lanes, &(struct logits_rest){p, q, p_max, q_max, n});
}

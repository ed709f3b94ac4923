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

/*
 * The coefficients are 1/13! ... 1/1!: p is (e^r - 1) / r, and at |r| <= 0.3466 the first term
 * left out, r^13/14!, is below 2e-17. `low` is what rounding r lost
 * and what the argument has beyond x.
 */
double logits_exp_sum(double x, double tail)
{
    if (!(x >= -745.2)) /* NaN stays */
        return x < -745.2 ? 0.0 : x;
    if (x > 709.8)
        return INFINITY;
    const double n = rint(x * 0x1.71547652b82fep+0);
    const double high = fma(n, -0x1.62e42fefa38p-1, x);
    const double r = fma(n, -0x1.ef35793c7673p-45, high);
    const double low = fma(n, -0x1.ef35793c7673p-45, high - r) + tail;
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
    const double y = 1.0 + fma(r, p, low);
    const int half = (int)n / 2;
    return y * power_of_two(half) * power_of_two((int)n - half);
}

double logits_exp(double x)
{
    return logits_exp_sum(x, 0.0);
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
    return m;
}

double logits_sum_exp_scalar(const float *z, double max, size_t n)
{
    double lane[LOGITS_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % LOGITS_LANES] += logits_exp((double)z[i] - max);
    return fold(lane);
}

void logits_sums_scalar(struct logits_sums *to, const float *p, double p_max, const float *q,
                        double q_max, size_t n)
{
    double p_sum[LOGITS_LANES] = {0}, q_sum[LOGITS_LANES] = {0}, cross[LOGITS_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double a = (double)p[i] - p_max, b = (double)q[i] - q_max;
        const double e = logits_exp(a);
        double *const c = cross + i % LOGITS_LANES;
        p_sum[i % LOGITS_LANES] += e;
        q_sum[i % LOGITS_LANES] += logits_exp(b);
        *c = e == 0.0 ? *c : fma(e, a - b, *c);
    }
    *to = (struct logits_sums){fold(p_sum), fold(q_sum), fold(cross)};
}

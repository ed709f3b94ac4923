/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "libprep/numeric/elementary.h"

static const double LN2_HI = 0x1.62e42fefa38p-1, LN2_LO = 0x1.ef35793c7673p-45;

/* x = n ln 2 + r; the Taylor series of e^r to r^13: at |r| <= 0.3466 the rest is below 1e-17. */
double prep_exp(double x)
{
    if (!(x >= -745.2))
        return x < -745.2 ? 0.0 : x;
    if (x > 709.8)
        return INFINITY;
    const double n = rint(x * 0x1.71547652b82fep+0);
    const double hi = fma(n, -LN2_HI, x), r = fma(n, -LN2_LO, hi);
    double p = 1.0;
    for (int k = 13; k > 1; k--)
        p = fma(p, r / k, 1.0);
    /* p is (e^r - 1) / r; the low part of r is what rounding hi - n LN2_LO lost. */
    const double low = fma(n, -LN2_LO, hi - r);
    return ldexp(1.0 + fma(r, p, low), (int)n);
}

/*
 * x = 2^e m, sqrt(1/2) <= m < sqrt(2); log m = 2 atanh(s), s = (m - 1) / (m + 1), whose odd series
 * to s^21 leaves less than 1e-17 at |s| <= 0.1716.
 */
double prep_log(double x)
{
    if (!(x > 0.0) || isinf(x))
        return x == 0.0 ? -INFINITY : x > 0.0 ? x : NAN;
    int e;
    double m = frexp(x, &e);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2.0;
        e--;
    }
    const double f = m - 1.0, s = f / (2.0 + f), z = s * s;
    double p = 0.0;
    for (int k = 21; k > 1; k -= 2)
        p = fma(p, z, 1.0 / k);
    /* log m = f - s (f - 2 z p): the leading term f is exact. */
    const double tail = s * fma(-2.0 * z, p, f);
    return fma(e, LN2_HI, f - (tail - e * LN2_LO));
}

double prep_pow(double x, double y)
{
    return prep_exp(y * prep_log(x));
}

/* pi/2 in three parts of 33 bits, so that n times the upper two is exact for n < 2^20. */
static const double PIO2_1 = 0x1.921fb544p+0, PIO2_2 = 0x1.0b4611a6p-34,
                    PIO2_3 = 0x1.3198a2e037073p-69;

static double sine_of(double r)
{
    const double z = r * r;
    double p = 0.0;
    for (int k = 19; k > 1; k -= 2)
        p = fma(p, -z, 1.0) / (k * (k - 1)); /* 1/(k(k-1)) - z/(...) nested */
    return fma(r * -z, p, r);
}

static double cosine_of(double r)
{
    const double z = r * r;
    double p = 0.0;
    for (int k = 20; k > 2; k -= 2)
        p = fma(p, -z, 1.0) / (k * (k - 1));
    return 1.0 - fma(z, 0.5, -(z * z) * p / 2.0);
}

void prep_sincos(double *sine, double *cosine, double x)
{
    const double n = rint(x * 0x1.45f306dc9c883p-1);
    const double r = fma(n, -PIO2_3, fma(n, -PIO2_2, fma(n, -PIO2_1, x)));
    const double s = sine_of(r), c = cosine_of(r);
    switch ((long long)n & 3) {
    case 0:
        *sine = s, *cosine = c;
        break;
    case 1:
        *sine = c, *cosine = -s;
        break;
    case 2:
        *sine = -s, *cosine = -c;
        break;
    default:
        *sine = -c, *cosine = s;
        break;
    }
}

/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/logits/logits.h"
#include "libprep/numeric/elementary.h"

/* A value in two parts, |lo| below half a unit in the last place of hi. */
struct two {
    double hi, lo;
};

/* a + b exactly (Knuth). */
static struct two two_sum(double a, double b)
{
    const double hi = a + b, v = hi - a;
    return (struct two){hi, (a - (hi - v)) + (b - v)};
}

double prep_exp(double x)
{
    return logits_exp(x);
}

/* x = 2^e m, sqrt(1/2) <= m < sqrt(2); x is positive and finite. */
static double split(int *e, double x)
{
    const double scaled = x < 0x1p-1022 ? x * 0x1p54 : x;
    uint64_t u;
    memcpy(&u, &scaled, sizeof u);
    *e = (int)(u >> 52) - 1023 - (x < 0x1p-1022 ? 54 : 0);
    u = (u & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    double m;
    memcpy(&m, &u, sizeof m);
    if (m < 0x1.6a09e667f3bcdp+0)
        return m;
    *e += 1;
    return m * 0.5;
}

/*
 * log m = 2 atanh(s), s = (m - 1) / (m + 1) in two parts, |s| <= 0.1716: 2 s + s^3 (2/3 + 2/5 s^2
 * + ... + 2/21 s^18), which leaves out less than 1e-18.
 */
static struct two log_parts(double x)
{
    int e;
    const double f = split(&e, x) - 1.0;
    const double d = 2.0 + f, d_low = f - (d - 2.0), inverse = 1.0 / d;
    const double s = f * inverse, s_low = (fma(-s, d, f) - s * d_low) * inverse;
    const double z = s * s;
    double p = 0x1.8618618618618p-4;
    p = fma(p, z, 0x1.af286bca1af28p-4);
    p = fma(p, z, 0x1.e1e1e1e1e1e1ep-4);
    p = fma(p, z, 0x1.1111111111111p-3);
    p = fma(p, z, 0x1.3b13b13b13b14p-3);
    p = fma(p, z, 0x1.745d1745d1746p-3);
    p = fma(p, z, 0x1.c71c71c71c71cp-3);
    p = fma(p, z, 0x1.2492492492492p-2);
    p = fma(p, z, 0x1.999999999999ap-2);
    p = fma(p, z, 0x1.5555555555555p-1);
    /* d(2 atanh s) = 2 ds / (1 - s^2), about 2 (1 + s^2) ds */
    const double low = fma(s * z, p, 2.0 * fma(s_low, z, s_low));
    /* log 2 in two parts, of which the upper has 42 bits: times e it is exact. */
    const struct two sum = two_sum(e * 0x1.62e42fefa38p-1, 2.0 * s);
    return two_sum(sum.hi, sum.lo + fma(e, 0x1.ef35793c7673p-45, low));
}

double prep_log(double x)
{
    if (!(x > 0.0) || isinf(x))
        return x == 0.0 ? -INFINITY : x > 0.0 ? x : NAN;
    return log_parts(x).hi;
}

double prep_pow(double x, double y)
{
    if (y == 0.0 || x == 1.0)
        return 1.0;
    if (!(x > 0.0) || !isfinite(x) || !(fabs(y) < 0x1p1000))
        return prep_exp(y * prep_log(x));
    const struct two l = log_parts(x);
    const double hi = y * l.hi;
    return logits_exp_sum(hi, fma(y, l.lo, fma(y, l.hi, -hi)));
}

/*
 * x - n pi/2 for the nearest n, |n| < 2^30. Products with the first part of pi/2, 33 bits, are
 * exact within the fma, with the next three, 23 bits each, in themselves; what is left of pi/2 is
 * below 2^-155. So the result is good to its last bit, however near x is to a multiple.
 */
static struct two reduce(double x, double n)
{
    static const double PARTS[] = {0x1.0b461p-34, 0x1.a6263p-58, 0x1.8a2ep-81,
                                   0x1.b839a252049c1p-104};
    struct two r = {fma(n, -0x1.921fb544p+0, x), 0.0};
    for (int i = 0; i < 4; i++) {
        const struct two sum = two_sum(r.hi, -n * PARTS[i]);
        r = two_sum(sum.hi, sum.lo + r.lo);
    }
    return r;
}

/* Taylor series for |r| <= pi/4; the first terms left out are below 2^-60 of the result. */
static double sine_of(struct two r)
{
    const double z = r.hi * r.hi;
    double p = 0x1.952c77030ad4ap-49;
    p = fma(p, z, -0x1.ae7f3e733b81fp-41);
    p = fma(p, z, 0x1.6124613a86d09p-33);
    p = fma(p, z, -0x1.ae64567f544e4p-26);
    p = fma(p, z, 0x1.71de3a556c734p-19);
    p = fma(p, z, -0x1.a01a01a01a01ap-13);
    p = fma(p, z, 0x1.1111111111111p-7);
    p = fma(p, z, -0x1.5555555555555p-3);
    return r.hi + fma(r.hi * z, p, fma(r.lo * z, -0.5, r.lo));
}

static double cosine_of(struct two r)
{
    const double z = r.hi * r.hi;
    double p = -0x1.6827863b97d97p-53;
    p = fma(p, z, 0x1.ae7f3e733b81fp-45);
    p = fma(p, z, -0x1.93974a8c07c9dp-37);
    p = fma(p, z, 0x1.1eed8eff8d898p-29);
    p = fma(p, z, -0x1.27e4fb7789f5cp-22);
    p = fma(p, z, 0x1.a01a01a01a01ap-16);
    p = fma(p, z, -0x1.6c16c16c16c17p-10);
    p = fma(p, z, 0x1.5555555555555p-5);
    const double half = 0.5 * z, c = 1.0 - half;
    return c + fma(z * z, p, fma(-r.hi, r.lo, (1.0 - c) - half));
}

void prep_sincos(double *sine, double *cosine, double x)
{
    if (!(fabs(x) <= 0x1p30)) {
        *sine = *cosine = NAN;
        return;
    }
    const double n = rint(x * 0x1.45f306dc9c883p-1);
    const struct two r = reduce(x, n);
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

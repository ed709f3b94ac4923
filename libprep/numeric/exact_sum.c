/* SPDX-License-Identifier: MIT */
#include "libprep/numeric/exact_sum.h"

#include <math.h>
#include <string.h>

enum { LOWEST = -384, DIGIT = 32, MOST_ADDED = 1 << 30 };

static const uint64_t MASK = 0xFFFFFFFF;

void exact_sum_settle(struct exact_sum *s)
{
    int64_t carry = 0;
    for (int i = 0; i < EXACT_SUM_DIGITS; i++) {
        const int64_t v = s->digits[i] + carry;
        s->digits[i] = (int64_t)((uint64_t)v & MASK);
        carry = v >> DIGIT;
    }
    s->n_added = 0;
}

/* v = mantissa * 2^exponent, a square that is not 0: normal in F64, 53 bits. */
static void add_one(struct exact_sum *s, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    const int at = (int)(bits >> 52) - 1075 - LOWEST, k = at / DIGIT, shift = at % DIGIT;
    const uint64_t mantissa = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
    const uint64_t low = (mantissa & MASK) << shift, high = (mantissa >> DIGIT) << shift;
    s->digits[k] += (int64_t)(low & MASK);
    s->digits[k + 1] += (int64_t)((low >> DIGIT) + (high & MASK));
    s->digits[k + 2] += (int64_t)(high >> DIGIT);
}

void exact_sum_add_squares(struct exact_sum *s, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i] * (double)x[i];
        if (!isfinite(v))
            s->special += v;
        else if (v > 0)
            add_one(s, v);
        if (++s->n_added == MOST_ADDED)
            exact_sum_settle(s);
    }
}

void exact_sum_merge(struct exact_sum *s, const struct exact_sum *other)
{
    struct exact_sum settled = *other;
    exact_sum_settle(&settled);
    exact_sum_settle(s);
    for (int i = 0; i < EXACT_SUM_DIGITS; i++)
        s->digits[i] += settled.digits[i];
    s->special += other->special;
    exact_sum_settle(s);
}

/* The upper three digits have 65 bits at least; what is below them is less than half a bit. */
double exact_sum_value(const struct exact_sum *sum)
{
    struct exact_sum s = *sum;
    exact_sum_settle(&s);
    if (s.special != 0)
        return s.special;
    int top = EXACT_SUM_DIGITS - 1;
    while (top > 2 && s.digits[top] == 0)
        top--;
    double v = 0;
    for (int i = top; i > top - 3; i--)
        v = v * 0x1p32 + (double)s.digits[i];
    return ldexp(v, DIGIT * (top - 2) + LOWEST);
}

/* SPDX-License-Identifier: MIT */
/*
 * top_k.h - the search behind top_k, and its passes over a row.
 *
 * Private to the family. A key is a signed number that orders as the floats do: 0 for -0 and +0,
 * the lowest for NaN. Three histograms, of its upper 11, middle 11 and lower 10 bits, find the
 * k-th largest key; the last pass takes what is above it, and the first of its equals. Rows shorter
 * than a histogram are counted against a bound instead, which is halved until k elements are left.
 */
#ifndef KERNELS_FORWARD_TOP_K_H
#define KERNELS_FORWARD_TOP_K_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/fp.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TOP_K_BINS = 2048, TOP_K_UPPER = 21, TOP_K_MIDDLE = 10 };

/* Adding 0 turns -0 into +0. */
static inline int32_t top_k_key(float x)
{
    const int32_t s = (int32_t)f32_bits(x + 0.0F);
    return x == x ? s ^ (s >> 31 & INT32_MAX) : INT32_MIN;
}

/* The number of that key; key is one of a number, an infinity included. */
static inline float top_k_value(int32_t key)
{
    return f32_from_bits((uint32_t)(key ^ (key >> 31 & INT32_MAX)));
}

/* Keys that are `value` from bit `from` on; their bits from `to` up to that are counted. */
struct top_k_digit {
    int32_t value;
    int from, to;
};

/* What the last pass takes. */
struct top_k_take {
    uint32_t *index; /* where the next one goes */
    size_t left;     /* how many are still to take, in all */
    size_t equals;   /* how many of them may be equal to `least` */
    int32_t least;
};

struct top_k_passes {
    /* Counts the upper bits, plus BINS / 2, of even elements in count[0], of odd ones in [1]: so
     * equal neighbours do not wait for one another. */
    void (*upper)(uint32_t (*count)[TOP_K_BINS], const float *x, size_t n);
    void (*lower)(uint32_t *count, const float *x, size_t n, struct top_k_digit digit);
    /* How many are at least that; NaN is not. NULL: histograms for every row. */
    size_t (*at_least)(const float *x, size_t n, float bound);
    /* The elements first..n; goes on where the last call stopped. */
    void (*take)(struct top_k_take *t, const float *x, size_t first, size_t n);
};

size_t top_k_by(const struct top_k_passes *p, uint32_t *index, const float *x, size_t n, size_t k);

void top_k_upper_scalar(uint32_t (*count)[TOP_K_BINS], const float *x, size_t n);
void top_k_lower_scalar(uint32_t *count, const float *x, size_t n, struct top_k_digit digit);
void top_k_take_scalar(struct top_k_take *t, const float *x, size_t first, size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * Selection by the bits of the values: three histograms, of the upper 11, the middle 11 and the
 * lower 10 bits of a key that orders as the values do, find the k-th largest key; one pass then
 * takes what is above it and as many of its equals as are still wanted, lowest index first.
 */
#include <string.h>

#include "kernels/forward/forward.h"
#include "kernels/fp.h"

enum { BINS = 2048 };

/* Orders as the floats do: adding 0 turns -0 into +0, NaN is below -inf. */
static uint32_t key_of(float x)
{
    const uint32_t u = f32_bits(x + 0.0F);
    const uint32_t key = u ^ (0x80000000 | (0 - (u >> 31)));
    return x == x ? key : 0;
}

/* Bin of the k-th largest; k becomes its place within the bin. */
static uint32_t find_bin(const uint32_t *count, size_t *k)
{
    uint32_t bin = BINS - 1;
    while (count[bin] < *k)
        *k -= count[bin--];
    return bin;
}

/* Two histograms, so that equal neighbours do not wait for one another. */
static uint32_t upper_bits(const float *x, size_t n, size_t *k)
{
    uint32_t count[2][BINS];
    memset(count, 0, sizeof count);
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        count[0][key_of(x[i]) >> 21]++;
        count[1][key_of(x[i + 1]) >> 21]++;
    }
    if (i < n)
        count[0][key_of(x[i]) >> 21]++;
    for (i = 0; i < BINS; i++)
        count[0][i] += count[1][i];
    return find_bin(count[0], k);
}

/* The bits from `shift` on, of the keys whose bits from shift + n_bits on are `above`. */
static uint32_t further_bits(const float *x, size_t n, size_t *k, uint32_t above, int shift,
                             int n_bits)
{
    uint32_t count[BINS];
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = key_of(x[i]);
        count[key >> shift & ((1U << n_bits) - 1U)] += key >> (shift + n_bits) == above;
    }
    return above << n_bits | find_bin(count, k);
}

size_t forward_top_k(uint32_t *index, const float *x, size_t n, size_t k)
{
    size_t taken = 0;
    if (n <= k) {
        for (; taken < n; taken++)
            index[taken] = (uint32_t)taken;
        return n;
    }
    if (!k)
        return 0;
    size_t equals = k; /* how many of the k-th key's equals to take */
    uint32_t least = upper_bits(x, n, &equals);
    least = further_bits(x, n, &equals, least, 10, 11);
    least = further_bits(x, n, &equals, least, 0, 10);
    for (size_t i = 0; taken < k; i++) {
        const uint32_t key = key_of(x[i]);
        const size_t equal = key == least && equals;
        index[taken] = (uint32_t)i;
        equals -= equal;
        taken += key > least || equal;
    }
    return k;
}

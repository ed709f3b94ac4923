/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "kernels/forward/forward.h"
#include "kernels/forward/top_k.h"

/* Up to this k the best so far are kept in a list instead. */
enum { FEW = 16 };

/* Bin of the k-th largest; k becomes its place within the bin. */
static int32_t find_bin(const uint32_t *count, size_t *k)
{
    int32_t bin = TOP_K_BINS - 1;
    while (count[bin] < *k)
        *k -= count[bin--];
    return bin;
}

/* The k-th largest key; k becomes how many of its equals are among the k largest. */
static int32_t kth_largest(const struct top_k_passes *p, const float *x, size_t n, size_t *k)
{
    uint32_t count[2][TOP_K_BINS];
    memset(count, 0, sizeof count);
    p->upper(count, x, n);
    for (size_t i = 0; i < TOP_K_BINS; i++)
        count[0][i] += count[1][i];
    int32_t value = find_bin(count[0], k) - TOP_K_BINS / 2;
    memset(count[0], 0, sizeof count[0]);
    p->lower(count[0], x, n, (struct top_k_digit){value, TOP_K_UPPER, TOP_K_MIDDLE});
    value = value * (1 << (TOP_K_UPPER - TOP_K_MIDDLE)) + find_bin(count[0], k);
    memset(count[0], 0, sizeof count[0]);
    p->lower(count[0], x, n, (struct top_k_digit){value, TOP_K_MIDDLE, 0});
    return value * (1 << TOP_K_MIDDLE) + find_bin(count[0], k);
}

/*
 * The same by halving: at least k are >= least, fewer are >= above. Keys of numbers only, so there
 * must be k of them; 0 when there are not. Stops early when exactly k are >= least.
 */
static int bisect(struct top_k_take *t, const struct top_k_passes *p, const float *x, size_t n)
{
    const size_t k = t->left;
    int64_t least = top_k_key(-INFINITY), above = (int64_t)top_k_key(INFINITY) + 1;
    size_t n_least = p->at_least(x, n, -INFINITY), n_above = 0;
    if (n_least < k)
        return 0;
    while (n_least > k && above - least > 1) {
        const int64_t middle = least + (above - least) / 2;
        const size_t count = p->at_least(x, n, top_k_value((int32_t)middle));
        if (count >= k)
            least = middle, n_least = count;
        else
            above = middle, n_above = count;
    }
    t->least = (int32_t)least;
    t->equals = n_least > k ? k - n_above : k;
    return 1;
}

/* The k largest so far, largest first; an equal one comes after those of lower index. */
static void take_few(uint32_t *index, const float *x, size_t n, size_t k)
{
    int32_t best[FEW];
    size_t taken = 0;
    for (size_t i = 0; i < n; i++) {
        const int32_t key = top_k_key(x[i]);
        if (taken == k && key <= best[k - 1])
            continue;
        size_t at = taken < k ? taken++ : k - 1;
        for (; at && best[at - 1] < key; at--) {
            best[at] = best[at - 1];
            index[at] = index[at - 1];
        }
        best[at] = key;
        index[at] = (uint32_t)i;
    }
    for (size_t i = 1; i < k; i++) {
        const uint32_t moved = index[i];
        size_t at = i;
        for (; at && index[at - 1] > moved; at--)
            index[at] = index[at - 1];
        index[at] = moved;
    }
}

size_t top_k_by(const struct top_k_passes *p, uint32_t *index, const float *x, size_t n, size_t k)
{
    if (n <= k) {
        for (size_t i = 0; i < n; i++)
            index[i] = (uint32_t)i;
        return n;
    }
    if (k <= FEW) {
        if (k)
            take_few(index, x, n, k);
        return k;
    }
    struct top_k_take t = {.index = index, .left = k, .equals = k};
    if (n > TOP_K_BINS || !p->at_least || !bisect(&t, p, x, n))
        t.least = kth_largest(p, x, n, &t.equals);
    p->take(&t, x, 0, n);
    return k;
}

void top_k_upper_scalar(uint32_t (*count)[TOP_K_BINS], const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        count[i % 2][(top_k_key(x[i]) >> TOP_K_UPPER) + TOP_K_BINS / 2]++;
}

void top_k_lower_scalar(uint32_t *count, const float *x, size_t n, struct top_k_digit digit)
{
    const int32_t mask = (1 << (digit.from - digit.to)) - 1;
    for (size_t i = 0; i < n; i++) {
        const int32_t key = top_k_key(x[i]);
        count[key >> digit.to & mask] += key >> digit.from == digit.value;
    }
}

void top_k_take_scalar(struct top_k_take *t, const float *x, size_t first, size_t n)
{
    for (size_t i = first; i < n && t->left; i++) {
        const int32_t key = top_k_key(x[i]);
        const size_t equal = key == t->least && t->equals, taken = key > t->least || equal;
        *t->index = (uint32_t)i; /* overwritten unless taken */
        t->index += taken;
        t->left -= taken;
        t->equals -= equal;
    }
}

size_t forward_top_k(uint32_t *index, const float *x, size_t n, size_t k)
{
    static const struct top_k_passes PASSES = {
        .upper = top_k_upper_scalar, .lower = top_k_lower_scalar, .take = top_k_take_scalar};
    return top_k_by(&PASSES, index, x, n, k);
}

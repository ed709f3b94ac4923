/* SPDX-License-Identifier: MIT */
/*
 * Selection by one 64-bit key per element: the upper half orders values, the lower half is the
 * complement of the index, so that no two keys are equal and the k largest are a set without ties.
 */
#include "kernels/forward/forward.h"
#include "kernels/fp.h"

static uint64_t key_of(float x, size_t i)
{
    uint32_t u = f32_bits(x);
    if (u << 1 > 0xFF000000) /* NaN */
        u = 0;
    else if (u << 1 == 0) /* -0 and +0 */
        u = 0x80000000;
    else
        u = u >> 31 ? ~u : u | 0x80000000;
    return (uint64_t)u << 32 | (uint32_t) ~(uint32_t)i;
}

/* The k-th largest key, byte by byte from the top. 0 < k <= n. */
static uint64_t kth_largest(const float *x, size_t n, size_t k)
{
    uint64_t prefix = 0, mask = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        size_t count[256] = {0};
        for (size_t i = 0; i < n; i++) {
            const uint64_t key = key_of(x[i], i);
            count[key >> shift & 255] += (key & mask) == prefix;
        }
        unsigned byte = 255;
        while (count[byte] < k)
            k -= count[byte--];
        prefix |= (uint64_t)byte << shift;
        if (count[byte] == k) /* the whole rest: prefix is not above any of them */
            return prefix;
        mask |= UINT64_C(255) << shift;
    }
    return prefix;
}

size_t forward_top_k(uint32_t *index, const float *x, size_t n, size_t k)
{
    const uint64_t least = !k ? UINT64_MAX : n <= k ? 0 : kth_largest(x, n, k);
    size_t taken = 0;
    for (size_t i = 0; i < n && taken < k; i++)
        if (key_of(x[i], i) >= least)
            index[taken++] = (uint32_t)i;
    return taken;
}

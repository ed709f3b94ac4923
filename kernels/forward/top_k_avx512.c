/* SPDX-License-Identifier: MIT */
/* 16 keys at a time; what is rare, a key of the bin or one to take, is found by its mask. */
#include <immintrin.h>

#include "kernels/forward/forward_variants.h"
#include "kernels/forward/top_k.h"

enum { LANES = 16 };

static __m512i keys_of(const float *x)
{
    const __m512 v = _mm512_add_ps(_mm512_loadu_ps(x), _mm512_setzero_ps());
    const __m512i s = _mm512_castps_si512(v), lowest = _mm512_set1_epi32(INT32_MIN);
    const __m512i flip = _mm512_andnot_si512(lowest, _mm512_srai_epi32(s, 31));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_mask_mov_epi32(_mm512_xor_si512(s, flip), nan, lowest);
}

static void upper(uint32_t (*count)[TOP_K_BINS], const float *x, size_t n)
{
    const __m512i offset = _mm512_set1_epi32(TOP_K_BINS / 2);
    uint32_t bin[LANES];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512i digit = _mm512_srai_epi32(keys_of(x + i), TOP_K_UPPER);
        _mm512_storeu_si512(bin, _mm512_add_epi32(digit, offset));
        for (size_t k = 0; k < LANES; k += 2) {
            count[0][bin[k]]++;
            count[1][bin[k + 1]]++;
        }
    }
    top_k_upper_scalar(count, x + i, n - i);
}

static void lower(uint32_t *count, const float *x, size_t n, struct top_k_digit digit)
{
    const __m512i value = _mm512_set1_epi32(digit.value);
    const __m512i mask = _mm512_set1_epi32((1 << (digit.from - digit.to)) - 1);
    const __m128i from = _mm_cvtsi32_si128(digit.from), to = _mm_cvtsi32_si128(digit.to);
    uint32_t bin[LANES];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m512i keys = keys_of(x + i);
        unsigned here = _mm512_cmpeq_epi32_mask(_mm512_sra_epi32(keys, from), value);
        if (!here)
            continue;
        _mm512_storeu_si512(bin, _mm512_and_si512(_mm512_sra_epi32(keys, to), mask));
        for (; here; here &= here - 1)
            count[bin[__builtin_ctz(here)]]++;
    }
    top_k_lower_scalar(count, x + i, n - i, digit);
}

static size_t at_least(const float *x, size_t n, float bound)
{
    const __m512 least = _mm512_set1_ps(bound);
    size_t i = 0, count = 0;
    for (; i + LANES <= n; i += LANES) {
        const __mmask16 there = _mm512_cmp_ps_mask(_mm512_loadu_ps(x + i), least, _CMP_GE_OQ);
        count += (size_t)__builtin_popcount(there);
    }
    for (; i < n; i++)
        count += x[i] >= bound;
    return count;
}

static void take(struct top_k_take *t, const float *x, size_t first, size_t n)
{
    const __m512i least = _mm512_set1_epi32(t->least);
    size_t i = first;
    for (; i + LANES <= n && t->left; i += LANES) {
        const __m512i keys = keys_of(x + i);
        unsigned here = _mm512_cmpgt_epi32_mask(keys, least);
        unsigned equal = t->equals ? _mm512_cmpeq_epi32_mask(keys, least) : 0;
        for (; equal && t->equals; equal &= equal - 1, t->equals--)
            here |= equal & (0 - equal);
        for (; here; here &= here - 1, t->left--)
            *t->index++ = (uint32_t)i + (uint32_t)__builtin_ctz(here);
    }
    top_k_take_scalar(t, x, i, n);
}

size_t forward_top_k_avx512(uint32_t *index, const float *x, size_t n, size_t k)
{
    static const struct top_k_passes PASSES = {upper, lower, at_least, take};
    return top_k_by(&PASSES, index, x, n, k);
}

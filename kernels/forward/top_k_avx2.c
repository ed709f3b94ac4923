/* SPDX-License-Identifier: MIT */
/* Eight keys at a time; what is rare, a key of the bin or one to take, is found by its mask. */
#include <immintrin.h>

#include "kernels/forward/forward_variants.h"
#include "kernels/forward/top_k.h"

enum { LANES = 8 };

static __m256i keys_of(const float *x)
{
    const __m256 v = _mm256_add_ps(_mm256_loadu_ps(x), _mm256_setzero_ps());
    const __m256i s = _mm256_castps_si256(v), lowest = _mm256_set1_epi32(INT32_MIN);
    const __m256i flip = _mm256_andnot_si256(lowest, _mm256_srai_epi32(s, 31));
    const __m256 nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(_mm256_xor_si256(s, flip), lowest, _mm256_castps_si256(nan));
}

static unsigned mask_of(__m256i where)
{
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(where));
}

static void upper(uint32_t (*count)[TOP_K_BINS], const float *x, size_t n)
{
    const __m256i offset = _mm256_set1_epi32(TOP_K_BINS / 2);
    uint32_t bin[LANES];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256i digit = _mm256_srai_epi32(keys_of(x + i), TOP_K_UPPER);
        _mm256_storeu_si256((__m256i *)(void *)bin, _mm256_add_epi32(digit, offset));
        for (size_t k = 0; k < LANES; k += 2) {
            count[0][bin[k]]++;
            count[1][bin[k + 1]]++;
        }
    }
    top_k_upper_scalar(count, x + i, n - i);
}

static void lower(uint32_t *count, const float *x, size_t n, struct top_k_digit digit)
{
    const __m256i value = _mm256_set1_epi32(digit.value);
    const __m256i mask = _mm256_set1_epi32((1 << (digit.from - digit.to)) - 1);
    const __m128i from = _mm_cvtsi32_si128(digit.from), to = _mm_cvtsi32_si128(digit.to);
    uint32_t bin[LANES];
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m256i keys = keys_of(x + i);
        unsigned here = mask_of(_mm256_cmpeq_epi32(_mm256_sra_epi32(keys, from), value));
        if (!here)
            continue;
        _mm256_storeu_si256((__m256i *)(void *)bin,
                            _mm256_and_si256(_mm256_sra_epi32(keys, to), mask));
        for (; here; here &= here - 1)
            count[bin[__builtin_ctz(here)]]++;
    }
    top_k_lower_scalar(count, x + i, n - i, digit);
}

static size_t at_least(const float *x, size_t n, float bound)
{
    const __m256 least = _mm256_set1_ps(bound);
    __m256i s[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES)
        for (size_t v = 0; v < 2; v++) {
            const __m256 there =
                _mm256_cmp_ps(_mm256_loadu_ps(x + i + v * LANES), least, _CMP_GE_OQ);
            s[v] = _mm256_sub_epi32(s[v], _mm256_castps_si256(there));
        }
    uint32_t lane[LANES];
    _mm256_storeu_si256((__m256i *)(void *)lane, _mm256_add_epi32(s[0], s[1]));
    size_t count = 0;
    for (size_t l = 0; l < LANES; l++)
        count += lane[l];
    for (; i < n; i++)
        count += x[i] >= bound;
    return count;
}

static void take(struct top_k_take *t, const float *x, size_t first, size_t n)
{
    const __m256i least = _mm256_set1_epi32(t->least);
    size_t i = first;
    for (; i + LANES <= n && t->left; i += LANES) {
        const __m256i keys = keys_of(x + i);
        unsigned here = mask_of(_mm256_cmpgt_epi32(keys, least));
        unsigned equal = t->equals ? mask_of(_mm256_cmpeq_epi32(keys, least)) : 0;
        for (; equal && t->equals; equal &= equal - 1, t->equals--)
            here |= equal & (0 - equal);
        for (; here; here &= here - 1, t->left--)
            *t->index++ = (uint32_t)i + (uint32_t)__builtin_ctz(here);
    }
    top_k_take_scalar(t, x, i, n);
}

size_t forward_top_k_avx2(uint32_t *index, const float *x, size_t n, size_t k)
{
    static const struct top_k_passes PASSES = {upper, lower, at_least, take};
    return top_k_by(&PASSES, index, x, n, k);
}

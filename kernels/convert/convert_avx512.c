/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/convert/convert.h"

enum { LANES = 16 };

static __mmask16 first(size_t n)
{
    return (__mmask16)(n >= LANES ? 0xFFFF : (1u << n) - 1);
}

static const char *halves(const void *src, size_t i)
{
    return (const char *)src + 2 * i;
}

void convert_bf16_to_f32_avx512(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const __mmask16 m = first(n - i);
        const __m512i u = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, halves(src, i)));
        _mm512_mask_storeu_epi32(dst + i, m, _mm512_slli_epi32(u, 16));
    }
}

void convert_f16_to_f32_avx512(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const __mmask16 m = first(n - i);
        const __m256i h = _mm256_maskz_loadu_epi16(m, halves(src, i));
        _mm512_mask_storeu_ps(dst + i, m, _mm512_cvtph_ps(h));
    }
}

/* Not the hardware's BF16 conversion: it flushes subnormals. */
void convert_f32_to_bf16_avx512(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        const __mmask16 m = first(n - i);
        const __m512 x = _mm512_maskz_loadu_ps(m, src + i);
        const __m512i u = _mm512_castps_si512(x);
        const __m512i upper = _mm512_srli_epi32(u, 16);
        const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
        const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
        __m512i h = _mm512_srli_epi32(_mm512_add_epi32(u, half), 16);
        h = _mm512_mask_or_epi32(h, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), upper,
                                 _mm512_set1_epi32(0x40));
        _mm256_mask_storeu_epi16(dst + i, m, _mm512_cvtepi32_epi16(h));
    }
}

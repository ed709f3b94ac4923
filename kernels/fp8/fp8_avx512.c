/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/fp8/fp8.h"

enum { LANES = 16 };

static __mmask16 first(size_t n)
{
    return (__mmask16)(n >= LANES ? 0xFFFF : (1u << n) - 1);
}

/*
 * An E4M3 code moved into the fields of an F16 is a number with 8 less in the exponent: the value
 * times 2^-8, subnormals included. Only the NaN codes become numbers (480), so they are put back.
 */
static __m512 products(__m128i codes, __m512 scale)
{
    const __m256i c = _mm256_cvtepu8_epi16(codes);
    const __m256i em = _mm256_and_si256(c, _mm256_set1_epi16(0x7F));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(c, _mm256_set1_epi16(0x80)), 8);
    const __m256i half = _mm256_or_si256(_mm256_slli_epi16(em, 7), sign);
    const __m512 v = _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
    const __m512 p = _mm512_mul_ps(v, scale);
    const __mmask16 no_number = _mm512_cmp_ps_mask(p, p, _CMP_UNORD_Q) |
                                _mm256_cmpeq_epi16_mask(em, _mm256_set1_epi16(0x7F));
    return _mm512_castsi512_ps(
        _mm512_mask_mov_epi32(_mm512_castps_si512(p), no_number, _mm512_set1_epi32(0x7FC00000)));
}

void fp8_decode_f32_avx512(float *dst, const uint8_t *codes, size_t n, const float *scales,
                           size_t block)
{
    for (size_t at = 0; at < n; at += block, scales++) {
        const size_t end = n - at < block ? n : at + block;
        const __m512 scale = _mm512_set1_ps(*scales);
        for (size_t j = at; j < end; j += LANES) {
            const __mmask16 m = first(end - j);
            const __m128i c = _mm_maskz_loadu_epi8(m, codes + j);
            _mm512_mask_storeu_ps(dst + j, m, products(c, scale));
        }
    }
}

void fp8_decode_bf16_avx512(uint16_t *dst, const uint8_t *codes, size_t n, const float *scales,
                            size_t block)
{
    for (size_t at = 0; at < n; at += block, scales++) {
        const size_t end = n - at < block ? n : at + block;
        const __m512 scale = _mm512_set1_ps(*scales);
        for (size_t j = at; j < end; j += LANES) {
            const __mmask16 m = first(end - j);
            const __m128i c = _mm_maskz_loadu_epi8(m, codes + j);
            const __m512i u = _mm512_castps_si512(products(c, scale));
            const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
            const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
            const __m512i h = _mm512_srli_epi32(_mm512_add_epi32(u, half), 16);
            _mm256_mask_storeu_epi16(dst + j, m, _mm512_cvtepi32_epi16(h));
        }
    }
}

size_t fp8_count_nan_avx512(const uint8_t *codes, size_t n)
{
    const __m512i nan = _mm512_set1_epi8(0x7F);
    size_t count = 0;
    for (size_t j = 0; j < n; j += 64) {
        const __mmask64 m = n - j >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << (n - j)) - 1;
        const __m512i c = _mm512_maskz_loadu_epi8(m, codes + j);
        const __m512i em = _mm512_and_si512(c, nan);
        count += (size_t)__builtin_popcountll(_mm512_cmpeq_epi8_mask(em, nan));
    }
    return count;
}

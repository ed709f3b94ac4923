/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/fp8/fp8.h"

enum { LANES = 8 };

/*
 * An E4M3 code moved into the fields of an F16 is a number with 8 less in the exponent: the value
 * times 2^-8, subnormals included. Only the NaN codes become numbers (480), so they are put back.
 */
static __m256 values(const uint8_t *codes)
{
    const __m128i c = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)codes));
    const __m128i em = _mm_and_si128(c, _mm_set1_epi16(0x7F));
    const __m128i sign = _mm_slli_epi16(_mm_and_si128(c, _mm_set1_epi16(0x80)), 8);
    const __m128i half = _mm_or_si128(_mm_slli_epi16(em, 7), sign);
    const __m256 v = _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
    const __m128i is_nan = _mm_cmpeq_epi16(em, _mm_set1_epi16(0x7F));
    return _mm256_or_ps(v, _mm256_castsi256_ps(_mm256_cvtepi16_epi32(is_nan)));
}

static __m256 products(const uint8_t *codes, __m256 scale)
{
    const __m256 p = _mm256_mul_ps(values(codes), scale);
    const __m256 quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000));
    return _mm256_blendv_ps(p, quiet, _mm256_cmp_ps(p, p, _CMP_UNORD_Q));
}

/* Of numbers and the one NaN above: adding to that does not reach its sign. */
static __m256i round_bf16(__m256 p)
{
    const __m256i u = _mm256_castps_si256(p);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    return _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
}

void fp8_decode_f32_avx2(float *dst, const uint8_t *codes, size_t n, const float *scales,
                         size_t block)
{
    for (size_t at = 0; at < n; at += block, scales++) {
        const size_t end = n - at < block ? n : at + block;
        const __m256 scale = _mm256_set1_ps(*scales);
        size_t j = at;
        for (; j + LANES <= end; j += LANES)
            _mm256_storeu_ps(dst + j, products(codes + j, scale));
        fp8_decode_f32_scalar(dst + j, codes + j, end - j, scales, block);
    }
}

void fp8_decode_bf16_avx2(uint16_t *dst, const uint8_t *codes, size_t n, const float *scales,
                          size_t block)
{
    for (size_t at = 0; at < n; at += block, scales++) {
        const size_t end = n - at < block ? n : at + block;
        const __m256 scale = _mm256_set1_ps(*scales);
        size_t j = at;
        for (; j + 2 * LANES <= end; j += 2 * LANES) {
            const __m256i a = round_bf16(products(codes + j, scale));
            const __m256i b = round_bf16(products(codes + j + LANES, scale));
            const __m256i mixed = _mm256_packus_epi32(a, b);
            _mm256_storeu_si256((__m256i *)(dst + j),
                                _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0)));
        }
        fp8_decode_bf16_scalar(dst + j, codes + j, end - j, scales, block);
    }
}

size_t fp8_count_nan_avx2(const uint8_t *codes, size_t n)
{
    const __m256i nan = _mm256_set1_epi8(0x7F);
    size_t count = 0, j = 0;
    for (; j + 32 <= n; j += 32) {
        const __m256i c = _mm256_loadu_si256((const __m256i *)(codes + j));
        const __m256i hit = _mm256_cmpeq_epi8(_mm256_and_si256(c, nan), nan);
        count += (size_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(hit));
    }
    return count + fp8_count_nan_scalar(codes + j, n - j);
}

/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/convert/convert.h"

enum { LANES = 8 };

static const char *halves(const void *src, size_t i)
{
    return (const char *)src + 2 * i;
}

void convert_bf16_to_f32_avx2(float *dst, const void *src, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m128i h = _mm_loadu_si128((const __m128i *)halves(src, i));
        const __m256i u = _mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
        _mm256_storeu_si256((__m256i *)(dst + i), u);
    }
    convert_bf16_to_f32_scalar(dst + i, halves(src, i), n - i);
}

void convert_f16_to_f32_avx2(float *dst, const void *src, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const __m128i h = _mm_loadu_si128((const __m128i *)halves(src, i));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(h));
    }
    convert_f16_to_f32_scalar(dst + i, halves(src, i), n - i);
}

/* The bits of 8 BF16 numbers, one in each 32-bit lane. */
static __m256i round_bf16(__m256i u)
{
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
    const __m256i magnitude = _mm256_and_si256(u, _mm256_set1_epi32(0x7FFFFFFF));
    const __m256i is_nan = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7F800000));
    return _mm256_blendv_epi8(rounded, quiet, is_nan);
}

void convert_f32_to_bf16_avx2(uint16_t *dst, const float *src, size_t n)
{
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const __m256i a = round_bf16(_mm256_loadu_si256((const __m256i *)(src + i)));
        const __m256i b = round_bf16(_mm256_loadu_si256((const __m256i *)(src + i + LANES)));
        /* Packing works inside 128-bit halves: a0 b0 a1 b1 in units of 64 bits. */
        const __m256i mixed = _mm256_packus_epi32(a, b);
        _mm256_storeu_si256((__m256i *)(dst + i),
                            _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0)));
    }
    convert_f32_to_bf16_scalar(dst + i, src + i, n - i);
}

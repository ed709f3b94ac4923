/* SPDX-License-Identifier: MIT */
/*
 * nvfp4_e4m3_avx2.h - E4M3 in vectors, as in kernels/fp.h. Private to *_avx2.c of this folder.
 */
#ifndef KERNELS_NVFP4_NVFP4_E4M3_AVX2_H
#define KERNELS_NVFP4_NVFP4_E4M3_AVX2_H

#ifdef __AVX2__
#include <immintrin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* b where the mask's sign bits are set, else a. */
static inline __m256i blend_avx2(__m256i a, __m256i b, __m256 mask)
{
    return _mm256_castps_si256(
        _mm256_blendv_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), mask));
}

/* Saturating; v is not negative and not NaN. */
static inline __m256i e4m3_encode_avx2(__m256 v)
{
    const __m256 magic = _mm256_set1_ps(0x1p14f);
    v = _mm256_min_ps(v, _mm256_set1_ps(448));
    __m256i u = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 20), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFFF)), odd);
    __m256i normal = _mm256_sub_epi32(_mm256_srli_epi32(up, 20), _mm256_set1_epi32(120 << 3));
    __m256i sum = _mm256_castps_si256(_mm256_add_ps(v, magic));
    __m256i tiny = _mm256_sub_epi32(sum, _mm256_castps_si256(magic));
    return blend_avx2(normal, tiny, _mm256_cmp_ps(v, _mm256_set1_ps(0x1p-6f), _CMP_LT_OQ));
}

/* Any code below 256. */
static inline __m256 e4m3_decode_avx2(__m256i code)
{
    __m256i em = _mm256_and_si256(code, _mm256_set1_epi32(0x7F));
    __m256i sign = _mm256_slli_epi32(_mm256_xor_si256(code, em), 24);
    __m256i u = _mm256_slli_epi32(_mm256_add_epi32(em, _mm256_set1_epi32(120 << 3)), 20);
    __m256 tiny = _mm256_mul_ps(_mm256_cvtepi32_ps(em), _mm256_set1_ps(0x1p-9f));
    __m256i small = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), em);
    __m256i nan = _mm256_cmpeq_epi32(em, _mm256_set1_epi32(0x7F));
    u = blend_avx2(u, _mm256_castps_si256(tiny), _mm256_castsi256_ps(small));
    u = blend_avx2(u, _mm256_set1_epi32(0x7FC00000), _mm256_castsi256_ps(nan));
    return _mm256_castsi256_ps(_mm256_or_si256(u, sign));
}

#ifdef __cplusplus
}
#endif
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * nvfp4_e4m3_avx512.h - E4M3 in vectors, as in kernels/fp.h. Private to *_avx512.c of this folder.
 */
#ifndef KERNELS_NVFP4_NVFP4_E4M3_AVX512_H
#define KERNELS_NVFP4_NVFP4_E4M3_AVX512_H

#ifdef __AVX512F__
#include <immintrin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Saturating; v is not negative and not NaN. */
static inline __m512i e4m3_encode_avx512(__m512 v)
{
    const __m512 magic = _mm512_set1_ps(0x1p14f);
    v = _mm512_min_ps(v, _mm512_set1_ps(448));
    __m512i u = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 20), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFFF)), odd);
    __m512i normal = _mm512_sub_epi32(_mm512_srli_epi32(up, 20), _mm512_set1_epi32(120 << 3));
    __m512i sum = _mm512_castps_si512(_mm512_add_ps(v, magic));
    __mmask16 small = _mm512_cmp_ps_mask(v, _mm512_set1_ps(0x1p-6f), _CMP_LT_OQ);
    return _mm512_mask_sub_epi32(normal, small, sum, _mm512_castps_si512(magic));
}

/* Any code below 256. */
static inline __m512 e4m3_decode_avx512(__m512i code)
{
    __m512i em = _mm512_and_si512(code, _mm512_set1_epi32(0x7F));
    __m512i sign = _mm512_slli_epi32(_mm512_xor_si512(code, em), 24);
    __m512i u = _mm512_slli_epi32(_mm512_add_epi32(em, _mm512_set1_epi32(120 << 3)), 20);
    __m512 tiny = _mm512_mul_ps(_mm512_cvtepi32_ps(em), _mm512_set1_ps(0x1p-9f));
    __mmask16 small = _mm512_cmplt_epi32_mask(em, _mm512_set1_epi32(8));
    __mmask16 nan = _mm512_cmpeq_epi32_mask(em, _mm512_set1_epi32(0x7F));
    u = _mm512_mask_mov_epi32(u, small, _mm512_castps_si512(tiny));
    u = _mm512_mask_mov_epi32(u, nan, _mm512_set1_epi32(0x7FC00000));
    return _mm512_castsi512_ps(_mm512_or_si512(u, sign));
}

#ifdef __cplusplus
}
#endif
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * ggml_rows_avx2.h - sixteen values in memory order: codes for known scales, and values
 * for codes.
 *
 * Private to *_avx2.c of this folder; ggml_rows_avx512.h says the same in wider registers.
 */
#ifndef KERNELS_GGML_GGML_ROWS_AVX2_H
#define KERNELS_GGML_GGML_ROWS_AVX2_H

#include "kernels/ggml/ggml_lanes_avx2.h"

#ifdef __AVX2__

#ifdef __cplusplus
extern "C" {
#endif

static inline void put_bytes_16(uint8_t *p, __m256i a, __m256i b)
{
    const __m256i w = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128((__m128i *)p,
                     _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
}

static inline __m256i kept_within(__m256 v, int low, int high)
{
    const __m256i l = _mm256_set1_epi32(low);
    const __m256i q = _mm256_max_epi32(nearest_8(v), l);
    return _mm256_sub_epi32(_mm256_min_epi32(q, _mm256_set1_epi32(high)), l);
}

/* Codes of sixteen values: (x + m) / d rounded, kept within low and high, less low. */
static inline void put_levels_16(uint8_t *level, const float *x, float d, float m, int low,
                                 int high)
{
    const __m256 dd = _mm256_set1_ps(d), mm = _mm256_set1_ps(m);
    const __m256 a = _mm256_add_ps(_mm256_loadu_ps(x), mm);
    const __m256 b = _mm256_add_ps(_mm256_loadu_ps(x + 8), mm);
    put_bytes_16(level, kept_within(_mm256_div_ps(a, dd), low, high),
                 kept_within(_mm256_div_ps(b, dd), low, high));
}

/* The same of s * (x - min). */
static inline void put_scaled_16(uint8_t *level, const float *x, float s, float min, int low,
                                 int high)
{
    const __m256 ss = _mm256_set1_ps(s), mm = _mm256_set1_ps(min);
    const __m256 a = _mm256_sub_ps(_mm256_loadu_ps(x), mm);
    const __m256 b = _mm256_sub_ps(_mm256_loadu_ps(x + 8), mm);
    put_bytes_16(level, kept_within(_mm256_mul_ps(ss, a), low, high),
                 kept_within(_mm256_mul_ps(ss, b), low, high));
}

/* A step of the search among the values of IQ4: 2 i, and 1 more where v is not below t. */
static inline __m256i iq4_step(__m256i i, __m256 v, __m256 t)
{
    const __m256i up = _mm256_castps_si256(_mm256_cmp_ps(v, t, _CMP_NLT_UQ));
    return _mm256_sub_epi32(_mm256_add_epi32(i, i), up);
}

/* ggml_iq4_index(): a search among the midpoints of the values, eight of which a register holds. */
static inline __m256i iq4_index_8(__m256 v)
{
    const __m256 second = _mm256_setr_ps(-57, 45.5f, 0, 0, 0, 0, 0, 0);
    const __m256 third = _mm256_setr_ps(-93.5f, -28.5f, 19, 79, 0, 0, 0, 0);
    const __m256 fourth = _mm256_setr_ps(-115.5f, -74, -42, -16, 7, 31.5f, 61, 101);
    __m256i i = iq4_step(_mm256_setzero_si256(), v, _mm256_set1_ps(-4.5f));
    i = iq4_step(i, v, _mm256_permutevar8x32_ps(second, i));
    i = iq4_step(i, v, _mm256_permutevar8x32_ps(third, i));
    return iq4_step(i, v, _mm256_permutevar8x32_ps(fourth, i));
}

static inline __m256 iq4_value_8(__m256 v)
{
    const __m256 low = _mm256_setr_ps(-127, -104, -83, -65, -49, -35, -22, -10);
    const __m256 high = _mm256_setr_ps(1, 13, 25, 38, 53, 69, 89, 113);
    const __m256i i = iq4_index_8(v);
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, i), _mm256_permutevar8x32_ps(high, i),
                            upper);
}

/* The value of IQ4 nearest to each. */
static inline struct lanes lanes_iq4(struct lanes v)
{
    return (struct lanes){iq4_value_8(v.a), iq4_value_8(v.b)};
}

/* Indices of the values of IQ4 nearest to id * x, for sixteen. */
static inline void put_iq4_16(uint8_t *level, const float *x, float id)
{
    const __m256 s = _mm256_set1_ps(id);
    put_bytes_16(level, iq4_index_8(_mm256_mul_ps(s, _mm256_loadu_ps(x))),
                 iq4_index_8(_mm256_mul_ps(s, _mm256_loadu_ps(x + 8))));
}

/* dst = d * q - m for sixteen codes. */
static inline void put_values_16(float *dst, const int8_t *q, float d, float m)
{
    const __m256 dd = _mm256_set1_ps(d), mm = _mm256_set1_ps(m);
    const __m128i b = _mm_loadu_si128((const __m128i *)q);
    const __m256 lo = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b));
    const __m256 hi = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)));
    _mm256_storeu_ps(dst, _mm256_sub_ps(_mm256_mul_ps(dd, lo), mm));
    _mm256_storeu_ps(dst + 8, _mm256_sub_ps(_mm256_mul_ps(dd, hi), mm));
}

#ifdef __cplusplus
}
#endif
#endif
#endif

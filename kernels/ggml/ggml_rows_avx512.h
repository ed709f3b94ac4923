/* SPDX-License-Identifier: MIT */
/*
 * ggml_rows_avx512.h - sixteen values in memory order: codes for known scales, and values
 * for codes.
 *
 * Private to *_avx512.c of this folder; ggml_rows_avx2.h says the same in narrower registers.
 */
#ifndef KERNELS_GGML_GGML_ROWS_AVX512_H
#define KERNELS_GGML_GGML_ROWS_AVX512_H

#include "kernels/ggml/ggml_lanes_avx512.h"

#ifdef __AVX512F__

#ifdef __cplusplus
extern "C" {
#endif

static inline void put_bytes_16(uint8_t *p, __m512i v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(v));
}

static inline __m512i kept_within(__m512 v, int low, int high)
{
    const __m512i l = _mm512_set1_epi32(low);
    const __m512i q = _mm512_max_epi32(nearest_16(v), l);
    return _mm512_sub_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(high)), l);
}

/* Codes of sixteen values: (x + m) / d rounded, kept within low and high, less low. */
static inline void put_levels_16(uint8_t *level, const float *x, float d, float m, int low,
                                 int high)
{
    const __m512 y = _mm512_add_ps(_mm512_loadu_ps(x), _mm512_set1_ps(m));
    put_bytes_16(level, kept_within(_mm512_div_ps(y, _mm512_set1_ps(d)), low, high));
}

/* The same of s * (x - min). */
static inline void put_scaled_16(uint8_t *level, const float *x, float s, float min, int low,
                                 int high)
{
    const __m512 y = _mm512_sub_ps(_mm512_loadu_ps(x), _mm512_set1_ps(min));
    put_bytes_16(level, kept_within(_mm512_mul_ps(_mm512_set1_ps(s), y), low, high));
}

/*
 * 16 more than ggml_iq4_index(): a search among the midpoints of the values. They are a tree: below
 * the midpoint at i are those at 2 i and 2 i + 1.
 */
static inline __m512i iq4_index_16(__m512 v)
{
    const __m512 tree = _mm512_setr_ps(0, -4.5f, -57, 45.5f, -93.5f, -28.5f, 19, 79, -115.5f, -74,
                                       -42, -16, 7, 31.5f, 61, 101);
    const __m512i one = _mm512_set1_epi32(1);
    __m512i i = one;
    for (int step = 0; step < 4; step++) {
        const __m512 t = _mm512_permutexvar_ps(i, tree);
        i = _mm512_add_epi32(i, i);
        i = _mm512_mask_add_epi32(i, _mm512_cmp_ps_mask(v, t, _CMP_NLT_UQ), i, one);
    }
    return i;
}

static inline __m512 iq4_value_16(__m512 v)
{
    const __m512 value =
        _mm512_setr_ps(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    return _mm512_permutexvar_ps(iq4_index_16(v), value); /* by the low four bits */
}

/* The value of IQ4 nearest to each. */
static inline struct lanes lanes_iq4(struct lanes v)
{
    return (struct lanes){iq4_value_16(v.a), iq4_value_16(v.b)};
}

/* Indices of the values of IQ4 nearest to id * x, for sixteen. */
static inline void put_iq4_16(uint8_t *level, const float *x, float id)
{
    const __m512i i = iq4_index_16(_mm512_mul_ps(_mm512_set1_ps(id), _mm512_loadu_ps(x)));
    put_bytes_16(level, _mm512_and_si512(i, _mm512_set1_epi32(15)));
}

/* dst = d * q - m for sixteen codes. */
static inline void put_values_16(float *dst, const int8_t *q, float d, float m)
{
    const __m512i codes = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)q));
    const __m512 y = _mm512_mul_ps(_mm512_set1_ps(d), _mm512_cvtepi32_ps(codes));
    _mm512_storeu_ps(dst, _mm512_sub_ps(y, _mm512_set1_ps(m)));
}

#ifdef __cplusplus
}
#endif
#endif
#endif

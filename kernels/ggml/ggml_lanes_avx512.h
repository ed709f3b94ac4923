/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_avx512.h - 32 numbers side by side: two registers, so that one works while the
 * other waits. Each lane does what scalar code would do, rounding by rounding.
 *
 * Private to *_avx512.c of this folder; ggml_lanes_avx2.h says the same in narrower registers.
 */
#ifndef KERNELS_GGML_GGML_LANES_AVX512_H
#define KERNELS_GGML_GGML_LANES_AVX512_H

#ifdef __AVX512F__
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GGML_LANES 32

struct lanes {
    __m512 a, b;
};

struct lane_mask {
    __mmask16 a, b;
};

static inline struct lanes lanes_load(const float *p)
{
    return (struct lanes){_mm512_loadu_ps(p), _mm512_loadu_ps(p + 16)};
}

static inline void lanes_store(float *p, struct lanes x)
{
    _mm512_storeu_ps(p, x.a);
    _mm512_storeu_ps(p + 16, x.b);
}

static inline struct lanes lanes_set(float x)
{
    return (struct lanes){_mm512_set1_ps(x), _mm512_set1_ps(x)};
}

static inline struct lanes lanes_add(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm512_add_ps(x.a, y.a), _mm512_add_ps(x.b, y.b)};
}

static inline struct lanes lanes_sub(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm512_sub_ps(x.a, y.a), _mm512_sub_ps(x.b, y.b)};
}

static inline struct lanes lanes_mul(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm512_mul_ps(x.a, y.a), _mm512_mul_ps(x.b, y.b)};
}

static inline struct lanes lanes_div(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm512_div_ps(x.a, y.a), _mm512_div_ps(x.b, y.b)};
}

static inline struct lanes lanes_sqrt(struct lanes x)
{
    return (struct lanes){_mm512_sqrt_ps(x.a), _mm512_sqrt_ps(x.b)};
}

/* x < y ? x : y, lane by lane; y when they do not compare. */
static inline struct lanes lanes_min(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm512_min_ps(x.a, y.a), _mm512_min_ps(x.b, y.b)};
}

static inline struct lanes lanes_max(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm512_max_ps(x.a, y.a), _mm512_max_ps(x.b, y.b)};
}

static inline __m512 abs_16(__m512 x)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), magnitude));
}

static inline struct lanes lanes_abs(struct lanes x)
{
    return (struct lanes){abs_16(x.a), abs_16(x.b)};
}

static inline struct lane_mask lanes_less(struct lanes x, struct lanes y)
{
    return (struct lane_mask){_mm512_cmp_ps_mask(x.a, y.a, _CMP_LT_OQ),
                              _mm512_cmp_ps_mask(x.b, y.b, _CMP_LT_OQ)};
}

static inline struct lane_mask lanes_not_less(struct lanes x, struct lanes y)
{
    return (struct lane_mask){_mm512_cmp_ps_mask(x.a, y.a, _CMP_NLT_UQ),
                              _mm512_cmp_ps_mask(x.b, y.b, _CMP_NLT_UQ)};
}

static inline struct lane_mask lanes_unequal(struct lanes x, struct lanes y)
{
    return (struct lane_mask){_mm512_cmp_ps_mask(x.a, y.a, _CMP_NEQ_UQ),
                              _mm512_cmp_ps_mask(x.b, y.b, _CMP_NEQ_UQ)};
}

static inline struct lane_mask lanes_both(struct lane_mask m, struct lane_mask n)
{
    return (struct lane_mask){(__mmask16)(m.a & n.a), (__mmask16)(m.b & n.b)};
}

static inline struct lane_mask lanes_either(struct lane_mask m, struct lane_mask n)
{
    return (struct lane_mask){(__mmask16)(m.a | n.a), (__mmask16)(m.b | n.b)};
}

static inline int lanes_any(struct lane_mask m)
{
    return (m.a | m.b) != 0;
}

/* A bit per lane. */
static inline uint32_t lanes_bits(struct lane_mask m)
{
    return (uint32_t)m.a | (uint32_t)m.b << 16;
}

static inline int lanes_all(struct lane_mask m)
{
    return (m.a & m.b) == 0xFFFF;
}

/* m ? x : y */
static inline struct lanes lanes_select(struct lane_mask m, struct lanes x, struct lanes y)
{
    return (struct lanes){_mm512_mask_blend_ps(m.a, y.a, x.a), _mm512_mask_blend_ps(m.b, y.b, x.b)};
}

static inline __m512i nearest_16(__m512 x)
{
    const __m512i u = _mm512_castps_si512(_mm512_add_ps(x, _mm512_set1_ps(12582912.0f)));
    return _mm512_sub_epi32(_mm512_and_si512(u, _mm512_set1_epi32(0x7FFFFF)),
                            _mm512_set1_epi32(0x400000));
}

/* ggml_nearest() of anything. */
static inline struct lanes lanes_nearest(struct lanes x)
{
    return (struct lanes){_mm512_cvtepi32_ps(nearest_16(x.a)), _mm512_cvtepi32_ps(nearest_16(x.b))};
}

/* The low bytes of whole numbers. */
static inline void lanes_store_bytes(uint8_t *p, struct lanes x)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.a)));
    _mm_storeu_si128((__m128i *)(p + 16), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.b)));
}

#ifdef __cplusplus
}
#endif
#endif
#endif

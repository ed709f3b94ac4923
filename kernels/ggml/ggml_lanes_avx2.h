/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_avx2.h - sixteen numbers side by side: two registers, so that one works while the
 * other waits. Each lane does what scalar code would do, rounding by rounding.
 *
 * Private to *_avx2.c of this folder; ggml_lanes_avx512.h says the same in wider registers.
 */
#ifndef KERNELS_GGML_GGML_LANES_AVX2_H
#define KERNELS_GGML_GGML_LANES_AVX2_H

#ifdef __AVX2__
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GGML_LANES 16

struct lanes {
    __m256 a, b;
};

/* All bits set where true. */
struct lane_mask {
    __m256 a, b;
};

static inline struct lanes lanes_load(const float *p)
{
    return (struct lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

static inline void lanes_store(float *p, struct lanes x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

static inline struct lanes lanes_set(float x)
{
    return (struct lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline struct lanes lanes_add(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}

static inline struct lanes lanes_sub(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}

static inline struct lanes lanes_mul(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}

static inline struct lanes lanes_div(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}

static inline struct lanes lanes_sqrt(struct lanes x)
{
    return (struct lanes){_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
}

/* x < y ? x : y, lane by lane; y when they do not compare. */
static inline struct lanes lanes_min(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}

static inline struct lanes lanes_max(struct lanes x, struct lanes y)
{
    return (struct lanes){_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}

static inline struct lanes lanes_abs(struct lanes x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (struct lanes){_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}

static inline struct lane_mask lanes_less(struct lanes x, struct lanes y)
{
    return (struct lane_mask){_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ),
                              _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
}

static inline struct lane_mask lanes_not_less(struct lanes x, struct lanes y)
{
    return (struct lane_mask){_mm256_cmp_ps(x.a, y.a, _CMP_NLT_UQ),
                              _mm256_cmp_ps(x.b, y.b, _CMP_NLT_UQ)};
}

static inline struct lane_mask lanes_unequal(struct lanes x, struct lanes y)
{
    return (struct lane_mask){_mm256_cmp_ps(x.a, y.a, _CMP_NEQ_UQ),
                              _mm256_cmp_ps(x.b, y.b, _CMP_NEQ_UQ)};
}

static inline struct lane_mask lanes_both(struct lane_mask m, struct lane_mask n)
{
    return (struct lane_mask){_mm256_and_ps(m.a, n.a), _mm256_and_ps(m.b, n.b)};
}

static inline struct lane_mask lanes_either(struct lane_mask m, struct lane_mask n)
{
    return (struct lane_mask){_mm256_or_ps(m.a, n.a), _mm256_or_ps(m.b, n.b)};
}

static inline int lanes_any(struct lane_mask m)
{
    return _mm256_movemask_ps(_mm256_or_ps(m.a, m.b)) != 0;
}

/* A bit per lane. */
static inline uint32_t lanes_bits(struct lane_mask m)
{
    return (uint32_t)_mm256_movemask_ps(m.a) | (uint32_t)_mm256_movemask_ps(m.b) << 8;
}

static inline int lanes_all(struct lane_mask m)
{
    return _mm256_movemask_ps(_mm256_and_ps(m.a, m.b)) == 0xFF;
}

/* m ? x : y */
static inline struct lanes lanes_select(struct lane_mask m, struct lanes x, struct lanes y)
{
    return (struct lanes){_mm256_blendv_ps(y.a, x.a, m.a), _mm256_blendv_ps(y.b, x.b, m.b)};
}

static inline __m256i nearest_8(__m256 x)
{
    const __m256i u = _mm256_castps_si256(_mm256_add_ps(x, _mm256_set1_ps(12582912.0f)));
    return _mm256_sub_epi32(_mm256_and_si256(u, _mm256_set1_epi32(0x7FFFFF)),
                            _mm256_set1_epi32(0x400000));
}

/* ggml_nearest() of anything. */
static inline struct lanes lanes_nearest(struct lanes x)
{
    return (struct lanes){_mm256_cvtepi32_ps(nearest_8(x.a)), _mm256_cvtepi32_ps(nearest_8(x.b))};
}

/* The low bytes of whole numbers. */
static inline void lanes_store_bytes(uint8_t *p, struct lanes x)
{
    const __m256i mask = _mm256_set1_epi32(255);
    const __m256i a = _mm256_and_si256(_mm256_cvtps_epi32(x.a), mask);
    const __m256i b = _mm256_and_si256(_mm256_cvtps_epi32(x.b), mask);
    const __m256i h = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128((__m128i *)p,
                     _mm_packus_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1)));
}

#ifdef __cplusplus
}
#endif
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * ggml_vectors.h - Q8_0, F16 and BF16, which need no search, and what the other plain types share.
 *
 * Private to the vector variants; registers of 256 bits in all of them, for memory is the limit.
 * */
#ifndef KERNELS_GGML_GGML_VECTORS_H
#define KERNELS_GGML_GGML_VECTORS_H

#ifdef GGML_LANES
#include <immintrin.h>
#include <math.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_layout.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 32 values, or bits; what is found about them. */
struct run_32 {
    __m256 v[4];
};

static inline struct run_32 run_load(const float *x)
{
    return (struct run_32){{_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8), _mm256_loadu_ps(x + 16),
                            _mm256_loadu_ps(x + 24)}};
}

static inline __m256i magnitude_bits(__m256 v)
{
    return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7FFFFFFF));
}

static inline uint32_t highest_of_8(__m256i v)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(1, 0, 3, 2)));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, _MM_SHUFFLE(2, 3, 0, 1)));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

/* Bits of the largest magnitude: those of NaN are above infinity's. */
static inline uint32_t run_amax(const struct run_32 *r)
{
    const __m256i a = _mm256_max_epu32(magnitude_bits(r->v[0]), magnitude_bits(r->v[1]));
    const __m256i b = _mm256_max_epu32(magnitude_bits(r->v[2]), magnitude_bits(r->v[3]));
    return highest_of_8(_mm256_max_epu32(a, b));
}

static inline uint32_t signs_8(__m256i v)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(v));
}

/* Index of the first value of this magnitude, given by its bits. */
static inline int first_of_magnitude(const struct run_32 *r, uint32_t bits)
{
    const __m256i b = _mm256_set1_epi32((int)bits);
    uint32_t m = signs_8(_mm256_cmpeq_epi32(magnitude_bits(r->v[0]), b));
    m |= signs_8(_mm256_cmpeq_epi32(magnitude_bits(r->v[1]), b)) << 8;
    m |= signs_8(_mm256_cmpeq_epi32(magnitude_bits(r->v[2]), b)) << 16;
    m |= signs_8(_mm256_cmpeq_epi32(magnitude_bits(r->v[3]), b)) << 24;
    return __builtin_ctz(m);
}

/* Index of the first value equal to x. */
static inline int first_equal(const struct run_32 *r, float x)
{
    const __m256 b = _mm256_set1_ps(x);
    uint32_t m = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(r->v[0], b, _CMP_EQ_OQ));
    m |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(r->v[1], b, _CMP_EQ_OQ)) << 8;
    m |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(r->v[2], b, _CMP_EQ_OQ)) << 16;
    m |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(r->v[3], b, _CMP_EQ_OQ)) << 24;
    return __builtin_ctz(m);
}

/* Bytes of 32 small integers, clamped to those of signed bytes. */
static inline __m256i bytes_of(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i w = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_permutevar8x32_epi32(w, order);
}

/* Low and high nibble of byte j from codes j and j + 16. */
static inline void put_nibbles(uint8_t *b, __m256i codes)
{
    const __m256i c = _mm256_and_si256(codes, _mm256_set1_epi8(15));
    const __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(c, 1), 4);
    _mm_storeu_si128((__m128i *)b, _mm_or_si128(_mm256_castsi256_si128(c), high));
}

/* Bit 4 of the codes. */
static inline uint32_t fifth_bits(__m256i codes)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(codes, 3));
}

static inline void put_scale(uint8_t *b, float d)
{
    store_u16_at(b, 0, (uint16_t)_cvtss_sh(d, _MM_FROUND_TO_NEAREST_INT));
}

/* Halves away from zero: half a unit less its last place is added, so that nothing below is moved.
 */
static inline __m256i rounded_away(__m256 v)
{
    const __m256 sign = _mm256_and_ps(v, _mm256_set1_ps(-0.0f));
    return _mm256_cvttps_epi32(
        _mm256_add_ps(v, _mm256_or_ps(sign, _mm256_set1_ps(0x1.fffffep-2f))));
}

/* An infinite 1 / d would make every code 0, and so does 0. */
static inline void q8_0_vector(uint8_t *b, const float *x)
{
    const struct run_32 r = run_load(x);
    const uint32_t amax = run_amax(&r);
    const float d = f32_from_bits(amax) / 127, inverse = 1 / d;
    const __m256 id = _mm256_set1_ps(inverse < INFINITY ? inverse : 0);
    if (amax >= 0x7F800000) {
        ggml_put_bad(b, SLOT_Q8_0);
        return;
    }
    put_scale(b, d);
    _mm256_storeu_si256((__m256i *)(b + 2), bytes_of(rounded_away(_mm256_mul_ps(r.v[0], id)),
                                                     rounded_away(_mm256_mul_ps(r.v[1], id)),
                                                     rounded_away(_mm256_mul_ps(r.v[2], id)),
                                                     rounded_away(_mm256_mul_ps(r.v[3], id))));
}

static inline void f16_vector(uint8_t *b, const float *x)
{
    const __m256 v = _mm256_loadu_ps(x);
    const __m128i h = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
    const __m128i magnitude = _mm_and_si128(h, _mm_set1_epi16(0x7FFF));
    const __m128i nan = _mm_cmpgt_epi16(magnitude, _mm_set1_epi16(0x7C00));
    const __m128i plain =
        _mm_or_si128(_mm_and_si128(h, _mm_set1_epi16((short)0x8000)), _mm_set1_epi16(0x7E00));
    _mm_storeu_si128((__m128i *)b, _mm_blendv_epi8(h, plain, nan));
}

static inline void bf16_vector(uint8_t *b, const float *x)
{
    const __m256i u = _mm256_castps_si256(_mm256_loadu_ps(x)), upper = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    const __m256i nan =
        _mm256_cmpgt_epi32(magnitude_bits(_mm256_castsi256_ps(u)), _mm256_set1_epi32(0x7F800000));
    const __m256i h = _mm256_blendv_epi8(rounded, quiet, nan);
    _mm_storeu_si128((__m128i *)b,
                     _mm_packus_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1)));
}

/* The walk. */
__attribute__((always_inline)) static inline void
vector_quantize(uint8_t *b, const float *x, size_t n, size_t block, size_t bytes,
                void (*fn)(uint8_t *, const float *))
{
    for (size_t i = 0; i < n; i += block, b += bytes)
        fn(b, x + i);
}

#ifdef __cplusplus
}
#endif
#endif
#endif

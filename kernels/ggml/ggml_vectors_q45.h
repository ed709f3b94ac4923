/* SPDX-License-Identifier: MIT */
/*
 * ggml_vectors_q45.h - Q4_0, Q4_1, Q5_0 and Q5_1 without weights, a block at a time.
 *
 * Private to the vector variants. Blocks in which something overflows are left to scalar code.
 */
#ifndef KERNELS_GGML_GGML_VECTORS_Q45_H
#define KERNELS_GGML_GGML_VECTORS_Q45_H

#include "kernels/ggml/ggml_variants.h"
#include "kernels/ggml/ggml_vectors.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

static inline __m256i shifted_codes(const struct run_32 *r, __m256 low, __m256 id, __m256 half)
{
    __m256i c[4];
    for (int k = 0; k < 4; k++) {
        const __m256 y = _mm256_mul_ps(_mm256_sub_ps(r->v[k], low), id);
        c[k] = _mm256_cvttps_epi32(_mm256_add_ps(y, half));
    }
    return bytes_of(c[0], c[1], c[2], c[3]);
}

/* Q4_0 and Q5_0; nm 8 or 16. 0: to be done by scalar code. */
static inline int signed_vector(__m256i *codes, float *d, const float *x, int nm)
{
    const struct run_32 r = run_load(x);
    const uint32_t amax = run_amax(&r);
    if (amax >= 0x7F800000)
        return 0;
    *d = (amax ? x[first_of_magnitude(&r, amax)] : 0) / (float)-nm;
    const float id = *d != 0 ? 1 / *d : 0;
    if (!(fabsf(id) < INFINITY))
        return 0;
    *codes = shifted_codes(&r, _mm256_setzero_ps(), _mm256_set1_ps(id),
                           _mm256_set1_ps((float)nm + 0.5f));
    *codes = _mm256_min_epi8(*codes, _mm256_set1_epi8((char)(2 * nm - 1)));
    return 1;
}

static inline void q4_0_vector(uint8_t *b, const float *x)
{
    __m256i codes;
    float d;
    if (!signed_vector(&codes, &d, x, 8)) {
        ggml_quantize_rows_q4_0_scalar(b, x, 1, 32, NULL);
        return;
    }
    put_scale(b, d);
    put_nibbles(b + 2, codes);
}

static inline void q5_0_vector(uint8_t *b, const float *x)
{
    __m256i codes;
    float d;
    if (!signed_vector(&codes, &d, x, 16)) {
        ggml_quantize_rows_q5_0_scalar(b, x, 1, 32, NULL);
        return;
    }
    put_scale(b, d);
    store_u32_at(b + 2, 0, fifth_bits(codes));
    put_nibbles(b + 6, codes);
}

static inline float lowest_of_8(__m256 v)
{
    __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_min_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
}

/* Q4_1 and Q5_1: the step, the minimum, the codes. Of equal zeros the first gives its sign. */
static inline int offset_vector(__m256i *codes, float *d, float *min, const float *x, int nm)
{
    const struct run_32 r = run_load(x);
    const __m256 minus = _mm256_set1_ps(-0.0f);
    if (run_amax(&r) >= 0x7F800000)
        return 0;
    const __m256 low = _mm256_min_ps(_mm256_min_ps(r.v[0], r.v[1]), _mm256_min_ps(r.v[2], r.v[3]));
    const __m256 high = _mm256_max_ps(_mm256_max_ps(r.v[0], r.v[1]), _mm256_max_ps(r.v[2], r.v[3]));
    const float l = x[first_equal(&r, lowest_of_8(low))];
    const float h = x[first_equal(&r, -lowest_of_8(_mm256_xor_ps(high, minus)))];
    *min = l;
    *d = (h - l) / (float)nm;
    const float id = *d != 0 ? 1 / *d : 0;
    if (!(fabsf(id) < INFINITY && fabsf(*d) < INFINITY))
        return 0;
    *codes = shifted_codes(&r, _mm256_set1_ps(l), _mm256_set1_ps(id), _mm256_set1_ps(0.5f));
    return 1;
}

static inline void q4_1_vector(uint8_t *b, const float *x)
{
    __m256i codes;
    float d, min;
    if (!offset_vector(&codes, &d, &min, x, 15)) {
        ggml_quantize_rows_q4_1_scalar(b, x, 1, 32, NULL);
        return;
    }
    put_scale(b, d);
    put_scale(b + 2, min);
    put_nibbles(b + 4, _mm256_min_epi8(codes, _mm256_set1_epi8(15)));
}

static inline void q5_1_vector(uint8_t *b, const float *x)
{
    __m256i codes;
    float d, min;
    if (!offset_vector(&codes, &d, &min, x, 31)) {
        ggml_quantize_rows_q5_1_scalar(b, x, 1, 32, NULL);
        return;
    }
    put_scale(b, d);
    put_scale(b + 2, min);
    store_u32_at(b + 4, 0, fifth_bits(codes));
    put_nibbles(b + 8, codes);
}

#ifdef __cplusplus
}
#endif
#endif
#endif

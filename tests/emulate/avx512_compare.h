/* SPDX-License-Identifier: MIT */
/*
 * avx512_compare.h - AVX-512 comparisons and the rest that SIMDe 0.7.4 lacks, lane by lane.
 *
 * Each does what Intel's manual says of its instruction, under the default rounding mode.
 * rsqrt14 is as wrong as the manual allows, now in one direction, now in the other, since
 * processors differ there.
 *
 * Threads    pure functions
 */
#ifndef PREP_TESTS_EMULATE_AVX512_COMPARE_H
#define PREP_TESTS_EMULATE_AVX512_COMPARE_H

#include <math.h>

#include "tests/emulate/avx512_memory.h"

#if __has_include(<simde/x86/avx512.h>)

#ifdef __cplusplus
extern "C" {
#endif

static inline __mmask16 emulated_mm256_cmpeq_epi16_mask(__m256i a, __m256i b)
{
    union emulated u, v;
    unsigned mask = 0;
    u.y = a;
    v.y = b;
    for (int i = 0; i < 16; i++)
        mask |= (unsigned)(u.u16[i] == v.u16[i]) << i;
    return (__mmask16)mask;
}

static inline __mmask32 emulated_mm512_cmpgt_epi16_mask(__m512i a, __m512i b)
{
    union emulated u, v;
    uint32_t mask = 0;
    u.z = a;
    v.z = b;
    for (int i = 0; i < 32; i++)
        mask |= (uint32_t)(u.i16[i] > v.i16[i]) << i;
    return mask;
}

static inline __mmask16 emulated_mm512_cmplt_epi32_mask(__m512i a, __m512i b)
{
    union emulated u, v;
    unsigned mask = 0;
    u.z = a;
    v.z = b;
    for (int i = 0; i < 16; i++)
        mask |= (unsigned)(u.i32[i] < v.i32[i]) << i;
    return (__mmask16)mask;
}

/* Two quarters of a, then two of b. */
static inline __m512 emulated_mm512_shuffle_f32x4(__m512 a, __m512 b, int which)
{
    union emulated u, v, r;
    u.zs = a;
    v.zs = b;
    for (int i = 0; i < 4; i++)
        memcpy(r.f32 + 4 * i, (i < 2 ? &u : &v)->f32 + 4 * (which >> 2 * i & 3), 16);
    return r.zs;
}

static inline __m256 emulated_mm512_extractf32x8_ps(__m512 a, int half)
{
    union emulated u, r;
    u.zs = a;
    memcpy(r.f32, u.f32 + 8 * half, sizeof r.ys);
    return r.ys;
}

/* The second operand where one is NaN, as in the instruction; halves are folded. */
static inline float emulated_mm512_reduce_max_ps(__m512 a)
{
    union emulated u;
    u.zs = a;
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++)
            u.f32[i] = u.f32[i] > u.f32[i + n] ? u.f32[i] : u.f32[i + n];
    return u.f32[0];
}

static inline float emulated_mm512_reduce_min_ps(__m512 a)
{
    union emulated u;
    u.zs = a;
    for (int n = 8; n; n /= 2)
        for (int i = 0; i < n; i++)
            u.f32[i] = u.f32[i] < u.f32[i + n] ? u.f32[i] : u.f32[i + n];
    return u.f32[0];
}

/* 1 / sqrt(x) with a relative error just below 2^-14, upward where the last bit of x is set. */
static inline __m512 emulated_mm512_rsqrt14_ps(__m512 a)
{
    union emulated u, r;
    u.zs = a;
    for (int i = 0; i < 16; i++)
        r.f32[i] =
            (float)(1 / sqrt((double)u.f32[i]) * (u.u32[i] & 1 ? 1 + 0x1.FEp-15 : 1 - 0x1.FEp-15));
    return r.zs;
}

#undef _mm256_cmpeq_epi16_mask
#undef _mm512_cmpgt_epi16_mask
#undef _mm512_cmplt_epi32_mask
#undef _mm512_mask_cmp_ps_mask
#undef _mm512_shuffle_f32x4
#undef _mm512_extractf32x8_ps
#undef _mm512_reduce_max_ps
#undef _mm512_reduce_min_ps
#undef _mm512_rsqrt14_ps
#undef _mm512_madd_epi16 /* SIMDe's has the wrong number of arguments */
#define _mm256_cmpeq_epi16_mask emulated_mm256_cmpeq_epi16_mask
#define _mm512_cmpgt_epi16_mask emulated_mm512_cmpgt_epi16_mask
#define _mm512_cmplt_epi32_mask emulated_mm512_cmplt_epi32_mask
#define _mm512_mask_cmp_ps_mask(k, a, b, is) ((__mmask16)((k)&simde_mm512_cmp_ps_mask(a, b, is)))
#define _mm512_shuffle_f32x4 emulated_mm512_shuffle_f32x4
#define _mm512_extractf32x8_ps emulated_mm512_extractf32x8_ps
#define _mm512_reduce_max_ps emulated_mm512_reduce_max_ps
#define _mm512_reduce_min_ps emulated_mm512_reduce_min_ps
#define _mm512_rsqrt14_ps emulated_mm512_rsqrt14_ps
#define _mm512_madd_epi16 simde_mm512_madd_epi16

#ifdef __cplusplus
}
#endif
#endif
#endif

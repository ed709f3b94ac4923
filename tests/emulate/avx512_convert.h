/* SPDX-License-Identifier: MIT */
/*
 * avx512_convert.h - AVX-512 conversions and scalings that SIMDe 0.7.4 lacks or has wrong, lane by
 * lane. (Its scalef multiplies by exp2, which underflows before the product does.)
 *
 * Each does what Intel's manual says of its instruction, under the default rounding mode.
 *
 * Threads    pure functions
 */
#ifndef PREP_TESTS_EMULATE_AVX512_CONVERT_H
#define PREP_TESTS_EMULATE_AVX512_CONVERT_H

#include <math.h>

#include "kernels/fp.h"
#include "tests/emulate/avx512_memory.h"

#if __has_include(<simde/x86/avx512.h>)

#ifdef __cplusplus
extern "C" {
#endif

static inline __m512i emulated_mm512_cvtepu8_epi32(__m128i a)
{
    union emulated u, r;
    u.x = a;
    for (int i = 0; i < 16; i++)
        r.u32[i] = u.u8[i];
    return r.z;
}

static inline __m512i emulated_mm512_cvtepu16_epi32(__m256i a)
{
    union emulated u, r;
    u.y = a;
    for (int i = 0; i < 16; i++)
        r.u32[i] = u.u16[i];
    return r.z;
}

static inline __m128i emulated_mm512_cvtepi32_epi8(__m512i a)
{
    union emulated u, r;
    u.z = a;
    for (int i = 0; i < 16; i++)
        r.u8[i] = (uint8_t)u.u32[i];
    return r.x;
}

static inline __m256i emulated_mm512_cvtepi32_epi16(__m512i a)
{
    union emulated u, r;
    u.z = a;
    for (int i = 0; i < 16; i++)
        r.u16[i] = (uint16_t)u.u32[i];
    return r.y;
}

static inline __m512 emulated_mm512_cvtepi32_ps(__m512i a)
{
    union emulated u, r;
    u.z = a;
    for (int i = 0; i < 16; i++)
        r.f32[i] = (float)u.i32[i];
    return r.zs;
}

/* What does not fit is the most negative number. */
static inline __m512i emulated_mm512_cvtps_epi32(__m512 a)
{
    union emulated u, r;
    u.zs = a;
    for (int i = 0; i < 16; i++) {
        const float x = rintf(u.f32[i]);
        r.i32[i] = x >= -0x1p31f && x < 0x1p31f ? (int32_t)x : INT32_MIN;
    }
    return r.z;
}

static inline __m512 emulated_mm512_cvtph_ps(__m256i a)
{
    union emulated u, r;
    u.y = a;
    for (int i = 0; i < 16; i++)
        r.f32[i] = f32_from_f16(u.u16[i]);
    return r.zs;
}

static inline __m512d emulated_mm512_cvtps_pd(__m256 a)
{
    union emulated u, r;
    u.ys = a;
    for (int i = 0; i < 8; i++)
        r.f64[i] = (double)u.f32[i];
    return r.zd;
}

/* Toward zero, the one direction our kernels ask for. */
static inline __m256 emulated_mm512_cvt_truncate_pd_ps(__m512d a)
{
    union emulated u, r;
    u.zd = a;
    for (int i = 0; i < 8; i++) {
        const float x = (float)u.f64[i];
        r.f32[i] = fabs((double)x) > fabs(u.f64[i]) ? nextafterf(x, 0) : x;
    }
    return r.ys;
}

/* NaN and infinite scales are left to a plain product: nothing here scales by them. */
static inline __m512 emulated_mm512_scalef_ps(__m512 a, __m512 b)
{
    union emulated u, n;
    u.zs = a;
    n.zs = b;
    for (int i = 0; i < 16; i++)
        u.f32[i] = isfinite(n.f32[i]) ? scalbnf(u.f32[i], (int)floorf(n.f32[i]))
                                      : u.f32[i] * exp2f(n.f32[i]);
    return u.zs;
}

static inline __m512d emulated_mm512_scalef_pd(__m512d a, __m512d b)
{
    union emulated u, n;
    u.zd = a;
    n.zd = b;
    for (int i = 0; i < 8; i++)
        u.f64[i] =
            isfinite(n.f64[i]) ? scalbn(u.f64[i], (int)floor(n.f64[i])) : u.f64[i] * exp2(n.f64[i]);
    return u.zd;
}

#undef _mm512_scalef_ps
#undef _mm512_scalef_pd
#define _mm512_scalef_ps emulated_mm512_scalef_ps
#define _mm512_scalef_pd emulated_mm512_scalef_pd
#undef _mm512_cvtepu8_epi32
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepi32_epi16
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_epi32
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_pd
#undef _mm512_cvt_roundpd_ps
#define _mm512_cvtepu8_epi32 emulated_mm512_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 emulated_mm512_cvtepu16_epi32
#define _mm512_cvtepi32_epi8 emulated_mm512_cvtepi32_epi8
#define _mm512_cvtepi32_epi16 emulated_mm512_cvtepi32_epi16
#define _mm512_cvtepi32_ps emulated_mm512_cvtepi32_ps
#define _mm512_cvtps_epi32 emulated_mm512_cvtps_epi32
#define _mm512_cvtph_ps emulated_mm512_cvtph_ps
#define _mm512_cvtps_pd emulated_mm512_cvtps_pd
/* Another rounding would need a function of its own: it does not compile here. */
#define _mm512_cvt_roundpd_ps(a, rounding)                                                         \
    ((void)sizeof(char[(rounding) == (_MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC) ? 1 : -1]),          \
     emulated_mm512_cvt_truncate_pd_ps(a))

#ifdef __cplusplus
}
#endif
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * avx512_arithmetic.h - AVX-512 shifts, scalings and permutations that SIMDe 0.7.4 lacks or has
 * wrong: its scalef flushes subnormals and rounds twice.
 *
 * Threads    pure functions
 */
#ifndef PREP_TESTS_EMULATE_AVX512_ARITHMETIC_H
#define PREP_TESTS_EMULATE_AVX512_ARITHMETIC_H

#include <math.h>

#include "tests/emulate/avx512_memory.h"

#if __has_include(<simde/x86/avx512.h>)

#ifdef __cplusplus
extern "C" {
#endif

/* a * 2^floor(b), rounded once; NaN where either is. |b| < 2^31, as in our kernels. */
static inline __m512 emulated_mm512_scalef_ps(__m512 a, __m512 b)
{
    union emulated u, v;
    u.zs = a;
    v.zs = b;
    for (int i = 0; i < 16; i++)
        u.f32[i] = isnan(v.f32[i]) ? v.f32[i] : ldexpf(u.f32[i], (int)floorf(v.f32[i]));
    return u.zs;
}

static inline __m512d emulated_mm512_scalef_pd(__m512d a, __m512d b)
{
    union emulated u, v;
    u.zd = a;
    v.zd = b;
    for (int i = 0; i < 8; i++)
        u.f64[i] = isnan(v.f64[i]) ? v.f64[i] : ldexp(u.f64[i], (int)floor(v.f64[i]));
    return u.zd;
}

static inline __m512d emulated_mm512_mask3_fmadd_pd(__m512d a, __m512d b, __m512d c, __mmask8 k)
{
    union emulated u, v, w;
    u.zd = a;
    v.zd = b;
    w.zd = c;
    for (int i = 0; i < 8; i++)
        if (k >> i & 1)
            w.f64[i] = fma(u.f64[i], v.f64[i], w.f64[i]);
    return w.zd;
}

static inline __m512i emulated_mm512_srai_epi32(__m512i a, unsigned n)
{
    union emulated u;
    u.z = a;
    for (int i = 0; i < 16; i++)
        u.i32[i] >>= n > 31 ? 31 : n;
    return u.z;
}

static inline __m512i emulated_mm512_sra_epi32(__m512i a, __m128i n)
{
    const uint64_t shift = (uint64_t)_mm_cvtsi128_si64(n);
    return emulated_mm512_srai_epi32(a, shift > 31 ? 31 : (unsigned)shift);
}

/* The same choice of four within every quarter. */
static inline __m512 emulated_mm512_permute_ps(__m512 a, int which)
{
    union emulated u, r;
    u.zs = a;
    for (int i = 0; i < 16; i++)
        r.f32[i] = u.f32[(i & ~3) + (which >> 2 * (i & 3) & 3)];
    return r.zs;
}

#undef _mm512_scalef_ps
#undef _mm512_scalef_pd
#undef _mm512_mask3_fmadd_pd
#undef _mm512_srai_epi32
#undef _mm512_sra_epi32
#undef _mm512_permute_ps
#undef _mm256_maskz_loadu_ps
#define _mm512_scalef_ps emulated_mm512_scalef_ps
#define _mm512_scalef_pd emulated_mm512_scalef_pd
#define _mm512_mask3_fmadd_pd emulated_mm512_mask3_fmadd_pd
#define _mm512_srai_epi32 emulated_mm512_srai_epi32
#define _mm512_sra_epi32 emulated_mm512_sra_epi32
#define _mm512_permute_ps emulated_mm512_permute_ps
#define _mm256_maskz_loadu_ps(k, p) (emulated_load((__mmask8)(k), p, 4).ys)

#ifdef __cplusplus
}
#endif
#endif
#endif

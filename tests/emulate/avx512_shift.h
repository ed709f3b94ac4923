/* SPDX-License-Identifier: MIT */
/*
 * avx512_shift.h - AVX-512 shifts that SIMDe 0.7.4 lacks, lane by lane.
 *
 * Threads    pure functions
 */
#ifndef PREP_TESTS_EMULATE_AVX512_SHIFT_H
#define PREP_TESTS_EMULATE_AVX512_SHIFT_H

#include "tests/emulate/avx512_memory.h"

#if __has_include(<simde/x86/avx512.h>)

#ifdef __cplusplus
extern "C" {
#endif

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

#undef _mm512_srai_epi32
#undef _mm512_sra_epi32
#define _mm512_srai_epi32 emulated_mm512_srai_epi32
#define _mm512_sra_epi32 emulated_mm512_sra_epi32

#ifdef __cplusplus
}
#endif
#endif
#endif

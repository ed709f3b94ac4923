/* SPDX-License-Identifier: MIT */
/*
 * avx512_memory.h - AVX-512 loads and stores that SIMDe 0.7.4 lacks, lane by lane.
 *
 * Lanes that a mask leaves out are neither read nor written.
 *
 * Threads    pure functions
 */
#ifndef PREP_TESTS_EMULATE_AVX512_MEMORY_H
#define PREP_TESTS_EMULATE_AVX512_MEMORY_H

#include <stdint.h>
#include <string.h>

#include <immintrin.h>

#if __has_include(<simde/x86/avx512.h>)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The lanes of a register of at most 64 bytes. */
union emulated {
    uint8_t u8[64];
    uint16_t u16[32];
    int16_t i16[32];
    uint32_t u32[16];
    int32_t i32[16];
    float f32[16];
    double f64[8];
    __m128i x;
    __m256i y;
    __m256 ys;
    __m512i z;
    __m512 zs;
    __m512d zd;
};

static inline union emulated emulated_load(uint64_t mask, const void *p, size_t lane)
{
    union emulated u;
    memset(&u, 0, sizeof u);
    for (size_t i = 0; i * lane < sizeof u; i++)
        if (mask >> i & 1)
            memcpy(u.u8 + i * lane, (const char *)p + i * lane, lane);
    return u;
}

static inline void emulated_store(void *p, uint64_t mask, const union emulated *u, size_t lane)
{
    for (size_t i = 0; i * lane < sizeof *u; i++)
        if (mask >> i & 1)
            memcpy((char *)p + i * lane, u->u8 + i * lane, lane);
}

static inline void emulated_mm_mask_storeu_epi32(void *p, __mmask8 k, __m128i a)
{
    union emulated u;
    u.x = a;
    emulated_store(p, k & 0xF, &u, 4);
}

static inline void emulated_mm256_mask_storeu_epi16(void *p, __mmask16 k, __m256i a)
{
    union emulated u;
    u.y = a;
    emulated_store(p, k, &u, 2);
}

static inline void emulated_mm512_mask_storeu_epi32(void *p, __mmask16 k, __m512i a)
{
    union emulated u;
    u.z = a;
    emulated_store(p, k, &u, 4);
}

static inline void emulated_mm512_mask_storeu_ps(void *p, __mmask16 k, __m512 a)
{
    union emulated u;
    u.zs = a;
    emulated_store(p, k, &u, 4);
}

#undef _mm_maskz_loadu_epi8
#undef _mm256_maskz_loadu_epi16
#undef _mm512_maskz_loadu_epi8
#undef _mm512_maskz_loadu_epi32
#undef _mm256_maskz_loadu_ps
#undef _mm512_maskz_loadu_ps
#undef _mm_mask_storeu_epi32
#undef _mm256_mask_storeu_epi16
#undef _mm512_mask_storeu_epi32
#undef _mm512_mask_storeu_ps
#define _mm_maskz_loadu_epi8(k, p) (emulated_load((__mmask16)(k), p, 1).x)
#define _mm256_maskz_loadu_epi16(k, p) (emulated_load((__mmask16)(k), p, 2).y)
#define _mm512_maskz_loadu_epi8(k, p) (emulated_load((__mmask64)(k), p, 1).z)
#define _mm512_maskz_loadu_epi32(k, p) (emulated_load((__mmask16)(k), p, 4).z)
#define _mm256_maskz_loadu_ps(k, p) (emulated_load((__mmask8)(k), p, 4).ys)
#define _mm512_maskz_loadu_ps(k, p) (emulated_load((__mmask16)(k), p, 4).zs)
#define _mm_mask_storeu_epi32 emulated_mm_mask_storeu_epi32
#define _mm256_mask_storeu_epi16 emulated_mm256_mask_storeu_epi16
#define _mm512_mask_storeu_epi32 emulated_mm512_mask_storeu_epi32
#define _mm512_mask_storeu_ps emulated_mm512_mask_storeu_ps

#ifdef __cplusplus
}
#endif
#endif
#endif

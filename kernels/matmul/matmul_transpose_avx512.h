/* SPDX-License-Identifier: MIT */
/*
 * matmul_transpose_avx512.h - from rows of B to vectors of columns, in registers. Private.
 *
 * Shapes     16 rows; row[i] + byte begins 16 bytes that are readable
 * Threads    pure functions
 */
#ifndef KERNELS_MATMUL_MATMUL_TRANSPOSE_AVX512_H
#define KERNELS_MATMUL_MATMUL_TRANSPOSE_AVX512_H

#include <immintrin.h>

#include "kernels/matmul/matmul_tiles.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MATMUL_LANES_AVX512 = 16 };

static inline __attribute__((always_inline)) __m128i matmul_load_16(const unsigned char *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/*
 * out[i] holds 32-bit word i of every row. Rows r, r + 4, r + 8 and r + 12 share a register, so
 * that no step crosses its quarters.
 */
static inline __attribute__((always_inline)) void
matmul_transpose_avx512(__m512i out[4], const unsigned char *const row[MATMUL_LANES_AVX512],
                        size_t byte)
{
    __m512i x[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        x[i] = _mm512_castsi128_si512(matmul_load_16(row[i] + byte));
        x[i] = _mm512_inserti32x4(x[i], matmul_load_16(row[i + 4] + byte), 1);
        x[i] = _mm512_inserti32x4(x[i], matmul_load_16(row[i + 8] + byte), 2);
        x[i] = _mm512_inserti32x4(x[i], matmul_load_16(row[i + 12] + byte), 3);
    }
    const __m512i a = _mm512_unpacklo_epi32(x[0], x[1]), b = _mm512_unpackhi_epi32(x[0], x[1]);
    const __m512i c = _mm512_unpacklo_epi32(x[2], x[3]), d = _mm512_unpackhi_epi32(x[2], x[3]);
    out[0] = _mm512_unpacklo_epi64(a, c);
    out[1] = _mm512_unpackhi_epi64(a, c);
    out[2] = _mm512_unpacklo_epi64(b, d);
    out[3] = _mm512_unpackhi_epi64(b, d);
}

/* Rows j to j + 16 of B from column k0; beyond the end the last row again. */
static inline void matmul_rows_avx512(const unsigned char *row[MATMUL_LANES_AVX512],
                                      const struct matmul *p, size_t j, size_t k0)
{
    for (size_t i = 0; i < MATMUL_LANES_AVX512; i++)
        row[i] = matmul_b(p, matmul_min(j + i, p->n - 1) * p->ldb + k0);
}

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * matmul_transpose_avx2.h - from rows of B to vectors of columns, in registers. Private.
 *
 * Shapes     8 rows; row[i] + byte begins 16 bytes that are readable
 * Threads    pure functions
 */
#ifndef KERNELS_MATMUL_MATMUL_TRANSPOSE_AVX2_H
#define KERNELS_MATMUL_MATMUL_TRANSPOSE_AVX2_H

#include <immintrin.h>

#include "kernels/matmul/matmul_tiles.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MATMUL_LANES_AVX2 = 8 };

/*
 * out[i] holds 32-bit word i of every row. Rows r and r + 4 share a register, so that no step
 * crosses its halves.
 */
static inline __attribute__((always_inline)) void
matmul_transpose_avx2(__m256i out[4], const unsigned char *const row[MATMUL_LANES_AVX2],
                      size_t byte)
{
    __m256i x[4];
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(row[i] + byte));
        const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(row[i + 4] + byte));
        x[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    }
    const __m256i a = _mm256_unpacklo_epi32(x[0], x[1]), b = _mm256_unpackhi_epi32(x[0], x[1]);
    const __m256i c = _mm256_unpacklo_epi32(x[2], x[3]), d = _mm256_unpackhi_epi32(x[2], x[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d);
    out[3] = _mm256_unpackhi_epi64(b, d);
}

/* Rows j to j + 8 of B from column k0; beyond the end the last row again. */
static inline void matmul_rows_avx2(const unsigned char *row[MATMUL_LANES_AVX2],
                                    const struct matmul *p, size_t j, size_t k0)
{
    for (size_t i = 0; i < MATMUL_LANES_AVX2; i++)
        row[i] = matmul_b(p, matmul_min(j + i, p->n - 1) * p->ldb + k0);
}

#ifdef __cplusplus
}
#endif
#endif

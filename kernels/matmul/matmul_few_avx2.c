/* SPDX-License-Identifier: MIT */
/*
 * Few rows of A: every number of B is used once or a few times, so memory sets the pace and B goes
 * from there into registers. Several groups of 8 columns are in flight, as one chain of fused
 * multiply-adds would wait for itself, and two share what is read of A. The next block of
 * k is asked for meanwhile, evenly: rows are too many streams for the hardware to foresee.
 */
#include <immintrin.h>
#include <stdint.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "kernels/matmul/matmul_transpose_avx2.h"

enum { LANES = MATMUL_LANES_AVX2, MOST_ROWS = 2, GROUPS = 4 };

/* One block of k of some groups. */
struct few {
    const unsigned char *row[GROUPS][LANES];
    const float *a;
    size_t lda, n_k;
    size_t ahead; /* bytes to the block that comes next: of the same rows, or of the next ones */
};

/* m, bf16, groups are constants where these are used, so that s lives in registers. b: two groups.
 */
static inline __attribute__((always_inline)) void
multiply(__m256 s[2][MOST_ROWS], const __m256i b[2], const float *a, size_t lda, size_t m)
{
#pragma GCC unroll 2
    for (size_t i = 0; i < m; i++) {
        const __m256 x = _mm256_broadcast_ss(a + i * lda);
        s[0][i] = _mm256_fmadd_ps(x, _mm256_castsi256_ps(b[0]), s[0][i]);
        s[1][i] = _mm256_fmadd_ps(x, _mm256_castsi256_ps(b[1]), s[1][i]);
    }
}

/* 16 bytes of each row of two groups. */
static inline __attribute__((always_inline)) void
multiply_words(__m256 s[2][MOST_ROWS], const struct few *f, size_t g, size_t k, size_t m, int bf16)
{
    const __m256i upper = _mm256_set1_epi32((int)0xFFFF0000u);
    const float *a = f->a + k;
    __m256i x[2][4];
    matmul_transpose_avx2(x[0], f->row[g], bf16 ? 2 * k : 4 * k);
    matmul_transpose_avx2(x[1], f->row[g + 1], bf16 ? 2 * k : 4 * k);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        if (bf16) { /* a pair of k */
            const __m256i even[2] = {_mm256_slli_epi32(x[0][i], 16),
                                     _mm256_slli_epi32(x[1][i], 16)};
            const __m256i odd[2] = {_mm256_and_si256(x[0][i], upper),
                                    _mm256_and_si256(x[1][i], upper)};
            multiply(s, even, a + 2 * i, f->lda, m);
            multiply(s, odd, a + 2 * i + 1, f->lda, m);
        } else {
            const __m256i both[2] = {x[0][i], x[1][i]};
            multiply(s, both, a + i, f->lda, m);
        }
    }
}

/* A quarter of the lines at this place of the block to come. */
static inline __attribute__((always_inline)) void ask_for(const struct few *f, size_t g, size_t q,
                                                          size_t byte)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < LANES / 2; i++) {
        const uintptr_t row = (uintptr_t)f->row[g + q / 2][q % 2 * (LANES / 2) + i];
        _mm_prefetch((const char *)(row + byte + f->ahead), _MM_HINT_T1);
    }
}

/* What is left of a row when no vector of it is: lane by lane. */
static __m256i gather(const unsigned char *const row[LANES], size_t k, int bf16)
{
    float x[LANES];
    for (size_t i = 0; i < LANES; i++)
        x[i] = bf16 ? f32_from_bf16(load_u16_at(row[i], k)) : f32_from_bits(load_u32_at(row[i], k));
    return _mm256_castps_si256(_mm256_loadu_ps(x));
}

static inline __attribute__((always_inline)) void
multiply_block(float out[MOST_ROWS][GROUPS * LANES], const struct few *f, size_t m, int bf16)
{
    const size_t step = bf16 ? 8 : 4;
    __m256 s[GROUPS][MOST_ROWS];
#pragma GCC unroll 4
    for (size_t g = 0; g < GROUPS; g++)
#pragma GCC unroll 2
        for (size_t i = 0; i < m; i++)
            s[g][i] = _mm256_setzero_ps();
    size_t k = 0;
    /* 64 bytes of each row at a time: where rows are a multiple of 4 KiB apart, the first cache
     * keeps 8 of their lines, and a line is to be used up before it goes. */
    for (size_t n; k + step <= f->n_k; k += n * step) {
        n = matmul_min((f->n_k - k) / step, 4);
#pragma GCC unroll 2
        for (size_t g = 0; g < GROUPS; g += 2)
            for (size_t q = 0; q < n; q++) {
                ask_for(f, g, q, bf16 ? 2 * k : 4 * k);
                multiply_words(s + g, f, g, k + q * step, m, bf16);
            }
    }
    for (; k < f->n_k; k++)
#pragma GCC unroll 2
        for (size_t g = 0; g < GROUPS; g += 2) {
            const __m256i b[2] = {gather(f->row[g], k, bf16), gather(f->row[g + 1], k, bf16)};
            multiply(s + g, b, f->a + k, f->lda, m);
        }
#pragma GCC unroll 4
    for (size_t g = 0; g < GROUPS; g++)
#pragma GCC unroll 2
        for (size_t i = 0; i < m; i++)
            _mm256_storeu_ps(out[i] + g * LANES, s[g][i]);
}

static inline __attribute__((always_inline)) void multiply_all(const struct matmul *p, size_t m,
                                                               int bf16)
{
    float s[MOST_ROWS][GROUPS * LANES];
    const size_t bytes = bf16 ? 2 : 4;
    struct few f = {.lda = p->lda};
    for (size_t j = 0; j < p->n; j += GROUPS * LANES) {
        const size_t cols = matmul_min(p->n - j, GROUPS * LANES);
        for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_BLOCK_K) {
            f.a = p->a + k0;
            f.n_k = matmul_min(p->k - k0, MATMUL_BLOCK_K);
            f.ahead = bytes *
                      (k0 + MATMUL_BLOCK_K < p->k ? MATMUL_BLOCK_K : GROUPS * LANES * p->ldb - k0);
            for (size_t g = 0; g < GROUPS; g++)
                matmul_rows_avx2(f.row[g], p, j + g * LANES, k0);
            multiply_block(s, &f, m, bf16);
            for (size_t i = 0; i < m; i++) {
                float *c = p->c + i * p->ldc + j;
                for (size_t l = 0; l < cols; l++)
                    c[l] = (k0 ? c[l] : 0) + s[i][l];
            }
        }
    }
}

void matmul_few_nt_avx2(const struct matmul *p)
{
    const int bf16 = p->b_type == MATMUL_BF16;
    if (p->m == 1 && bf16)
        multiply_all(p, 1, 1);
    else if (p->m == 1)
        multiply_all(p, 1, 0);
    else if (bf16)
        multiply_all(p, 2, 1);
    else
        multiply_all(p, 2, 0);
}

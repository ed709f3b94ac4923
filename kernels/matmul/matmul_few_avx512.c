/* SPDX-License-Identifier: MIT */
/*
 * Few rows of A: every number of B is used once or a few times, so memory sets the pace and B goes
 * from there into registers. Several groups of 16 columns are in flight, as one chain of fused
 * multiply-adds would wait for itself.
 */
#include <immintrin.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "kernels/matmul/matmul_transpose_avx512.h"

enum { LANES = MATMUL_LANES_AVX512, MOST_ROWS = 2, GROUPS = 4 };

/* One block of k of some groups. */
struct few {
    const unsigned char *row[GROUPS][LANES];
    const float *a;
    size_t lda, n_k;
};

/* m, bf16, groups are constants where these are used, so that s lives in registers. */
static inline __attribute__((always_inline)) void multiply(__m512 s[MOST_ROWS], __m512 b,
                                                           const float *a, size_t lda, size_t m)
{
#pragma GCC unroll 2
    for (size_t i = 0; i < m; i++)
        s[i] = _mm512_fmadd_ps(_mm512_set1_ps(a[i * lda]), b, s[i]);
}

/* 16 bytes of each of 16 rows. */
static inline __attribute__((always_inline)) void
multiply_words(__m512 s[MOST_ROWS], const struct few *f, size_t g, size_t k, size_t m, int bf16)
{
    const __m512i upper = _mm512_set1_epi32((int)0xFFFF0000u);
    const float *a = f->a + k;
    __m512i x[4];
    matmul_transpose_avx512(x, f->row[g], bf16 ? 2 * k : 4 * k);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        if (bf16) { /* a pair of k */
            const __m512i even = _mm512_slli_epi32(x[i], 16), odd = _mm512_and_si512(x[i], upper);
            multiply(s, _mm512_castsi512_ps(even), a + 2 * i, f->lda, m);
            multiply(s, _mm512_castsi512_ps(odd), a + 2 * i + 1, f->lda, m);
        } else {
            multiply(s, _mm512_castsi512_ps(x[i]), a + i, f->lda, m);
        }
    }
}

/* What is left of a row when no vector of it is: lane by lane. */
static __m512 gather(const unsigned char *const row[LANES], size_t k, int bf16)
{
    float x[LANES];
    for (size_t i = 0; i < LANES; i++)
        x[i] = bf16 ? f32_from_bf16(load_u16_at(row[i], k)) : f32_from_bits(load_u32_at(row[i], k));
    return _mm512_loadu_ps(x);
}

static inline __attribute__((always_inline)) void
multiply_block(float out[MOST_ROWS][GROUPS * LANES], const struct few *f, size_t m, int bf16)
{
    const size_t step = bf16 ? 8 : 4;
    __m512 s[GROUPS][MOST_ROWS];
#pragma GCC unroll 4
    for (size_t g = 0; g < GROUPS; g++)
#pragma GCC unroll 2
        for (size_t i = 0; i < m; i++)
            s[g][i] = _mm512_setzero_ps();
    size_t k = 0;
    /* 64 bytes of each row at a time: where rows are a multiple of 4 KiB apart, the first cache
     * keeps 8 of their lines, and a line is to be used up before it goes. */
    for (size_t n; k + step <= f->n_k; k += n * step) {
        n = matmul_min((f->n_k - k) / step, 4);
#pragma GCC unroll 4
        for (size_t g = 0; g < GROUPS; g++)
            for (size_t q = 0; q < n; q++)
                multiply_words(s[g], f, g, k + q * step, m, bf16);
    }
    for (; k < f->n_k; k++)
#pragma GCC unroll 4
        for (size_t g = 0; g < GROUPS; g++)
            multiply(s[g], gather(f->row[g], k, bf16), f->a + k, f->lda, m);
#pragma GCC unroll 4
    for (size_t g = 0; g < GROUPS; g++)
#pragma GCC unroll 2
        for (size_t i = 0; i < m; i++)
            _mm512_storeu_ps(out[i] + g * LANES, s[g][i]);
}

static inline __attribute__((always_inline)) void multiply_all(const struct matmul *p, size_t m,
                                                               int bf16)
{
    float s[MOST_ROWS][GROUPS * LANES];
    struct few f = {.lda = p->lda};
    for (size_t j = 0; j < p->n; j += GROUPS * LANES) {
        const size_t cols = matmul_min(p->n - j, GROUPS * LANES);
        for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_BLOCK_K) {
            f.a = p->a + k0;
            f.n_k = matmul_min(p->k - k0, MATMUL_BLOCK_K);
            for (size_t g = 0; g < GROUPS; g++)
                matmul_rows_avx512(f.row[g], p, j + g * LANES, k0);
            multiply_block(s, &f, m, bf16);
            for (size_t i = 0; i < m; i++) {
                float *c = p->c + i * p->ldc + j;
                for (size_t l = 0; l < cols; l++)
                    c[l] = (k0 ? c[l] : 0) + s[i][l];
            }
        }
    }
}

void matmul_few_nt_avx512(const struct matmul *p)
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

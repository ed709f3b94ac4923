/* SPDX-License-Identifier: MIT */
#include <immintrin.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "kernels/matmul/matmul_tiles.h"
#include "kernels/matmul/matmul_transpose_avx2.h"

enum { LANES = MATMUL_LANES_AVX2, ROWS = 6, VECTORS = 2, COLS = LANES * VECTORS };
/* Steps of k in a turn of the innermost loop: counting costs little beside the 12 fused
 * multiply-adds of each. With 2 or 4, gcc 12 moves sums to the stack. */
enum { TURN = 8 };

/* ---- tiles ---- */

static __m256 widen(const void *b)
{
    const __m128i h = _mm_loadu_si128((const __m128i *)b);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The first n lanes, n <= LANES. */
static __m256i lanes_below(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}

static inline __attribute__((always_inline)) void add_to_c(float *c, size_t cols, __m256 s,
                                                           int first)
{
    if (cols >= LANES) {
        const __m256 old = first ? _mm256_setzero_ps() : _mm256_loadu_ps(c);
        _mm256_storeu_ps(c, _mm256_add_ps(old, s));
        return;
    }
    const __m256i mask = lanes_below(cols);
    const __m256 old = first ? _mm256_setzero_ps() : _mm256_maskload_ps(c, mask);
    _mm256_maskstore_ps(c, mask, _mm256_add_ps(old, s));
}

/* What the columns of a tile are read from. */
enum source { PANEL, IN_PLACE_F32, IN_PLACE_BF16 };

/* rows, vectors and from are constants where these are used, so that s lives in registers. */
static inline __attribute__((always_inline)) void step(__m256 s[ROWS][VECTORS], const float *a,
                                                       const char *b, size_t rows, size_t vectors,
                                                       enum source from)
{
    __m256 bv[VECTORS];
#pragma GCC unroll 2
    for (size_t v = 0; v < vectors; v++)
        bv[v] = from == IN_PLACE_BF16
                    ? widen(b + 2 * LANES * v)
                    : _mm256_loadu_ps((const float *)(const void *)(b + 4 * LANES * v));
#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++) {
        const __m256 x = _mm256_broadcast_ss(a + i * MATMUL_CHUNK_K);
#pragma GCC unroll 2
        for (size_t v = 0; v < vectors; v++)
            s[i][v] = _mm256_fmadd_ps(x, bv[v], s[i][v]);
    }
}

static inline __attribute__((always_inline)) void tile(const struct matmul_tile *t, size_t rows,
                                                       size_t vectors, enum source from)
{
    const float *a = t->a;
    const char *b = t->b;
    const size_t b_step = from == PANEL ? 4 * COLS : t->ldb * (from == IN_PLACE_BF16 ? 2 : 4);
#pragma GCC unroll 6
    for (size_t i = 0; i < rows; i++)
        matmul_prefetch_c(t->c + i * t->ldc, vectors * 4 * LANES);
    for (size_t k = 0, end; k < t->k; k = end) {
        const int first = t->first && !k;
        __m256 s[ROWS][VECTORS];
        end = matmul_min(k + MATMUL_BLOCK_K, t->k);
#pragma GCC unroll 6
        for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (size_t v = 0; v < vectors; v++)
                s[i][v] = _mm256_setzero_ps();
        for (; k + MATMUL_PACE <= end; k += MATMUL_PACE) {
            if (t->ahead.n)
                matmul_look_ahead(&t->ahead, k);
            for (size_t l = 0; l < MATMUL_PACE; l += TURN) {
#pragma GCC unroll 8
                for (size_t u = 0; u < TURN; u++)
                    step(s, a + u, b + u * b_step, rows, vectors, from);
                a += TURN;
                b += TURN * b_step;
            }
        }
        for (; k < end; k++, a++, b += b_step)
            step(s, a, b, rows, vectors, from);
#pragma GCC unroll 6
        for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (size_t v = 0; v < vectors; v++)
                if (t->cols > v * LANES)
                    add_to_c(t->c + i * t->ldc + v * LANES, t->cols - v * LANES, s[i][v], first);
    }
}

static inline __attribute__((always_inline)) void tile_of(const struct matmul_tile *t,
                                                          size_t vectors, enum source from)
{
    switch (t->rows) {
    case 1:
        tile(t, 1, vectors, from);
        break;
    case 2:
        tile(t, 2, vectors, from);
        break;
    case 3:
        tile(t, 3, vectors, from);
        break;
    case 4:
        tile(t, 4, vectors, from);
        break;
    case 5:
        tile(t, 5, vectors, from);
        break;
    default:
        tile(t, 6, vectors, from);
    }
}

static void tile_panel(const struct matmul_tile *t)
{
    if (t->cols <= LANES)
        tile_of(t, 1, PANEL);
    else
        tile_of(t, 2, PANEL);
}

static void tile_f32(const struct matmul_tile *t)
{
    tile_of(t, 2, IN_PLACE_F32);
}

static void tile_bf16(const struct matmul_tile *t)
{
    tile_of(t, 2, IN_PLACE_BF16);
}

/* ---- panels ---- */

/* 8 columns of a panel from 8 rows of B. */
static void transpose_f32(float *panel, const unsigned char *const row[LANES], size_t n_k)
{
    size_t k = 0;
    for (; k + 4 <= n_k; k += 4) {
        __m256i x[4];
        matmul_transpose_avx2(x, row, 4 * k);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++)
            _mm256_storeu_si256((__m256i *)(void *)(panel + (k + i) * COLS), x[i]);
    }
    for (; k < n_k; k++)
        for (size_t j = 0; j < LANES; j++)
            panel[k * COLS + j] = f32_from_bits(load_u32_at(row[j], k));
}

static void transpose_bf16(float *panel, const unsigned char *const row[LANES], size_t n_k)
{
    const __m256i upper = _mm256_set1_epi32((int)0xFFFF0000u);
    size_t k = 0;
    for (; k + 8 <= n_k; k += 8) {
        __m256i x[4]; /* pairs of k */
        matmul_transpose_avx2(x, row, 2 * k);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            float *out = panel + (k + 2 * i) * COLS;
            _mm256_storeu_si256((__m256i *)(void *)out, _mm256_slli_epi32(x[i], 16));
            _mm256_storeu_si256((__m256i *)(void *)(out + COLS), _mm256_and_si256(x[i], upper));
        }
    }
    for (; k < n_k; k++)
        for (size_t j = 0; j < LANES; j++)
            panel[k * COLS + j] = f32_from_bf16(load_u16_at(row[j], k));
}

static void pack_nt(float *panel, const struct matmul *p, size_t j, size_t k0)
{
    const size_t n_k = matmul_min(p->k - k0, MATMUL_CHUNK_K);
    for (size_t v = 0; v < VECTORS && j + v * LANES < p->n; v++) {
        const unsigned char *row[LANES];
        matmul_rows_avx2(row, p, j + v * LANES, k0);
        if (p->b_type == MATMUL_BF16)
            transpose_bf16(panel + v * LANES, row, n_k);
        else
            transpose_f32(panel + v * LANES, row, n_k);
    }
}

static void pack_nn(float *panel, const struct matmul *p, size_t j, size_t k0)
{
    const size_t n_k = matmul_min(p->k - k0, MATMUL_CHUNK_K), cols = matmul_min(p->n - j, COLS);
    const size_t bytes = p->b_type == MATMUL_BF16 ? 2 : 4;
    const unsigned char *b = matmul_b(p, k0 * p->ldb + j);
    for (size_t k = 0; k < n_k; k++, b += p->ldb * bytes, panel += COLS) {
        unsigned char end[4 * COLS] = {0};
        const unsigned char *src = b;
        if (cols < COLS)
            src = memcpy(end, b, cols * bytes);
        for (size_t v = 0; v < VECTORS; v++) {
            const unsigned char *x = src + v * LANES * bytes;
            _mm256_storeu_ps(panel + v * LANES,
                             bytes == 2 ? widen(x)
                                        : _mm256_loadu_ps((const float *)(const void *)x));
        }
    }
}

static const struct matmul_variant VARIANT = {
    .rows = ROWS,
    .cols = COLS,
    .tile_panel = tile_panel,
    .tile_f32 = tile_f32,
    .tile_bf16 = tile_bf16,
    .pack_nt = pack_nt,
    .pack_nn = pack_nn,
    .few_nt = matmul_few_nt_avx2,
    .few_m = 2,
    .direct_m = 2 * ROWS,
};

void matmul_nt_avx2(const struct matmul *p)
{
    matmul_nt_by_tiles(p, &VARIANT);
}

void matmul_nn_avx2(const struct matmul *p)
{
    matmul_nn_by_tiles(p, &VARIANT);
}

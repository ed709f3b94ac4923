/* SPDX-License-Identifier: MIT */
#include <immintrin.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "kernels/matmul/matmul_tiles.h"
#include "kernels/matmul/matmul_transpose_avx512.h"

enum { LANES = MATMUL_LANES_AVX512, ROWS = 12, VECTORS = 2, COLS = LANES * VECTORS };
enum { TURN = 2 }; /* steps of k in a turn of the innermost loop */

/* The first n lanes, all when there are more. */
static inline __attribute__((always_inline)) __mmask16 first_lanes(size_t n)
{
    return (__mmask16)(n >= LANES ? 0xFFFF : (1u << n) - 1);
}

/* ---- tiles ---- */

static inline __attribute__((always_inline)) __m512 widen(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* What the columns of a tile are read from. */
enum source { PANEL, IN_PLACE_F32, IN_PLACE_BF16 };

/* rows, vectors and from are constants where these are used, so that s lives in registers. */
static inline __attribute__((always_inline)) void step(__m512 s[ROWS][VECTORS], const float *a,
                                                       const char *b, size_t rows, size_t vectors,
                                                       enum source from)
{
    __m512 bv[VECTORS];
#pragma GCC unroll 2
    for (size_t v = 0; v < vectors; v++)
        bv[v] = from == IN_PLACE_BF16
                    ? widen(_mm256_loadu_si256((const __m256i *)(const void *)(b + 2 * LANES * v)))
                    : _mm512_loadu_ps(b + 4 * LANES * v);
#pragma GCC unroll 12
    for (size_t i = 0; i < rows; i++) {
        const __m512 x = _mm512_set1_ps(a[i * MATMUL_CHUNK_K]);
#pragma GCC unroll 2
        for (size_t v = 0; v < vectors; v++)
            s[i][v] = _mm512_fmadd_ps(x, bv[v], s[i][v]);
    }
}

static inline __attribute__((always_inline)) void tile(const struct matmul_tile *t, size_t rows,
                                                       size_t vectors, enum source from)
{
    const float *a = t->a;
    const char *b = t->b;
    const size_t b_step = from == PANEL ? 4 * COLS : t->ldb * (from == IN_PLACE_BF16 ? 2 : 4);
#pragma GCC unroll 12
    for (size_t i = 0; i < rows; i++)
        matmul_prefetch_c(t->c + i * t->ldc, vectors * 4 * LANES);
    for (size_t k = 0, end; k < t->k; k = end) {
        const int first = t->first && !k;
        __m512 s[ROWS][VECTORS];
        end = matmul_min(k + MATMUL_BLOCK_K, t->k);
#pragma GCC unroll 12
        for (size_t i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (size_t v = 0; v < vectors; v++)
                s[i][v] = _mm512_setzero_ps();
        for (; k + MATMUL_PACE <= end; k += MATMUL_PACE) {
            if (t->ahead.n)
                matmul_look_ahead(&t->ahead, k);
            for (size_t l = 0; l < MATMUL_PACE; l += TURN) {
#pragma GCC unroll 2
                for (size_t u = 0; u < TURN; u++)
                    step(s, a + u, b + u * b_step, rows, vectors, from);
                a += TURN;
                b += TURN * b_step;
            }
        }
        for (; k < end; k++, a++, b += b_step)
            step(s, a, b, rows, vectors, from);
#pragma GCC unroll 2
        for (size_t v = 0; v < vectors; v++) {
            const __mmask16 mask = first_lanes(t->cols - v * LANES), old = first ? 0 : mask;
#pragma GCC unroll 12
            for (size_t i = 0; i < rows; i++) {
                float *c = t->c + i * t->ldc + v * LANES;
                _mm512_mask_storeu_ps(c, mask,
                                      _mm512_add_ps(_mm512_maskz_loadu_ps(old, c), s[i][v]));
            }
        }
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
    case 6:
        tile(t, 6, vectors, from);
        break;
    case 7:
        tile(t, 7, vectors, from);
        break;
    case 8:
        tile(t, 8, vectors, from);
        break;
    case 9:
        tile(t, 9, vectors, from);
        break;
    case 10:
        tile(t, 10, vectors, from);
        break;
    case 11:
        tile(t, 11, vectors, from);
        break;
    default:
        tile(t, 12, vectors, from);
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

/* 16 columns of a panel from 16 rows of B. */
static void transpose_f32(float *panel, const unsigned char *const row[LANES], size_t n_k)
{
    size_t k = 0;
    for (; k + 4 <= n_k; k += 4) {
        __m512i x[4];
        matmul_transpose_avx512(x, row, 4 * k);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++)
            _mm512_storeu_si512(panel + (k + i) * COLS, x[i]);
    }
    for (; k < n_k; k++)
        for (size_t j = 0; j < LANES; j++)
            panel[k * COLS + j] = f32_from_bits(load_u32_at(row[j], k));
}

static void transpose_bf16(float *panel, const unsigned char *const row[LANES], size_t n_k)
{
    const __m512i upper = _mm512_set1_epi32((int)0xFFFF0000u);
    size_t k = 0;
    for (; k + 8 <= n_k; k += 8) {
        __m512i x[4]; /* pairs of k */
        matmul_transpose_avx512(x, row, 2 * k);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            float *out = panel + (k + 2 * i) * COLS;
            _mm512_storeu_si512(out, _mm512_slli_epi32(x[i], 16));
            _mm512_storeu_si512(out + COLS, _mm512_and_si512(x[i], upper));
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
        matmul_rows_avx512(row, p, j + v * LANES, k0);
        if (p->b_type == MATMUL_BF16)
            transpose_bf16(panel + v * LANES, row, n_k);
        else
            transpose_f32(panel + v * LANES, row, n_k);
    }
}

static void pack_nn(float *panel, const struct matmul *p, size_t j, size_t k0)
{
    const size_t n_k = matmul_min(p->k - k0, MATMUL_CHUNK_K),
                 bytes = p->b_type == MATMUL_BF16 ? 2 : 4;
    for (size_t v = 0; v < VECTORS && j + v * LANES < p->n; v++) {
        const unsigned char *b = matmul_b(p, k0 * p->ldb + j + v * LANES);
        const __mmask16 mask = first_lanes(p->n - j - v * LANES);
        float *out = panel + v * LANES;
        for (size_t k = 0; k < n_k; k++, b += p->ldb * bytes, out += COLS)
            _mm512_storeu_ps(out, bytes == 2 ? widen(_mm256_maskz_loadu_epi16(mask, b))
                                             : _mm512_maskz_loadu_ps(mask, b));
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
    .few_nt = matmul_few_nt_avx512,
    .few_m = 2,
    .direct_m = ROWS,
};

void matmul_nt_avx512(const struct matmul *p)
{
    matmul_nt_by_tiles(p, &VARIANT);
}

void matmul_nn_avx512(const struct matmul *p)
{
    matmul_nn_by_tiles(p, &VARIANT);
}

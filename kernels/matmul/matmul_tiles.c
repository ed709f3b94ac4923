/* SPDX-License-Identifier: MIT */
#include "kernels/matmul/matmul_tiles.h"

#include <string.h>

typedef void (*pack_fn)(float *panel, const struct matmul *p, size_t j, size_t k0);
typedef void (*tile_fn)(const struct matmul_tile *t);

/* Rows of A in one block of k, as a tile wants them. */
static const float *rows_of_a(const struct matmul *p, size_t i0, size_t m, size_t k0)
{
    const float *a = p->a + i0 * p->lda + k0;
    if (p->lda == MATMUL_BLOCK_K)
        return a;
    float *dst = p->work;
    const size_t n = matmul_min(p->k - k0, MATMUL_BLOCK_K);
    for (size_t i = 0; i < m; i++)
        memcpy(dst + i * MATMUL_BLOCK_K, a + i * p->lda, n * sizeof *a);
    return dst;
}

/* Columns of C at t->c by panel t->b: m rows in tiles of nearly equal height. */
static void column_of_tiles(const struct matmul_tile *first, size_t m, size_t most, tile_fn tile)
{
    struct matmul_tile t = *first;
    for (size_t left = (m + most - 1) / most; left; left--) {
        t.rows = (m + left - 1) / left;
        tile(&t);
        t.a += t.rows * MATMUL_BLOCK_K;
        t.c += t.rows * t.ldc;
        m -= t.rows;
    }
}

/* Columns j0 to j0 + n, in one block of k, through panels. */
static void packed_block(const struct matmul *p, const struct matmul_variant *v, pack_fn pack,
                         size_t j0, size_t k0)
{
    float *panels = (float *)p->work + MATMUL_CHUNK_M * MATMUL_BLOCK_K;
    const size_t end = matmul_min(p->n, j0 + MATMUL_CHUNK_N);
    for (size_t j = j0; j < end; j += v->cols)
        pack(panels + (j - j0) * MATMUL_BLOCK_K, p, j, k0);
    for (size_t i0 = 0; i0 < p->m; i0 += MATMUL_CHUNK_M) {
        const size_t m = matmul_min(p->m - i0, MATMUL_CHUNK_M);
        struct matmul_tile t = {.a = rows_of_a(p, i0, m, k0),
                                .ldb = v->cols,
                                .ldc = p->ldc,
                                .k = matmul_min(p->k - k0, MATMUL_BLOCK_K),
                                .first = !k0};
        for (size_t j = j0; j < end; j += v->cols) {
            t.b = panels + (j - j0) * MATMUL_BLOCK_K;
            t.c = p->c + i0 * p->ldc + j;
            t.cols = matmul_min(end - j, v->cols);
            column_of_tiles(&t, m, v->rows, v->tile_f32);
        }
    }
}

static void multiply_packed(const struct matmul *p, const struct matmul_variant *v, pack_fn pack)
{
    for (size_t j0 = 0; j0 < p->n; j0 += MATMUL_CHUNK_N)
        for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_BLOCK_K)
            packed_block(p, v, pack, j0, k0);
}

/* Few rows: B is used where it is, save for columns at the end that fill no tile. */
static void direct_block(const struct matmul *p, const struct matmul_variant *v, size_t k0)
{
    float *panel = (float *)p->work + MATMUL_CHUNK_M * MATMUL_BLOCK_K;
    const tile_fn tile = p->b_type == MATMUL_BF16 ? v->tile_bf16 : v->tile_f32;
    struct matmul_tile t = {.a = rows_of_a(p, 0, p->m, k0),
                            .ldb = p->ldb,
                            .c = p->c,
                            .ldc = p->ldc,
                            .cols = v->cols,
                            .k = matmul_min(p->k - k0, MATMUL_BLOCK_K),
                            .first = !k0};
    size_t j = 0;
    for (; j + v->cols <= p->n; j += v->cols) {
        t.b = matmul_b(p, k0 * p->ldb + j);
        t.c = p->c + j;
        column_of_tiles(&t, p->m, v->rows, tile);
    }
    if (j == p->n)
        return;
    v->pack_nn(panel, p, j, k0);
    t.b = panel;
    t.ldb = v->cols;
    t.c = p->c + j;
    t.cols = p->n - j;
    column_of_tiles(&t, p->m, v->rows, v->tile_f32);
}

/* The sum of nothing is 0. */
static void clear(const struct matmul *p)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++)
            p->c[i * p->ldc + j] = 0;
}

void matmul_nt_by_tiles(const struct matmul *p, const struct matmul_variant *v)
{
    if (!p->m || !p->n)
        return;
    if (!p->k)
        clear(p);
    else if (p->m <= v->few_m)
        v->few_nt(p);
    else
        multiply_packed(p, v, v->pack_nt);
}

void matmul_nn_by_tiles(const struct matmul *p, const struct matmul_variant *v)
{
    if (!p->m || !p->n)
        return;
    if (!p->k)
        clear(p);
    else if (p->m > v->direct_m)
        multiply_packed(p, v, v->pack_nn);
    else
        for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_BLOCK_K)
            direct_block(p, v, k0);
}

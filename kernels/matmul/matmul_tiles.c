/* SPDX-License-Identifier: MIT */
#include "kernels/matmul/matmul_tiles.h"

#include <string.h>

typedef void (*pack_fn)(float *panel, const struct matmul *p, size_t j, size_t k0);
typedef void (*tile_fn)(const struct matmul_tile *t);

/* Floats of an A that stays in half of a small second cache. */
enum { SMALL_A = 1 << 16 };
enum { WIDEST_PANEL = 32 * MATMUL_CHUNK_K };
_Static_assert(4 * (SMALL_A + WIDEST_PANEL) <= MATMUL_WORK_BYTES, "work holds A and a panel");

static void copy_a(float *dst, const struct matmul *p, size_t i0, size_t m, size_t k0)
{
    const float *a = p->a + i0 * p->lda + k0;
    const size_t n = matmul_min(p->k - k0, MATMUL_CHUNK_K);
    for (size_t i = 0; i < m; i++)
        memcpy(dst + i * MATMUL_CHUNK_K, a + i * p->lda, n * sizeof *a);
}

/* Rows of A in one chunk of k, as a tile wants them. */
static const float *rows_of_a(const struct matmul *p, size_t i0, size_t m, size_t k0)
{
    if (p->lda == MATMUL_CHUNK_K)
        return p->a + i0 * p->lda + k0;
    copy_a(p->work, p, i0, m, k0);
    return p->work;
}

/* Columns of C at t->c by panel t->b: m rows in tiles of nearly equal height. */
static void column_of_tiles(const struct matmul_tile *first, size_t m, size_t most, tile_fn tile)
{
    struct matmul_tile t = *first;
    size_t rows = first->ahead.n;
    for (size_t left = (m + most - 1) / most; left; left--) {
        t.rows = (m + left - 1) / left;
        t.ahead.n = (rows + left - 1) / left;
        tile(&t);
        t.ahead.row += t.ahead.n * t.ahead.step;
        rows -= t.ahead.n;
        t.a += t.rows * MATMUL_CHUNK_K;
        t.c += t.rows * t.ldc;
        m -= t.rows;
    }
}

/* The panel of columns j at k0, which is packed soon, for a variant's `cols`; nt only. */
static struct matmul_ahead look_at(const struct matmul *p, size_t cols, size_t j, size_t k0)
{
    const size_t bytes = p->b_type == MATMUL_BF16 ? 2 : 4;
    if (j >= p->n || k0 >= p->k)
        return (struct matmul_ahead){0};
    return (struct matmul_ahead){.row = matmul_b(p, j * p->ldb + k0),
                                 .n = matmul_min(p->n - j, cols),
                                 .step = p->ldb * bytes,
                                 .bytes = matmul_min(p->k - k0, MATMUL_CHUNK_K) * bytes,
                                 .k_bytes = bytes};
}

/* Columns j0 to j0 + CHUNK_N, in one chunk of k, through panels. */
static void packed_chunk(const struct matmul *p, const struct matmul_variant *v, pack_fn pack,
                         size_t j0, size_t k0)
{
    float *panels = (float *)p->work + MATMUL_CHUNK_M * MATMUL_CHUNK_K;
    const size_t end = matmul_min(p->n, j0 + MATMUL_CHUNK_N);
    for (size_t i0 = 0; i0 < p->m; i0 += MATMUL_CHUNK_M) {
        const size_t m = matmul_min(p->m - i0, MATMUL_CHUNK_M);
        struct matmul_tile t = {.a = rows_of_a(p, i0, m, k0),
                                .ldb = v->cols,
                                .ldc = p->ldc,
                                .k = matmul_min(p->k - k0, MATMUL_CHUNK_K),
                                .first = !k0};
        for (size_t j = j0, next; j < end; j = next) {
            float *panel = panels + (j - j0) * MATMUL_CHUNK_K;
            next = matmul_min(j + v->cols, end);
            if (!i0)
                pack(panel, p, j, k0);
            if (!i0 && pack == v->pack_nt)
                t.ahead = next < end ? look_at(p, v->cols, next, k0)
                                     : look_at(p, v->cols, j0, k0 + MATMUL_CHUNK_K);
            t.b = panel;
            t.c = p->c + i0 * p->ldc + j;
            t.cols = next - j;
            column_of_tiles(&t, m, v->rows, v->tile_panel);
        }
    }
}

static void multiply_packed(const struct matmul *p, const struct matmul_variant *v, pack_fn pack)
{
    for (size_t j0 = 0; j0 < p->n; j0 += MATMUL_CHUNK_N)
        for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_CHUNK_K)
            packed_chunk(p, v, pack, j0, k0);
}

/* A as a whole fits: one panel after the other, each over all of k, so that rows of B are read from
 * end to end as memory likes it. */
static void multiply_small_nt(const struct matmul *p, const struct matmul_variant *v)
{
    float *copy = p->work, *panel = copy + SMALL_A;
    const size_t chunk = p->m * MATMUL_CHUNK_K;
    const float *a = p->lda == MATMUL_CHUNK_K ? p->a : copy;
    for (size_t k0 = 0, at = 0; a == copy && k0 < p->k; k0 += MATMUL_CHUNK_K, at += chunk)
        copy_a(copy + at, p, 0, p->m, k0);
    for (size_t j = 0; j < p->n; j += v->cols) {
        struct matmul_tile t = {
            .b = panel, .ldb = v->cols, .ldc = p->ldc, .cols = matmul_min(p->n - j, v->cols)};
        for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_CHUNK_K) {
            v->pack_nt(panel, p, j, k0);
            t.a = a + k0 / MATMUL_CHUNK_K * chunk;
            t.c = p->c + j;
            t.k = matmul_min(p->k - k0, MATMUL_CHUNK_K);
            t.first = !k0;
            t.ahead = k0 + MATMUL_CHUNK_K < p->k ? look_at(p, v->cols, j, k0 + MATMUL_CHUNK_K)
                                                 : look_at(p, v->cols, j + v->cols, 0);
            column_of_tiles(&t, p->m, v->rows, v->tile_panel);
        }
    }
}

/* Few rows: B is used where it is, save for columns at the end that fill no tile. */
static void direct_chunk(const struct matmul *p, const struct matmul_variant *v, size_t k0)
{
    float *panel = (float *)p->work + MATMUL_CHUNK_M * MATMUL_CHUNK_K;
    const tile_fn tile = p->b_type == MATMUL_BF16 ? v->tile_bf16 : v->tile_f32;
    struct matmul_tile t = {.a = rows_of_a(p, 0, p->m, k0),
                            .ldb = p->ldb,
                            .c = p->c,
                            .ldc = p->ldc,
                            .cols = v->cols,
                            .k = matmul_min(p->k - k0, MATMUL_CHUNK_K),
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
    column_of_tiles(&t, p->m, v->rows, v->tile_panel);
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
    else if (p->m * (p->k + MATMUL_CHUNK_K - 1) <= SMALL_A)
        multiply_small_nt(p, v);
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
        for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_CHUNK_K)
            direct_chunk(p, v, k0);
}

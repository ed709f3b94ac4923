/* SPDX-License-Identifier: MIT */
/*
 * matmul_tiles.h - what the vector variants of the matrix product share. Private to this folder.
 *
 * A variant provides small pieces with instructions of its own; the loops around them are plain C.
 * C is cut into tiles whose sums stay in registers over one block of k. Each lane of a register
 * is one column, so a lane performs the scalar reference's chain. A tile goes through all blocks of
 * a chunk of k while its part of C is near.
 *
 *    work:  A  [MATMUL_CHUNK_M, MATMUL_CHUNK_K]    rows of one chunk of k
 *           B  panels [MATMUL_CHUNK_K, cols] F32   MATMUL_CHUNK_N columns of one chunk of k
 *
 * Shapes     as in matmul.h; cols and rows are those of the variant's largest tile
 * Ownership  everything is borrowed for the call
 * Threads    pure functions
 */
#ifndef KERNELS_MATMUL_MATMUL_TILES_H
#define KERNELS_MATMUL_MATMUL_TILES_H

#include "kernels/matmul/matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The chunk of A (192 KiB) is read from the second cache once per panel of B, a panel (16 or 32
 * KiB) stays near over the chunk of A, all panels (1 MiB) in the third. 192 is a multiple of the 6
 * and 12 rows of the largest tiles. */
enum { MATMUL_CHUNK_M = 192, MATMUL_CHUNK_N = 1024, MATMUL_CHUNK_K = 2 * MATMUL_BLOCK_K };
enum { MATMUL_WORK_BYTES = 4 * MATMUL_CHUNK_K * (MATMUL_CHUNK_M + MATMUL_CHUNK_N) };

/* Rows of B that are needed soon. */
struct matmul_ahead {
    const unsigned char *row; /* n of them, `step` bytes apart */
    size_t n, step, bytes;    /* `bytes` of each */
    size_t k_bytes;           /* of one k */
};

/* A tile of C and what is added to it: the sums of the blocks of one chunk of k. */
struct matmul_tile {
    const float *a; /* [rows], MATMUL_CHUNK_K elements apart */
    const void *b;  /* [k], ldb elements apart */
    size_t ldb;
    float *c;
    size_t ldc;
    size_t rows, cols, k;
    int first; /* C begins with 0, else with what it holds */
    struct matmul_ahead ahead;
};

/* Steps of k between two calls of matmul_look_ahead. */
enum { MATMUL_PACE = 16 };

struct matmul_variant {
    size_t rows, cols;                               /* of the largest tile */
    void (*tile_panel)(const struct matmul_tile *t); /* b is a panel */
    void (*tile_f32)(const struct matmul_tile *t);   /* b is F32, all of `cols` readable */
    void (*tile_bf16)(const struct matmul_tile *t);  /* b is BF16, all of `cols` readable */
    /* The panel of columns j to j + cols of B, rows k0 to k0 + CHUNK_K; what lies beyond n or k is
     * not read, columns beyond n are any numbers. */
    void (*pack_nt)(float *panel, const struct matmul *p, size_t j, size_t k0);
    void (*pack_nn)(float *panel, const struct matmul *p, size_t j, size_t k0);
    /* nt of at most few_m rows, without a panel. */
    void (*few_nt)(const struct matmul *p);
    size_t few_m;
    size_t direct_m; /* nn of at most these rows reads B where it is */
};

void matmul_nt_by_tiles(const struct matmul *p, const struct matmul_variant *v);
void matmul_nn_by_tiles(const struct matmul *p, const struct matmul_variant *v);

static inline size_t matmul_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline const unsigned char *matmul_b(const struct matmul *p, size_t i)
{
    return (const unsigned char *)p->b + i * (p->b_type == MATMUL_BF16 ? 2 : 4);
}

/*
 * Asks memory for the part of the rows that is due at k, a multiple of MATMUL_PACE. Into the second
 * cache: strides of rows are often such that the first one could not keep them.
 */
static inline void matmul_look_ahead(const struct matmul_ahead *h, size_t k)
{
    const size_t byte = k * h->k_bytes, lines = 64 / (MATMUL_PACE * h->k_bytes);
    if (byte >= h->bytes)
        return;
    for (size_t i = k / MATMUL_PACE % lines; i < h->n; i += lines)
        __builtin_prefetch(h->row + i * h->step + byte, 0, 2);
}

/* A row of a tile of C, needed at the end of the tile. */
static inline void matmul_prefetch_c(const float *c, size_t bytes)
{
    __builtin_prefetch(c, 1, 3);
    __builtin_prefetch((const char *)c + bytes - 4, 1, 3);
}

void matmul_few_nt_avx2(const struct matmul *p);
void matmul_few_nt_avx512(const struct matmul *p);

#ifdef __cplusplus
}
#endif
#endif

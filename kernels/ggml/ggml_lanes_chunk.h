/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_chunk.h - blocks of 256 at work: tiles of their sub-blocks, what was found for each.
 *
 * Private to the vector variants.
 */
#ifndef KERNELS_GGML_GGML_LANES_CHUNK_H
#define KERNELS_GGML_GGML_LANES_CHUNK_H

#include "kernels/ggml/ggml_k.h"
#include "kernels/ggml/ggml_lanes_affine.h"
#include "kernels/ggml/ggml_lanes_positive.h"
#include "kernels/ggml/ggml_lanes_symmetric.h"
#include "kernels/ggml/ggml_layout_q23.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

/* Blocks at work; found: [sub-block][block]. */
struct k_chunk {
    const float *x[GGML_LANES], *w[GGML_LANES];
    float sigma2[GGML_LANES];
    size_t n;
    int weighted;
    float scale[16 * GGML_LANES], min[16 * GGML_LANES], weight[16 * GGML_LANES];
    /* Levels of the search: of used * (x - used_min); symmetric ones of used * x, used_min not 0,
     * or all of the lowest. */
    float used[16 * GGML_LANES], used_min[16 * GGML_LANES];
    struct ggml_k_scales stored[GGML_LANES];
};

/* Tiles of the groups of n values in the blocks from `first` on; sigma2 per lane. */
struct k_tile {
    float x[GGML_FIT_MOST * GGML_LANES], w[GGML_FIT_MOST * GGML_LANES];
    float sigma2[GGML_LANES];
};

/* Inlined, because n is a constant then and lanes are placed without dividing. */
__attribute__((always_inline)) static inline void
k_tile_fill(struct k_tile *t, const struct k_chunk *c, size_t first, size_t n)
{
    const size_t n_sub = GGML_SUPER / n;
    const float *x[GGML_LANES], *w[GGML_LANES];
    for (size_t lane = 0; lane < GGML_LANES; lane++) {
        const size_t k = first + lane / n_sub, at = n * (lane % n_sub);
        x[lane] = c->x[k] + at;
        w[lane] = c->weighted ? c->w[k] + at : NULL;
        t->sigma2[lane] = c->sigma2[k];
    }
    tile_fill(t->x, x, n);
    if (c->weighted)
        tile_fill(t->w, w, n);
}

/* w_i becomes w_i * sqrt(sigma2 + x_i x_i); returns their sums. */
static inline struct lanes k_tile_weigh(struct k_tile *t, int n)
{
    const struct lanes sigma2 = lanes_load(t->sigma2);
    struct lanes sum = lanes_set(0);
    for (int i = 0; i < n; i++) {
        const struct lanes x = tile_at(t->x, i);
        const struct lanes root = lanes_sqrt(lanes_add(sigma2, lanes_mul(x, x)));
        const struct lanes w = lanes_mul(tile_at(t->w, i), root);
        tile_put(t->w, i, w);
        sum = lanes_add(sum, w);
    }
    return sum;
}

/* A number per lane, from groups in lanes to blocks in lanes. */
static inline void k_scatter(float *to, struct lanes from, size_t first, size_t n_sub)
{
    float v[GGML_LANES];
    lanes_store(v, from);
    for (size_t lane = 0; lane < GGML_LANES; lane++)
        to[lane % n_sub * GGML_LANES + first + lane / n_sub] = v[lane];
}

static inline void k_keep(struct k_chunk *c, const struct affine_found *f, size_t first,
                          size_t n_sub)
{
    k_scatter(c->scale, f->scale, first, n_sub);
    k_scatter(c->min, f->min, first, n_sub);
    k_scatter(c->weight, f->weight, first, n_sub);
    k_scatter(c->used, f->used, first, n_sub);
    k_scatter(c->used_min, f->used_min, first, n_sub);
}

static inline void k_keep_symmetric(struct k_chunk *c, const struct symmetric_found *f,
                                    size_t first)
{
    k_scatter(c->scale, f->scale, first, 16);
    k_scatter(c->used, f->used, first, 16);
    k_scatter(c->used_min, lanes_select(f->some, lanes_set(1), lanes_set(0)), first, 16);
}

/* The codes that the search gave n values, sub-block j of block k; low: of the type's levels. */
static inline void k_found_levels(uint8_t *level, const struct k_chunk *c, size_t k, int j, int n,
                                  int low, int high)
{
    const size_t at = (size_t)j * GGML_LANES + k;
    const float *x = c->x[k] + (size_t)n * (size_t)j, s = c->used[at], min = c->used_min[at];
    for (int i = 0; i < n; i++)
        level[i] = (uint8_t)(low == 0   ? ggml_affine_level(s, x[i], min, high)
                             : min != 0 ? ggml_symmetric_level(s, x[i], -low) - low
                                        : 0);
}

/* Scales and minima up to nm, blocks in lanes. */
static inline void k_round_positive(struct k_chunk *c, int n_sub, int nm)
{
    struct positive p;
    for (int minima = 0; minima < 2; minima++) {
        float d[GGML_LANES];
        uint8_t levels[16 * GGML_LANES];
        lanes_store(d, positive_search(&p, minima ? c->min : c->scale, c->weight, n_sub, nm));
        for (int j = 0; j < n_sub; j++)
            lanes_store_bytes(levels + j * GGML_LANES, tile_at(p.q, j));
        for (size_t k = 0; k < c->n; k++) {
            struct ggml_k_scales *r = &c->stored[k];
            *(minima ? &r->dmin : &r->d) = d[k];
            for (int j = 0; j < n_sub; j++)
                (minima ? r->m : r->s)[j] = levels[(size_t)j * GGML_LANES + k];
        }
    }
}

#ifdef __cplusplus
}
#endif
#endif
#endif

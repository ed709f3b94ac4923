/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_k.h - quantizing Q2_K ... Q6_K.
 *
 * Private to the vector variants. Blocks are taken in chunks of GGML_LANES; the last chunk is
 * filled up with its last block, whose copies are searched for nothing.
 */
#ifndef KERNELS_GGML_GGML_LANES_K_H
#define KERNELS_GGML_GGML_LANES_K_H

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_lanes_k_search.h"
#include "kernels/ggml/ggml_layout_q456.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

struct k_lanes {
    enum ggml_slot slot;
    size_t bytes;
    int n_sub, low, high;
    float sigma2; /* times the sum of squares / 256; 0: not used */
    void (*search)(struct k_chunk *c, size_t first);
    ggml_round_scales_fn *round; /* without weights */
    void (*round_weighted)(struct k_chunk *c);
    ggml_store_scales_fn *store;
    void (*factors)(float *d, float *m, const uint8_t *b);
    void (*pack)(uint8_t *b, const uint8_t *level);
};

static inline void k_sigmas(struct k_chunk *c, float factor)
{
    lanes_sum_squares(c->sigma2, c->x);
    for (size_t k = 0; k < GGML_LANES; k++)
        c->sigma2[k] = factor * c->sigma2[k] / 256;
}

static inline void k_round_plain(struct k_chunk *c, const struct k_lanes *t)
{
    for (size_t k = 0; k < c->n; k++) {
        struct ggml_k_fit fit;
        for (size_t j = 0; j < (size_t)t->n_sub; j++) {
            fit.scale[j] = c->scale[j * GGML_LANES + k];
            fit.min[j] = c->min[j * GGML_LANES + k];
        }
        t->round(&c->stored[k], &fit, 0);
    }
}

/* The bytes of block k of the chunk. */
static inline void k_finish(uint8_t *b, const struct k_chunk *c, size_t k, const struct k_lanes *t)
{
    const float *x = c->x[k];
    float d[16], m[16];
    uint8_t level[GGML_SUPER];
    const int n = GGML_SUPER / t->n_sub;
    if (!lanes_all_finite(x, GGML_SUPER)) {
        ggml_put_bad(b, t->slot);
        return;
    }
    t->store(b, &c->stored[k]);
    if (t->slot == SLOT_Q6_K && c->stored[k].d == 0) {
        memset(b, 0, t->bytes);
        return;
    }
    t->factors(d, m, b);
    for (int j = 0; j < t->n_sub; j++) {
        if (d[j] == 0 && t->slot == SLOT_Q3_K && !c->weighted)
            ggml_k_search_again(level, t->slot, x, NULL, j);
        else if (d[j] == 0)
            k_found_levels(level + n * j, c, k, j, n, t->low, t->high);
        for (int i = n * j; i < n * (j + 1) && d[j] != 0; i += 16)
            put_levels_16(level + i, x + i, d[j], m[j], t->low, t->high);
    }
    t->pack(b, level);
}

__attribute__((always_inline)) static inline void k_quantize_rows(uint8_t *b, const float *src,
                                                                  size_t n_rows, size_t n_cols,
                                                                  const float *imatrix,
                                                                  const struct k_lanes *t)
{
    const size_t in_row = n_cols / GGML_SUPER, total = n_rows * in_row;
    const size_t tiles = t->slot == SLOT_Q3_K && !imatrix ? 16 : 1; /* of one call of search */
    const size_t step = tiles * GGML_LANES / (size_t)t->n_sub;
    struct k_chunk c;
    c.weighted = imatrix != NULL;
    memset(c.sigma2, 0, sizeof c.sigma2);
    for (size_t at = 0; at < total; at += c.n) {
        c.n = total - at < GGML_LANES ? total - at : GGML_LANES;
        for (size_t k = 0; k < GGML_LANES; k++) {
            const size_t block = at + (k < c.n ? k : c.n - 1);
            c.x[k] = src + block * GGML_SUPER;
            c.w[k] = imatrix ? imatrix + block % in_row * GGML_SUPER : NULL;
        }
        if (imatrix && t->sigma2 != 0)
            k_sigmas(&c, t->sigma2);
        for (size_t first = 0; first < c.n; first += step)
            t->search(&c, first);
        if (imatrix && t->round_weighted)
            t->round_weighted(&c);
        else
            k_round_plain(&c, t);
        for (size_t k = 0; k < c.n; k++, b += t->bytes)
            k_finish(b, &c, k, t);
    }
}

#ifdef __cplusplus
}
#endif
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_q.h - weighted Q4_0, Q4_1, Q5_0 and Q5_1: 32 values per lane.
 *
 * Private to the vector variants. Groups of 32 follow each other without gaps through all rows; the
 * last chunk of GGML_LANES is filled up with the last group.
 */
#ifndef KERNELS_GGML_GGML_LANES_Q_H
#define KERNELS_GGML_GGML_LANES_Q_H

#include <math.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_lanes_affine.h"
#include "kernels/ggml/ggml_lanes_symmetric.h"
#include "kernels/ggml/ggml_layout.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

struct q_chunk {
    const float *x[GGML_LANES], *w[GGML_LANES]; /* groups of 32; w[0] NULL: without weights */
    float sigma2[GGML_LANES];                   /* of each */
    size_t n;
    float tx[32 * GGML_LANES], tw[32 * GGML_LANES];
};

/* Weights, once the values are in their tile: w sqrt(sigma2 + x x). */
static inline void q_weigh(struct q_chunk *c)
{
    const struct lanes sigma2 = lanes_load(c->sigma2);
    tile_fill(c->tw, c->w, 32);
    for (int i = 0; i < 32; i++) {
        const struct lanes x = tile_at(c->tx, i);
        const struct lanes root = lanes_sqrt(lanes_add(sigma2, lanes_mul(x, x)));
        tile_put(c->tw, i, lanes_mul(tile_at(c->tw, i), root));
    }
}

/* The walk: sums of squares of rows as they come, chunks of groups. */
struct q_walk {
    const float *src, *imatrix;
    size_t n_cols, total; /* total: groups */
    float row_sigma2;     /* of the row last seen */
};

/* Groups from `at` on; with_rows: sigma2 is that of the row. */
static inline void q_take(struct q_chunk *c, struct q_walk *k, size_t at, int with_rows)
{
    const size_t in_row = k->n_cols / 32;
    c->n = k->total - at < GGML_LANES ? k->total - at : GGML_LANES;
    for (size_t i = 0; i < GGML_LANES; i++) {
        const size_t g = at + (i < c->n ? i : c->n - 1), j = g % in_row;
        if (with_rows && i < c->n && j == 0)
            k->row_sigma2 = ggml_sum_squares(k->src + g * 32, k->n_cols) / (float)k->n_cols;
        c->x[i] = k->src + g * 32;
        c->w[i] = k->imatrix ? k->imatrix + j * 32 : NULL;
        c->sigma2[i] = k->row_sigma2;
    }
}

typedef void q_chunk_fn(uint8_t *b, struct q_chunk *c);

static inline void q_quantize_weighted(uint8_t *b, const float *src, size_t n_rows, size_t n_cols,
                                       const float *imatrix, size_t bytes, q_chunk_fn *fn)
{
    struct q_walk k = {src, imatrix, n_cols, n_rows * n_cols / 32, 0};
    struct q_chunk c;
    for (size_t at = 0; at < k.total; at += GGML_LANES, b += GGML_LANES * bytes) {
        q_take(&c, &k, at, 1);
        tile_fill(c.tx, c.x, 32);
        q_weigh(&c);
        fn(b, &c);
    }
}

/* Q4_0 and Q5_0: the scale and what gives the levels, 0 for none. */
struct q_symmetric {
    float scale[GGML_LANES], used[GGML_LANES];
};

static inline void q_symmetric_search(struct q_symmetric *s, const struct q_chunk *c, int nm)
{
    const struct symmetric_found f = symmetric_search(c->tx, c->tw, 32, nm, 0);
    lanes_store(s->scale, f.scale);
    lanes_store(s->used, lanes_select(f.some, f.used, lanes_set(0)));
}

static inline void q_symmetric_levels(uint8_t *level, const struct q_symmetric *s,
                                      const struct q_chunk *c, size_t i, int nm)
{
    memset(level, 0, 32);
    if (s->used[i] == 0) /* all tiny */
        return;
    put_scaled_16(level, c->x[i], s->used[i], 0, -nm, nm - 1);
    put_scaled_16(level + 16, c->x[i] + 16, s->used[i], 0, -nm, nm - 1);
}

static inline void q4_0_lanes(uint8_t *b, struct q_chunk *c)
{
    struct q_symmetric s;
    uint8_t level[32];
    q_symmetric_search(&s, c, 8);
    for (size_t i = 0; i < c->n; i++, b += 18) {
        q_symmetric_levels(level, &s, c, i, 8);
        ggml_put_half(b, 0, s.scale[i]);
        nibbles_pack(b + 2, level);
        if (!lanes_all_finite(c->x[i], 32))
            ggml_put_bad(b, SLOT_Q4_0);
    }
}

static inline void q5_0_lanes(uint8_t *b, struct q_chunk *c)
{
    struct q_symmetric s;
    uint8_t level[32];
    q_symmetric_search(&s, c, 16);
    for (size_t i = 0; i < c->n; i++, b += 22) {
        q_symmetric_levels(level, &s, c, i, 16);
        ggml_put_half(b, 0, s.scale[i]);
        q5_pack(b + 2, level);
        if (!lanes_all_finite(c->x[i], 32))
            ggml_put_bad(b, SLOT_Q5_0);
    }
}

/* Q4_1 and Q5_1 */
static inline void q_affine_lanes(uint8_t *b, struct q_chunk *c,
                                  const struct ggml_affine_rule *rule)
{
    const size_t bytes = rule->nm == 15 ? 20 : 24;
    const struct affine_found f = affine_search(c->tx, c->tw, 32, rule);
    float scale[GGML_LANES], min[GGML_LANES], used[GGML_LANES], used_min[GGML_LANES];
    lanes_store(scale, f.scale);
    lanes_store(min, f.min);
    lanes_store(used, f.used);
    lanes_store(used_min, f.used_min);
    for (size_t i = 0; i < c->n; i++, b += bytes) {
        uint8_t level[32];
        put_scaled_16(level, c->x[i], used[i], used_min[i], 0, rule->nm);
        put_scaled_16(level + 16, c->x[i] + 16, used[i], used_min[i], 0, rule->nm);
        ggml_put_half(b, 0, scale[i]);
        ggml_put_half(b, 1, -min[i]);
        if (rule->nm == 15)
            nibbles_pack(b + 4, level);
        else
            q5_pack(b + 4, level);
        if (!lanes_all_finite(c->x[i], 32))
            ggml_put_bad(b, rule->nm == 15 ? SLOT_Q4_1 : SLOT_Q5_1);
    }
}

static inline void q4_1_lanes(uint8_t *b, struct q_chunk *c)
{
    static const struct ggml_affine_rule rule = {15, -0.9f, 0.05f, 36, 0};
    q_affine_lanes(b, c, &rule);
}

static inline void q5_1_lanes(uint8_t *b, struct q_chunk *c)
{
    static const struct ggml_affine_rule rule = {31, -0.9f, 0.05f, 36, 0};
    q_affine_lanes(b, c, &rule);
}

#ifdef __cplusplus
}
#endif
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_iq4.h - IQ4_NL and IQ4_XS: 32 values per lane.
 *
 * Private to the vector variants.
 */
#ifndef KERNELS_GGML_GGML_LANES_IQ4_H
#define KERNELS_GGML_GGML_LANES_IQ4_H

#include "kernels/ggml/ggml_k.h"
#include "kernels/ggml/ggml_lanes_q.h"
#include "kernels/ggml/ggml_layout_q456.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

/* IQ4: weights of the squares are x x without importance. */
static inline void iq4_weigh(struct q_chunk *c)
{
    if (c->w[0])
        q_weigh(c);
    for (int i = 0; i < 32 && !c->w[0]; i++)
        tile_put(c->tw, i, lanes_mul(tile_at(c->tx, i), tile_at(c->tx, i)));
}

static inline struct symmetric_sums iq4_sum(const float *x, const float *w, struct lanes id)
{
    struct symmetric_sums t = {lanes_set(0), lanes_set(0)};
    for (int i = 0; i < 32; i++) {
        const struct lanes v = tile_at(x, i), q = lanes_iq4(lanes_mul(id, v));
        const struct lanes wq = lanes_mul(tile_at(w, i), q);
        t.a = lanes_add(t.a, lanes_mul(wq, v));
        t.b = lanes_add(t.b, lanes_mul(wq, q));
    }
    return t;
}

/* ggml_fit_iq4() */
static inline struct lanes iq4_search(const float *x, const float *w)
{
    const struct lanes zero = lanes_set(0), one = lanes_set(1);
    struct lanes m;
    const struct lane_mask some = tile_extreme(&m, x, 32);
    struct symmetric_sums t = iq4_sum(x, w, lanes_div(one, lanes_div(m, lanes_set(127))));
    struct lanes d = lanes_select(lanes_less(zero, t.b), lanes_div(t.a, t.b), zero);
    struct lanes best = lanes_mul(d, t.a);
    for (int k = -7; k <= 7; k++) {
        t = iq4_sum(x, w, lanes_div(lanes_set((float)(k - 127)), m));
        const struct lane_mask better = lanes_both(
            lanes_less(zero, t.b), lanes_less(lanes_mul(best, t.b), lanes_mul(t.a, t.a)));
        d = lanes_select(better, lanes_div(t.a, t.b), d);
        best = lanes_select(better, lanes_mul(d, t.a), best);
    }
    return lanes_select(some, d, zero);
}

static inline void iq4_levels(uint8_t *level, const float *x, float d)
{
    const float id = d != 0 ? 1 / d : 0;
    put_iq4_16(level, x, id);
    put_iq4_16(level + 16, x + 16, id);
}

static inline void iq4_nl_quantize(uint8_t *b, const float *src, size_t n_rows, size_t n_cols,
                                   const float *imatrix)
{
    struct q_walk k = {src, imatrix, n_cols, n_rows * n_cols / 32, 0};
    struct q_chunk c;
    for (size_t at = 0; at < k.total; at += GGML_LANES) {
        float d[GGML_LANES];
        uint8_t level[32];
        struct lanes sum = lanes_set(0);
        q_take(&c, &k, at, 0);
        tile_fill(c.tx, c.x, 32);
        for (int i = 0; i < 32; i++)
            sum = lanes_add(sum, lanes_mul(tile_at(c.tx, i), tile_at(c.tx, i)));
        lanes_store(c.sigma2, lanes_mul(sum, lanes_set(2.0f / 32)));
        iq4_weigh(&c);
        lanes_store(d, iq4_search(c.tx, c.tw));
        for (size_t i = 0; i < c.n; i++, b += 18) {
            ggml_put_half(b, 0, d[i]);
            iq4_levels(level, c.x[i], d[i]);
            nibbles_pack(b + 2, level);
            if (!lanes_all_finite(c.x[i], 32))
                ggml_put_bad(b, SLOT_IQ4_NL);
        }
    }
}

static inline void iq4_xs_finish(uint8_t *b, const float *x, const float *scale)
{
    float d[8];
    uint8_t level[GGML_SUPER];
    ggml_iq4_xs_put_scales(b, d, scale);
    for (int j = 0; j < 8; j++)
        iq4_levels(level + 32 * j, x + 32 * j, d[j]);
    iq4_xs_pack(b, level);
    if (!lanes_all_finite(x, GGML_SUPER))
        ggml_put_bad(b, SLOT_IQ4_XS);
}

static inline void iq4_xs_quantize(uint8_t *b, const float *src, size_t n_rows, size_t n_cols,
                                   const float *imatrix)
{
    struct q_walk k = {src, imatrix, n_cols, n_rows * n_cols / 32, 0};
    struct q_chunk c;
    for (size_t at = 0; at < k.total; at += GGML_LANES) {
        float scale[GGML_LANES];
        q_take(&c, &k, at, 0);
        for (size_t i = 0; i < GGML_LANES && imatrix; i += 8) {
            const float sigma2 = ggml_sum_squares(c.x[i < c.n ? i : 0], GGML_SUPER) * (2.0f / 256);
            for (size_t j = 0; j < 8; j++)
                c.sigma2[i + j] = sigma2;
        }
        tile_fill(c.tx, c.x, 32);
        iq4_weigh(&c);
        lanes_store(scale, iq4_search(c.tx, c.tw));
        for (size_t i = 0; i < c.n; i += 8, b += 136)
            iq4_xs_finish(b, c.x[i], scale + i);
    }
}

#ifdef __cplusplus
}
#endif
#endif
#endif

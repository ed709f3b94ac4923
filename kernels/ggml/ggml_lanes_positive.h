/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_positive.h - ggml_fit_positive() for a tile of groups.
 *
 * Private to the vector variants.
 */
#ifndef KERNELS_GGML_GGML_LANES_POSITIVE_H
#define KERNELS_GGML_GGML_LANES_POSITIVE_H

#include <math.h>

#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_lanes.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

/* x and w [n]; q, the levels, and the sums over them. */
struct positive {
    const float *x, *w;
    int n;
    struct lanes nm, a, b;
    float q[16 * GGML_LANES];
};

static inline struct lanes positive_round(struct lanes v, struct lanes nm)
{
    return lanes_min(lanes_nearest(v), nm);
}

static inline struct lanes positive_loss(const struct positive *p, struct lanes s)
{
    const struct lanes step = lanes_div(lanes_set(1), s);
    struct lanes sum = lanes_set(0);
    for (int i = 0; i < p->n; i++) {
        const struct lanes x = tile_at(p->x, i);
        const struct lanes q = positive_round(lanes_mul(s, x), p->nm);
        const struct lanes d = lanes_sub(x, lanes_mul(step, q));
        sum = lanes_add(sum, lanes_mul(lanes_mul(tile_at(p->w, i), d), d));
    }
    return sum;
}

/* Value i moves to the level that is best for it; in which lanes it did. */
static inline struct lane_mask positive_move(struct positive *p, int i)
{
    const struct lanes zero = lanes_set(0), x = tile_at(p->x, i), w = tile_at(p->w, i);
    const struct lanes l = tile_at(p->q, i), wx = lanes_mul(w, x), a0 = p->a, b0 = p->b;
    struct lanes a = lanes_sub(a0, lanes_mul(wx, l));
    struct lanes b = lanes_sub(b0, lanes_mul(lanes_mul(w, l), l));
    struct lane_mask go = lanes_both(lanes_less(zero, a), lanes_less(zero, b));
    const struct lanes q = positive_round(lanes_div(lanes_mul(x, b), a), p->nm);
    go = lanes_both(go, lanes_unequal(q, l));
    a = lanes_add(a, lanes_mul(wx, q));
    b = lanes_add(b, lanes_mul(lanes_mul(w, q), q));
    go =
        lanes_both(go, lanes_less(lanes_mul(lanes_mul(a0, a0), b), lanes_mul(lanes_mul(a, a), b0)));
    p->a = lanes_select(go, a, a0);
    p->b = lanes_select(go, b, b0);
    tile_put(p->q, i, lanes_select(go, q, l));
    return go;
}

/* Scales; levels [n][GGML_LANES] in p->q. */
static inline struct lanes positive_search(struct positive *p, const float *x, const float *w,
                                           int n, int nm)
{
    const struct lanes zero = lanes_set(0);
    struct lanes max = zero;
    p->x = x;
    p->w = w;
    p->n = n;
    p->nm = lanes_set((float)nm);
    for (int i = 0; i < n; i++)
        max = lanes_max(tile_at(x, i), max);
    const struct lane_mask tiny = lanes_less(max, lanes_set(GGML_EPS));
    max = lanes_select(tiny, lanes_set(1), max);
    struct lanes s = lanes_div(p->nm, max), least = positive_loss(p, s);
    for (int k = -4; k <= 4; k++) {
        if (k == 0)
            continue;
        const struct lanes candidate = lanes_div(lanes_set(0.1f * (float)k + (float)nm), max);
        const struct lanes loss = positive_loss(p, candidate);
        const struct lane_mask better = lanes_less(loss, least);
        least = lanes_select(better, loss, least);
        s = lanes_select(better, candidate, s);
    }
    p->a = p->b = zero;
    for (int i = 0; i < n; i++) {
        const struct lanes v = tile_at(x, i), u = tile_at(w, i);
        const struct lanes q = positive_round(lanes_mul(s, v), p->nm);
        tile_put(p->q, i, lanes_select(tiny, zero, q));
        p->a = lanes_add(p->a, lanes_mul(lanes_mul(u, v), q));
        p->b = lanes_add(p->b, lanes_mul(lanes_mul(u, q), q));
    }
    for (int pass = 0, changed = 1; pass < 5 && changed; pass++) {
        changed = 0;
        for (int i = 0; i < n; i++)
            changed |= lanes_any(positive_move(p, i));
    }
    for (int i = 0; i < n; i++)
        tile_put(p->q, i, lanes_select(tiny, zero, tile_at(p->q, i)));
    const struct lanes scale = lanes_select(lanes_less(zero, p->b), lanes_div(p->a, p->b), zero);
    return lanes_select(tiny, zero, scale);
}

#ifdef __cplusplus
}
#endif
#endif
#endif

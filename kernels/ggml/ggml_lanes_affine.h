/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_affine.h - ggml_fit_affine() for a tile of groups, one in each lane.
 *
 * Private to the vector variants. Values are finite; lanes with others hold anything afterwards.
 */
#ifndef KERNELS_GGML_GGML_LANES_AFFINE_H
#define KERNELS_GGML_GGML_LANES_AFFINE_H

#include <math.h>

#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_lanes.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

/* How levels are rounded. Whole numbers up to 2^22 round by adding and subtracting. */
enum affine_range {
    AFFINE_INSIDE, /* they cannot leave 0 ... nm */
    AFFINE_NEAR,   /* |level| < 2^22 before it is clamped */
    AFFINE_ANY
};

struct affine_tile {
    const float *x, *w;
    int n;
    struct lanes nm;
    float level[GGML_FIT_MOST * GGML_LANES];
};

struct affine_sums {
    struct lanes p, q, r; /* w l, w l l, w l x */
};

static inline struct lanes affine_round(struct lanes v, struct lanes nm, enum affine_range range)
{
    const struct lanes magic = lanes_set(12582912.0f), zero = lanes_set(0);
    if (range == AFFINE_ANY)
        return lanes_max(lanes_min(lanes_nearest(v), nm), zero);
    if (range == AFFINE_NEAR)
        v = lanes_max(lanes_min(v, nm), zero);
    return lanes_sub(lanes_add(v, magic), magic);
}

__attribute__((always_inline)) static inline struct affine_sums
affine_sum(struct affine_tile *t, struct lanes s, struct lanes min, enum affine_range range)
{
    struct affine_sums u = {lanes_set(0), lanes_set(0), lanes_set(0)};
    const struct lanes nm = t->nm;
    const float *tx = t->x, *tw = t->w;
    float *level = t->level;
    for (int i = 0, n = t->n; i < n; i++) {
        const struct lanes x = tile_at(tx, i);
        const struct lanes l = affine_round(lanes_mul(s, lanes_sub(x, min)), nm, range);
        const struct lanes wl = lanes_mul(tile_at(tw, i), l);
        tile_put(level, i, l);
        u.p = lanes_add(u.p, wl);
        u.q = lanes_add(u.q, lanes_mul(wl, l));
        u.r = lanes_add(u.r, lanes_mul(wl, x));
    }
    return u;
}

/* Where the levels of s * y can be for low <= y <= high. NaN and infinity are anywhere. */
static inline enum affine_range affine_range(const struct affine_tile *t, struct lanes s,
                                             struct lanes low, struct lanes high)
{
    const struct lanes under = lanes_set(-0.5f), over = lanes_add(t->nm, lanes_set(0.5f));
    const struct lanes far = lanes_set(4194303.0f);
    const struct lanes l = lanes_mul(s, low), h = lanes_mul(s, high);
    const struct lanes first = lanes_min(l, h), last = lanes_max(l, h);
    if (lanes_all(lanes_both(lanes_less(under, first), lanes_less(last, over))))
        return AFFINE_INSIDE;
    return lanes_all(lanes_both(lanes_less(lanes_abs(l), far), lanes_less(lanes_abs(h), far)))
               ? AFFINE_NEAR
               : AFFINE_ANY;
}

__attribute__((always_inline)) static inline struct affine_sums
affine_levels(struct affine_tile *t, struct lanes s, struct lanes min, enum affine_range range)
{
    if (range == AFFINE_INSIDE)
        return affine_sum(t, s, min, AFFINE_INSIDE);
    if (range == AFFINE_NEAR)
        return affine_sum(t, s, min, AFFINE_NEAR);
    return affine_sum(t, s, min, AFFINE_ANY);
}

/* Weighted error of the levels when they mean scale * level + min. */
__attribute__((always_inline)) static inline struct lanes
affine_loss(const struct affine_tile *t, struct lanes scale, struct lanes min, int absolute)
{
    struct lanes sum = lanes_set(0);
    for (int i = 0; i < t->n; i++) {
        const struct lanes y = lanes_add(lanes_mul(scale, tile_at(t->level, i)), min);
        const struct lanes d = lanes_sub(y, tile_at(t->x, i));
        const struct lanes e = absolute ? lanes_abs(d) : lanes_mul(d, d);
        sum = lanes_add(sum, lanes_mul(tile_at(t->w, i), e));
    }
    return sum;
}

/*
 * What was found: the minimum as ggml_fit_affine() gives it; the sum of the weights; the levels are
 * those of used * (x - used_min).
 */
struct affine_found {
    struct lanes scale, min, weight, used, used_min;
};

/* Sums and bounds over a tile. */
struct affine_bounds {
    struct lanes least, most, w, wx;
};

static inline struct affine_bounds affine_bounds(const struct affine_tile *t)
{
    const struct lanes x0 = tile_at(t->x, 0), w0 = tile_at(t->w, 0);
    struct affine_bounds b = {x0, x0, w0, lanes_mul(w0, x0)};
    for (int i = 1; i < t->n; i++) {
        const struct lanes x = tile_at(t->x, i), w = tile_at(t->w, i);
        b.least = lanes_min(x, b.least);
        b.most = lanes_max(x, b.most);
        b.w = lanes_add(b.w, w);
        b.wx = lanes_add(b.wx, lanes_mul(w, x));
    }
    return b;
}

/* Best scale and minimum for the sums; where: lanes in which they are settled. */
static inline struct lane_mask affine_solve(struct lanes *ts, struct lanes *tm,
                                            const struct affine_bounds *b,
                                            const struct affine_sums *u)
{
    const struct lanes zero = lanes_set(0);
    const struct lanes d = lanes_sub(lanes_mul(b->w, u->q), lanes_mul(u->p, u->p));
    *ts = lanes_div(lanes_sub(lanes_mul(b->w, u->r), lanes_mul(b->wx, u->p)), d);
    *tm = lanes_div(lanes_sub(lanes_mul(u->q, b->wx), lanes_mul(u->p, u->r)), d);
    const struct lane_mask above = lanes_less(zero, *tm);
    if (lanes_any(above)) {
        *tm = lanes_select(above, zero, *tm);
        *ts = lanes_select(above, lanes_div(u->r, u->q), *ts);
    }
    return lanes_less(zero, d);
}

__attribute__((always_inline)) static inline struct affine_found
affine_search(const float *x, const float *w, int n, const struct ggml_affine_rule *rule)
{
    struct affine_tile t = {.x = x, .w = w, .n = n, .nm = lanes_set((float)rule->nm)};
    const struct affine_bounds b = affine_bounds(&t);
    const struct lanes zero = lanes_set(0), one = lanes_set(1);
    const struct lanes low = lanes_select(lanes_less(zero, b.least), zero, b.least);
    const struct lane_mask some = lanes_less(low, b.most); /* lanes with different values */
    struct lanes range = lanes_select(some, lanes_sub(b.most, low), one);
    struct lanes s = lanes_div(t.nm, range), min = low, scale = lanes_div(one, s);
    (void)affine_levels(&t, s, low, AFFINE_ANY);
    struct lanes best = affine_loss(&t, scale, low, rule->absolute);
    best = lanes_select(some, best, lanes_set(-INFINITY));
    struct lanes used = lanes_select(some, s, zero), used_min = low;
    for (int k = 0; k <= rule->steps; k++) {
        struct lanes ts, tm;
        const struct lanes high = lanes_sub(b.most, min);
        range = lanes_select(some, high, one);
        s = lanes_div(lanes_set(rule->r0 + rule->dr * (float)k + (float)rule->nm), range);
        const struct affine_sums u =
            affine_levels(&t, s, min, affine_range(&t, s, lanes_sub(b.least, min), high));
        const struct lane_mask settled = affine_solve(&ts, &tm, &b, &u);
        const struct lanes loss = affine_loss(&t, ts, tm, rule->absolute);
        const struct lane_mask better = lanes_both(settled, lanes_less(loss, best));
        best = lanes_select(better, loss, best);
        used = lanes_select(better, s, used);
        used_min = lanes_select(better, min, used_min);
        scale = lanes_select(better, ts, scale);
        min = lanes_select(better, tm, min);
    }
    const struct lanes sign = lanes_set(-0.0f);
    return (struct affine_found){lanes_select(some, scale, zero), lanes_sub(sign, min), b.w, used,
                                 used_min};
}

#ifdef __cplusplus
}
#endif
#endif
#endif

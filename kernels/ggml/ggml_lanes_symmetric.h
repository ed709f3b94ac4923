/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_symmetric.h - ggml_fit_symmetric() and ggml_fit_refined() for a tile of groups.
 *
 * Private to the vector variants.
 */
#ifndef KERNELS_GGML_GGML_LANES_SYMMETRIC_H
#define KERNELS_GGML_GGML_LANES_SYMMETRIC_H

#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_lanes.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

struct symmetric_sums {
    struct lanes a, b; /* w x q, w q q */
};

/* The value of largest magnitude, 1 in lanes where all are tiny; those where some is not. */
static inline struct lane_mask tile_extreme(struct lanes *m, const float *x, int n)
{
    struct lanes amax = lanes_set(0), at = lanes_set(0);
    for (int i = 0; i < n; i++) {
        const struct lanes v = tile_at(x, i), a = lanes_abs(v);
        const struct lane_mask more = lanes_less(amax, a);
        amax = lanes_select(more, a, amax);
        at = lanes_select(more, v, at);
    }
    const struct lane_mask some = lanes_not_less(amax, lanes_set(GGML_EPS));
    *m = lanes_select(some, at, lanes_set(1));
    return some;
}

/* Whole numbers from -nm to nm - 1; exact: for v that may be large or NaN. */
static inline struct lanes symmetric_round(struct lanes v, int nm, int exact)
{
    const struct lanes magic = lanes_set(12582912.0f);
    const struct lanes low = lanes_set((float)-nm), high = lanes_set((float)(nm - 1));
    if (exact)
        return lanes_max(lanes_min(lanes_nearest(v), high), low);
    v = lanes_max(lanes_min(v, high), low);
    return lanes_sub(lanes_add(v, magic), magic);
}

/* wx = w * x. A term w x q is computed as (w x) q, w q q as (w q) q. */
__attribute__((always_inline)) static inline struct symmetric_sums
symmetric_sum(const float *x, const float *w, const float *wx, int n, int nm, struct lanes s,
              int exact)
{
    struct symmetric_sums t = {lanes_set(0), lanes_set(0)};
    for (int i = 0; i < n; i++) {
        const struct lanes q = symmetric_round(lanes_mul(s, tile_at(x, i)), nm, exact);
        t.a = lanes_add(t.a, lanes_mul(tile_at(wx, i), q));
        t.b = lanes_add(t.b, lanes_mul(lanes_mul(tile_at(w, i), q), q));
    }
    return t;
}

struct symmetric_found {
    struct lanes scale, used; /* used: levels are used * x rounded */
    struct lane_mask some;    /* lanes whose values are not all tiny: the others have scale 0 */
};

/* exact: x may hold NaN. */
__attribute__((always_inline)) static inline struct symmetric_found
symmetric_search(const float *x, const float *w, int n, int nm, int exact)
{
    float wx[GGML_FIT_MOST * GGML_LANES];
    struct symmetric_found f;
    struct lanes m;
    f.some = tile_extreme(&m, x, n);
    for (int i = 0; i < n; i++)
        tile_put(wx, i, lanes_mul(tile_at(w, i), tile_at(x, i)));
    f.used = lanes_div(lanes_set((float)-nm), m);
    struct symmetric_sums t = symmetric_sum(x, w, wx, n, nm, f.used, exact);
    const struct lanes zero = lanes_set(0);
    f.scale = lanes_select(lanes_unequal(t.b, zero), lanes_div(t.a, t.b), zero);
    struct lanes best = lanes_mul(f.scale, t.a);
    for (int k = -9; k <= 9; k++) {
        if (k == 0)
            continue;
        const struct lanes s = lanes_div(lanes_set(-((float)nm + 0.1f * (float)k)), m);
        t = symmetric_sum(x, w, wx, n, nm, s, exact);
        const struct lane_mask better = lanes_both(
            lanes_less(zero, t.b), lanes_less(lanes_mul(best, t.b), lanes_mul(t.a, t.a)));
        f.scale = lanes_select(better, lanes_div(t.a, t.b), f.scale);
        best = lanes_select(better, lanes_mul(f.scale, t.a), best);
        f.used = lanes_select(better, s, f.used);
    }
    f.scale = lanes_select(f.some, f.scale, zero);
    return f;
}

/* The state of refining: levels, the terms w x q and w q q of each value, the sums of these. */
struct refined {
    float q[16 * GGML_LANES], a[16 * GGML_LANES], b[16 * GGML_LANES];
    struct symmetric_sums t;
};

static inline void refined_put(struct refined *r, int i, struct lanes x, struct lanes q)
{
    const struct lanes w = lanes_mul(x, x);
    tile_put(r->q, i, q);
    tile_put(r->a, i, lanes_mul(lanes_mul(w, x), q));
    tile_put(r->b, i, lanes_mul(lanes_mul(w, q), q));
}

/* Value i moves to the level that is best for it; in which lanes it did. */
__attribute__((always_inline)) static inline struct lane_mask refine_one(struct refined *r,
                                                                         struct lanes x, int i)
{
    const struct lanes zero = lanes_set(0), l = tile_at(r->q, i), a0 = r->t.a, b0 = r->t.b;
    struct lanes a = lanes_sub(a0, tile_at(r->a, i));
    struct lanes b = lanes_sub(b0, tile_at(r->b, i));
    const struct lanes q = symmetric_round(lanes_div(lanes_mul(x, b), a), 4, 1);
    struct lane_mask go = lanes_both(lanes_less(zero, a), lanes_unequal(q, l));
    if (!lanes_any(go)) /* so most of the time; and what follows need not wait */
        return go;
    const struct lanes w = lanes_mul(x, x);
    a = lanes_add(a, lanes_mul(lanes_mul(w, x), q));
    b = lanes_add(b, lanes_mul(lanes_mul(w, q), q));
    go = lanes_both(go, lanes_less(zero, b));
    go =
        lanes_both(go, lanes_less(lanes_mul(lanes_mul(a0, a0), b), lanes_mul(lanes_mul(a, a), b0)));
    r->t.a = lanes_select(go, a, a0);
    r->t.b = lanes_select(go, b, b0);
    refined_put(r, i, x, lanes_select(go, q, l));
    return go;
}

static inline struct lane_mask refined_init(struct refined *r, const float *x)
{
    struct lanes m;
    const struct lane_mask some = tile_extreme(&m, x, 16);
    const struct lanes s = lanes_div(lanes_set(-4), m);
    r->t.a = r->t.b = lanes_set(0);
    for (int i = 0; i < 16; i++) {
        refined_put(r, i, tile_at(x, i), symmetric_round(lanes_mul(s, tile_at(x, i)), 4, 0));
        r->t.a = lanes_add(r->t.a, tile_at(r->a, i));
        r->t.b = lanes_add(r->t.b, tile_at(r->b, i));
    }
    return some;
}

static inline struct lanes refined_scale(const struct refined *r, struct lane_mask some)
{
    const struct lanes zero = lanes_set(0), scale = lanes_div(r->t.a, r->t.b);
    return lanes_select(lanes_both(some, lanes_less(zero, r->t.b)), scale, zero);
}

/*
 * Scales of the groups of 16 in a tile as the first levels make them, and the groups which a pass
 * may change: before the first move nothing hangs on what came before it, so all values are looked
 * at with the same sums. Four groups of five stay as they are.
 */
static inline struct lanes refined_first(struct lane_mask *open, const float *x)
{
    struct refined r;
    const struct lanes zero = lanes_set(0);
    const struct lane_mask some = refined_init(&r, x);
    *open = lanes_less(zero, zero);
    for (int i = 0; i < 16; i++) {
        const struct lanes a = lanes_sub(r.t.a, tile_at(r.a, i));
        const struct lanes b = lanes_sub(r.t.b, tile_at(r.b, i));
        const struct lanes q = symmetric_round(lanes_div(lanes_mul(tile_at(x, i), b), a), 4, 1);
        const struct lane_mask moves = lanes_unequal(q, tile_at(r.q, i));
        *open = lanes_either(*open, lanes_both(lanes_less(zero, a), moves));
    }
    return refined_scale(&r, some);
}

/*
 * Scales of the groups of 16 in two tiles, whose long chains of dependent steps take turns. A lane
 * which a pass left as it was stays so in the next.
 */
static inline void refined_search(struct lanes scale[2], const float *x, const float *y)
{
    struct refined r, s;
    const struct lane_mask some_x = refined_init(&r, x), some_y = refined_init(&s, y);
    for (int pass = 0, changed = 1; pass < 5 && changed; pass++) {
        changed = 0;
        for (int i = 0; i < 16; i++) {
            const struct lane_mask moved = refine_one(&r, tile_at(x, i), i);
            changed |= lanes_any(moved) | lanes_any(refine_one(&s, tile_at(y, i), i));
        }
    }
    scale[0] = refined_scale(&r, some_x);
    scale[1] = refined_scale(&s, some_y);
}

#ifdef __cplusplus
}
#endif
#endif
#endif

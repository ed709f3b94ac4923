/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_k_search.h - the searches of Q2_K ... Q6_K, one sub-block per lane; the rounding of
 * weighted scales, one block per lane.
 *
 * Private to the vector variants.
 */
#ifndef KERNELS_GGML_GGML_LANES_K_SEARCH_H
#define KERNELS_GGML_GGML_LANES_K_SEARCH_H

#include "kernels/ggml/ggml_lanes_chunk.h"
#include "kernels/ggml/ggml_lanes_symmetric.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

/* Q2_K, Q4_K, Q5_K */

static inline void q2_k_lanes_round(struct k_chunk *c)
{
    k_round_positive(c, 16, 15);
}

static inline void q45_k_lanes_round(struct k_chunk *c)
{
    k_round_positive(c, 8, 63);
}

static inline void q2_k_lanes(struct k_chunk *c, size_t first)
{
    static const struct ggml_affine_rule plain = {3, -0.5f, 0.1f, 15, 1};
    static const struct ggml_affine_rule weighted = {3, -0.9f, 0.05f, 36, 0};
    struct affine_found f;
    struct k_tile t;
    k_tile_fill(&t, c, first, 16);
    if (c->weighted) {
        (void)k_tile_weigh(&t, 16);
        f = affine_search(t.x, t.w, 16, &weighted);
    } else {
        for (int i = 0; i < 16; i++)
            tile_put(t.w, i, lanes_abs(tile_at(t.x, i)));
        f = affine_search(t.x, t.w, 16, &plain);
    }
    k_keep(c, &f, first, 16);
}

/* Weights of Q4_K and Q5_K without importance: root mean square plus magnitude. */
static inline void k_tile_spread(struct k_tile *t)
{
    struct lanes sum = lanes_set(0);
    for (int i = 0; i < 32; i++)
        sum = lanes_add(sum, lanes_mul(tile_at(t->x, i), tile_at(t->x, i)));
    const struct lanes av = lanes_sqrt(lanes_div(sum, lanes_set(32)));
    for (int i = 0; i < 32; i++)
        tile_put(t->w, i, lanes_add(av, lanes_abs(tile_at(t->x, i))));
}

static inline void q45_k_lanes(struct k_chunk *c, size_t first, const struct ggml_affine_rule *rule)
{
    struct k_tile t;
    k_tile_fill(&t, c, first, 32);
    if (c->weighted)
        (void)k_tile_weigh(&t, 32);
    else
        k_tile_spread(&t);
    const struct affine_found f = affine_search(t.x, t.w, 32, rule);
    k_keep(c, &f, first, 8);
}

static inline void q4_k_lanes(struct k_chunk *c, size_t first)
{
    static const struct ggml_affine_rule rules[2] = {{15, -1.0f, 0.1f, 20, 0},
                                                     {15, -0.9f, 0.05f, 36, 0}};
    q45_k_lanes(c, first, &rules[c->weighted]);
}

static inline void q5_k_lanes(struct k_chunk *c, size_t first)
{
    static const struct ggml_affine_rule rules[2] = {{31, -0.5f, 0.1f, 15, 0},
                                                     {31, -0.9f, 0.05f, 36, 0}};
    q45_k_lanes(c, first, &rules[c->weighted]);
}

/* Q3_K, Q6_K */

/* Two tiles of listed groups, number 16 k + j for sub-block j of block k; n > 0 of them. */
static inline void q3_k_refine(struct k_chunk *c, const uint16_t *group, size_t n)
{
    float x[2][16 * GGML_LANES], found[2 * GGML_LANES];
    const float *at[2 * GGML_LANES];
    struct lanes scale[2];
    for (size_t i = 0; i < 2 * GGML_LANES; i++) {
        const size_t g = group[i < n ? i : n - 1];
        at[i] = c->x[g / 16] + g % 16 * 16;
    }
    for (int i = 0; i < 2; i++)
        tile_fill(x[i], at + i * GGML_LANES, 16);
    refined_search(scale, x[0], x[1]);
    for (int i = 0; i < 2; i++)
        lanes_store(found + i * GGML_LANES, scale[i]);
    for (size_t i = 0; i < n && i < 2 * GGML_LANES; i++)
        c->scale[group[i] % 16 * GGML_LANES + group[i] / 16] = found[i];
}

/* The whole chunk: what the first look leaves open is gathered, so that no lane waits for others.
 */
static inline void q3_k_lanes_plain(struct k_chunk *c, size_t first)
{
    uint16_t group[16 * GGML_LANES];
    size_t n = 0;
    for (; first < c->n; first += GGML_LANES / 16) {
        struct k_tile t;
        struct lane_mask open;
        k_tile_fill(&t, c, first, 16);
        k_scatter(c->scale, refined_first(&open, t.x), first, 16);
        for (uint32_t bits = lanes_bits(open); bits; bits &= bits - 1)
            group[n++] = (uint16_t)(16 * first + (size_t)__builtin_ctz(bits));
    }
    for (size_t i = 0; i < n; i += 2 * GGML_LANES)
        q3_k_refine(c, group + i, n - i);
}

static inline void q3_k_lanes(struct k_chunk *c, size_t first)
{
    struct k_tile t;
    if (!c->weighted) {
        q3_k_lanes_plain(c, first);
        return;
    }
    k_tile_fill(&t, c, first, 16);
    k_scatter(c->weight, k_tile_weigh(&t, 16), first, 16);
    const struct symmetric_found f = symmetric_search(t.x, t.w, 16, 4, 0);
    k_keep_symmetric(c, &f, first);
}

static inline void q3_k_lanes_round(struct k_chunk *c)
{
    const struct symmetric_found f = symmetric_search(c->scale, c->weight, 16, 32, 1);
    float d[GGML_LANES];
    uint8_t levels[16 * GGML_LANES];
    lanes_store(d, f.scale);
    for (int j = 0; j < 16; j++) {
        const struct lanes q = symmetric_round(lanes_mul(f.used, tile_at(c->scale, j)), 32, 1);
        const struct lanes l = lanes_add(q, lanes_set(32));
        lanes_store_bytes(levels + j * GGML_LANES, lanes_select(f.some, l, lanes_set(0)));
    }
    for (size_t k = 0; k < c->n; k++) {
        c->stored[k].d = d[k];
        for (size_t j = 0; j < 16; j++)
            c->stored[k].s[j] = levels[j * GGML_LANES + k];
    }
}

static inline void q6_k_lanes(struct k_chunk *c, size_t first)
{
    struct k_tile t;
    k_tile_fill(&t, c, first, 16);
    for (int i = 0; i < 16 && !c->weighted; i++)
        tile_put(t.w, i, lanes_mul(tile_at(t.x, i), tile_at(t.x, i)));
    const struct symmetric_found f = symmetric_search(t.x, t.w, 16, 32, 0);
    k_keep_symmetric(c, &f, first);
}

#ifdef __cplusplus
}
#endif
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * judge_sites.h - the inputs of every linear of one layer, kept for the tokens of a unit.
 *
 * The taps of the original's run fill it while a main layer runs (engine/taps.h); afterwards each
 * linear of the layer asks for the rows it saw. Experts' gate and up inputs are rows of the
 * layer's, so only their token numbers are kept.
 *
 * Shapes     rows of F32; as many as the unit has tokens, of an expert those routed to it
 * Ownership  everything lives in the caller's arena
 * Errors     PREP_ENOMEM; PREP_EBUG when a tap shows what was not expected
 * Threads    one at a time
 */
#ifndef PREP_RELEASE_JUDGE_SITES_H
#define PREP_RELEASE_JUDGE_SITES_H

#include "libprep/base/arena.h"
#include "libprep/engine/taps.h"
#include "libprep/model/config.h"
#include "libprep/quant/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

enum judge_site {
    SITE_ATTENTION,   /* q_a, kv_a, indexer wk and weights_proj; of no layer: lm_head */
    SITE_QUERY,       /* q_b, indexer wq_b */
    SITE_LATENT,      /* kv_b */
    SITE_HEADS,       /* o */
    SITE_MLP,         /* gate and up: dense, shared, and by token number the experts' */
    SITE_DOWN,        /* down: dense or shared */
    SITE_EXPERT_DOWN, /* down of experts */
    N_SITES
};

struct judge_rows {
    const float *x; /* [n, cols] */
    size_t n, cols;
};

struct judge_sites {
    size_t n_tokens, n_experts, per_token; /* experts of a layer, experts of a token */
    size_t cols[N_SITES];                  /* room for rows this wide */
    size_t rows[N_SITES], width[N_SITES];  /* seen so far of the layer, and how wide they are */
    float *x[N_SITES];
    uint32_t *gate_tokens, *gate_experts; /* [n_tokens * per_token] in the order of arrival */
    uint32_t *down_experts;
    size_t n_gate;
    float *gathered; /* [n_tokens, widest expert input] */
    int n_layers;    /* main ones: others are passed over */
    struct taps taps;
};

PREP_MUST_CHECK int judge_sites_init(struct judge_sites *s, const struct config *c, size_t n_tokens,
                                     struct arena *arena, struct prep_error *err);
uint64_t judge_sites_memory(const struct config *c, size_t n_tokens);
/* Before each layer. */
void judge_sites_reset(struct judge_sites *s);
/* Rows of a linear of the layer that ran; gathered ones stay until the next call. */
PREP_MUST_CHECK int judge_sites_rows(struct judge_rows *rows, struct judge_sites *s,
                                     const struct linear *l, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * taps.h - look at what goes through a layer: inputs of linears, the router, expert outputs.
 *
 * A tap is called while a layer runs, from the thread that called runtime_layer(). Inputs that
 * several linears share are shown once, under the part below; tap_site() maps the others.
 *
 *    PART_Q_A          q_a, kv_a, indexer wk and weights_proj    input of the attention
 *    PART_Q_B          q_b, indexer wq_b                         normed low-rank query
 *    PART_KV_B         kv_b                                      normed latent
 *    PART_O            o                                         heads' outputs
 *    PART_GATE         gate, up: of a dense MLP (expert -1), or of an expert, its tokens only
 *    PART_DOWN         down: of a dense MLP, or of an expert
 *    PART_ROUTER       router, shared gate and up                normed hidden state
 *    PART_SHARED_DOWN  shared down
 *    PART_EH_PROJ, PART_LM_HEAD
 *
 * Order: rows of one layer, part and expert come in ascending token order, but in as many pieces
 * as memory asks for, and pieces of different parts alternate. So a sum over rows must be a chain
 * over tokens, or keep its own blocks.
 *
 * Of a model that is split over ranks (runtime.h), inputs of o and down are this rank's columns,
 * and outputs of an expert are what this rank adds to them.
 *
 * Shapes     x [n, cols] F32, row i belongs to token tokens[i], or first_token + i without a list
 * Ownership  borrowed for the call
 * Errors     a tap that returns -1 with err set ends the layer
 */
#ifndef PREP_ENGINE_TAPS_H
#define PREP_ENGINE_TAPS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"
#include "libprep/model/names.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tap_rows {
    int layer, expert; /* expert: -1 when it is none of the routed ones */
    enum part part;
    const float *x;
    size_t n, cols, ld;     /* ld: elements between rows */
    const uint32_t *tokens; /* ascending, or NULL */
    size_t first_token;
    const float *gates; /* of an expert: gate value of each row; else NULL */
};

struct tap_router {
    int layer;
    const float *logits;    /* [n, n_experts] */
    const int32_t *experts; /* [n, k], best first */
    const float *gates;     /* [n, k] */
    size_t n, n_experts, k;
    size_t first_token;
};

struct taps {
    void *arg;
    /* Each may be NULL. */
    int (*input)(void *arg, const struct tap_rows *rows, struct prep_error *err);
    int (*router)(void *arg, const struct tap_router *router, struct prep_error *err);
    /* What an expert returned, before the gate: part PART_DOWN, cols hidden_size. */
    int (*expert_output)(void *arg, const struct tap_rows *rows, struct prep_error *err);
};

/* The part under which the input of a linear is shown. */
enum part tap_site(enum part part);

#ifdef __cplusplus
}
#endif
#endif

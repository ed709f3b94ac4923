/* SPDX-License-Identifier: MIT */
/*
 * judge_layers.h - what the layers of two models do on the same text, layer by layer.
 *
 *    hidden    sum |h_q - h|^2 / sum |h|^2           after the layer, each model on its own way
 *    forced    the same, the choices of the original taken
 *    block     sum |y_q - y|^2 / sum |y - x|^2       x the original's input of this layer, y what
 *                                                    it makes of it, y_q what the other does
 *    experts   share of the original's choices that the other makes, too; of positions likewise
 *    kl        KL(original || other) of the next token, each model's hidden states after the layer
 *              taken through its own final norm and lm_head. Of the last layer: the models' KL
 *
 * Sums are F64, a chain over the elements of a window, then over windows in order: they do not
 * depend on how windows are gathered in units. Of KL each row is one element.
 *
 * Shapes     hidden states [n_tokens, hidden_size] of whole windows, row-major
 * Ownership  everything lives in the caller's arena
 * Errors     PREP_ENOMEM
 * Threads    one call at a time; sums of several windows run on n_threads
 */
#ifndef PREP_RELEASE_JUDGE_LAYERS_H
#define PREP_RELEASE_JUDGE_LAYERS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/numeric/bootstrap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A ratio of two sums, kept window by window until it is finished. */
struct judge_ratio {
    double *above, *below; /* [n_windows] */
};

struct judge_layer {
    struct judge_ratio hidden, forced, block;
    uint64_t experts, experts_shared;     /* choices of the original; of these, the other's too */
    uint64_t positions, positions_shared; /* where a choice was made at all */
    double
        *window_kl; /* [n_windows], nats: sums over rows, means when finished; NULL: not wanted */
    struct bootstrap_interval kl; /* finished; of window_kl */
    double hidden_error, forced_error, block_error, expert_share, position_share; /* finished; NaN:
                                                                                     not measured */
};

struct judge_layers {
    struct judge_layer *layers;
    int n_layers, has_kl;
    uint64_t n_windows;
};

PREP_MUST_CHECK int judge_layers_init(struct judge_layers *l, int n_layers, uint64_t n_windows,
                                      struct arena *arena, struct prep_error *err);
/* KL is wanted, too. */
PREP_MUST_CHECK int judge_layers_init_kl(struct judge_layers *l, struct arena *arena,
                                         struct prep_error *err);

/* Hidden states of some windows, all [n_windows, elements]. */
struct judge_states {
    uint64_t first_window, n_windows;
    size_t elements; /* of a window */
    int n_threads;
};
/* above += |a - b|^2, below += |a - base|^2; base NULL: 0. */
PREP_MUST_CHECK int judge_ratio_add(struct judge_ratio *to, const struct judge_states *s,
                                    const float *a, const float *b, const float *base,
                                    struct prep_error *err);

/* Choices of one token. map[e] is what the original calls the other's expert e; NULL: e. */
void judge_experts_add(struct judge_layer *l, const int32_t *original, const int32_t *other,
                       size_t k, const int *map);
/* Positions ascending. */
void judge_positions_add(struct judge_layer *l, const uint32_t *original, size_t n,
                         const uint32_t *other, size_t n_other);

/* KL of the rows [first, first + n), counted through all windows of n_rows each. A window's rows
 * come in ascending order. */
void judge_layer_add_kl(struct judge_layer *l, uint64_t n_rows, uint64_t first, const double *kl,
                        size_t n);

/* What was never added becomes NaN. */
void judge_layers_finish(struct judge_layers *l);
/* Means and intervals of KL, where it was wanted. n_rows: of a window. */
PREP_MUST_CHECK int judge_layers_finish_kl(struct judge_layers *l, uint64_t n_rows,
                                           struct arena *arena, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

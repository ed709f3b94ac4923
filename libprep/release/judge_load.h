/* SPDX-License-Identifier: MIT */
/*
 * judge_load.h - how many tokens each expert of a model is given on the text.
 *
 * Shapes     tokens[layer] is [n_experts[layer]], experts under the model's own numbers; NULL for
 *            dense layers
 * Units      choices: a token counts once for each of its experts
 * Ownership  everything lives in the caller's arena
 * Errors     PREP_ENOMEM
 * Threads    one at a time
 */
#ifndef PREP_RELEASE_JUDGE_LOAD_H
#define PREP_RELEASE_JUDGE_LOAD_H

#include "libprep/model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

struct judge_load {
    uint64_t **tokens; /* [n_layers] */
    const int *n_experts;
    int n_layers; /* main ones */
};

/* config is borrowed. */
PREP_MUST_CHECK int judge_load_init(struct judge_load *l, const struct config *config,
                                    struct arena *arena, struct prep_error *err);
uint64_t judge_load_memory(const struct config *config);
/* The choices of one token, [k]. */
void judge_load_add(struct judge_load *l, int layer, const int32_t *experts, size_t k);

/* Of one layer, in shares of its choices. */
struct load_figures {
    uint64_t choices;
    int n_experts, n_unused; /* unused: not given one token */
    double most, even;       /* share of the busiest; 1 / n_experts */
    int busiest;
};
/* choices 0: nothing was routed here, and the rest is 0. */
void judge_load_figures(struct load_figures *f, const struct judge_load *l, int layer);

#ifdef __cplusplus
}
#endif
#endif

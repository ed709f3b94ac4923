/* SPDX-License-Identifier: MIT */
/*
 * pool_inputs.h - do these runs fit the model and each other, and whose expert is row j?
 *
 * The part of pooling that judges. A run's rows are experts of the base checkpoint, or of a
 * pruned one; then a keep-map says which base expert each row is.
 *
 * Ownership  everything is borrowed or lives in the arena given
 * Errors     as pool.h
 * Threads    const after pool_inputs_check()
 */
#ifndef PREP_PRUNE_POOL_INPUTS_H
#define PREP_PRUNE_POOL_INPUTS_H

#include "libprep/prune/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pool_input {
    const struct obs_run *run;
    const char *gate_semantics;
    const struct keep_map *map; /* rows are the experts this map keeps; NULL: base experts */
};

struct pool_context {
    const struct prune_model *model;
    const struct known_map *parent; /* NULL before a first pass */
    const struct prune_options *options;
    struct report *report;
    int alone; /* one run of an accepted set: missing layers are fine */
};

struct pool_inputs {
    struct pool_input *inputs; /* in the order of the runs */
    size_t n;
    enum pool_space space;
    int semantics_assumed, mixed_gates;
    const char *gate_semantics;
};

/* Duplicates, gate semantics and id spaces, then structure by ascending layer, then values. */
PREP_MUST_CHECK int pool_inputs_check(struct pool_inputs *in, const struct obs_run *runs,
                                      size_t n_runs, const struct pool_context *ctx,
                                      struct arena *arena, struct prep_error *err);

/* Is MoE layer number i of the model selected by statistics? */
int pool_wants_layer(const struct pool_context *ctx, size_t i);
/* Experts of MoE layer number i in the pool's id space. */
int pool_experts(const struct pool_context *ctx, enum pool_space space, size_t i);

/*
 * For pool ids 0..n-1 the row of the input's vectors, or -1; NULL in *rows when they are equal.
 */
PREP_MUST_CHECK int pool_input_rows(const int **rows, const struct pool_inputs *in, size_t input,
                                    int layer, int n, struct arena *arena, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

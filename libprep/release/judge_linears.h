/* SPDX-License-Identifier: MIT */
/*
 * judge_linears.h - how far each linear of a model is from the original's, on the inputs it sees.
 *
 *    NMSE = sum over inputs x of |W x - Wq x|^2 / sum of |W x|^2
 *         = tr(D H D^T) / tr(W H W^T),  D = W - Wq,  H = sum of x x^T
 *
 * W and Wq are what a loader computes with, decoded in F32; x are the original's inputs on the text
 * (judge_sites.h). Products are those of kernels/matmul, squares are summed exactly (exact_sum.h).
 * So nothing depends on threads, on how the text is cut into units or who saw which. Linears that
 * decode to equal values everywhere are not changed and are left out of every figure.
 *
 * Ownership  models are borrowed; everything else lives in the caller's arena
 * Errors     those of reading and decoding (linear.h); PREP_ENOMEM
 * Threads    one call at a time; tiles run on n_threads
 */
#ifndef PREP_RELEASE_JUDGE_LINEARS_H
#define PREP_RELEASE_JUDGE_LINEARS_H

#include "kernels/matmul/matmul.h"
#include "libprep/numeric/exact_sum.h"
#include "libprep/release/judge_sites.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LINEAR_TILE = 64 };

/* Where the linears of a model are: a checkpoint, or a view of one. */
struct judge_matrices {
    const struct checkpoint *checkpoint;
    const struct view *view; /* or NULL */
    const struct linears *linears;
    /* [layer][e]: what the original calls expert e, -1 when not known; NULL: as here. */
    int *const *experts;
};

struct judge_linear {
    const struct linear *original, *other;
    uint64_t tokens; /* seen */
    struct exact_sum error, signal;
    int same, changed; /* same: stored with the same bytes; changed: a value differs */
    double nmse;       /* finished: NaN when not changed, or when it saw nothing */
};

struct judge_linears {
    const struct judge_matrices *original, *other;
    struct judge_linear *items; /* in the order of the other's linears, main layers and lm_head */
    size_t n;
    size_t n_unmatched; /* the other's that the original does not have, or of another shape */
};

struct judge_linears_how {
    int n_threads;
    enum isa isa;
};

PREP_MUST_CHECK int judge_linears_init(struct judge_linears *l,
                                       const struct judge_matrices *original,
                                       const struct judge_matrices *other, int n_layers,
                                       struct arena *arena, struct prep_error *err);
/* Add what the linears of this layer (-1: lm_head) make of the rows in s. */
PREP_MUST_CHECK int judge_linears_add(struct judge_linears *l, int layer, struct judge_sites *s,
                                      const struct judge_linears_how *how, struct prep_error *err);
/* Memory of one such call. */
uint64_t judge_linears_memory(const struct judge_linears *l, int n_threads);
void judge_linears_finish(struct judge_linears *l);

/* Of all linears, or of those of one role (ROLE_OTHER: all), that are changed. */
struct judge_scope {
    size_t n;
    double geometric, p95, worst;
    const struct judge_linear *worst_linear;
};
PREP_MUST_CHECK int judge_linears_scope(struct judge_scope *scope, const struct judge_linears *l,
                                        enum role role, struct prep_error *err);

/* The changed linears of one layer; NaN where there are none. */
struct judge_linears_layer {
    size_t n;
    double least, p25, median, p75, worst;
};
/* to is [n_layers + 1], the last one for what is in no layer: lm_head. */
PREP_MUST_CHECK int judge_linears_layers(struct judge_linears_layer *to,
                                         const struct judge_linears *l, int n_layers,
                                         struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * select.h - which experts of each layer survive, from a pooled table.
 *
 * Candidates are the experts of the checkpoint at hand. Within a layer they are ranked by
 * (protected first, drop list last, saliency descending, id ascending), as exact doubles; the
 * first N survive. On an already pruned checkpoint a table in base space is restricted to the
 * parent's survivors, which leaves every comparison as it was: that is why two passes nest
 * (observations.md section 6.1).
 *
 * Shapes     per layer: saliency, rank_class, base_id [n_experts]; order is a permutation of it
 * Ownership  a selection owns its lists until selection_free() and borrows pool, model and maps
 * Errors     PREP_EUSAGE with PLAN_KEEP_RANGE, PLAN_TOPK, PLAN_GROUP_DIVISIBILITY (tested in that
 *            order), PLAN_PROTECT_CONFLICT, PLAN_PROTECT_OVERFLOW, PLAN_BUDGET_INFEASIBLE;
 *            PREP_EDATA for lists that name what does not exist
 * Threads    const after filling
 */
#ifndef PREP_PRUNE_SELECT_H
#define PREP_PRUNE_SELECT_H

#include "libprep/base/report.h"
#include "libprep/prune/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RANK_DROP = -1, RANK_NORMAL = 0, RANK_PROTECTED = 1 };

struct select_layer {
    int layer;
    int n_experts; /* candidates */
    const struct pool_layer *pool;
    const int *pool_id; /* index of a candidate in the pool's vectors; NULL: the candidate */
    const int *base_id; /* base expert of a candidate; NULL: the candidate itself */
    double *saliency;
    signed char *rank_class;
    unsigned char *auto_protected; /* by --protect-super or --protect-outliers */
    int *order;                    /* best first */
    int *kept;                     /* ascending; filled by select_experts() */
    int n_kept;
};

struct selection {
    const struct prune_model *model;
    struct select_layer *layers; /* ascending */
    size_t n_layers;
    double threshold; /* of the automatic protection; 0 without one */
    struct arena arena;
};

/* Ranks, then sizes, then keeps; warns of ties, of what N excludes and of unequal layers. */
PREP_MUST_CHECK int select_experts(struct selection *s, const struct pool *pool,
                                   const struct prune_model *model, const struct known_map *parent,
                                   const struct prune_options *options, struct report *report,
                                   struct prep_error *err);
void selection_free(struct selection *s); /* accepts a zeroed struct */

/* The steps of select_experts(), for whoever compares several sizes. */
PREP_MUST_CHECK int select_rank(struct selection *s, const struct pool *pool,
                                const struct prune_model *model, const struct known_map *parent,
                                const struct prune_options *options, struct report *report,
                                struct prep_error *err);
/* counts[n_layers]: how many experts each layer keeps, judged against top-k, groups and lists. */
PREP_MUST_CHECK int select_counts(int *counts, const struct selection *s,
                                  const struct prune_options *options, struct prep_error *err);
/* Marks and lists the n survivors of a layer: flags[n_experts] is 1 for kept; kept[n] ascending. */
void select_survivors(const struct selection *s, const struct select_layer *l, int n,
                      unsigned char *flags, int *kept);

/* Candidates in the order in which they are given up; with groups in rounds of one per group. */
void select_removal_order(const struct selection *s, const struct select_layer *l, int *removal);
/* Range, top-k and group rules for one count. */
PREP_MUST_CHECK int select_check_count(const struct prune_model *model, int layer, int n_experts,
                                       int64_t n, struct prep_error *err);
/* Warnings of observations.md section 9 on the counts of all layers, and PLAN_NONUNIFORM. */
void select_warn_counts(const int *counts, size_t n, int tensor_parallel, struct report *report);
/* What the parent's keep-map says must be what the model holds. */
PREP_MUST_CHECK int select_check_parent(const struct prune_model *model,
                                        const struct known_map *parent, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * cut_report.h - what a cut keeps and how close the calls were, for one or several sizes.
 *
 * Per layer: the share of S, n, G and reap that the survivors hold among the candidates, the
 * saliencies on both sides of the boundary, experts never routed to, how many standard errors
 * the boundary gap is wide, and how far the runs agree. Expert ids are base ids.
 *
 * Units      shares and overlaps are in 0..1; saliencies in the metric's unit
 * Ownership  the report owns its lists until cut_report_free()
 * Errors     those of select_counts(); PREP_ENOMEM
 * Threads    const after making
 */
#ifndef PREP_PRUNE_CUT_REPORT_H
#define PREP_PRUNE_CUT_REPORT_H

#include "libprep/base/json.h"
#include "libprep/prune/select.h"

#ifdef __cplusplus
extern "C" {
#endif

enum cut_share { CUT_S, CUT_N, CUT_G, CUT_REAP, CUT_SHARES };

/* A number that cannot be had is NaN: no such vector, nothing dropped, 0 in a denominator. */
struct cut_layer {
    int layer, n_experts, n_kept;
    double share[CUT_SHARES];
    int kept_id, dropped_id; /* last kept and first dropped, -1: none */
    double kept_saliency, dropped_saliency;
    double ratio;   /* kept / dropped */
    double z_score; /* of the gap; reap pooled by routed tokens, with weighted_ean_sumsq */
    int *never_routed;
    int n_never_routed;
    double jaccard; /* of the sets that each run alone would keep; two runs or more */
};

struct cut {
    int64_t n_kept;            /* over all layers */
    double mean_dropped_share; /* mean over layers of 1 - share of S */
    struct cut_layer *layers;
};

struct cut_report {
    struct cut *cuts;
    size_t n_cuts, n_layers;
    int semantics_assumed;
    struct arena arena;
};

/* keeps[n_keeps] are uniform counts to compare; with none, the size that the options ask for. */
PREP_MUST_CHECK int cut_report_make(struct cut_report *r, const struct selection *s,
                                    const struct pool *pool, const struct known_map *parent,
                                    const struct prune_options *options, const int64_t *keeps,
                                    size_t n_keeps, struct prep_error *err);
void cut_report_free(struct cut_report *r); /* accepts a zeroed struct */

/* The "report" member of a keep-map, for cut number i. */
PREP_MUST_CHECK int cut_report_json(const struct cut_report *r, size_t i, struct arena *arena,
                                    struct span *out, struct prep_error *err);
/* All cuts under "cuts" in the report's facts. */
PREP_MUST_CHECK int cut_report_facts(const struct cut_report *r, struct report *report,
                                     struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

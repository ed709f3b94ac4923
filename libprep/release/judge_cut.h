/* SPDX-License-Identifier: MIT */
/*
 * judge_cut.h - which experts a model was cut down to, as its keep-map tells it.
 *
 * Scores are those that reap-prune wrote beside the last pass (prune/cut_report.h), when it had
 * observations to go by; a report in any other shape is passed over, number by number.
 *
 * Units      shares from 0 to 1; saliencies in the metric's unit
 * Ownership  everything lives in the caller's arena; lists are borrowed from the map
 * Errors     PREP_ENOMEM
 * Threads    const after making
 */
#ifndef PREP_RELEASE_JUDGE_CUT_H
#define PREP_RELEASE_JUDGE_CUT_H

#include <cjson/cJSON.h>

#include "libprep/format/keep_map.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Shares of what all candidates had, in the order of enum cut_share: saliency, tokens routed, gate
 * weight, mean saliency. */
enum { JUDGE_CUT_SHARES = 4 };

struct judge_cut_layer {
    int layer;
    int n_before, n_kept; /* before: of the unpruned model; 0 when not known */
    const int *kept;      /* ascending, the unpruned model's numbers */
    const char *origin;
    double share[JUDGE_CUT_SHARES]; /* NaN: not told */
    int kept_id, dropped_id;        /* next to the cut on either side, -1: not told */
    double kept_saliency, dropped_saliency, ratio, z_score, jaccard;
    int n_never_routed; /* -1: not told */
};

struct judge_cut {
    const struct keep_map *map;
    struct judge_cut_layer *layers; /* those that the map names */
    size_t n_layers;
    int n_before;              /* experts of the unpruned model; 0 when not known */
    double mean_dropped_share; /* of the saliency; NaN: not told */
    int has_scores;
};

/* n_layers 0 when no expert was removed. */
PREP_MUST_CHECK int judge_cut_make(struct judge_cut *cut, const struct keep_map *map,
                                   struct arena *arena, struct prep_error *err);
/* Under "cut"; a failure shows when the object is printed. */
void judge_cut_facts(cJSON *object, const struct judge_cut *cut);

#ifdef __cplusplus
}
#endif
#endif

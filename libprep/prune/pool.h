/* SPDX-License-Identifier: MIT */
/*
 * pool.h - several observation runs become one table of statistics per MoE layer.
 *
 * The rules are observations.md section 5: runs are taken in the order given, counts are added
 * as checked 64-bit integers, sums left to right from 0.0, maxima by maximum; the mode decides
 * only how the means (reap, ean_mean) weigh the runs. Reading has judged the files by
 * themselves; here they are judged against each other, against the model and by value
 * (obs_run_check_values), in that order, before anything is added.
 *
 * Shapes     every vector of a layer has n_experts elements. In SPACE_BASE index e is an expert
 *            of the base checkpoint, in SPACE_CURRENT one of the checkpoint to be pruned (the
 *            two are the same before a first pass).
 * Units      counts are tokens, sums as in section 1
 * Ownership  the pool owns its vectors until pool_free(); runs, maps and options are borrowed
 * Errors     PREP_EDATA with OBS_* or PLAN_NO_KEEP_MAP, naming run, layer, metric and expert;
 *            PREP_EUSAGE for weights or a saliency source that do not fit the runs
 * Threads    const after pool_runs()
 */
#ifndef PREP_PRUNE_POOL_H
#define PREP_PRUNE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/report.h"
#include "libprep/format/observation.h"
#include "libprep/prune/options.h"

#ifdef __cplusplus
extern "C" {
#endif

enum pool_space { SPACE_BASE, SPACE_CURRENT };

/* A vector is NULL unless every used run holds it (or what it is made of). */
struct pool_layer {
    int layer;
    int n_experts;
    int *runs; /* indices of the runs that hold the layer */
    size_t n_runs;
    int has_total_tokens;
    int64_t total_tokens;
    int64_t *expert_frequency;
    double *ean_sum, *weighted_ean_sum, *weighted_expert_frequency_sum, *weighted_ean_sumsq;
    double *reap, *ean_mean; /* by the pool mode */
    double *gate_mean;       /* weighted_expert_frequency_sum / expert_frequency */
    double *ean_ca;
    float *max_activations;
    const float *stored_reap, *stored_ean_mean; /* a single run's own float32 means */
};

struct pool {
    enum pool_space space;
    const struct obs_run *runs;
    size_t n_runs;
    const char *gate_semantics; /* of all runs; of mixed ones joined with "+" */
    int semantics_assumed;      /* some file does not say, the option or the default did */
    int mixed_gates;            /* sums of each run were divided by their layer total */
    int sums_from_means;
    struct pool_layer *layers; /* ascending; MTP layers only with MTP_OWN */
    size_t n_layers;
    struct arena arena;
};

/* parent is the keep-map of the checkpoint to be pruned, NULL before a first pass. */
PREP_MUST_CHECK int pool_runs(struct pool *p, const struct obs_run *runs, size_t n_runs,
                              const struct prune_model *model, const struct known_map *parent,
                              const struct prune_options *options, struct report *report,
                              struct prep_error *err);
/* One run of a set that pool_runs() accepted, as if it had been the only one: layers it lacks
 * are absent, weights do not apply, nothing is warned about. */
PREP_MUST_CHECK int pool_alone(struct pool *p, const struct obs_run *run,
                               const struct prune_model *model, const struct known_map *parent,
                               const struct prune_options *options, struct prep_error *err);
void pool_free(struct pool *p); /* accepts a zeroed struct */

const struct pool_layer *pool_layer(const struct pool *p, int layer);
/* The saliency of expert e under the options' metric; the vector must be there. */
double pool_saliency(const struct pool_layer *l, const struct prune_options *options, int e);

#ifdef __cplusplus
}
#endif
#endif

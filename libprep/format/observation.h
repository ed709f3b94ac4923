/* SPDX-License-Identifier: MIT */
/*
 * observation.h - REAP statistics of one run, whatever file they came in.
 *
 * Forms read (observations.md sections 2 to 4), told apart by name: a folder of per-block files
 * (block_NNN_metrics.pt, the highest group_GGG; the folder itself or the one above
 * layerwise_intermediate/), *.safetensors, *.json, per-sample *.jsonl, a bundle (bundle.h) that
 * holds one of these, and anything else as a torch file. A .pt is interpreted by format/pt.h,
 * never executed. Sums that a file lacks are rebuilt from its means.
 *
 * Shapes     vectors have n_experts elements; pairwise [E, E]; routed_output [E, hidden]
 * Units      counts are tokens; sums as in section 1 of the sheet
 * Ownership  all vectors live in the run's arena until obs_run_free()
 * Errors     PREP_EDATA with an OBS_* tag (section 10 of the sheet); the message names file,
 *            layer, metric and expert. JSON and safetensors files also raise the tags of json.h
 *            and safetensors.h, bundles those of bundle.h. Reading judges container, pickle and
 *            the shapes inside a layer; obs_run_check_structure() the rest of the structure,
 *            obs_run_check_values() the values: in this order, so that the first fault by the
 *            sheet's precedence is the one reported.
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_OBSERVATION_H
#define PREP_FORMAT_OBSERVATION_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/hash.h"
#include "libprep/base/io.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { OBS_MAX_EXPERTS = 65536, OBS_MAX_LAYER = 1023 };
#define OBS_MAX_FILE_BYTES ((uint64_t)1 << 31)

/* A vector that the file did not hold is NULL. */
struct obs_layer {
    int layer;
    int n_experts;
    int has_total_tokens;
    int64_t total_tokens;
    int64_t *expert_frequency;
    int64_t *pairwise_expert_frequency; /* n_i + n_j */
    double *ean_sum, *weighted_ean_sum, *weighted_expert_frequency_sum;
    float *ean_mean, *reap, *max_activations;
    /* native optional vectors */
    float *max_norm;
    double *weighted_ean_sumsq;
    /* mean (REAP file) or sum (native) of the expert's output over its routed tokens */
    double *routed_output;
    int routed_output_is_sum;
    int64_t hidden; /* columns of routed_output */
    /* 1: the sum was absent and is (double)mean * (double)expert_frequency */
    unsigned char ean_sum_from_mean, weighted_ean_sum_from_mean;
};

struct obs_metadata {
    const char *key, *value;
};

struct obs_run {
    const char *path;           /* as given, for messages */
    const char *label;          /* metadata "run", or the name derived from the path */
    char sha256[SHA256_HEX];    /* of the file, or of the concatenated files of a folder, in name
                                   order; for a bundle, of what it holds */
    const char *gate_semantics; /* NULL: the file does not say */
    const char *id_space;       /* "base" unless the file says "keep-map" */
    const char *keep_map_sha256;
    const char *model, *config_sha256, *index_sha256; /* NULL when the file does not say */
    int n_routed_experts, num_experts_per_tok;        /* 0 when the file does not say */
    uint64_t tokens;               /* metadata, else the largest total_tokens of a layer */
    struct obs_metadata *metadata; /* of a native file, as read */
    size_t n_metadata;
    struct obs_layer *layers; /* ascending */
    size_t n_layers;
    struct arena arena;
};

/*
 * suffix selects another gate rule's vectors of a native file ("logit_softmax_renorm"), or NULL:
 * gate_semantics then names that rule, and vectors that exist under the file's own rule only
 * (max_activations, ...) are NULL. Warns OBS_SUM_FROM_MEAN; report may be NULL.
 */
PREP_MUST_CHECK int obs_run_read(struct obs_run *run, const struct io *io, const char *path,
                                 const char *suffix, struct report *report, struct prep_error *err);
void obs_run_free(struct obs_run *run); /* accepts a zeroed struct */

/* NULL when the run lacks the layer. */
const struct obs_layer *obs_run_layer(const struct obs_run *run, int layer);

/* What the model says; layers with routed experts, ascending, MTP layers included. */
struct obs_expect {
    const int *layers;
    const int *n_experts; /* per layer, in the base model */
    const int *n_parent;  /* per layer, in the checkpoint at hand; NULL: as n_experts */
    size_t n_layers;
    int top_k; /* num_experts_per_tok; 0: not known, sum n = T * k is not checked */
};

/* OBS_EXPERT_COUNT: a layer has neither count. Warns OBS_LAYER_UNKNOWN once per such layer. */
PREP_MUST_CHECK int obs_run_check_structure(const struct obs_run *run,
                                            const struct obs_expect *expect, struct report *report,
                                            struct prep_error *err);
/*
 * OBS_NONFINITE, OBS_NEGATIVE, OBS_ZERO_TOKENS and OBS_COUNT_MISMATCH, in every vector of every
 * layer that the model has. lenient: counts that do not add up are a warning. Warns
 * OBS_NEVER_ROUTED once per layer.
 */
PREP_MUST_CHECK int obs_run_check_values(const struct obs_run *run, const struct obs_expect *expect,
                                         int lenient, struct report *report,
                                         struct prep_error *err);

/* The run in the JSON form of section 4.1, without the redundant pairwise counts. */
PREP_MUST_CHECK int obs_run_write_json(const struct obs_run *run, struct arena *arena,
                                       struct span *out, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * observation.h - REAP statistics of one run, whatever file they came in.
 *
 * Forms read (observations.md sections 2 to 4): a consolidated torch file (*.pt), a folder of
 * per-block files (block_NNN_metrics.pt, the highest group_GGG), *.obs.safetensors, *.obs.json,
 * per-sample *.jsonl, and a .tar, .tar.zst or .zip bundle that holds one of these. A .pt is
 * interpreted by format/pt.h, never executed.
 *
 * Shapes     vectors have n_experts elements; pairwise, coactivation [E, E]; output_* [E, hidden]
 * Units      counts are tokens; sums as in section 1 of the sheet
 * Ownership  all vectors live in the run's arena until obs_run_free()
 * Errors     PREP_EDATA with an OBS_* tag (section 10 of the sheet); the message names file,
 *            layer, metric and expert. Reading judges container, pickle and structure;
 *            obs_run_check() judges values.
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_OBSERVATION_H
#define PREP_FORMAT_OBSERVATION_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

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
};

struct obs_run {
    const char *label;  /* metadata "run", or the name derived from the path */
    char sha256[65];    /* of the file, or of the concatenated files of a folder, in name order */
    const char *gate_semantics; /* NULL: the file does not say */
    const char *id_space;       /* "base" unless the file says "keep-map" */
    const char *keep_map_sha256;
    const char *model, *config_sha256, *index_sha256; /* NULL when the file does not say */
    int n_routed_experts, num_experts_per_tok;        /* 0 when the file does not say */
    uint64_t tokens; /* metadata, else the largest total_tokens of a layer */
    struct obs_layer *layers; /* ascending */
    size_t n_layers;
    struct arena arena;
};

/* Warnings: none of its own. suffix selects another gate rule's vectors of a native file
 * ("logit_softmax_renorm"), or NULL. */
PREP_MUST_CHECK int obs_run_read(struct obs_run *run, const struct io *io, const char *path,
                                 const char *suffix, struct report *report,
                                 struct prep_error *err);
void obs_run_free(struct obs_run *run); /* accepts a zeroed struct */

/* The same run in our native forms (reap-observe writes them; here: conversion and tests). */
PREP_MUST_CHECK int obs_run_write_json(const struct obs_run *run, struct arena *arena,
                                       struct span *out, struct prep_error *err);

const struct obs_layer *obs_run_layer(const struct obs_run *run, int layer);

#ifdef __cplusplus
}
#endif
#endif

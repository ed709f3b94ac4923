/* SPDX-License-Identifier: MIT */
/*
 * runs.h - observation runs and models made by hand, for tests of pooling and selection.
 *
 * Ownership  a run owns its vectors: obs_run_free(); a model borrows static lists
 * Errors     out of memory fails the test
 */
#ifndef PREP_TESTS_RUNS_H
#define PREP_TESTS_RUNS_H

#include "libprep/format/observation.h"
#include "libprep/prune/options.h"
#include "tests/support/support.h"

#ifdef __cplusplus
extern "C" {
#endif

/* MoE layers 3, 4, 5 of 6, and MTP layer 6; at most two experts per token. */
void test_model(struct prune_model *m, int n_experts);

/* A run without layers; its content hash follows from the label. */
void test_run(struct obs_run *run, const char *label);
/*
 * Adds a layer, in ascending order: n routed tokens and S per expert, ean_sum = 2 S, G = n / 4,
 * max_activations = e + 1; total_tokens = sum n / 2, so the sum must be even.
 */
struct obs_layer *test_run_add(struct obs_run *run, int layer, int n_experts, const int64_t *n,
                               const double *s);
/* Random statistics for layers 3 to 5: saliencies drawn from `distinct` values. */
void test_run_random(struct obs_run *run, const char *label, int n_experts, uint64_t distinct,
                     struct test_random *random);

#ifdef __cplusplus
}
#endif
#endif

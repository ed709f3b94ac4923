/* SPDX-License-Identifier: MIT */
/*
 * judge_parts.h - what the files of a judgement share. Private to release/judge*.c.
 *
 * Ownership  borrows everything
 * Errors     those of judge.h
 * Threads    the visitor's functions are called one at a time
 */
#ifndef PREP_RELEASE_JUDGE_PARTS_H
#define PREP_RELEASE_JUDGE_PARTS_H

#include "libprep/engine/schedule.h"
#include "libprep/release/judge.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which lane is whose; -1: there is none. */
struct judge_lanes {
    int free, forced, fed;
};

struct judge_watch {
    struct judgement *j;
    const struct judge_job *job;
    struct lane lanes[SCHEDULE_MAX_LANES];
    size_t n_lanes;
    struct judge_lanes of[JUDGE_MAX_MODELS];
    const struct logits_kernels *kernels;
    struct judge_linears_how how;
    size_t unit_sequences, hidden_size, vocab_size;
    int n_layers;
    struct judge_sites sites;
    float *x, *y, *q; /* hidden states of a unit: before and after the layer, another's after it */
    /* Most likely next tokens, [n_windows, window], of the original (last) and each result. */
    uint32_t *first[JUDGE_MAX_MODELS + 1];
};

/* Models and text; then, when it is known what is measured, their runtimes within the budget. */
PREP_MUST_CHECK int judge_open(struct judgement *j, const struct judge_job *job,
                               struct report *report, struct prep_error *err);
PREP_MUST_CHECK int judge_start(struct judge_watch *w, struct report *report,
                                struct prep_error *err);

/* Inputs of 4 bits, for the models that run with them; after judge_start(). */
PREP_MUST_CHECK int judge_round_inputs(struct judge_watch *w, struct prep_error *err);
/* How models run, in words: "attention sparse, indexers FFFFF, norm_eps 1e-06". */
void judge_settings(char text[JUDGE_SETTINGS], const struct judge_model *m,
                    const struct runtime_options *run);
/* What a model's runtime gets at least for lanes of so many tokens each, of sequences this long: it
 * takes up to an eighth of it for rows of logits. */
uint64_t judge_need(const struct judge_model *m, size_t n_tokens, size_t n_lanes, size_t window,
                    int with_mtp);

/* The schedule's visitor; arg is the struct judge_watch. */
int judge_before_layer(void *arg, const struct schedule_at *at, struct prep_error *err);
int judge_after_layer(void *arg, const struct schedule_at *at, struct prep_error *err);
int judge_see_logits(void *arg, const struct schedule_logits *l, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

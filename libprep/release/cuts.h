/* SPDX-License-Identifier: MIT */
/*
 * cuts.h - is a choice of experts worth anything? Cuts of a model beside it, and beside random
 * ones.
 *
 * A *cut* is a keep-map of the original, or a pruned model in a folder of its own. For every size
 * of cut (how many experts each layer keeps) n keep sets of that size are drawn with the seeds 1 ..
 * n (prune/random_keep.h). All of them run over the same windows at once: keep sets are lanes of
 * one copy of the original's weights (batch_restrict()), which gives the bits of pruned models.
 *
 *   increase   nats per token more than the original's, paired by window, bootstrap interval
 *   rank       how many draws have an increase as low or lower; p = (rank + 1) / (n + 1)
 *   better than random   p < 0.05: below the lowest of 20
 *   pairs      of cuts of one size: the paired difference of their losses
 *
 * Units      nats
 * Ownership  a job borrows its strings; cuts own all they hold until cuts_free()
 * Errors     those of judge.h; PREP_EUSAGE for a request without a cut, or for mem under the floor,
 *            which is printed; PREP_EDATA, tag JUDGE_MODEL, for a model that is no cut of the
 * original Threads    one job, one thread; it starts its own
 */
#ifndef PREP_RELEASE_CUTS_H
#define PREP_RELEASE_CUTS_H

#include "libprep/base/progress.h"
#include "libprep/release/judge.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CUTS_MOST = 64, CUTS_MOST_DRAWS = 1000 };

struct cuts_job {
    const struct io *io;
    const char *original;
    const char *const *models; /* pruned, in folders of their own */
    size_t n_models;
    const char *const *keep_maps; /* of the original */
    size_t n_keep_maps;
    size_t n_draws;
    const char *tokenizer; /* NULL: the original's folder */
    struct judge_text_request text;
    struct runtime_options run; /* mem is everyone's together */
    progress_fn progress;
    void *progress_arg;
};

/* The text under one set of experts. */
struct cuts_line {
    struct judge_model *model; /* of its own; NULL: the original, restricted to sets */
    struct expert_set *sets;   /* [layers of the original], or NULL */
    struct judge_series series;
};

/* Cuts that keep as many experts in every layer, and the draws of that size. */
struct cuts_size {
    int *n_experts;                          /* [main layers], 0: dense */
    int least, most;                         /* of any MoE layer */
    struct cuts_line *draws;                 /* [n_draws], of seeds 1, 2, ... */
    double *increases;                       /* [n_draws] */
    double mean, deviation, lowest, highest; /* NaN without draws */
};

struct judged_cut {
    const char *path;
    size_t size; /* number in sizes */
    struct cuts_line line;
    size_t rank;
    double p; /* NaN without draws */
    int better_than_random;
};

/* Two cuts of one size: the first minus the second. */
struct cuts_pair {
    size_t a, b;
    struct bootstrap_interval nll, kl;
};

struct cuts {
    struct judge_text text;
    struct judge_model original;
    struct judge_series unpruned;
    struct judge_model *models; /* [n_models] */
    size_t n_models;
    struct judged_cut *cuts;
    size_t n_cuts;
    struct cuts_size *sizes;
    size_t n_sizes, n_draws;
    struct cuts_pair *pairs;
    size_t n_pairs;
    char settings[JUDGE_SETTINGS];
    uint64_t peak_weights, read_bytes;
    struct arena arena;
};

PREP_MUST_CHECK int cuts_run(struct cuts *c, const struct cuts_job *job, struct report *report,
                             struct prep_error *err);
void cuts_free(struct cuts *c); /* accepts a zeroed struct */

/* Everything above, as facts. */
PREP_MUST_CHECK int cuts_facts(cJSON *object, const struct cuts *c, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

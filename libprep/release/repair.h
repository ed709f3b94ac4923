/* SPDX-License-Identifier: MIT */
/*
 * repair.h - mend what the linter finds and what needs no source.
 *
 *   checkpoint --lint--> findings --mends--> view, edited configs, few computed tensors --> plan
 *
 * Tensors are copied byte for byte but for these: the scales of a gate and up pair (or q_a and
 * kv_a) whose globals differ, where the half with the smaller one is brought under the larger; zero
 * points stored by the other convention; padded scale rows, which are cut. Codes never change.
 * Experts with gaps are renumbered, unknown tensors left out, a missing input scale of gate or up
 * taken from the other, which reads the same input. Lists, counts and keys of the configs are
 * spliced; index and headers are written anew.
 *
 * With G the larger of the two weight_scale_2 (1/weight_global_scale) and s2 the smaller, every
 * block scale S of its half becomes e4m3(clamp(S * s2 / G, 2^-9, 448)); 0 and NaN stay.
 *
 * Ownership  a result owns all it holds until repair_result_free(); the plan needs it
 * Errors     those of opening what cannot be mended (shards, config); PREP_ENOMEM
 * Threads    one job, one thread (headers and scales are read in parallel)
 */
#ifndef PREP_RELEASE_REPAIR_H
#define PREP_RELEASE_REPAIR_H

#include "libprep/release/lint.h"
#include "libprep/store/plan.h"
#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { REPAIR_MAX_MENDS = 40 };

struct repair_job {
    const struct io *io;
    const char *source;   /* folder, or ORG/NAME[@rev] in the local hub cache */
    unsigned engines;     /* whose findings are mended; 0: all */
    int n_threads;        /* 0: as many as there are */
    uint64_t shard_bytes; /* 0: the default */
};

/* One kind of fault, mended. */
struct repair_mend {
    const char *code;
    size_t n; /* places */
    const char *text;
};

struct repair_result {
    struct lint found;
    struct repair_mend mends[REPAIR_MAX_MENDS];
    size_t n_mends;
    struct plan *plan; /* NULL when there is nothing that can be mended */
    struct checkpoint *ckpt;
    struct config *config;
    struct view view;
    struct arena arena;
};

PREP_MUST_CHECK int repair_job_run(struct repair_result *result, const struct repair_job *job,
                                   struct report *report, struct prep_error *err);
void repair_result_free(struct repair_result *result); /* accepts a zeroed struct */

/* {"mends": [{"code", "n", "text"}]} */
PREP_MUST_CHECK int repair_facts(cJSON *object, const struct repair_result *r,
                                 struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

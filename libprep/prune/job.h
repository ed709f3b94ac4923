/* SPDX-License-Identifier: MIT */
/*
 * job.h - what reap-prune and stitch-mtp do: from files to a plan the executor can carry out.
 *
 *   observations --read, check, pool--> table --rank, size--> survivors --compose--> keep-map
 *   checkpoint + keep-map --apply--> view + edited configs --layout--> plan
 *
 * Nothing is written here. What was found and decided is in the report: warnings, and facts for
 * --json; the structs below keep it for a person's table.
 *
 * Ownership  a job borrows its strings and lists; a result owns all it holds until *_free()
 * Errors     those of every step, in the order above; PREP_EUSAGE when the request is incomplete
 * Threads    one job, one thread (headers are read in parallel)
 */
#ifndef PREP_PRUNE_JOB_H
#define PREP_PRUNE_JOB_H

#include "libprep/model/source.h"
#include "libprep/prune/apply.h"
#include "libprep/prune/cut_report.h"
#include "libprep/prune/mend.h"
#include "libprep/prune/options.h"
#include "libprep/prune/stitch.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct prune_job {
    const struct io *io;
    const char *source;              /* folder, or ORG/NAME[@rev] in the local hub cache */
    const char *const *observations; /* one path per run, in pooling order */
    size_t n_observations;
    const char *suffix;       /* vectors of another gate rule in native files, or NULL */
    const char *keep_map;     /* an explicit plan in place of observations, or NULL */
    const char *source_map;   /* keep-map of the source, when its folder has none */
    const char *recover_base; /* or: the model it was cut from */
    const char *protect, *drop, *keep_counts; /* files, or NULL */
    const char *const *run_maps; /* keep-maps of other pruned checkpoints that were observed */
    size_t n_run_maps;
    const char *model_name;       /* public id of the base; NULL: from the runs or the path */
    struct prune_options options; /* lists, weights and maps named above are filled in here */
    struct apply_options apply;
    struct mend_options mend;
    const int64_t *compare; /* further keep counts for the cut report */
    size_t n_compare;
    uint64_t shard_bytes; /* 0: the default */
};

struct prune_result {
    struct source source;
    struct keep_map map; /* of the output */
    int has_cuts;        /* not with an explicit plan */
    struct cut_report cuts, compared;
    struct prune_output output;
    struct mends mends;
    struct plan *plan; /* NULL when only a report was asked for */
    struct arena arena;
};

/* with_plan 0: stop after the cut report. */
PREP_MUST_CHECK int prune_job_run(struct prune_result *result, const struct prune_job *job,
                                  int with_plan, struct report *report, struct prep_error *err);
void prune_result_free(struct prune_result *result); /* accepts a zeroed struct */

struct stitch_job {
    const struct io *io;
    const char *target, *source; /* the checkpoint without its MTP layer, the unpruned model */
    const char *keep_map;        /* of the target, when its folder has none */
    struct stitch_options options;
    uint64_t shard_bytes;
};

struct stitch_result {
    struct source target, source;
    struct stitched stitched;
    struct plan *plan;
    struct arena arena;
};

PREP_MUST_CHECK int stitch_job_run(struct stitch_result *result, const struct stitch_job *job,
                                   struct report *report, struct prep_error *err);
void stitch_result_free(struct stitch_result *result); /* accepts a zeroed struct */

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * job_write.h - a pruned or stitched output as a plan. Private to prune/.
 */
#ifndef PREP_PRUNE_JOB_WRITE_H
#define PREP_PRUNE_JOB_WRITE_H

#include "libprep/prune/apply.h"
#include "libprep/prune/mend.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct job_write {
    const char *tool;
    const struct prune_output *out;
    const struct keep_map *map; /* NULL: no keep_map.json is written */
    struct mends *mends;        /* NULL: every tensor is a copy */
    uint64_t shard_bytes;
    struct arena *arena; /* for texts */
    struct report *report;
};

PREP_MUST_CHECK int job_write_plan(struct plan **plan, const struct job_write *w,
                                   struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * job_write.h - a pruned or stitched output as a plan. Private to prune/.
 */
#ifndef PREP_PRUNE_JOB_WRITE_H
#define PREP_PRUNE_JOB_WRITE_H

#include "libprep/prune/apply.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* map may be NULL: no keep_map.json is written. Texts live in the output's arena and arena. */
PREP_MUST_CHECK int job_write_plan(struct plan **plan, const char *tool,
                                   const struct prune_output *out, const struct keep_map *map,
                                   uint64_t shard_bytes, struct arena *arena, struct report *report,
                                   struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

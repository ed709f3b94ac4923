/* SPDX-License-Identifier: MIT */
/*
 * judge_ranks.h - a judgement made by several ranks. Private to release/judge*.c.
 *
 * Either the models are split over the ranks (runtime.h), which then all see everything and judge
 * the same; or each rank runs whole models on its share of the units, and what it found is given
 * to all. In both cases every rank ends with the same judgement, in the second with the bytes of
 * one process.
 *
 * Ownership  borrows everything
 * Errors     those of ranks.h; PREP_EDATA when a rank judges something else than rank 0
 * Threads    the thread of the ranks
 */
#ifndef PREP_RELEASE_JUDGE_RANKS_H
#define PREP_RELEASE_JUDGE_RANKS_H

#include "libprep/release/judge_parts.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Does each rank run some of the units? */
int judge_is_dealt(const struct judge_job *job);

/* Before models are opened: is the same asked of all? */
PREP_MUST_CHECK int judge_ranks_meet(const struct judge_job *job, struct prep_error *err);
/* When they have been started: are they and the text the same? */
PREP_MUST_CHECK int judge_ranks_compare(const struct judgement *j, const struct judge_job *job,
                                        struct prep_error *err);
/* Sequences of a unit: on all ranks the same, and a unit for each rank where units are dealt. */
PREP_MUST_CHECK int judge_ranks_unit(uint64_t *sequences, const struct judgement *j,
                                     const struct judge_job *job, struct prep_error *err);
/* After the run: what the others found. */
PREP_MUST_CHECK int judge_ranks_gather(struct judge_watch *w, struct prep_error *err);
/* Stored bytes of a model's share by rank, [ranks], in the judgement's arena. */
PREP_MUST_CHECK int judge_ranks_bytes(uint64_t **bytes, struct judgement *j,
                                      const struct judge_job *job, const struct judge_model *m,
                                      struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

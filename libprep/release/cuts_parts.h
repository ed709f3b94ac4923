/* SPDX-License-Identifier: MIT */
/*
 * cuts_parts.h - what the files of cuts.h share. Private to release/cuts*.c.
 *
 * Ownership  borrows everything; lists live in the arena of the cuts
 * Errors     those of cuts.h
 * Threads    one job, one thread
 */
#ifndef PREP_RELEASE_CUTS_PARTS_H
#define PREP_RELEASE_CUTS_PARTS_H

#include "libprep/engine/schedule.h"
#include "libprep/release/cuts.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Models, text, keep sets and their sizes, draws. */
PREP_MUST_CHECK int cuts_open(struct cuts *c, const struct cuts_job *job, struct report *report,
                              struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

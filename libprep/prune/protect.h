/* SPDX-License-Identifier: MIT */
/*
 * protect.h - experts that must stay and experts that should go.
 *
 * Ownership  marks are set in the selection's own arrays
 * Errors     PREP_EUSAGE with PLAN_PROTECT_CONFLICT; PREP_EDATA for ids and layers that the model
 *            does not have
 * Threads    one selection, one thread
 */
#ifndef PREP_PRUNE_PROTECT_H
#define PREP_PRUNE_PROTECT_H

#include "libprep/prune/select.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sets rank_class, auto_protected and threshold; lists name base experts. */
PREP_MUST_CHECK int protect_mark(struct selection *s, const struct known_map *parent,
                                 const struct prune_options *options, struct report *report,
                                 struct prep_error *err);

/* Quantile 0.995 of v, which is sorted in place: position and interpolation in float32. */
float protect_quantile(float *v, size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * budget.h - share a total number of experts among layers, giving up the cheapest first.
 *
 * Ownership  works in the caller's arena
 * Errors     PREP_EUSAGE, PLAN_BUDGET_INFEASIBLE; PREP_EDATA, OBS_ZERO_TOKENS for a layer whose
 *            saliencies sum to 0
 * Threads    const inputs
 */
#ifndef PREP_PRUNE_BUDGET_H
#define PREP_PRUNE_BUDGET_H

#include "libprep/prune/select.h"

#ifdef __cplusplus
extern "C" {
#endif

/* counts[n_layers], in sum at most options->budget. */
PREP_MUST_CHECK int budget_counts(int *counts, const struct selection *s,
                                  const struct prune_options *options, struct arena *arena,
                                  struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

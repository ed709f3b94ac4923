/* SPDX-License-Identifier: MIT */
/*
 * compose.h - from a choice of experts to a complete keep-map.
 *
 * A selection, or a list that somebody supplies, becomes the full keep_map.json of the
 * checkpoint that pruning will produce: ids of the input and of the base, the MTP layers by
 * their rule, the passes of the parent plus one. Lists compose as
 * kept_source[i] = parent.kept_source[kept_parent[i]].
 *
 * Ownership  the map owns all it holds, until keep_map_free()
 * Errors     PREP_EDATA with PLAN_MTP_NOT_NESTED, KEEP_MAP; PREP_EUSAGE with the PLAN_* of
 *            select.h for an explicit list, and for an MTP proxy that is no MoE layer
 * Threads    const inputs
 */
#ifndef PREP_PRUNE_COMPOSE_H
#define PREP_PRUNE_COMPOSE_H

#include "libprep/prune/select.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cut_json is the report member (cut_report.h), or NULL. */
PREP_MUST_CHECK int compose_selection(struct keep_map *out, const struct selection *s,
                                      const struct pool *pool, const struct known_map *parent,
                                      const struct prune_options *options,
                                      const struct span *cut_json, struct report *report,
                                      struct prep_error *err);

/*
 * A keep-map as the plan for this checkpoint. A full one is taken by its base ids, so it fits
 * the base as well as any pruned checkpoint that still holds all it keeps; origins, passes and
 * report stay. A short one names ids of the checkpoint at hand; origin "explicit". MoE layers
 * that it does not name stay whole, MTP layers follow options->mtp.
 */
PREP_MUST_CHECK int compose_explicit(struct keep_map *out, const struct keep_map *plan,
                                     const struct prune_model *model,
                                     const struct known_map *parent,
                                     const struct prune_options *options, struct report *report,
                                     struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * recover.h - the keep-map of a pruned checkpoint that lost it, from the model it was cut from.
 *
 * A router row is kept byte for byte by pruning, so the rows of mlp.gate.weight say which experts
 * stayed: each row of the pruned checkpoint must equal exactly one row of the base, in ascending
 * order, and the bias entries must agree. Nothing is guessed. Rows are looked up by hash and
 * confirmed byte by byte.
 *
 * Shapes     mlp.gate.weight [n_experts, hidden] of any dtype that is stored in rows
 * Ownership  the map owns its lists until keep_map_free()
 * Errors     PREP_EDATA, tag PLAN_RECOVER_AMBIGUOUS: no such row, two such rows, not ascending,
 *            another dtype or width, a bias that differs; the message names layer and expert
 * Threads    any
 */
#ifndef PREP_PRUNE_RECOVER_H
#define PREP_PRUNE_RECOVER_H

#include "libprep/format/keep_map.h"
#include "libprep/model/config.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A full map with one pass of unknown statistics; kept_parent = kept_source, origin "explicit"
 * ("identity" where no expert is missing). MTP layers are looked at where both checkpoints have
 * them. base_model is NULL: the caller knows the name.
 */
PREP_MUST_CHECK int recover_keep_map(struct keep_map *map, const struct checkpoint *pruned,
                                     const struct config *pruned_config,
                                     const struct checkpoint *base,
                                     const struct config *base_config, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * block_list.h - GPTQ's modules_in_block_to_quantize after pruning.
 *
 * The list names modules inside a layer ("mlp.experts.7.up_proj"), for every layer alike, in
 * groups: a list of lists, or one list. Which expert an id means differs from layer to layer once
 * experts are dropped, so an entry can be kept, renamed or left out only when that says the same of
 * all layers:
 *
 *   all experts are named       the ids that the largest layer still has stay
 *   some are named              an entry goes where its expert goes, if that is the same in every
 *                               layer; else it is refused
 *
 * Groups that lose all their entries go as a whole.
 *
 * Ownership  as in json_patch.h
 * Errors     PREP_EDATA, tag APPLY_PATTERN_EXPERT_ID; PREP_ENOMEM
 * Threads    one patch, one thread
 */
#ifndef PREP_PRUNE_BLOCK_LIST_H
#define PREP_PRUNE_BLOCK_LIST_H

#include <stdint.h>

#include "libprep/base/json_patch.h"
#include "libprep/prune/renumber.h"

#ifdef __cplusplus
extern "C" {
#endif

/* list: the node of the value, or JSON_NONE. */
PREP_MUST_CHECK int edit_block_list(struct json_patch *p, uint32_t list, const struct renumber *r,
                                    struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * check.h - a checkpoint's table of tensors against the list its config implies.
 *
 * Headers only, no data is read. A module may be stored in any format of the family: plain, FP8
 * blocks, NVFP4 in either layout, W4A16 in either layout; which one is told by its suffixes and
 * dtypes. Indexer tensors are optional on layers that share a selection, copies of embedding and
 * head are accepted in MTP layers.
 *
 * Findings   errors: EXPERT_COUNT EXPERT_IDS EXPERT_INCOMPLETE EXPERT_FORMATS_MIXED ROUTER_SHAPE
 *            BIAS_DTYPE MTP_MISSING MTP_COUNT LM_HEAD_MISSING TENSOR_MISSING TENSOR_UNKNOWN
 *            TENSOR_SHAPE TENSOR_DTYPE SCALE_MISSING SCALE_SHAPE GROUP_SIZE SRC_FP8_SCALE_MISSING
 *            SRC_FP8_SCALE_ORPHAN SRC_FP8_SCALE_SHAPE SRC_FP8_SCALE_DTYPE SRC_FP8_CONFIG;
 *            warnings: STRAY_LAYER TIED_HEAD
 * Ownership  findings copy what they quote
 * Errors     PREP_ENOMEM only: faults of the checkpoint are findings
 */
#ifndef PREP_MODEL_CHECK_H
#define PREP_MODEL_CHECK_H

#include <stddef.h>

#include "libprep/format/safetensors.h"
#include "libprep/model/config.h"
#include "libprep/model/findings.h"

#ifdef __cplusplus
extern "C" {
#endif

/* tensors may be in any order; out is not finished, so that other checks can add to it. */
PREP_MUST_CHECK int check_inventory(struct findings *out, const struct config *c,
                                    const struct tensor_info *const *tensors, size_t n,
                                    struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

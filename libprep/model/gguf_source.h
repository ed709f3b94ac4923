/* SPDX-License-Identifier: MIT */
/*
 * gguf_source.h - a GGUF file of the family as the checkpoint it was made of.
 *
 * The table has the names of the hub: an expert is its part of the stacked tensor, kv_b_proj is the
 * two tensors weight_k [heads, kv_lora, nope] and weight_v [heads, v, kv_lora] (quant/linear.h
 * joins them), everything else is one tensor. What is stored as F32, F16 or BF16 has that dtype,
 * blocks are marked by tensor_info.ggml. The config is written from the keys.
 *
 * Ownership  *ckpt as of checkpoint_open(); *config lives in its arena
 * Errors     those of gguf_set.h; PREP_EUNSUP with ARCHITECTURE; PREP_EDATA with GGUF_CONFIG (a key
 *            is missing or of another type), TENSOR_SHAPE, TENSOR_MISSING, TENSOR_UNKNOWN
 * Threads    const after opening
 */
#ifndef PREP_MODEL_GGUF_SOURCE_H
#define PREP_MODEL_GGUF_SOURCE_H

#include "libprep/model/config.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Does a file begin as a GGUF file does? Not a folder, not what cannot be read. */
int gguf_source_is(const struct io *io, const char *path);

PREP_MUST_CHECK int gguf_source_open(struct checkpoint **ckpt, struct span *config,
                                     const struct io *io, const char *path, struct report *report,
                                     struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

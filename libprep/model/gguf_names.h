/* SPDX-License-Identifier: MIT */
/*
 * gguf_names.h - how llama.cpp's glm-dsa architecture calls the tensors of the family.
 *
 * Most tensors have one counterpart. kv_b_proj has two: rows of each head that make keys
 * (attn_k_b, stored transposed) and rows that make values (attn_v_b). The experts of a layer share
 * one, in which they lie one after the other.
 *
 * Ownership  names are written into the caller's buffer
 * Errors     NULL for a tensor that has no counterpart
 * Threads    no state
 */
#ifndef PREP_MODEL_GGUF_NAMES_H
#define PREP_MODEL_GGUF_NAMES_H

#include "libprep/model/inventory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GGUF_NAME_BYTES = 64 };

enum gguf_half { GGUF_WHOLE, GGUF_K_B, GGUF_V_B };

/* Uses role, part, layer and suffix of the spec. "blk.3.ffn_up_exps.weight" */
const char *gguf_name(const struct tensor_spec *spec, enum gguf_half half,
                      char buf[GGUF_NAME_BYTES]);

/* The layer in a leading "blk.N.", or -1. */
int gguf_name_layer(const char *name);
/* The order of a quantized file: by that layer, then by bytes of the name. For qsort. */
int gguf_name_compare(const char *a, const char *b);

#ifdef __cplusplus
}
#endif
#endif

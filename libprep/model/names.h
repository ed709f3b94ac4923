/* SPDX-License-Identifier: MIT */
/*
 * names.h - what a tensor or module name says: layer, role, expert, part, suffix.
 *
 * The only place that knows how GLM-5.x tensors are spelled. Any prefix before "layers." is
 * accepted ("model.", "language_model.model.", none); outside the layers the prefix must be empty
 * or end in "model". Ids are decimal without leading zeros and compared as numbers, never as text.
 *
 * Ownership  results borrow the name
 * Errors     none: a name that is not understood has role ROLE_OTHER
 */
#ifndef PREP_MODEL_NAMES_H
#define PREP_MODEL_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum role {
    ROLE_OTHER, /* not a name of this family */
    ROLE_EMBED,
    ROLE_FINAL_NORM,
    ROLE_LM_HEAD,
    ROLE_LAYER_NORM, /* input_ and post_attention_layernorm */
    ROLE_ATTENTION,  /* self_attn.* except the indexer */
    ROLE_INDEXER,
    ROLE_DENSE_MLP,
    ROLE_ROUTER,        /* mlp.gate.*, with the correction bias wherever it is stored */
    ROLE_EXPERT,        /* mlp.experts.E.* */
    ROLE_FUSED_EXPERTS, /* mlp.experts.<name>, one tensor for all experts */
    ROLE_SHARED_EXPERT,
    ROLE_MTP_GLUE, /* enorm, hnorm, eh_proj, shared_head.norm, and stored copies of embed / head */
};

/* Which module it is, in the order in which a layer (or an expert) is laid out. */
enum part {
    PART_EMBED,
    PART_FINAL_NORM,
    PART_LM_HEAD,
    PART_INPUT_NORM,
    PART_Q_A,
    PART_Q_A_NORM,
    PART_Q_B,
    PART_KV_A,
    PART_KV_A_NORM,
    PART_KV_B,
    PART_O,
    PART_INDEXER_WQ_B,
    PART_INDEXER_WK,
    PART_INDEXER_K_NORM,
    PART_INDEXER_WEIGHTS,
    PART_POST_NORM,
    PART_ROUTER,
    PART_GATE, /* gate_proj, up_proj, down_proj of a dense MLP or of one routed expert */
    PART_UP,
    PART_DOWN,
    PART_SHARED_GATE,
    PART_SHARED_UP,
    PART_SHARED_DOWN,
    PART_ENORM,
    PART_HNORM,
    PART_EH_PROJ,
    PART_SHARED_HEAD_NORM,
    PART_MTP_EMBED, /* stored copies of the main model's embedding and head */
    PART_MTP_HEAD,
    PART_OTHER, /* any other module of the role: fused forms, KV scales, unknown ones */
};

/* Suffixes of every stored format, in the order in which a module's tensors are laid out. */
enum suffix {
    SUFFIX_NONE, /* a module name */
    SUFFIX_WEIGHT,
    SUFFIX_WEIGHT_PACKED,
    SUFFIX_QWEIGHT,
    SUFFIX_WEIGHT_SCALE,
    SUFFIX_WEIGHT_SCALE_INV,
    SUFFIX_WEIGHT_SCALE_2,
    SUFFIX_WEIGHT_GLOBAL_SCALE,
    SUFFIX_SCALES,
    SUFFIX_QZEROS,
    SUFFIX_WEIGHT_ZERO_POINT,
    SUFFIX_G_IDX,
    SUFFIX_WEIGHT_G_IDX,
    SUFFIX_WEIGHT_SHAPE,
    SUFFIX_INPUT_SCALE,
    SUFFIX_INPUT_GLOBAL_SCALE,
    SUFFIX_BIAS,
    SUFFIX_CORRECTION_BIAS, /* e_score_correction_bias */
    SUFFIX_K_SCALE,
    SUFFIX_V_SCALE,
    SUFFIX_WEIGHT_K, /* the halves of kv_b_proj in a GGUF file (gguf_source.h) */
    SUFFIX_WEIGHT_V,
    SUFFIX_COUNT,
    SUFFIX_OTHER = 255,
};

enum { NAME_MAX_LAYER = (1 << 20) - 1, NAME_MAX_EXPERT = (1 << 24) - 1 };

struct name_parts {
    enum role role;
    enum part part;
    size_t prefix_n;  /* bytes before "layers." or a global module: 6 for "model." */
    int layer;        /* -1 outside the layers; set for ROLE_OTHER inside a layer, too */
    int expert;       /* -1 unless ROLE_EXPERT */
    size_t expert_at; /* byte range of the expert id in the name: to splice a new one in */
    size_t expert_n;
    const char *module; /* from after "layers.L." (or the whole name): "mlp.experts.3.up_proj" */
    size_t module_n;    /* without the suffix */
    const char *suffix; /* what follows the module: "weight", "weight_scale_2", "bias", ... or "",
                           not NUL-terminated */
    size_t suffix_n;
};

/*
 * Parse the name of a tensor of any stored format, or of a module ("model.layers.3.mlp.gate", as
 * ignore lists have them: the suffix is empty then, unless the module is PART_OTHER). A name whose
 * ids are malformed or larger than NAME_MAX_* is ROLE_OTHER.
 */
struct name_parts name_parse(const char *name, size_t n);

/* Is the suffix equal to s? */
int name_suffix_is(const struct name_parts *parts, const char *s);
enum suffix name_suffix(const struct name_parts *parts);
const char *suffix_name(enum suffix suffix); /* "weight_scale_2"; "" for NONE and OTHER */

/* Name (NUL-terminated) with the expert id replaced, >= 0; NULL when out of memory. */
char *name_with_expert(struct arena *arena, const char *name, const struct name_parts *parts,
                       int expert, struct prep_error *err);

/*
 * Order in which tensors are laid out in our shards: globals first, then layer by layer; inside a
 * layer what is no expert, then expert by expert; parts, then suffixes in a fixed order; names
 * outside the family last. The bits, high to low: section 2, layer 20, expert + 1 (26), enum part
 * 8, enum suffix 8. So tensors of one expert share the upper 48 bits, those of one module the
 * upper 56. Ties (unknown parts and suffixes) are for the caller to break by name.
 */
uint64_t name_order(const struct name_parts *parts);
/*
 * Equal for tensors that must share a shard: all tensors of one expert, of one layer's rest, of one
 * global module, of one module outside the family.
 */
uint64_t name_group(const struct name_parts *parts);

#ifdef __cplusplus
}
#endif
#endif

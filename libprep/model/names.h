/* SPDX-License-Identifier: MIT */
/*
 * names.h - what a tensor or module name says: layer, role, expert, part, suffix.
 *
 * The only place that knows how GLM-5.x tensors are spelled. Any prefix before "layers." is
 * accepted ("model.", "language_model.model.", none). Ids are decimal without leading zeros and
 * compared as numbers, never as text.
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

struct name_parts {
    enum role role;
    int layer;          /* -1 outside the layers */
    int expert;         /* -1 unless ROLE_EXPERT */
    size_t expert_at;   /* byte range of the expert id in the name: to splice a new one in */
    size_t expert_n;
    const char *module; /* from after "layers.L." (or the whole name): "mlp.experts.3.up_proj" */
    size_t module_n;    /* without the suffix */
    const char *suffix; /* the last component: "weight", "weight_scale_2", "bias", ... or "" */
};

/* For tensor names. */
struct name_parts name_parse(const char *name, size_t n);

/* Name with the expert id replaced; NULL when out of memory. */
char *name_with_expert(struct arena *arena, const char *name, const struct name_parts *parts,
                       int expert, struct prep_error *err);

/*
 * Order in which tensors are laid out in our shards: globals first, then layer by layer, expert by
 * expert, parts in a fixed order. Names of one expert share the upper 48 bits (see name_group).
 */
uint64_t name_order(const struct name_parts *parts);
/* Equal for tensors that must share a shard: all tensors of one expert, of one layer's rest. */
uint64_t name_group(const struct name_parts *parts);

#ifdef __cplusplus
}
#endif
#endif

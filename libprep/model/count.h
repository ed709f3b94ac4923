/* SPDX-License-Identifier: MIT */
/*
 * count.h - how many parameters, how many bytes in every format, how much memory while serving.
 *
 * The one place that computes sizes: planner, dry runs, lint and model cards call it. Everything
 * is derived from the config through inventory.h; a config that was accepted cannot overflow.
 *
 * Units      bytes of tensor data (no headers, no metadata); parameters; tokens
 * Ownership  plain values and literals
 * Errors     PREP_EUSAGE where an option asks for the impossible
 */
#ifndef PREP_MODEL_COUNT_H
#define PREP_MODEL_COUNT_H

#include <stdint.h>

#include "libprep/model/config.h"
#include "libprep/model/gguf_rule.h"
#include "libprep/model/inventory.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Parameters that take part in computing one token: the chosen routed experts, shared expert,
 * router, attention, indexer, norms and lm_head; of the embedding one row, so it is not counted.
 */
struct model_counts {
    uint64_t main, mtp;        /* parameters */
    uint64_t active;           /* as above, without the MTP layers */
    uint64_t active_no_head;   /* without lm_head */
    uint64_t active_embed;     /* with the whole embedding table */
    uint64_t active_embed_mtp; /* with that and the MTP layers */
    uint64_t tensors_main, tensors_mtp;
    uint64_t linears; /* matrices of the main layers and lm_head; routers are none */
};

void count_model(struct model_counts *out, const struct config *c);

/* Presets of what a quantizer takes (nvfp4.md section 2.3); MTP layers are asked for apart. */
enum module_set {
    MODULES_NONE,
    MODULES_EXPERTS,  /* routed experts */
    MODULES_PORTABLE, /* + shared experts, q_b_proj, o_proj: what today's engines load */
    MODULES_LINEARS,  /* all but lm_head, dense MLPs and indexer.weights_proj */
    MODULES_LLAMA,    /* routed and shared experts, dense MLPs, o_proj */
    MODULES_FP8,      /* linears + dense MLPs: the FP8 releases */
    MODULES_ALL,      /* that + indexer.weights_proj */
};

/* Does the preset quantize this tensor? Never eh_proj, lm_head, a router, or what is no linear. */
int spec_in_modules(const struct tensor_spec *spec, enum module_set set);

enum linear_format { LINEAR_BF16, LINEAR_NVFP4, LINEAR_INT4, LINEAR_FP8, LINEAR_GGUF };

struct weight_format {
    const char *id;   /* "nvfp4-experts" */
    const char *text; /* half a line for people */
    enum linear_format linear;
    enum module_set modules;
    int mtp;             /* MTP layers are quantized as well, else they stay BF16 */
    int group;           /* LINEAR_INT4: inputs per scale; LINEAR_FP8: side of a block */
    int g_idx;           /* LINEAR_INT4: with the g_idx tensors */
    enum gguf_rung rung; /* LINEAR_GGUF */
    int family_mixture;
};

/* Every format the family is published in, and the sources. */
extern const struct weight_format WEIGHT_FORMATS[];
extern const int N_WEIGHT_FORMATS;
/* NULL when unknown. */
const struct weight_format *weight_format_by_id(const char *id);

struct format_size {
    uint64_t bytes;
    uint64_t tensors;
    uint64_t quantized;  /* linears */
    uint64_t rank_bytes; /* of the tensor-parallel rank that has most (shard.h); GGUF: unpadded */
    int rank_cut;        /* a block or group is cut: both ranks hold it. Serving engines refuse */
};

/* tp ranks, 1 for one; it must have passed shard_check(). */
void count_format(struct format_size *out, const struct config *c, const struct weight_format *f,
                  int with_mtp, int tp);

enum kv_layout {
    KV_LAYOUT_BF16,    /* latent and rotated key in BF16 */
    KV_LAYOUT_FP8,     /* both in FP8 (dense attention path) */
    KV_LAYOUT_DSA_FP8, /* latent FP8 with an F32 scale per 128, rotated key BF16 */
    KV_LAYOUT_INDEX,   /* index keys, FP8 with an F32 scale per 128; layers with their own indexer
                          only */
    KV_LAYOUT_COUNT
};

const char *kv_layout_name(enum kv_layout layout);
/* Bytes per token of the main layers (or of one MTP layer), the same on every rank. */
uint64_t count_kv_token(const struct config *c, enum kv_layout layout);
uint64_t count_kv_token_mtp(const struct config *c, enum kv_layout layout);

/*
 * Make c describe the model pruned to n experts in every MoE layer (the file stays as it is).
 * PREP_EUSAGE, tag PLAN_KEEP_RANGE, PLAN_TOPK or PLAN_GROUP_DIVISIBILITY.
 */
PREP_MUST_CHECK int config_prune(struct config *c, int n, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

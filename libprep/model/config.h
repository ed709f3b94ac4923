/* SPDX-License-Identifier: MIT */
/*
 * config.h - config.json of GLM-5, 5.1 and 5.2, read strictly, kept as text.
 *
 * Every value the suite computes with is read from the file and judged; none is filled in from
 * a built-in default unless the family defines the default. The text stays beside the values,
 * because rewriting is done by splices (json.h).
 *
 * Ownership  the config owns its text and lists until config_free()
 * Errors     PREP_EDATA with tag CONFIG_JSON CONFIG_TYPE CONFIG_KEY CONFIG_RANGE DUPLICATE_KEY
 *            INDEXCACHE PATTERN; PREP_EUNSUP with ARCHITECTURE UNSUPPORTED; PREP_ENOINPUT with
 *            NO_CONFIG
 * Threads    const after reading
 */
#ifndef PREP_MODEL_CONFIG_H
#define PREP_MODEL_CONFIG_H

#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/json.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CONFIG_MAX_LAYERS = 1024, CONFIG_MAX_EXPERTS = 65536 };

struct config {
    struct span text; /* the file */
    struct json json; /* over text; root is the whole object */
    uint32_t object;  /* node that holds the model keys: the root, or text_config */

    int64_t vocab_size, hidden_size, intermediate_size, moe_intermediate_size;
    int num_hidden_layers, num_nextn_predict_layers, first_k_dense_replace;
    int num_attention_heads;
    int64_t q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim;
    int index_n_heads;
    int64_t index_head_dim, index_topk;
    int n_routed_experts, n_shared_experts, num_experts_per_tok, n_group, topk_group;
    double rms_norm_eps, rope_theta, routed_scaling_factor;
    int norm_topk_prob, tie_word_embeddings, rope_interleave, indexer_rope_interleave;
    int max_position_embeddings;
    int n_eos;
    int64_t eos_token_id[16];

    /* Per layer, num_hidden_layers + num_nextn_predict_layers entries. */
    int n_layers;               /* that sum */
    unsigned char *is_moe;      /* the layer has a router and routed experts */
    unsigned char *full_indexer; /* 1: runs its own indexer; 0: shares (IndexCache) */
    int *n_experts;             /* routed experts of the layer, 0 when dense */

    const char *quant_method; /* "" when the checkpoint is not quantized */
    struct arena arena;
};

/* Warnings (the lint names of fixtures/hostile/config.json) go to report, which may be NULL. */
PREP_MUST_CHECK int config_parse(struct config *c, const char *text, size_t n, const char *name,
                                 struct report *report, struct prep_error *err);
void config_free(struct config *c); /* accepts a zeroed struct */

#ifdef __cplusplus
}
#endif
#endif

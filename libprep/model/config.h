/* SPDX-License-Identifier: MIT */
/*
 * config.h - config.json of a GLM MoE DSA model, strictly read.
 *
 * Every value the engine computes with is read from the file and judged; none is filled in from
 * a built-in default unless the family defines the default (one routing group, no MTP layer,
 * interleaved rope, sigmoid scores, silu, untied head). Older spellings are read: torch_dtype, a
 * flat rope_theta, num_experts; the keys may sit in text_config. The text stays beside the
 * values, because rewriting is done by splices (json.h).
 *
 * Shapes     per-layer lists have n_layers = num_hidden_layers + num_nextn_predict_layers entries
 * Ownership  the config owns its text and lists until config_free()
 * Errors     PREP_EDATA with tag CONFIG_JSON CONFIG_TYPE CONFIG_KEY CONFIG_RANGE DUPLICATE_KEY
 *            INDEXCACHE PATTERN; PREP_EUNSUP with ARCHITECTURE UNSUPPORTED; PREP_ENOINPUT with
 *            NO_CONFIG. An accepted config has fewer than 2^58 parameters, so that counts and
 *            bytes of any format fit 64 bits
 * Threads    const after reading
 */
#ifndef PREP_MODEL_CONFIG_H
#define PREP_MODEL_CONFIG_H

#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"
#include "libprep/base/json.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CONFIG_MAX_LAYERS = 1024, CONFIG_MAX_EXPERTS = 65536 };

struct config {
    const char *name; /* the file, for messages */
    struct span text; /* its bytes, NUL-terminated */
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
    int n_layers;                /* that sum */
    unsigned char *is_moe;       /* the layer has a router and routed experts */
    unsigned char *full_indexer; /* 1: runs its own indexer; 0: shares (IndexCache) */
    int *n_experts;              /* routed experts of the layer, 0 when dense */
    /*
     * Are indexer tensors of sharing layers stored? Yes when index_topk_pattern says who shares:
     * it overrides a model that has them all. No when the model itself is built so (indexer_types,
     * index_topk_freq). For counting; a reader takes what the checkpoint holds.
     */
    int shared_indexers_stored;

    const char *quant_method; /* "" when the checkpoint is not quantized */
    uint32_t quantization;    /* node of quantization_config, or JSON_NONE */
    int quant_group_size;     /* of a GPTQ config, -1 for whole rows; 0: not said */
    int64_t quant_block[2];   /* weight_block_size of an FP8 config: rows, columns; 0 otherwise */
    struct arena arena;
};

/* Warnings (the lint names of fixtures/hostile/config.json) go to report, which may be NULL. */
PREP_MUST_CHECK int config_parse(struct config *c, const char *text, size_t n, const char *name,
                                 struct report *report, struct prep_error *err);
/* path is the file, or a folder that holds config.json. */
PREP_MUST_CHECK int config_load(struct config *c, const struct io *io, const char *path,
                                struct report *report, struct prep_error *err);
void config_free(struct config *c); /* accepts a zeroed struct */

#ifdef __cplusplus
}
#endif
#endif

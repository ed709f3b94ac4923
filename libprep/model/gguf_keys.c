/* SPDX-License-Identifier: MIT */
/* config.json -> keys of the architecture. */
#include "libprep/model/gguf_keys.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define A GGUF_ARCHITECTURE "."

struct writer {
    struct gguf_keys *k;
    const struct config *c;
    struct prep_error *err;
    int failed;
};

static void put(struct writer *w, const char *key, int64_t v)
{
    if (w->failed)
        return;
    if (v < 0 || v > UINT32_MAX)
        w->failed =
            prep_fail_tag(w->err, PREP_EDATA, "GGUF_CONFIG",
                          "%s: %s would be %" PRId64 ", want 0 to 2^32 - 1", w->c->name, key, v);
    else
        w->failed = gguf_set_u32(w->k, key, (uint32_t)v, w->err);
}

static void put_f32(struct writer *w, const char *key, double v)
{
    if (!w->failed)
        w->failed = gguf_set_f32(w->k, key, (float)v, w->err);
}

/* Node of a key of the config, JSON_NONE when absent or null. */
static uint32_t find(const struct config *c, uint32_t object, const char *key)
{
    uint32_t node = json_get(&c->json, object, key);
    return node != JSON_NONE && json_type(&c->json, node) == JSON_NULL ? JSON_NONE : node;
}

/* The part of a rope slice that is rotated: 1 unless the config says otherwise. */
static double rotary_factor(const struct config *c)
{
    double v = 1;
    uint32_t rope = find(c, c->object, "rope_parameters");
    uint32_t node = find(c, c->object, "partial_rotary_factor");
    if (node == JSON_NONE && rope != JSON_NONE && json_type(&c->json, rope) == JSON_OBJECT)
        node = find(c, rope, "partial_rotary_factor");
    if (node != JSON_NONE && json_f64(&c->json, node, &v))
        v = 1;
    return v > 0 && v <= 1 ? v : 1;
}

static void put_attention(struct writer *w)
{
    const struct config *c = w->c;
    put(w, A "context_length", c->max_position_embeddings);
    put(w, A "embedding_length", c->hidden_size);
    put(w, A "feed_forward_length", c->intermediate_size);
    put(w, A "attention.head_count", c->num_attention_heads);
    put(w, A "attention.head_count_kv", 1); /* one latent key head for all */
    put_f32(w, A "rope.freq_base", c->rope_theta);
    put_f32(w, A "attention.layer_norm_rms_epsilon", c->rms_norm_eps);
    put(w, A "expert_count", c->n_routed_experts);
    put(w, A "expert_used_count", c->num_experts_per_tok);
    put(w, A "expert_group_count", c->n_group);
    put(w, A "expert_group_used_count", c->topk_group);
    if (find(c, c->object, "scoring_func") != JSON_NONE)
        put(w, A "expert_gating_func", 2); /* sigmoid, the only one config.c lets through */
    put(w, A "attention.key_length", c->kv_lora_rank + c->qk_rope_head_dim);
    put(w, A "attention.value_length", c->kv_lora_rank);
}

static void put_latent(struct writer *w)
{
    const struct config *c = w->c;
    put(w, A "leading_dense_block_count", c->first_k_dense_replace);
    put(w, A "vocab_size", c->vocab_size);
    put(w, A "attention.q_lora_rank", c->q_lora_rank);
    put(w, A "attention.kv_lora_rank", c->kv_lora_rank);
    put(w, A "attention.key_length_mla", c->qk_nope_head_dim + c->qk_rope_head_dim);
    put(w, A "attention.value_length_mla", c->v_head_dim);
    put(w, A "expert_feed_forward_length", c->moe_intermediate_size);
    put(w, A "expert_shared_count", c->n_shared_experts);
    put_f32(w, A "expert_weights_scale", c->routed_scaling_factor);
    if (c->norm_topk_prob && !w->failed)
        w->failed = gguf_set_bool(w->k, A "expert_weights_norm", 1, w->err);
    put(w, A "rope.dimension_count",
        (int64_t)floor((double)c->qk_rope_head_dim * rotary_factor(c)));
}

static void put_indexer(struct writer *w)
{
    const struct config *c = w->c;
    put(w, A "attention.indexer.head_count", c->index_n_heads);
    put(w, A "attention.indexer.key_length", c->index_head_dim);
    put(w, A "attention.indexer.top_k", c->index_topk);
    if (!w->failed)
        w->failed = gguf_set_bools(w->k, A "attention.indexer.types", c->full_indexer,
                                   (size_t)c->num_hidden_layers, w->err);
}

int gguf_config_keys(struct gguf_keys *k, const struct config *c, const struct gguf_arch *a,
                     struct prep_error *err)
{
    struct writer w = {.k = k, .c = c, .err = err};
    put(&w, A "block_count",
        c->num_hidden_layers + (a->with_mtp ? c->num_nextn_predict_layers : 0));
    put_attention(&w);
    if (a->file_type != UINT32_MAX)
        put(&w, "general.file_type", a->file_type);
    put_latent(&w);
    if (a->with_mtp && find(c, c->object, "num_nextn_predict_layers") != JSON_NONE)
        put(&w, A "nextn_predict_layers", c->num_nextn_predict_layers);
    put_indexer(&w);
    return w.failed;
}

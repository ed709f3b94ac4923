/* SPDX-License-Identifier: MIT */
#include "libprep/model/inventory.h"

#include <stdio.h>
#include <string.h>

struct builder {
    struct tensor_spec *specs;
    int n, layer;
};

static struct tensor_spec *add(struct builder *b, enum role role, enum part part, const char *path)
{
    struct tensor_spec *s = &b->specs[b->n++];
    *s = (struct tensor_spec){.role = role,
                              .part = part,
                              .layer = b->layer,
                              .copies = 1,
                              .path = path,
                              .suffix = SUFFIX_WEIGHT,
                              .rows = 1,
                              .cols = 1,
                              .n_dims = 1,
                              .dtype = DTYPE_BF16};
    return s;
}

static struct tensor_spec *add_vector(struct builder *b, enum role role, enum part part,
                                      const char *path, int64_t rows)
{
    struct tensor_spec *s = add(b, role, part, path);
    s->rows = (uint64_t)rows;
    return s;
}

static struct tensor_spec *add_matrix(struct builder *b, enum role role, enum part part,
                                      const char *path, int64_t rows, int64_t cols)
{
    struct tensor_spec *s = add_vector(b, role, part, path, rows);
    s->cols = (uint64_t)cols;
    s->n_dims = 2;
    s->linear = role != ROLE_ROUTER && role != ROLE_EMBED;
    return s;
}

static void add_globals(struct builder *b, const struct config *c)
{
    add_matrix(b, ROLE_EMBED, PART_EMBED, "embed_tokens", c->vocab_size, c->hidden_size);
    add_vector(b, ROLE_FINAL_NORM, PART_FINAL_NORM, "norm", c->hidden_size);
    if (!c->tie_word_embeddings)
        add_matrix(b, ROLE_LM_HEAD, PART_LM_HEAD, "lm_head", c->vocab_size, c->hidden_size);
}

static void add_attention(struct builder *b, const struct config *c)
{
    const int64_t h = c->hidden_size, heads = c->num_attention_heads;
    const int64_t qk = c->qk_nope_head_dim + c->qk_rope_head_dim;
    const enum role r = ROLE_ATTENTION;
    add_matrix(b, r, PART_Q_A, "self_attn.q_a_proj", c->q_lora_rank, h);
    add_vector(b, r, PART_Q_A_NORM, "self_attn.q_a_layernorm", c->q_lora_rank);
    add_matrix(b, r, PART_Q_B, "self_attn.q_b_proj", heads * qk, c->q_lora_rank);
    add_matrix(b, r, PART_KV_A, "self_attn.kv_a_proj_with_mqa",
               c->kv_lora_rank + c->qk_rope_head_dim, h);
    add_vector(b, r, PART_KV_A_NORM, "self_attn.kv_a_layernorm", c->kv_lora_rank);
    add_matrix(b, r, PART_KV_B, "self_attn.kv_b_proj",
               heads * (c->qk_nope_head_dim + c->v_head_dim), c->kv_lora_rank);
    add_matrix(b, r, PART_O, "self_attn.o_proj", h, heads * c->v_head_dim);
}

static void add_indexer(struct builder *b, const struct config *c)
{
    const int first = b->n;
    const enum role r = ROLE_INDEXER;
    add_matrix(b, r, PART_INDEXER_WQ_B, "self_attn.indexer.wq_b",
               c->index_n_heads * c->index_head_dim, c->q_lora_rank);
    add_matrix(b, r, PART_INDEXER_WK, "self_attn.indexer.wk", c->index_head_dim, c->hidden_size);
    add_vector(b, r, PART_INDEXER_K_NORM, "self_attn.indexer.k_norm", c->index_head_dim);
    add_vector(b, r, PART_INDEXER_K_NORM, "self_attn.indexer.k_norm", c->index_head_dim)->suffix =
        SUFFIX_BIAS;
    add_matrix(b, r, PART_INDEXER_WEIGHTS, "self_attn.indexer.weights_proj", c->index_n_heads,
               c->hidden_size);
    for (int i = first; i < b->n; i++)
        b->specs[i].optional = !c->full_indexer[b->layer];
}

static void add_dense(struct builder *b, const struct config *c)
{
    const int64_t h = c->hidden_size, width = c->intermediate_size;
    add_matrix(b, ROLE_DENSE_MLP, PART_GATE, "mlp.gate_proj", width, h);
    add_matrix(b, ROLE_DENSE_MLP, PART_UP, "mlp.up_proj", width, h);
    add_matrix(b, ROLE_DENSE_MLP, PART_DOWN, "mlp.down_proj", h, width);
}

static void add_router(struct builder *b, const struct config *c)
{
    const int n = c->n_experts[b->layer];
    add_matrix(b, ROLE_ROUTER, PART_ROUTER, "mlp.gate", n, c->hidden_size);
    struct tensor_spec *bias = add_vector(b, ROLE_ROUTER, PART_ROUTER, "mlp.gate", n);
    bias->suffix = SUFFIX_CORRECTION_BIAS;
    bias->dtype = DTYPE_F32; /* BF16 would collapse its values and reorder the routing */
}

static void add_shared_expert(struct builder *b, const struct config *c)
{
    const int64_t h = c->hidden_size, width = c->moe_intermediate_size * c->n_shared_experts;
    const enum role r = ROLE_SHARED_EXPERT;
    if (width == 0)
        return;
    add_matrix(b, r, PART_SHARED_GATE, "mlp.shared_experts.gate_proj", width, h);
    add_matrix(b, r, PART_SHARED_UP, "mlp.shared_experts.up_proj", width, h);
    add_matrix(b, r, PART_SHARED_DOWN, "mlp.shared_experts.down_proj", h, width);
}

static void add_mtp_glue(struct builder *b, const struct config *c)
{
    const int64_t h = c->hidden_size;
    add_vector(b, ROLE_MTP_GLUE, PART_ENORM, "enorm", h);
    add_vector(b, ROLE_MTP_GLUE, PART_HNORM, "hnorm", h);
    add_matrix(b, ROLE_MTP_GLUE, PART_EH_PROJ, "eh_proj", h, 2 * h);
    add_vector(b, ROLE_MTP_GLUE, PART_SHARED_HEAD_NORM, "shared_head.norm", h);
}

static void add_experts(struct builder *b, const struct config *c)
{
    const int64_t h = c->hidden_size, width = c->moe_intermediate_size;
    const int first = b->n;
    add_matrix(b, ROLE_EXPERT, PART_GATE, "gate_proj", width, h);
    add_matrix(b, ROLE_EXPERT, PART_UP, "up_proj", width, h);
    add_matrix(b, ROLE_EXPERT, PART_DOWN, "down_proj", h, width);
    for (int i = first; i < b->n; i++)
        b->specs[i].copies = c->n_experts[b->layer];
}

int inventory_layer(const struct config *c, int layer, struct tensor_spec *specs)
{
    struct builder b = {specs, 0, layer};
    if (layer == INVENTORY_GLOBALS) {
        add_globals(&b, c);
        return b.n;
    }
    add_vector(&b, ROLE_LAYER_NORM, PART_INPUT_NORM, "input_layernorm", c->hidden_size);
    add_attention(&b, c);
    add_indexer(&b, c);
    add_vector(&b, ROLE_LAYER_NORM, PART_POST_NORM, "post_attention_layernorm", c->hidden_size);
    if (!c->is_moe[layer]) {
        add_dense(&b, c);
        return b.n;
    }
    add_router(&b, c);
    add_shared_expert(&b, c);
    if (layer >= c->num_hidden_layers)
        add_mtp_glue(&b, c);
    add_experts(&b, c);
    return b.n;
}

const char *inventory_name(const struct tensor_spec *s, const char *prefix, int expert,
                           char buf[INVENTORY_NAME_BYTES])
{
    const size_t size = INVENTORY_NAME_BYTES;
    const char *suffix = suffix_name(s->suffix);
    if (s->role == ROLE_LM_HEAD)
        snprintf(buf, size, "%s.%s", s->path, suffix);
    else if (s->layer == INVENTORY_GLOBALS)
        snprintf(buf, size, "%s%s.%s", prefix, s->path, suffix);
    else if (s->role == ROLE_EXPERT)
        snprintf(buf, size, "%slayers.%d.mlp.experts.%d.%s.%s", prefix, s->layer, expert, s->path,
                 suffix);
    else
        snprintf(buf, size, "%slayers.%d.%s.%s", prefix, s->layer, s->path, suffix);
    return buf;
}

uint64_t inventory_order(const struct tensor_spec *s, int expert)
{
    const char *suffix = suffix_name(s->suffix);
    const struct name_parts parts = {.role = s->role,
                                     .part = s->part,
                                     .layer = s->layer,
                                     .expert = s->role == ROLE_EXPERT ? expert : -1,
                                     .suffix = suffix,
                                     .suffix_n = strlen(suffix)};
    return name_order(&parts);
}

static void load_layer(struct inventory_iter *it)
{
    it->n = inventory_layer(it->c, it->layer, it->specs);
    it->at = 0;
    it->expert = 0;
    it->n_rest = it->n;
    while (it->n_rest > 0 && it->specs[it->n_rest - 1].role == ROLE_EXPERT)
        it->n_rest--;
}

void inventory_begin(struct inventory_iter *it, const struct config *c, int with_mtp)
{
    it->c = c;
    it->end_layer = with_mtp ? c->n_layers : c->num_hidden_layers;
    it->layer = INVENTORY_GLOBALS;
    load_layer(it);
}

const struct tensor_spec *inventory_next(struct inventory_iter *it, int *expert)
{
    for (;;) {
        if (it->at < it->n) {
            const struct tensor_spec *s = &it->specs[it->at++];
            if (s->role != ROLE_EXPERT) {
                *expert = -1;
                if (spec_is_stored(it->c, s))
                    return s;
                continue;
            }
            *expert = it->expert;
            if (it->at == it->n && it->expert + 1 < s->copies) {
                it->expert++;
                it->at = it->n_rest;
            }
            return s;
        }
        if (it->layer + 1 >= it->end_layer)
            return NULL;
        it->layer++;
        load_layer(it);
    }
}

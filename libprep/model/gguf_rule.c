/* SPDX-License-Identifier: MIT */
#include "libprep/model/gguf_rule.h"

#include <string.h>

enum category { OTHER, EMBED, OUTPUT, KEY, ATTENTION_OUTPUT, GATE, UP, DOWN };

static const struct rung {
    const char *name;
    uint32_t file_type;
    enum ggml_type base, attention_output, output;
} RUNGS[RUNG_COUNT] = {
    [RUNG_BF16] = {"BF16", 32, GGML_BF16, GGML_BF16, GGML_BF16},
    [RUNG_F16] = {"F16", 1, GGML_F16, GGML_F16, GGML_F16},
    [RUNG_Q8_0] = {"Q8_0", 7, GGML_Q8_0, GGML_Q8_0, GGML_Q8_0},
    [RUNG_Q6_K] = {"Q6_K", 18, GGML_Q6_K, GGML_Q6_K, GGML_Q6_K},
    [RUNG_Q5_K_M] = {"Q5_K_M", 17, GGML_Q5_K, GGML_Q5_K, GGML_Q6_K},
    [RUNG_Q5_K_S] = {"Q5_K_S", 16, GGML_Q5_K, GGML_Q5_K, GGML_Q6_K},
    [RUNG_Q5_1] = {"Q5_1", 9, GGML_Q5_1, GGML_Q5_1, GGML_Q6_K},
    [RUNG_Q5_0] = {"Q5_0", 8, GGML_Q5_0, GGML_Q5_0, GGML_Q6_K},
    [RUNG_Q4_K_M] = {"Q4_K_M", 15, GGML_Q4_K, GGML_Q4_K, GGML_Q6_K},
    [RUNG_Q4_K_S] = {"Q4_K_S", 14, GGML_Q4_K, GGML_Q4_K, GGML_Q6_K},
    [RUNG_Q4_1] = {"Q4_1", 3, GGML_Q4_1, GGML_Q4_1, GGML_Q6_K},
    [RUNG_Q4_0] = {"Q4_0", 2, GGML_Q4_0, GGML_Q4_0, GGML_Q6_K},
    [RUNG_IQ4_NL] = {"IQ4_NL", 25, GGML_IQ4_NL, GGML_IQ4_NL, GGML_Q6_K},
    [RUNG_IQ4_XS] = {"IQ4_XS", 30, GGML_IQ4_XS, GGML_IQ4_XS, GGML_Q6_K},
    [RUNG_Q3_K_L] = {"Q3_K_L", 13, GGML_Q3_K, GGML_Q5_K, GGML_Q6_K},
    [RUNG_Q3_K_M] = {"Q3_K_M", 12, GGML_Q3_K, GGML_Q4_K, GGML_Q6_K},
    [RUNG_Q3_K_S] = {"Q3_K_S", 11, GGML_Q3_K, GGML_Q3_K, GGML_Q6_K},
    [RUNG_Q2_K] = {"Q2_K", 10, GGML_Q2_K, GGML_Q3_K, GGML_Q6_K},
    [RUNG_Q2_K_S] = {"Q2_K_S", 21, GGML_Q2_K, GGML_Q2_K, GGML_Q6_K},
};

const char *gguf_rung_name(enum gguf_rung rung)
{
    return RUNGS[rung].name;
}

enum gguf_rung gguf_rung_from_name(const char *name)
{
    for (int i = 0; i < RUNG_COUNT; i++)
        if (strcmp(RUNGS[i].name, name) == 0)
            return (enum gguf_rung)i;
    return RUNG_COUNT;
}

enum ggml_type gguf_rung_base(enum gguf_rung rung)
{
    return RUNGS[rung].base;
}

uint32_t gguf_rung_file_type(enum gguf_rung rung)
{
    return RUNGS[rung].file_type;
}

int gguf_tensors_of(const struct config *c, const struct tensor_spec *spec,
                    struct gguf_tensor out[2])
{
    if (spec->part == PART_KV_B) {
        const uint64_t heads = (uint64_t)c->num_attention_heads, kv = (uint64_t)c->kv_lora_rank;
        /* attn_k_b is stored transposed: rows of qk_nope_head_dim. */
        out[0] = (struct gguf_tensor){spec, (uint64_t)c->qk_nope_head_dim, kv * heads, 0};
        out[1] = (struct gguf_tensor){spec, kv, (uint64_t)c->v_head_dim * heads, 0};
        return 2;
    }
    uint64_t cols = spec->n_dims == 1 ? spec->rows : spec->cols;
    uint64_t rows = spec->n_dims == 1 ? 1 : spec->rows * (uint64_t)spec->copies;
    out[0] = (struct gguf_tensor){spec, cols, rows, 0};
    out[0].fixed_f32 = spec->n_dims == 1 || spec->role == ROLE_ROUTER;
    return 1;
}

static enum category category_of(const struct gguf_rule *rule, const struct gguf_tensor *t)
{
    switch (t->spec->part) {
    case PART_EMBED:
        return rule->tied ? OUTPUT : EMBED;
    case PART_LM_HEAD:
        return OUTPUT;
    case PART_INDEXER_WK: /* its name contains attn_k.weight */
        return KEY;
    case PART_O:
        return ATTENTION_OUTPUT;
    case PART_GATE:
    case PART_SHARED_GATE:
        return GATE;
    case PART_UP:
    case PART_SHARED_UP:
        return UP;
    case PART_DOWN:
    case PART_SHARED_DOWN:
        return DOWN;
    default:
        return OTHER;
    }
}

/* The layers that the _M mixtures spend more bits on: both ends, and every third between. */
static int gets_more_bits(int i, int n)
{
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

static enum ggml_type down_type(const struct gguf_rule *rule, int layer)
{
    const int n = rule->block_count;
    const int more = gets_more_bits(layer, n), early = layer < n / 8;
    switch (rule->rung) {
    case RUNG_Q2_K:
        return GGML_Q3_K;
    case RUNG_Q2_K_S:
        return early ? GGML_Q4_K : GGML_Q2_K;
    case RUNG_Q3_K_M:
        return layer < n / 16 ? GGML_Q5_K : GGML_Q4_K;
    case RUNG_Q3_K_L:
        return GGML_Q5_K;
    case RUNG_Q4_K_S:
        return early ? GGML_Q5_K : GGML_Q4_K;
    case RUNG_Q4_K_M:
        return more ? GGML_Q6_K : GGML_Q4_K;
    case RUNG_Q5_K_M:
        return more ? GGML_Q6_K : GGML_Q5_K;
    case RUNG_IQ4_XS:
    case RUNG_IQ4_NL:
        return early && !rule->has_imatrix ? GGML_Q5_K : RUNGS[rule->rung].base;
    case RUNG_Q4_0:
        return early && rule->has_imatrix ? GGML_Q4_1 : GGML_Q4_0;
    case RUNG_Q5_0:
        return early && rule->has_imatrix ? GGML_Q5_1 : GGML_Q5_0;
    default:
        return RUNGS[rule->rung].base;
    }
}

static enum ggml_type attention_output_type(const struct gguf_rule *rule)
{
    const struct rung *rung = &RUNGS[rule->rung];
    if (rule->expert_count != 8)
        return rung->attention_output;
    switch (rule->rung) {
    case RUNG_Q2_K:
    case RUNG_Q3_K_S:
    case RUNG_Q3_K_M:
    case RUNG_Q4_K_S:
    case RUNG_Q4_K_M:
    case RUNG_IQ4_NL:
    case RUNG_IQ4_XS:
        return GGML_Q5_K;
    default:
        return rung->base;
    }
}

static enum ggml_type mixture_type(const struct gguf_rule *rule, const struct gguf_tensor *t)
{
    const struct rung *rung = &RUNGS[rule->rung];
    switch (category_of(rule, t)) {
    case OUTPUT:
        return t->n_cols % ggml_type_info(rung->base)->block ? GGML_Q8_0 : rung->output;
    case ATTENTION_OUTPUT:
        return attention_output_type(rule);
    case KEY:
        return rule->expert_count == 8 ? GGML_Q8_0 : rung->base;
    case DOWN:
        return down_type(rule, t->spec->layer);
    default:
        return rung->base;
    }
}

/* A row must be whole blocks. */
enum ggml_type gguf_fit_row(enum ggml_type type, uint64_t n_cols)
{
    if (n_cols % ggml_type_info(type)->block == 0)
        return type;
    if (n_cols % 32 != 0)
        return GGML_F16;
    switch (type) {
    case GGML_IQ4_XS:
        return GGML_IQ4_NL;
    case GGML_Q2_K:
    case GGML_Q3_K:
        return GGML_Q4_0;
    case GGML_Q4_K:
        return GGML_Q5_0;
    case GGML_Q5_K:
        return GGML_Q5_1;
    default:
        return GGML_Q8_0;
    }
}

enum ggml_type gguf_type_of(const struct gguf_rule *rule, const struct gguf_tensor *t)
{
    const enum ggml_type base = RUNGS[rule->rung].base;
    if (t->fixed_f32 || (rule->indexer_proj_f32 && t->spec->part == PART_INDEXER_WEIGHTS))
        return GGML_F32;
    if (base == GGML_BF16 || base == GGML_F16)
        /* The converter's output, which nothing quantizes: it keeps indexer.proj in F32. */
        return t->spec->part == PART_INDEXER_WEIGHTS ? GGML_F32 : base;
    if (rule->family_mixture && t->spec->role != ROLE_EXPERT)
        return gguf_fit_row(GGML_Q8_0, t->n_cols);
    return gguf_fit_row(mixture_type(rule, t), t->n_cols);
}

uint64_t gguf_tensor_bytes(const struct gguf_tensor *t, enum ggml_type type)
{
    const struct ggml_type_info *info = ggml_type_info(type);
    return t->n_cols / info->block * info->block_bytes * t->n_rows;
}

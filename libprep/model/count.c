/* SPDX-License-Identifier: MIT */
#include "libprep/model/count.h"

#include <string.h>

#include "libprep/model/shard.h"

const struct weight_format WEIGHT_FORMATS[] = {
    {"bf16", "BF16", LINEAR_BF16, MODULES_NONE, 0, 0, 0, RUNG_BF16, 0},
    {"fp8", "FP8, blocks of 128x128 (source)", LINEAR_FP8, MODULES_FP8, 1, 128, 0, RUNG_BF16, 0},
    {"nvfp4-experts", "NVFP4, routed experts", LINEAR_NVFP4, MODULES_EXPERTS, 0, 16, 0, RUNG_BF16,
     0},
    {"nvfp4-portable", "NVFP4, portable set", LINEAR_NVFP4, MODULES_PORTABLE, 0, 16, 0, RUNG_BF16,
     0},
    {"nvfp4-linears", "NVFP4, linears", LINEAR_NVFP4, MODULES_LINEARS, 0, 16, 0, RUNG_BF16, 0},
    {"gptq-portable", "W4A16 g128, portable set", LINEAR_INT4, MODULES_PORTABLE, 0, 128, 1,
     RUNG_BF16, 0},
    {"gptq-linears", "W4A16 g128, linears", LINEAR_INT4, MODULES_LINEARS, 0, 128, 1, RUNG_BF16, 0},
    {"gptq-linears-no-g_idx", "W4A16 g128, linears, no g_idx", LINEAR_INT4, MODULES_LINEARS, 0, 128,
     0, RUNG_BF16, 0},
    {"gguf-q8_0", "GGUF Q8_0", LINEAR_GGUF, MODULES_ALL, 1, 0, 0, RUNG_Q8_0, 0},
    {"gguf-q6_k", "GGUF Q6_K", LINEAR_GGUF, MODULES_ALL, 1, 0, 0, RUNG_Q6_K, 0},
    {"gguf-q6_k-family", "GGUF Q6_K experts, Q8_0 rest", LINEAR_GGUF, MODULES_ALL, 1, 0, 0,
     RUNG_Q6_K, 1},
    {"gguf-q5_k_m", "GGUF Q5_K_M", LINEAR_GGUF, MODULES_ALL, 1, 0, 0, RUNG_Q5_K_M, 0},
    {"gguf-q5_k_m-family", "GGUF Q5_K_M experts, Q8_0 rest", LINEAR_GGUF, MODULES_ALL, 1, 0, 0,
     RUNG_Q5_K_M, 1},
    {"gguf-q4_k_m", "GGUF Q4_K_M", LINEAR_GGUF, MODULES_ALL, 1, 0, 0, RUNG_Q4_K_M, 0},
    {"gguf-q4_k_m-family", "GGUF Q4_K_M experts, Q8_0 rest", LINEAR_GGUF, MODULES_ALL, 1, 0, 0,
     RUNG_Q4_K_M, 1},
    {"gguf-q3_k_m", "GGUF Q3_K_M", LINEAR_GGUF, MODULES_ALL, 1, 0, 0, RUNG_Q3_K_M, 0},
    {"gguf-q3_k_m-family", "GGUF Q3_K_M experts, Q8_0 rest", LINEAR_GGUF, MODULES_ALL, 1, 0, 0,
     RUNG_Q3_K_M, 1},
    {"gguf-q2_k", "GGUF Q2_K", LINEAR_GGUF, MODULES_ALL, 1, 0, 0, RUNG_Q2_K, 0},
    {"gguf-q2_k-family", "GGUF Q2_K experts, Q8_0 rest", LINEAR_GGUF, MODULES_ALL, 1, 0, 0,
     RUNG_Q2_K, 1},
};
const int N_WEIGHT_FORMATS = sizeof WEIGHT_FORMATS / sizeof WEIGHT_FORMATS[0];

const struct weight_format *weight_format_by_id(const char *id)
{
    for (int i = 0; i < N_WEIGHT_FORMATS; i++)
        if (strcmp(WEIGHT_FORMATS[i].id, id) == 0)
            return &WEIGHT_FORMATS[i];
    return NULL;
}

static uint64_t stored_copies(const struct config *c, const struct tensor_spec *s)
{
    return spec_is_stored(c, s) ? (uint64_t)s->copies : 0;
}

static void count_spec(struct model_counts *out, const struct config *c,
                       const struct tensor_spec *s, uint64_t *active_mtp)
{
    const uint64_t n = spec_elements(s), copies = stored_copies(c, s);
    const uint64_t used = s->role == ROLE_EXPERT ? (uint64_t)c->num_experts_per_tok : copies;
    if (s->layer >= c->num_hidden_layers) {
        out->mtp += n * copies;
        out->tensors_mtp += copies;
        *active_mtp += n * used;
        return;
    }
    out->main += n * copies;
    out->tensors_main += copies;
    out->linears += s->linear ? copies : 0;
    if (s->role != ROLE_EMBED)
        out->active += n * used;
}

void count_model(struct model_counts *out, const struct config *c)
{
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    uint64_t active_mtp = 0;
    const uint64_t table = (uint64_t)(c->vocab_size * c->hidden_size);
    *out = (struct model_counts){0};
    for (int layer = INVENTORY_GLOBALS; layer < c->n_layers; layer++) {
        int n = inventory_layer(c, layer, specs);
        for (int i = 0; i < n; i++)
            count_spec(out, c, &specs[i], &active_mtp);
    }
    if (c->tie_word_embeddings)
        out->active += table; /* the embedding serves as the head */
    out->active_no_head = out->active - table;
    out->active_embed = c->tie_word_embeddings ? out->active : out->active + table;
    out->active_embed_mtp = out->active_embed + active_mtp;
}

int spec_in_modules(const struct tensor_spec *s, enum module_set set)
{
    const int expert = s->role == ROLE_EXPERT, shared = s->role == ROLE_SHARED_EXPERT;
    const int dense = s->role == ROLE_DENSE_MLP;
    const int indexer_weights = s->part == PART_INDEXER_WEIGHTS;
    if (!s->linear || s->role == ROLE_LM_HEAD || s->role == ROLE_MTP_GLUE)
        return 0;
    switch (set) {
    case MODULES_NONE:
        return 0;
    case MODULES_EXPERTS:
        return expert;
    case MODULES_PORTABLE:
        return expert || shared || s->part == PART_Q_B || s->part == PART_O;
    case MODULES_LINEARS:
        return !dense && !indexer_weights;
    case MODULES_LLAMA:
        return expert || shared || dense || s->part == PART_O;
    case MODULES_FP8:
        return !indexer_weights;
    case MODULES_ALL:
        return 1;
    }
    return 0;
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* Can the format hold a matrix of this shape? */
static int linear_fits(const struct weight_format *f, uint64_t rows, uint64_t cols)
{
    if (f->linear == LINEAR_NVFP4)
        return cols % 16 == 0;
    if (f->linear == LINEAR_INT4) /* gptq.md section 1 */
        return rows % 32 == 0 && cols % 32 == 0 && cols % (uint64_t)f->group == 0;
    return 1;
}

/* Bytes and tensors of one quantized linear. */
static uint64_t linear_bytes(const struct weight_format *f, uint64_t rows, uint64_t cols,
                             uint64_t *tensors)
{
    const uint64_t group = (uint64_t)f->group, scalars = 2 * 4;
    switch (f->linear) {
    case LINEAR_NVFP4: /* codes, E4M3 block scales, F32 weight and input scale */
        *tensors = 4;
        return rows * (cols / 2 + cols / 16) + scalars;
    case LINEAR_INT4: /* qweight, qzeros, F16 scales, I32 g_idx */
        *tensors = f->g_idx ? 4 : 3;
        return rows * cols / 2 + cols / group * (rows / 2 + 2 * rows) + (f->g_idx ? 4 * cols : 0);
    case LINEAR_FP8: /* codes, F32 scale per block */
        *tensors = 2;
        return rows * cols + 4 * divide_up(rows, group) * divide_up(cols, group);
    case LINEAR_BF16:
    case LINEAR_GGUF:
        break;
    }
    *tensors = 1;
    return 2 * rows * cols;
}

/* Rows and columns that a format cannot be cut within: as quant/linear_slice.h cuts what is stored.
 */
static void blocks_of(const struct weight_format *f, uint64_t *rows, uint64_t *cols)
{
    *rows = f->linear == LINEAR_FP8 ? (uint64_t)f->group : f->linear == LINEAR_INT4 ? 8 : 1;
    *cols = f->linear == LINEAR_BF16 ? 1 : (uint64_t)f->group;
}

/* Adding up a format: bytes of a rank beside those of all. */
struct counting {
    struct format_size *out;
    const struct config *c;
    const struct weight_format *f;
    struct gguf_rule rule;
    struct shard shard;
    uint64_t rank_bytes; /* of the rank at hand */
};

/* The whole blocks around what a rank has of a quantized linear. */
static uint64_t share_bytes(struct counting *n, const struct tensor_spec *s)
{
    const struct shard_ranges r = shard_ranges(s->part, s->rows, s->cols, &n->shard);
    uint64_t block_rows, block_cols, tensors;
    blocks_of(n->f, &block_rows, &block_cols);
    const uint64_t rows = shard_blocks(r.rows, block_rows, s->rows).n;
    const uint64_t cols = shard_blocks(r.cols, block_cols, s->cols).n;
    n->out->rank_cut |= rows != r.rows.n || cols != r.cols.n;
    return linear_bytes(n->f, rows, cols, &tensors);
}

static void size_spec(struct counting *n, const struct tensor_spec *s)
{
    struct format_size *out = n->out;
    const struct weight_format *f = n->f;
    const uint64_t copies = stored_copies(n->c, s), width = dtype_bits((enum dtype)s->dtype) / 8;
    const int quantize = (f->mtp || s->layer < n->c->num_hidden_layers) &&
                         spec_in_modules(s, f->modules) && linear_fits(f, s->rows, s->cols);
    const struct shard_ranges r = shard_ranges(s->part, s->rows, s->cols, &n->shard);
    uint64_t tensors = 1;
    const uint64_t bytes =
        quantize ? linear_bytes(f, s->rows, s->cols, &tensors) : width * spec_elements(s);
    n->rank_bytes += copies * (quantize ? share_bytes(n, s) : width * r.rows.n * r.cols.n);
    if (n->shard.rank > 0)
        return;
    out->quantized += quantize ? copies : 0;
    out->bytes += copies * bytes;
    out->tensors += copies * tensors;
}

/* A rank's share of a GGUF tensor: whole heads of kv_b, rows, or whole blocks of columns. */
static uint64_t gguf_share_bytes(struct counting *n, const struct gguf_tensor *t,
                                 const struct ggml_type_info *type)
{
    const enum shard_axis axis = shard_axis(t->spec->part);
    struct shard_range rows = {0, t->n_rows}, cols = {0, t->n_cols};
    const uint64_t copies = (uint64_t)t->spec->copies;
    if (axis == SHARD_ROWS) {
        rows = shard_range(t->n_rows / copies, &n->shard);
        rows.n *= copies;
    }
    if (axis == SHARD_COLS) {
        const struct shard_range mine = shard_range(t->n_cols, &n->shard);
        cols = shard_blocks(mine, type->block, t->n_cols);
        n->out->rank_cut |= cols.n != mine.n;
    }
    return cols.n / type->block * type->block_bytes * rows.n;
}

static void size_spec_gguf(struct counting *n, const struct tensor_spec *s)
{
    struct gguf_tensor t[2];
    if (stored_copies(n->c, s) == 0)
        return;
    const int n_tensors = gguf_tensors_of(n->c, s, t);
    for (int i = 0; i < n_tensors; i++) {
        const enum ggml_type type = gguf_type_of(&n->rule, &t[i]);
        n->rank_bytes += gguf_share_bytes(n, &t[i], ggml_type_info(type));
        if (n->shard.rank > 0)
            continue;
        n->out->bytes += divide_up(gguf_tensor_bytes(&t[i], type), 32) * 32;
        n->out->quantized += type != GGML_F32 && type != GGML_F16 && type != GGML_BF16;
        n->out->tensors++;
    }
}

void count_format(struct format_size *out, const struct config *c, const struct weight_format *f,
                  int with_mtp, int tp)
{
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    const int end = with_mtp ? c->n_layers : c->num_hidden_layers;
    struct counting n = {.out = out,
                         .c = c,
                         .f = f,
                         .rule = {.rung = f->rung,
                                  .family_mixture = f->family_mixture,
                                  .block_count = end,
                                  .expert_count = c->n_routed_experts,
                                  .tied = c->tie_word_embeddings}};
    *out = (struct format_size){0};
    for (int rank = 0; rank < tp; rank++) {
        n.shard = (struct shard){rank, tp};
        n.rank_bytes = 0;
        for (int layer = INVENTORY_GLOBALS; layer < end; layer++) {
            const int n_specs = inventory_layer(c, layer, specs);
            for (int i = 0; i < n_specs; i++) {
                if (f->linear == LINEAR_GGUF)
                    size_spec_gguf(&n, &specs[i]);
                else
                    size_spec(&n, &specs[i]);
            }
        }
        out->rank_bytes = n.rank_bytes > out->rank_bytes ? n.rank_bytes : out->rank_bytes;
    }
}

const char *kv_layout_name(enum kv_layout layout)
{
    static const char *const NAMES[KV_LAYOUT_COUNT] = {"bf16", "fp8", "dsa-fp8", "index-keys-fp8"};
    return NAMES[layout];
}

static uint64_t kv_layer(const struct config *c, enum kv_layout layout)
{
    const uint64_t latent = (uint64_t)c->kv_lora_rank, rope = (uint64_t)c->qk_rope_head_dim;
    const uint64_t key = (uint64_t)c->index_head_dim;
    switch (layout) {
    case KV_LAYOUT_BF16:
        return 2 * (latent + rope);
    case KV_LAYOUT_FP8:
        return latent + rope;
    case KV_LAYOUT_DSA_FP8:
        return latent + 4 * divide_up(latent, 128) + 2 * rope;
    case KV_LAYOUT_INDEX:
        return key + 4 * divide_up(key, 128);
    case KV_LAYOUT_COUNT:
        break;
    }
    return 0;
}

uint64_t count_kv_token(const struct config *c, enum kv_layout layout)
{
    uint64_t layers = 0;
    for (int i = 0; i < c->num_hidden_layers; i++)
        layers += layout != KV_LAYOUT_INDEX || c->full_indexer[i];
    return layers * kv_layer(c, layout);
}

uint64_t count_kv_token_mtp(const struct config *c, enum kv_layout layout)
{
    return (uint64_t)c->num_nextn_predict_layers * kv_layer(c, layout);
}

int config_prune(struct config *c, int n, struct prep_error *err)
{
    for (int layer = 0; layer < c->n_layers; layer++)
        if (c->is_moe[layer] && (n < 1 || n > c->n_experts[layer]))
            return prep_fail_tag(err, PREP_EUSAGE, "PLAN_KEEP_RANGE",
                                 "%s: %d experts asked for, layer %d has %d", c->name, n, layer,
                                 c->n_experts[layer]);
    if (n < c->num_experts_per_tok)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_TOPK",
                             "%s: %d experts asked for, every token takes %d", c->name, n,
                             c->num_experts_per_tok);
    if (n % c->n_group != 0 || c->num_experts_per_tok > n / c->n_group * c->topk_group)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                             "%s: %d experts do not make %d groups that the router can use",
                             c->name, n, c->n_group);
    c->n_routed_experts = n;
    for (int layer = 0; layer < c->n_layers; layer++)
        if (c->is_moe[layer])
            c->n_experts[layer] = n;
    return 0;
}

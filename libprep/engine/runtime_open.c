/* SPDX-License-Identifier: MIT */
/*
 * Opening: every tensor of the source gets its place in the table of layers, then the config's
 * inventory is walked to see that everything is there and has its shape.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/engine/ops_cpu.h"
#include "libprep/engine/runtime_ranks.h"
#include "libprep/model/inventory.h"
#include "libprep/numeric/elementary.h"

/* lm_head is used in slices of rows of about this size. */
enum { HEAD_SLICE_BYTES = 64 << 20, HEAD_SLICE_ROWS = 64 };

struct opening {
    struct runtime *r;
    const struct runtime_options *options;
    const struct linear *head; /* lm_head, or what stands for it */
    uint32_t final_norm, embed;
    int fused; /* experts stacked in one tensor were met */
    struct prep_error *err;
};

/* Layers */

static int is_mtp(const struct config *c, int layer)
{
    return layer >= c->num_hidden_layers;
}

static int check_pattern(const struct opening *o)
{
    const char *p = o->options->index_pattern;
    const int n = o->r->config->num_hidden_layers;
    if (!p)
        return 0;
    if (strlen(p) != (size_t)n || strspn(p, "FS") != (size_t)n || p[0] != 'F')
        return prep_fail_tag(o->err, PREP_EUSAGE, "INDEXCACHE",
                             "index pattern \"%.80s\": want %d of F and S, one per main layer, the "
                             "first F",
                             p, n);
    return 0;
}

static int make_layers(struct opening *o)
{
    struct runtime *r = o->r;
    const struct config *c = r->config;
    r->n_layers = o->options->without_mtp ? c->num_hidden_layers : c->n_layers;
    r->layers = arena_calloc(&r->arena, (size_t)r->n_layers, sizeof *r->layers, o->err);
    if (!r->layers || check_pattern(o))
        return -1;
    for (int i = 0; i < r->n_layers; i++) {
        struct runtime_layer_ids *l = &r->layers[i];
        const char *pattern = o->options->index_pattern;
        memset(l->part, 0xFF, sizeof l->part);
        l->k_norm_bias = l->router_bias = WEIGHT_NONE;
        l->mtp = is_mtp(c, i);
        l->dense = l->mtp ? o->options->mtp_dense : o->options->dense;
        l->full = l->mtp ? 1 : pattern ? pattern[i] == 'F' : c->full_indexer[i];
        l->n_experts = c->is_moe[i] ? c->n_experts[i] : 0;
        const size_t n = (size_t)l->n_experts * 3 + 1;
        l->experts = arena_alloc(&r->arena, n * sizeof *l->experts, o->err);
        if (!l->experts)
            return -1;
        memset(l->experts, 0xFF, n * sizeof *l->experts);
    }
    return 0;
}

/* Where a module of a layer goes; NULL when the model has no such place. */
static uint32_t *place_of(const struct runtime *r, enum role role, enum part part, int layer,
                          int expert)
{
    if (layer < 0 || layer >= r->n_layers || part >= PART_OTHER)
        return NULL;
    struct runtime_layer_ids *l = &r->layers[layer];
    if (role == ROLE_EXPERT) {
        if (expert < 0 || expert >= l->n_experts || part < PART_GATE || part > PART_DOWN)
            return NULL;
        return &l->experts[3 * expert + (int)(part - PART_GATE)];
    }
    if (role == ROLE_OTHER || role == ROLE_FUSED_EXPERTS)
        return NULL;
    return &l->part[part];
}

static int add_module(struct opening *o, uint32_t *place, const struct weight *w)
{
    if (*place != WEIGHT_NONE)
        return prep_fail_tag(o->err, PREP_EDATA, "NAME", "%s and %s are the same module", w->name,
                             weights_at(o->r->weights, *place)->name);
    return weights_add(o->r->weights, w, place, o->err);
}

/* The rank's share of a linear. */
static int share_of(struct opening *o, const struct linear *l, struct weight *w)
{
    const struct linear_slice *s;
    *w = weight_of(l);
    if (!runtime_is_split(o->r) || shard_axis(l->part) == SHARD_WHOLE)
        return 0;
    const struct shard_ranges ranges = shard_ranges(l->part, l->out, l->in, &o->r->shard);
    if (linear_slice(&s, l, &ranges, &o->r->arena, o->err))
        return -1;
    *w = weight_of_slice(s);
    return 0;
}

static int place_linear(struct opening *o, const struct linear *l)
{
    if (l->part == PART_LM_HEAD) {
        o->head = l;
        return 0;
    }
    if (l->part == PART_EMBED && l->form == LINEAR_GGML)
        o->embed = l->tensors[0].index; /* rows of blocks, read one by one */
    uint32_t *place = place_of(o->r, l->role, l->part, l->layer, l->expert);
    struct weight w;
    return place && (share_of(o, l, &w) || add_module(o, place, &w)) ? -1 : 0;
}

/* A matrix that is no linear to quantizers, seen as one: router, tied head. */
static const struct linear *matrix_of(struct opening *o, uint32_t tensor)
{
    const struct tensor_info *info = source_info(&o->r->source, tensor);
    if (info->n_dims != 2 || (!info->ggml && info->dtype != DTYPE_F32 &&
                              info->dtype != DTYPE_BF16 && info->dtype != DTYPE_F16)) {
        prep_fail_tag(o->err, PREP_EDATA, "TENSOR_DTYPE",
                      "%s: %s with %d dimensions, want a BF16, "
                      "F16 or F32 matrix",
                      info->name, dtype_name((enum dtype)info->dtype), info->n_dims);
        return NULL;
    }
    struct linear *l = arena_calloc(&o->r->arena, 1, sizeof *l, o->err);
    if (!l)
        return NULL;
    *l = (struct linear){
        .name = info->name,
        .form = info->ggml ? LINEAR_GGML : LINEAR_PLAIN,
        .out = info->shape[0],
        .in = info->shape[1],
        .n_tensors = 1,
        .tensors = {{.info = info, .index = tensor, .part = LINEAR_CODES}},
    };
    return l;
}

static int place_router(struct opening *o, uint32_t *place, uint32_t tensor)
{
    const struct linear *l = matrix_of(o, tensor);
    if (!l)
        return -1;
    const struct weight w = weight_of(l);
    return add_module(o, place, &w);
}

static int place_vector(struct opening *o, uint32_t *place, uint32_t tensor)
{
    const struct tensor_info *info = source_info(&o->r->source, tensor);
    if (info->n_dims != 1)
        return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_SHAPE", "%s: %d dimensions, want 1",
                             info->name, info->n_dims);
    if (info->dtype != DTYPE_F32 && info->dtype != DTYPE_BF16 && info->dtype != DTYPE_F16)
        return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_DTYPE", "%s: %s, want BF16, F16 or F32",
                             info->name, dtype_name((enum dtype)info->dtype));
    const struct weight w = {
        .name = info->name, .vector = info, .tensor = tensor, .count = info->shape[0]};
    return add_module(o, place, &w);
}

/* Parts whose module is a linear; the rest are norms and the router. */
static int is_linear_part(enum part part)
{
    switch (part) {
    case PART_Q_A:
    case PART_Q_B:
    case PART_KV_A:
    case PART_KV_B:
    case PART_O:
    case PART_INDEXER_WQ_B:
    case PART_INDEXER_WK:
    case PART_INDEXER_WEIGHTS:
    case PART_GATE:
    case PART_UP:
    case PART_DOWN:
    case PART_SHARED_GATE:
    case PART_SHARED_UP:
    case PART_SHARED_DOWN:
    case PART_EH_PROJ:
    case PART_LM_HEAD:
        return 1;
    default:
        return 0;
    }
}

/* A tensor that belongs to no linear. */
static int place_tensor(struct opening *o, uint32_t tensor)
{
    const struct tensor_info *info = source_info(&o->r->source, tensor);
    const struct name_parts p = name_parse(info->name, strlen(info->name));
    const enum suffix suffix = name_suffix(&p);
    uint32_t *place = place_of(o->r, p.role, p.part, p.layer, p.expert);
    o->fused |= p.role == ROLE_FUSED_EXPERTS;
    if (p.role == ROLE_EMBED && suffix == SUFFIX_WEIGHT)
        o->embed = tensor;
    if (p.role == ROLE_FINAL_NORM && suffix == SUFFIX_WEIGHT)
        return place_vector(o, &o->final_norm, tensor);
    if (!place)
        return 0;
    if (is_linear_part(p.part)) {
        if (suffix == SUFFIX_BIAS)
            return prep_fail_tag(o->err, PREP_EUNSUP, "UNSUPPORTED",
                                 "%s: no projection of this model has a bias", info->name);
        return 0; /* what quantizers leave beside their codes */
    }
    if (p.part == PART_ROUTER && suffix == SUFFIX_WEIGHT)
        return place_router(o, place, tensor);
    if (suffix == SUFFIX_CORRECTION_BIAS)
        return place_vector(o, &o->r->layers[p.layer].router_bias, tensor);
    if (p.part == PART_INDEXER_K_NORM && suffix == SUFFIX_BIAS)
        return place_vector(o, &o->r->layers[p.layer].k_norm_bias, tensor);
    return suffix == SUFFIX_WEIGHT ? place_vector(o, place, tensor) : 0;
}

static int place_all(struct opening *o)
{
    const struct linears *all = &o->r->linears;
    for (size_t i = 0; i < all->n; i++)
        if (place_linear(o, &all->items[i]))
            return -1;
    for (size_t i = 0; i < all->n_rest; i++)
        if (place_tensor(o, all->rest[i]))
            return -1;
    return 0;
}

/* Is everything there? */

static int missing(const struct opening *o, const struct tensor_spec *spec, int expert)
{
    char buf[INVENTORY_NAME_BYTES];
    const char *name = inventory_name(spec, "model.", expert, buf);
    if (spec->role == ROLE_EXPERT && o->fused)
        return prep_fail_tag(o->err, PREP_EUNSUP, "UNSUPPORTED",
                             "experts stacked in one tensor: want a tensor each, as in %s", name);
    return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_MISSING",
                         "%s is missing, and the config asks for it", name);
}

static int check_module(const struct opening *o, const struct tensor_spec *spec, int expert,
                        uint32_t id)
{
    if (id == WEIGHT_NONE)
        return missing(o, spec, expert);
    const struct weight *w = weights_at(o->r->weights, id);
    const struct linear *l = w->linear && w->linear->whole ? w->linear->whole : w->linear;
    const uint64_t rows = l ? l->out : w->count, cols = l ? l->in : 1;
    if (rows == spec->rows && cols == spec->cols && (l != NULL) == (spec->n_dims == 2))
        return 0;
    return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_SHAPE",
                         "%s is [%llu, %llu], the config asks for [%llu, %llu]", w->name,
                         (unsigned long long)rows, (unsigned long long)cols,
                         (unsigned long long)spec->rows, (unsigned long long)spec->cols);
}

/* Indexer tensors are asked for only where an indexer runs. */
static int is_needed(const struct runtime_layer_ids *l, const struct tensor_spec *spec)
{
    if (spec->part == PART_MTP_EMBED || spec->part == PART_MTP_HEAD)
        return 0;
    return spec->role != ROLE_INDEXER || (l->full && !l->dense);
}

static int check_spec(const struct opening *o, const struct runtime_layer_ids *l,
                      const struct tensor_spec *spec)
{
    if (!is_needed(l, spec))
        return 0;
    if (spec->role == ROLE_EXPERT) {
        for (int e = 0; e < spec->copies; e++)
            if (check_module(o, spec, e, l->experts[3 * e + (int)(spec->part - PART_GATE)]))
                return -1;
        return 0;
    }
    if (spec->suffix == SUFFIX_CORRECTION_BIAS)
        return check_module(o, spec, -1, l->router_bias);
    if (spec->suffix == SUFFIX_BIAS)
        return check_module(o, spec, -1, l->k_norm_bias);
    return check_module(o, spec, -1, l->part[spec->part]);
}

static int check_layers(const struct opening *o)
{
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    for (int layer = 0; layer < o->r->n_layers; layer++) {
        const int n = inventory_layer(o->r->config, layer, specs);
        for (int i = 0; i < n; i++)
            if (check_spec(o, &o->r->layers[layer], &specs[i]))
                return -1;
    }
    return 0;
}

/* Everything outside the layers */

static int check_embedding(struct opening *o, const struct config *c)
{
    if (o->embed == WEIGHT_NONE)
        return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_MISSING",
                             "model.embed_tokens.weight is missing");
    const struct linear *l = matrix_of(o, o->embed);
    if (!l)
        return -1;
    if (l->out != (uint64_t)c->vocab_size || l->in != (uint64_t)c->hidden_size)
        return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_SHAPE",
                             "%s is [%llu, %llu], the config asks for [%lld, %lld]", l->name,
                             (unsigned long long)l->out, (unsigned long long)l->in,
                             (long long)c->vocab_size, (long long)c->hidden_size);
    if (!o->head && c->tie_word_embeddings)
        o->head = l;
    return 0;
}

static int cut_head(struct opening *o, const struct config *c)
{
    struct runtime *r = o->r;
    const struct linear *l = o->head;
    if (!l)
        return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_MISSING", "lm_head.weight is missing");
    if (l->out != (uint64_t)c->vocab_size || l->in != (uint64_t)c->hidden_size)
        return prep_fail_tag(o->err, PREP_EDATA, "TENSOR_SHAPE",
                             "%s is [%llu, %llu], the config asks for [%lld, %lld]", l->name,
                             (unsigned long long)l->out, (unsigned long long)l->in,
                             (long long)c->vocab_size, (long long)c->hidden_size);
    const struct shard_range mine = r->widths.vocab;
    uint64_t rows = mine.n;
    if (l->form == LINEAR_PLAIN) {
        rows = HEAD_SLICE_BYTES / (l->tensors[0].info->bytes / l->out);
        rows = rows / HEAD_SLICE_ROWS * HEAD_SLICE_ROWS;
        rows = rows ? rows : HEAD_SLICE_ROWS;
    }
    r->n_head = (size_t)((mine.n + rows - 1) / rows);
    r->head = arena_calloc(&r->arena, r->n_head, sizeof *r->head, o->err);
    for (size_t i = 0; r->head && i < r->n_head; i++) {
        const uint64_t left = mine.n - i * rows;
        const struct shard_ranges ranges = {{mine.first + i * rows, left < rows ? left : rows},
                                            {0, l->in}};
        const struct linear_slice *s;
        if (linear_slice(&s, l, &ranges, &r->arena, o->err))
            return -1;
        const struct weight w = weight_of_slice(s);
        if (weights_add(r->weights, &w, &r->head[i], o->err))
            return -1;
    }
    return r->head ? 0 : -1;
}

static int check_globals(struct opening *o)
{
    const struct config *c = o->r->config;
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    const int n = inventory_layer(c, INVENTORY_GLOBALS, specs);
    for (int i = 0; i < n; i++)
        if (specs[i].part == PART_FINAL_NORM && check_module(o, &specs[i], -1, o->final_norm))
            return -1;
    o->r->embed = o->embed;
    o->r->final_norm = o->final_norm;
    return check_embedding(o, c) || cut_head(o, c) ? -1 : 0;
}

/* What is held beside a linear: the vectors and routers of a layer. */
static uint64_t small_weights(const struct runtime *r)
{
    uint64_t most = 0;
    for (int i = 0; i < r->n_layers; i++) {
        const struct runtime_layer_ids *l = &r->layers[i];
        uint64_t sum = 0;
        for (int p = 0; p < PART_OTHER; p++)
            if (l->part[p] != WEIGHT_NONE && !is_linear_part((enum part)p))
                sum += weights_bytes(r->weights, l->part[p]);
        if (l->router_bias != WEIGHT_NONE)
            sum += weights_bytes(r->weights, l->router_bias);
        if (l->k_norm_bias != WEIGHT_NONE)
            sum += weights_bytes(r->weights, l->k_norm_bias);
        most = sum > most ? sum : most;
    }
    return most;
}

/* Of every module of this rank's share, and its rows of the embedding. */
static uint64_t stored_bytes(const struct opening *o)
{
    const struct runtime *r = o->r;
    const struct tensor_info *embed = source_info(&r->source, r->embed);
    const int tied = o->head && o->head->tensors[0].index == r->embed;
    uint64_t sum = tied ? 0 : embed->bytes / embed->shape[0] * r->widths.vocab.n;
    for (uint32_t i = 0; i < weights_count(r->weights); i++)
        sum += weights_stored_bytes(r->weights, i);
    return sum;
}

/*
 * 1 / theta^(2i/R), every step rounded to F32: models are trained and served with these roundings,
 * and at position 500 an angle from one rounding less is off by more than any other error here.
 */
static int make_frequencies(struct runtime *r, struct prep_error *err)
{
    const size_t half = (size_t)r->config->qk_rope_head_dim / 2;
    r->inverse_frequency = arena_calloc(&r->arena, half, sizeof *r->inverse_frequency, err);
    for (size_t i = 0; r->inverse_frequency && i < half; i++) {
        const float exponent = (float)(2 * i) / (float)(2 * half);
        r->inverse_frequency[i] = 1.0F / (float)prep_pow(r->config->rope_theta, (double)exponent);
    }
    return r->inverse_frequency ? 0 : -1;
}

static int open_ops(struct runtime *r, const struct runtime_options *options,
                    struct prep_error *err)
{
    const struct config *c = r->config;
    int n_counted = options->n_threads > 0 ? options->n_threads : prep_default_threads();
    r->weights_total = weights_total(r->weights);
    r->weights_floor = weights_largest(r->weights) + small_weights(r);
    if (runtime_agree_memory(r, &n_counted, err))
        return -1;
    uint64_t widest = (uint64_t)c->hidden_size;
    for (size_t i = 0; i < r->linears.n; i++)
        widest = r->linears.items[i].in > widest ? r->linears.items[i].in : widest;
    int n_experts = 0;
    for (int i = 0; i < r->n_layers; i++)
        n_experts = r->layers[i].n_experts > n_experts ? r->layers[i].n_experts : n_experts;
    const struct ops_cpu_shape shape = {
        .widest = (size_t)widest,
        .heads = r->widths.heads,
        .nope = (size_t)c->qk_nope_head_dim,
        .rope = (size_t)c->qk_rope_head_dim,
        .value = (size_t)c->v_head_dim,
        .rank = (size_t)c->kv_lora_rank,
        .index_heads = (size_t)c->index_n_heads,
        .index_dim = (size_t)c->index_head_dim,
        .top_k = (size_t)c->index_topk,
        .n_experts = (size_t)n_experts,
        .round_inputs = options->inputs != INPUTS_AS_THEY_ARE,
        .ranks = r->ranks,
        .n_counted = n_counted,
    };
    return ops_cpu_open(&r->ops, &shape, options->n_threads, options->isa, err);
}

static int find_linears(struct runtime *r, struct report *report, struct prep_error *err)
{
    if (r->source.view)
        return linears_of_view(&r->linears, r->source.view, r->config, &r->arena, report, err);
    return linears_of_checkpoint(&r->linears, r->source.checkpoint, r->config, &r->arena, report,
                                 err);
}

int runtime_open(struct runtime **out, const struct runtime_source *source,
                 const struct runtime_options *options, struct report *report,
                 struct prep_error *err)
{
    struct runtime *r = calloc(1, sizeof *r);
    if (!r)
        return prep_fail(err, PREP_ENOMEM, "no memory for a model");
    arena_init(&r->arena, 0);
    r->config = source->config;
    r->source = (struct source){source->checkpoint, source->view};
    r->latent_eps = (float)(options->latent_eps > 0 ? options->latent_eps : 1e-6);
    r->inputs = options->inputs;
    r->mem = options->mem ? options->mem : UINT64_MAX;
    struct opening o = {r, options, NULL, WEIGHT_NONE, WEIGHT_NONE, 0, err};
    if (runtime_split(r, options->ranks, err) || weights_new(&r->weights, &r->source, err) ||
        find_linears(r, report, err) || make_layers(&o) || runtime_compare_ranks(r, err) ||
        place_all(&o) || check_layers(&o) || check_globals(&o) || make_frequencies(r, err) ||
        open_ops(r, options, err)) {
        runtime_close(r);
        return -1;
    }
    r->stored_bytes = stored_bytes(&o);
    *out = r;
    return 0;
}

void runtime_close(struct runtime *r)
{
    if (!r)
        return;
    weights_free(r->weights);
    if (r->ops.self) {
        r->ops.free(r->ops.self, r->scratch);
        r->ops.close(r->ops.self);
    }
    free(r->upcoming);
    arena_fini(&r->arena);
    free(r);
}

/* SPDX-License-Identifier: MIT */
#include "libprep/release/sizes.h"

#include <string.h>

#include "libprep/model/shard.h"

/* The sparse path keeps index keys beside its cache; the recipes with the others run densely. */
static uint64_t cache_per_token(const struct size_table *t, enum kv_layout layout)
{
    return t->kv_token[layout] + (layout == KV_LAYOUT_DSA_FP8 ? t->kv_token[KV_LAYOUT_INDEX] : 0);
}

static void fill_row(const struct size_table *t, struct size_row *row, const struct config *c,
                     const struct weight_format *format)
{
    row->format = format;
    count_format(&row->size, c, format, t->mtp_layers > 0, t->tp);
    for (int k = 0; k < KV_LAYOUT_COUNT; k++) {
        const uint64_t weights = row->size.rank_bytes,
                       cache = cache_per_token(t, (enum kv_layout)k);
        const int fits = k != KV_LAYOUT_INDEX && t->rank_memory > weights;
        row->tokens[k] = fits ? (t->rank_memory - weights) / cache : 0;
    }
}

static int fill_variant(struct size_table *t, struct size_variant *v, const struct config *c,
                        struct prep_error *err)
{
    v->n_experts = c->n_routed_experts;
    count_model(&v->counts, c);
    v->parameters = v->counts.main + (t->mtp_layers > 0 ? v->counts.mtp : 0);
    v->rows = arena_calloc(&t->arena, (size_t)N_WEIGHT_FORMATS, sizeof *v->rows, err);
    if (!v->rows)
        return -1;
    for (int i = 0; i < N_WEIGHT_FORMATS; i++)
        fill_row(t, &v->rows[i], c, &WEIGHT_FORMATS[i]);
    return 0;
}

static int fill_variants(struct size_table *t, struct config *c, const struct size_request *request,
                         struct prep_error *err)
{
    const size_t bytes = (size_t)c->n_layers * sizeof *c->n_experts;
    const int n_routed = c->n_routed_experts;
    int *layers = arena_alloc(&t->arena, bytes, err);
    int rc = -1;
    t->n_variants = request->n_experts ? request->n_experts : 1;
    t->variants = arena_calloc(&t->arena, t->n_variants, sizeof *t->variants, err);
    if (!layers || !t->variants)
        return -1;
    memcpy(layers, c->n_experts, bytes);
    for (size_t i = 0; i < t->n_variants; i++) {
        memcpy(c->n_experts, layers, bytes);
        c->n_routed_experts = n_routed;
        if (request->n_experts && config_prune(c, (int)request->experts[i], err))
            goto out;
        if (fill_variant(t, &t->variants[i], c, err))
            goto out;
    }
    rc = 0;
out:
    memcpy(c->n_experts, layers, bytes);
    c->n_routed_experts = n_routed;
    return rc;
}

int sizes_build(struct size_table *t, struct config *c, const struct size_request *request,
                struct prep_error *err)
{
    *t = (struct size_table){0};
    if (shard_check(c, request->tp, err))
        return prep_note(err, "%s", c->name);
    arena_init(&t->arena, 0);
    t->layers = c->num_hidden_layers;
    t->mtp_layers = request->without_mtp ? 0 : c->num_nextn_predict_layers;
    t->tp = request->tp;
    t->context = request->context ? request->context : (uint64_t)c->max_position_embeddings;
    t->rank_memory = request->rank_memory;
    int too_long = 0;
    for (int k = 0; k < KV_LAYOUT_COUNT; k++) {
        t->kv_token[k] = count_kv_token(c, (enum kv_layout)k);
        if (t->mtp_layers > 0)
            t->kv_token[k] += count_kv_token_mtp(c, (enum kv_layout)k);
        too_long |= prep_mul(&t->kv_context[k], t->kv_token[k], t->context) != 0;
    }
    if (too_long)
        prep_fail(err, PREP_EUSAGE, "%s: a cache for %llu tokens passes 2^64 bytes", c->name,
                  (unsigned long long)t->context);
    if (too_long || fill_variants(t, c, request, err)) {
        sizes_free(t);
        return -1;
    }
    return 0;
}

void sizes_free(struct size_table *t)
{
    arena_fini(&t->arena);
    *t = (struct size_table){0};
}

static cJSON *format_fact(const struct size_table *t, const struct size_row *row)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "id", row->format->id);
    cJSON_AddStringToObject(o, "text", row->format->text);
    report_u64(o, "bytes", row->size.bytes);
    report_u64(o, "tensors", row->size.tensors);
    report_u64(o, "quantized_tensors", row->size.quantized);
    report_u64(o, "rank_bytes", row->size.rank_bytes);
    cJSON_AddBoolToObject(o, "rank_cuts_blocks", row->size.rank_cut);
    if (t->rank_memory == 0)
        return o;
    cJSON *tokens = cJSON_AddObjectToObject(o, "tokens_that_fit");
    for (int k = 0; k < KV_LAYOUT_COUNT; k++)
        if (k != KV_LAYOUT_INDEX)
            report_u64(tokens, kv_layout_name((enum kv_layout)k), row->tokens[k]);
    return o;
}

static cJSON *variant_fact(const struct size_table *t, const struct size_variant *v)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddNumberToObject(o, "n_routed_experts", v->n_experts);
    cJSON *p = cJSON_AddObjectToObject(o, "parameters");
    report_u64(p, "stored", v->parameters);
    report_u64(p, "main", v->counts.main);
    report_u64(p, "mtp", v->counts.mtp);
    report_u64(p, "active", v->counts.active);
    report_u64(p, "active_without_head", v->counts.active_no_head);
    report_u64(p, "active_with_embedding", v->counts.active_embed);
    report_u64(p, "active_with_embedding_and_mtp", v->counts.active_embed_mtp);
    report_u64(o, "linears", v->counts.linears);
    cJSON *formats = cJSON_AddArrayToObject(o, "formats");
    for (int i = 0; i < N_WEIGHT_FORMATS; i++)
        report_add(formats, format_fact(t, &v->rows[i]));
    return o;
}

void sizes_report(const struct size_table *t, struct report *report)
{
    cJSON *facts = report->facts;
    cJSON_AddNumberToObject(facts, "layers", t->layers);
    cJSON_AddNumberToObject(facts, "mtp_layers", t->mtp_layers);
    cJSON_AddNumberToObject(facts, "tp", t->tp);
    report_u64(facts, "context", t->context);
    if (t->rank_memory > 0)
        report_u64(facts, "rank_memory", t->rank_memory);
    cJSON *variants = cJSON_AddArrayToObject(facts, "variants");
    for (size_t i = 0; i < t->n_variants; i++)
        report_add(variants, variant_fact(t, &t->variants[i]));
    cJSON *caches = cJSON_AddArrayToObject(facts, "kv_cache");
    for (int k = 0; k < KV_LAYOUT_COUNT; k++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "layout", kv_layout_name((enum kv_layout)k));
        report_u64(o, "bytes_per_token", t->kv_token[k]);
        report_u64(o, "context_bytes", t->kv_context[k]);
        report_add(caches, o);
    }
}

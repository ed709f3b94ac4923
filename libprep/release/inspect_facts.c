/* SPDX-License-Identifier: MIT */
/* What was inspected, as JSON. */
#include <string.h>

#include "libprep/release/gguf_check.h"
#include "libprep/release/inspect.h"

/* A cJSON call that ran out of memory makes the whole object useless: noticed once, at the end. */
struct facts {
    int failed;
};

static void *need(struct facts *f, void *p)
{
    f->failed |= p == NULL;
    return p;
}

static void add_text(struct facts *f, cJSON *o, const char *key, const char *v)
{
    if (v)
        need(f, cJSON_AddStringToObject(o, key, v));
    else
        need(f, cJSON_AddNullToObject(o, key));
}

static void add_int(struct facts *f, cJSON *o, const char *key, int v)
{
    need(f, cJSON_AddNumberToObject(o, key, v));
}

static cJSON *append_object(struct facts *f, cJSON *list)
{
    cJSON *o = need(f, cJSON_CreateObject());
    if (o && !cJSON_AddItemToArray(list, o)) {
        cJSON_Delete(o);
        f->failed = 1;
        return NULL;
    }
    return o;
}

static void add_ids(struct facts *f, cJSON *o, const char *key, const int *ids, int n)
{
    cJSON *list = need(f, cJSON_CreateIntArray(ids, n));
    if (list && !cJSON_AddItemToObject(o, key, list)) {
        cJSON_Delete(list);
        f->failed = 1;
    }
}

static void add_config(struct facts *f, cJSON *o, const struct config *c,
                       const struct model_counts *n)
{
    cJSON *m = need(f, cJSON_AddObjectToObject(o, "model"));
    add_int(f, m, "num_hidden_layers", c->num_hidden_layers);
    add_int(f, m, "num_nextn_predict_layers", c->num_nextn_predict_layers);
    add_int(f, m, "n_routed_experts", c->n_routed_experts);
    add_int(f, m, "num_experts_per_tok", c->num_experts_per_tok);
    add_int(f, m, "n_shared_experts", c->n_shared_experts);
    add_ids(f, m, "experts_of_layer", c->n_experts, c->n_layers);
    report_u64(m, "hidden_size", (uint64_t)c->hidden_size);
    report_u64(m, "vocab_size", (uint64_t)c->vocab_size);
    report_u64(m, "parameters_main", n->main);
    report_u64(m, "parameters_mtp", n->mtp);
    report_u64(m, "parameters_active", n->active);
    add_text(f, m, "quant_method", *c->quant_method ? c->quant_method : NULL);
}

static void add_tallies(struct facts *f, cJSON *o, const struct inspected *it)
{
    cJSON *list = need(f, cJSON_AddArrayToObject(o, "roles"));
    for (size_t i = 0; i < it->n_tallies; i++) {
        const struct tally *t = &it->tallies[i];
        cJSON *row = append_object(f, list);
        need(f, cJSON_AddBoolToObject(row, "mtp", t->mtp));
        add_text(f, row, "role", inspect_role_name(t->role));
        add_text(f, row, "dtype", dtype_name((enum dtype)t->dtype));
        report_u64(row, "tensors", t->tensors);
        report_u64(row, "elements", t->elements);
        report_u64(row, "bytes", t->bytes);
    }
    report_u64(o, "n_tensors", it->total.tensors);
    report_u64(o, "tensor_bytes", it->total.bytes);
}

static void add_tensors(struct facts *f, cJSON *o, const struct inspected *it,
                        const struct inspect_filter *filter)
{
    cJSON *list = need(f, cJSON_AddArrayToObject(o, "tensors"));
    for (size_t i = 0; i < inspect_n_tensors(it) && !f->failed; i++) {
        const char *file;
        const struct tensor_info *t = inspect_tensor(it, i, &file);
        if (!inspect_wants(filter, t->name))
            continue;
        cJSON *row = append_object(f, list);
        add_text(f, row, "name", t->name);
        add_text(f, row, "dtype", dtype_name((enum dtype)t->dtype));
        cJSON *shape = need(f, cJSON_AddArrayToObject(row, "shape"));
        for (int d = 0; d < t->n_dims; d++)
            need(f, (void *)(uintptr_t)cJSON_AddItemToArray(
                        shape, cJSON_CreateNumber((double)t->shape[d])));
        report_u64(row, "bytes", t->bytes);
        add_text(f, row, "file", file);
        report_u64(row, "offset", t->offset);
    }
}

static void add_shards(struct facts *f, cJSON *o, const struct checkpoint *c)
{
    cJSON *list = need(f, cJSON_AddArrayToObject(o, "shards"));
    for (size_t i = 0; i < c->n_shards; i++) {
        cJSON *row = append_object(f, list);
        add_text(f, row, "name", c->files[i].name);
        report_u64(row, "bytes", c->files[i].bytes);
    }
    add_text(f, o, "revision", c->revision);
}

static void add_pass(struct facts *f, cJSON *row, const struct keep_pass *p)
{
    add_int(f, row, "from", p->from);
    add_int(f, row, "to", p->to);
    add_text(f, row, "metric", p->metric);
    add_text(f, row, "pool", p->pool);
    add_text(f, row, "gate_semantics", p->gate_semantics);
    cJSON *runs = need(f, cJSON_AddArrayToObject(row, "runs"));
    for (size_t i = 0; i < p->n_runs; i++) {
        cJSON *run = append_object(f, runs);
        add_text(f, run, "label", p->runs[i].label);
        add_text(f, run, "sha256", p->runs[i].sha256);
        report_u64(run, "tokens", p->runs[i].tokens);
    }
}

static void add_map(struct facts *f, cJSON *o, const struct inspected *it)
{
    const struct keep_map *m = &it->map;
    cJSON *map = need(f, cJSON_AddObjectToObject(o, "keep_map"));
    add_text(f, map, "sha256", it->map_sha256);
    add_text(f, map, "form", m->full ? "full" : "short");
    if (m->full) {
        add_text(f, map, "base_model", m->base_model);
        add_int(f, map, "base_n_routed_experts", m->base_n_routed_experts);
        add_text(f, map, "parent_sha256", m->parent_sha256);
        add_int(f, map, "n_routed_experts", m->n_routed_experts);
    }
    cJSON *passes = need(f, cJSON_AddArrayToObject(map, "passes"));
    for (size_t i = 0; i < m->n_passes; i++)
        add_pass(f, append_object(f, passes), &m->passes[i]);
    cJSON *layers = need(f, cJSON_AddArrayToObject(map, "layers"));
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct keep_layer *l = &m->layers[i];
        cJSON *row = append_object(f, layers);
        add_int(f, row, "layer", l->layer);
        add_text(f, row, "origin", l->origin);
        add_int(f, row, "n_parent", l->n_parent);
        add_ids(f, row, "kept_parent", l->kept_parent, l->n_kept);
        add_ids(f, row, "kept_source", l->kept_source, l->n_kept);
    }
}

static void add_run(struct facts *f, cJSON *o, const struct obs_run *run)
{
    cJSON *r = need(f, cJSON_AddObjectToObject(o, "run"));
    add_text(f, r, "label", run->label);
    add_text(f, r, "sha256", run->sha256);
    add_text(f, r, "gate_semantics", run->gate_semantics);
    add_text(f, r, "id_space", run->id_space);
    add_text(f, r, "model", run->model);
    report_u64(r, "tokens", run->tokens);
    cJSON *list = need(f, cJSON_AddArrayToObject(r, "layers"));
    for (size_t i = 0; i < run->n_layers; i++) {
        struct obs_summary s;
        inspect_summarize(&s, &run->layers[i]);
        cJSON *row = append_object(f, list);
        add_int(f, row, "layer", s.layer);
        add_int(f, row, "n_experts", s.n_experts);
        report_u64(row, "tokens", s.tokens);
        if (!s.has_counts)
            continue;
        report_u64(row, "routed", s.routed);
        add_int(f, row, "never_routed", s.never_routed);
        need(f, cJSON_AddNumberToObject(row, "min", (double)s.least));
        need(f, cJSON_AddNumberToObject(row, "mean", s.mean));
        need(f, cJSON_AddNumberToObject(row, "max", (double)s.most));
    }
}

static void add_manifest(struct facts *f, cJSON *o, const struct manifest *m)
{
    cJSON *x = need(f, cJSON_AddObjectToObject(o, "manifest"));
    report_u64(x, "files", m->n_files);
    report_u64(x, "tensors", m->n_tensors);
    report_u64(x, "sources", m->n_sources);
    if (m->run.n)
        need(f, cJSON_AddRawToObject(x, "run", (const char *)m->run.p));
}

static void add_index(struct facts *f, cJSON *o, const struct hf_index *index)
{
    report_u64(o, "entries", index->n_entries);
    if (index->total_size_kind != HF_TOTAL_SIZE_MISSING)
        report_u64(o, "total_size", index->total_size);
    cJSON *list = need(f, cJSON_CreateStringArray(index->shards, (int)index->n_shards));
    if (list && !cJSON_AddItemToObject(o, "shards", list)) {
        cJSON_Delete(list);
        f->failed = 1;
    }
}

static void add_gguf_tensors(struct facts *f, cJSON *o, const struct gguf_set *s,
                             const struct inspect_filter *filter)
{
    cJSON *list = need(f, cJSON_AddArrayToObject(o, "tensors"));
    for (size_t p = 0; p < s->n_parts; p++)
        for (size_t i = 0; i < s->parts[p].n_tensors && !f->failed; i++) {
            const struct gguf_tensor_info *t = &s->parts[p].tensors[i];
            if (!inspect_wants(filter, t->name))
                continue;
            cJSON *row = append_object(f, list);
            add_text(f, row, "name", t->name);
            add_text(f, row, "type", ggml_type_info(t->type)->name);
            cJSON *dims = need(f, cJSON_AddArrayToObject(row, "dims"));
            for (int d = 0; d < t->n_dims; d++)
                need(f, (void *)(uintptr_t)cJSON_AddItemToArray(
                            dims, cJSON_CreateNumber((double)t->dims[d])));
            report_u64(row, "bytes", t->bytes);
            add_text(f, row, "file", s->files[p].name);
            report_u64(row, "offset", t->offset);
        }
}

static void add_gguf(struct facts *f, cJSON *o, const struct inspected *it,
                     const struct inspect_filter *filter)
{
    const struct gguf_set *s = &it->gguf;
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    arena_init(&arena, 0);
    report_u64(o, "version", s->parts[0].version);
    report_u64(o, "n_tensors", s->n_tensors);
    report_u64(o, "tensor_bytes", s->tensor_bytes);
    cJSON *parts = need(f, cJSON_AddArrayToObject(o, "parts"));
    for (size_t p = 0; p < s->n_parts; p++) {
        cJSON *row = append_object(f, parts);
        add_text(f, row, "name", s->files[p].name);
        report_u64(row, "bytes", s->files[p].bytes);
    }
    cJSON *keys = need(f, cJSON_AddObjectToObject(o, "keys"));
    for (size_t i = 0; i < s->parts[0].n_kvs && !f->failed; i++) {
        const char *text = gguf_value_text(&s->parts[0].kvs[i], &arena, &err);
        add_text(f, keys, s->parts[0].kvs[i].key, text);
        f->failed |= !text;
    }
    if (filter)
        add_gguf_tensors(f, o, s, filter);
    arena_fini(&arena);
}

int inspect_facts(cJSON *object, const struct inspected *it, const struct inspect_filter *filter,
                  struct prep_error *err)
{
    struct facts f = {0};
    add_text(&f, object, "path", it->path);
    add_text(&f, object, "kind", inspect_kind_name(it->kind));
    if (it->kind == KIND_CHECKPOINT)
        add_shards(&f, object, it->ckpt);
    if (it->has_config)
        add_config(&f, object, &it->config, &it->counts);
    if (it->kind == KIND_CHECKPOINT || it->kind == KIND_SAFETENSORS)
        add_tallies(&f, object, it);
    if (it->kind == KIND_GGUF)
        add_gguf(&f, object, it, filter);
    if (it->kind == KIND_INDEX)
        add_index(&f, object, &it->index);
    if (it->kind == KIND_OBSERVATION)
        add_run(&f, object, &it->run);
    if (it->has_map)
        add_map(&f, object, it);
    if (it->has_manifest)
        add_manifest(&f, object, &it->manifest);
    if (filter)
        add_tensors(&f, object, it, filter);
    return f.failed ? prep_fail(err, PREP_ENOMEM, "out of memory while listing facts") : 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * Writes keep_map.json in one fixed form: two-space indent, every list, every run and every
 * layer of the report on one line, layers by number, the shortest digits that read back equal.
 */
#include "libprep/format/keep_map.h"

#include <stdlib.h>
#include <string.h>

/* JSON that is known to be valid, on one line: ", " and ": " and no other white space. */
static char *one_line(struct arena *arena, const char *s, size_t n, size_t *out_n,
                      struct prep_error *err)
{
    uint64_t bytes;
    if (prep_mul(&bytes, n, 2)) {
        prep_fail(err, PREP_ENOMEM, "out of memory");
        return NULL;
    }
    char *out = arena_alloc(arena, (size_t)bytes, err);
    size_t k = 0;
    int in_string = 0;
    for (size_t i = 0; out && i < n; i++) {
        char c = s[i];
        if (!in_string && (c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            continue;
        out[k++] = c;
        if (in_string && c == '\\' && i + 1 < n)
            out[k++] = s[++i];
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == ',' || c == ':'))
            out[k++] = ' ';
    }
    *out_n = k;
    return out;
}

static int put_line(struct json_out *o, struct arena *arena, const char *s, size_t n,
                    struct prep_error *err)
{
    size_t bytes = 0;
    char *line = one_line(arena, s, n, &bytes, err);
    if (!line)
        return -1;
    json_out_raw(o, line, bytes);
    return 0;
}

/* Moves the text of a one-line writer into o. */
static int put_sub(struct json_out *o, struct json_out *sub, struct arena *arena,
                   struct prep_error *err)
{
    struct span text;
    int rc =
        json_out_finish(sub, &text, err) || put_line(o, arena, (const char *)text.p, text.n, err);
    json_out_free(sub);
    return rc ? -1 : 0;
}

static int put_ids(struct json_out *o, const int *ids, int n, struct arena *arena,
                   struct prep_error *err)
{
    struct json_out sub;
    json_out_init(&sub, 0);
    json_out_open(&sub, '[');
    for (int i = 0; i < n; i++)
        json_out_i64(&sub, ids[i]);
    json_out_close(&sub);
    return put_sub(o, &sub, arena, err);
}

static void put_string(struct json_out *o, const char *key, const char *value)
{
    json_out_key(o, key);
    if (value)
        json_out_string(o, value);
    else
        json_out_null(o);
}

static void put_int(struct json_out *o, const char *key, int value)
{
    json_out_key(o, key);
    json_out_i64(o, value);
}

static void put_identity(struct json_out *o, const struct keep_map *m)
{
    put_string(o, "format", "reap-keep-map");
    put_int(o, "version", 1);
    json_out_key(o, "base");
    json_out_open(o, '{');
    put_string(o, "model", m->base_model);
    put_int(o, "n_routed_experts", m->base_n_routed_experts);
    put_string(o, "config_sha256", m->base_config_sha256);
    put_string(o, "index_sha256", m->base_index_sha256);
    json_out_close(o);
    json_out_key(o, "parent");
    if (m->parent_sha256) {
        json_out_open(o, '{');
        put_string(o, "keep_map_sha256", m->parent_sha256);
        put_int(o, "n_routed_experts", m->parent_n_routed_experts);
        json_out_close(o);
    } else {
        json_out_null(o);
    }
    put_int(o, "n_routed_experts", m->n_routed_experts);
    put_int(o, "num_hidden_layers", m->num_hidden_layers);
    put_int(o, "num_nextn_predict_layers", m->num_nextn_predict_layers);
}

static int put_layers(struct json_out *o, const struct keep_map *m, struct arena *arena,
                      struct prep_error *err)
{
    json_out_key(o, "layers");
    json_out_open(o, '{');
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct keep_layer *l = &m->layers[i];
        char *key = arena_printf(arena, err, "%d", l->layer);
        if (!key)
            return -1;
        json_out_key(o, key);
        json_out_open(o, '{');
        put_string(o, "origin", l->origin);
        put_int(o, "n_parent", l->n_parent);
        json_out_key(o, "kept_parent");
        if (put_ids(o, l->kept_parent, l->n_kept, arena, err))
            return -1;
        json_out_key(o, "kept_source");
        if (put_ids(o, l->kept_source, l->n_kept, arena, err))
            return -1;
        json_out_close(o);
    }
    json_out_close(o);
    return 0;
}

static int put_runs(struct json_out *o, const struct keep_pass *p, struct arena *arena,
                    struct prep_error *err)
{
    json_out_key(o, "runs");
    json_out_open(o, '[');
    for (size_t i = 0; i < p->n_runs; i++) {
        struct json_out sub;
        json_out_init(&sub, 0);
        json_out_open(&sub, '{');
        put_string(&sub, "label", p->runs[i].label);
        put_string(&sub, "sha256", p->runs[i].sha256);
        json_out_key(&sub, "tokens");
        json_out_u64(&sub, p->runs[i].tokens);
        put_int(&sub, "layers", p->runs[i].layers);
        json_out_close(&sub);
        if (put_sub(o, &sub, arena, err))
            return -1;
    }
    json_out_close(o);
    return 0;
}

/* One member of an object that is carried along, with its place in the output. */
struct member {
    uint32_t key, value;
    int layer; /* -1: no layer index; such members follow the layers in their own order */
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if ((x->layer < 0) != (y->layer < 0))
        return x->layer < 0 ? 1 : -1;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

/* The members of a JSON object, each value on one line. */
static int put_members(struct json_out *o, const struct span *object, struct arena *arena,
                       struct prep_error *err)
{
    struct json d = {0};
    int rc = -1;
    size_t n = 0;
    if (json_parse(&d, (const char *)object->p, object->n, "keep-map", err))
        goto out;
    struct member *list = arena_calloc(arena, json_count(&d, 0), sizeof *list, err);
    if (!list)
        goto out;
    for (uint32_t k = json_first(&d, 0); k != JSON_NONE; k = json_next(&d, list[n++].value))
        list[n] = (struct member){k, json_next(&d, k), keep_map_layer_key(&d, k)};
    qsort(list, n, sizeof *list, compare_members);
    for (size_t i = 0; i < n; i++) {
        const struct json_node *v = &d.nodes[list[i].value];
        char *key = json_string(&d, list[i].key, arena, NULL, err);
        if (!key)
            goto out;
        json_out_key(o, key);
        if (put_line(o, arena, d.text + v->start, v->end - v->start, err))
            goto out;
    }
    rc = 0;
out:
    json_free(&d);
    return rc;
}

static int put_pass(struct json_out *o, const struct keep_pass *p, struct arena *arena,
                    struct prep_error *err)
{
    json_out_open(o, '{');
    put_int(o, "from", p->from);
    put_int(o, "to", p->to);
    put_string(o, "metric", p->metric);
    put_string(o, "pool", p->pool);
    put_string(o, "source", p->source);
    put_string(o, "gate_semantics", p->gate_semantics);
    put_string(o, "protect", p->protect);
    if (p->extra.n && put_members(o, &p->extra, arena, err))
        return -1;
    if (put_runs(o, p, arena, err))
        return -1;
    put_string(o, "tool_version", p->tool_version);
    json_out_close(o);
    return 0;
}

static int put_map(struct json_out *o, const struct keep_map *m, struct arena *arena,
                   struct prep_error *err)
{
    json_out_open(o, '{');
    put_identity(o, m);
    if (put_layers(o, m, arena, err))
        return -1;
    json_out_key(o, "passes");
    json_out_open(o, '[');
    for (size_t i = 0; i < m->n_passes; i++)
        if (put_pass(o, &m->passes[i], arena, err))
            return -1;
    json_out_close(o);
    if (m->report.n) {
        json_out_key(o, "report");
        json_out_open(o, '{');
        if (put_members(o, &m->report, arena, err))
            return -1;
        json_out_close(o);
    }
    json_out_close(o);
    return 0;
}

int keep_map_write(const struct keep_map *m, struct arena *arena, struct span *out,
                   struct prep_error *err)
{
    struct json_out o;
    struct span text;
    int rc = -1;
    json_out_init(&o, 2);
    if (!m->full) {
        prep_fail(err, PREP_EBUG, "a short keep-map has no full form until it is composed");
        goto out;
    }
    if (put_map(&o, m, arena, err) || json_out_finish(&o, &text, err))
        goto out;
    out->p = (const unsigned char *)arena_strndup(arena, (const char *)text.p, text.n, err);
    out->n = text.n;
    rc = out->p ? 0 : -1;
out:
    json_out_free(&o);
    return rc;
}

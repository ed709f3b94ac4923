/* SPDX-License-Identifier: MIT */
/*
 * keep_map.json, version 1; the keys stand in this order, layers ascending by number:
 *
 *   { "format": "reap-keep-map", "version": 1,
 *     "base": { model, n_routed_experts, config_sha256, index_sha256 },
 *     "parent": null | { keep_map_sha256, n_routed_experts },
 *     "n_routed_experts", "num_hidden_layers", "num_nextn_predict_layers",
 *     "layers": { "3": { origin, n_parent, kept_parent: [..], kept_source: [..] }, ... },
 *     "passes": [ { from, to, metric, pool, source, gate_semantics, protect, runs, tool_version,
 *                   ...more }, ... ],
 *     "report": { ... } }
 *
 * This file reads; keep_map_write.c writes.
 */
#include "libprep/format/keep_map.h"

#include <stdlib.h>
#include <string.h>

struct reader {
    struct json doc;
    struct keep_map *m;
    struct prep_error *err;
};

static int bad(const struct reader *r, uint32_t node, const char *what)
{
    char where[512];
    return prep_fail_tag(r->err, PREP_EDATA, "KEEP_MAP", "%s: %s",
                         json_where(&r->doc, node, where, sizeof where), what);
}

static int bad_member(const struct reader *r, uint32_t node, const char *key, const char *want)
{
    char where[512];
    return prep_fail_tag(r->err, PREP_EDATA, "KEEP_MAP", "%s: \"%s\" is missing or not %s",
                         json_where(&r->doc, node, where, sizeof where), key, want);
}

int keep_map_layer_key(const struct json *d, uint32_t key)
{
    const struct json_node *k = &d->nodes[key];
    /* The quotes are part of the range. */
    size_t n = (size_t)(k->end - k->start) - 2;
    const char *s = d->text + k->start + 1;
    if (k->escaped || n < 1 || n > 4 || (s[0] == '0' && n > 1))
        return -1;
    int layer = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        layer = layer * 10 + (s[i] - '0');
    }
    return layer < KEEP_MAP_MAX_LAYERS ? layer : -1;
}

static int get_int(const struct reader *r, uint32_t object, const char *key, int low, int high,
                   int *out)
{
    uint32_t v = json_get(&r->doc, object, key);
    int64_t x;
    if (v == JSON_NONE || json_i64(&r->doc, v, &x) || x < low || x > high) {
        char where[512];
        return prep_fail_tag(
            r->err, PREP_EDATA, "KEEP_MAP", "%s: \"%s\" is missing or not an integer from %d to %d",
            json_where(&r->doc, v == JSON_NONE ? object : v, where, sizeof where), key, low, high);
    }
    *out = (int)x;
    return 0;
}

/* A string member. With optional, absent and null give NULL. */
static int get_string(const struct reader *r, uint32_t object, const char *key, int optional,
                      const char **out)
{
    uint32_t v = json_get(&r->doc, object, key);
    *out = NULL;
    if (optional && (v == JSON_NONE || json_type(&r->doc, v) == JSON_NULL))
        return 0;
    if (v == JSON_NONE || json_type(&r->doc, v) != JSON_STRING)
        return bad_member(r, v == JSON_NONE ? object : v, key, "a string");
    size_t n;
    char *s = json_string(&r->doc, v, &r->m->arena, &n, r->err);
    if (!s)
        return -1;
    if (strlen(s) != n)
        return bad(r, v, "a string holds a NUL");
    *out = s;
    return 0;
}

/* A digest, or NULL when it is not known. */
static int get_sha256(const struct reader *r, uint32_t object, const char *key, int optional,
                      const char **out)
{
    if (get_string(r, object, key, optional, out))
        return -1;
    if (*out && (strlen(*out) != 64 || strspn(*out, "0123456789abcdef") != 64))
        return bad_member(r, object, key, "64 lower-case hex digits");
    return 0;
}

static int get_object(const struct reader *r, uint32_t object, const char *key, enum json_type t,
                      uint32_t *out)
{
    *out = json_get(&r->doc, object, key);
    if (*out == JSON_NONE || json_type(&r->doc, *out) != t)
        return bad_member(r, *out == JSON_NONE ? object : *out, key,
                          t == JSON_OBJECT ? "an object" : "an array");
    return 0;
}

static int is_one_of(const struct json *d, uint32_t key, const char *const *known)
{
    for (; *known; known++)
        if (json_equal(d, key, *known))
            return 1;
    return 0;
}

static int check_members(const struct reader *r, uint32_t object, const char *const *known)
{
    for (uint32_t k = json_first(&r->doc, object); k != JSON_NONE;) {
        if (!is_one_of(&r->doc, k, known))
            return bad(r, k, "an unknown member of a version 1 keep-map");
        k = json_next(&r->doc, json_next(&r->doc, k));
    }
    return 0;
}

/* A strictly ascending list of ids below limit. */
static int get_ids(const struct reader *r, uint32_t array, int limit, int **ids, int *n)
{
    if (json_type(&r->doc, array) != JSON_ARRAY)
        return bad(r, array, "want an array of expert ids");
    size_t count = json_count(&r->doc, array);
    if (count < 1 || count > KEEP_MAP_MAX_EXPERTS)
        return bad(r, array, "a list of kept experts must name 1 to 65536 of them");
    int *list = arena_calloc(&r->m->arena, count, sizeof *list, r->err);
    if (!list)
        return -1;
    size_t i = 0;
    for (uint32_t v = json_first(&r->doc, array); v != JSON_NONE; v = json_next(&r->doc, v)) {
        int64_t id;
        if (json_i64(&r->doc, v, &id) || id < 0 || id >= limit) {
            char where[512];
            return prep_fail_tag(r->err, PREP_EDATA, "KEEP_MAP",
                                 "%s: not an expert id from 0 to %d",
                                 json_where(&r->doc, v, where, sizeof where), limit - 1);
        }
        if (i > 0 && id <= list[i - 1])
            return bad(r, v, "expert ids must be strictly ascending");
        list[i++] = (int)id;
    }
    *ids = list;
    *n = (int)count;
    return 0;
}

/* {"3":[..]} and {"3":{"kept":[..],"keep":2}} */
static int read_short_layer(const struct reader *r, uint32_t v, struct keep_layer *l)
{
    uint32_t list = v;
    if (json_type(&r->doc, v) == JSON_OBJECT && get_object(r, v, "kept", JSON_ARRAY, &list))
        return -1;
    if (get_ids(r, list, KEEP_MAP_MAX_EXPERTS, &l->kept_parent, &l->n_kept))
        return -1;
    l->kept_source = l->kept_parent;
    l->origin = "explicit";
    int64_t keep;
    uint32_t count =
        json_type(&r->doc, v) == JSON_OBJECT ? json_get(&r->doc, v, "keep") : JSON_NONE;
    if (count != JSON_NONE && (json_i64(&r->doc, count, &keep) || keep != l->n_kept)) {
        char where[512];
        return prep_fail_tag(r->err, PREP_EDATA, "KEEP_MAP",
                             "%s: \"keep\" is not %d, the length of \"kept\"",
                             json_where(&r->doc, count, where, sizeof where), l->n_kept);
    }
    return 0;
}

static int check_origin(const struct reader *r, uint32_t node, const char *origin)
{
    static const char *const words[] = {"observed", "own", "first", "identity", "explicit"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(origin, words[i]) == 0)
            return 0;
    size_t digits = strncmp(origin, "proxy:", 6) == 0 ? strspn(origin + 6, "0123456789") : 0;
    if (digits >= 1 && digits <= 4 && origin[6 + digits] == 0)
        return 0;
    return bad(r, node, "\"origin\" is not observed, own, first, identity, explicit or proxy:L");
}

static int read_full_layer(const struct reader *r, uint32_t v, struct keep_layer *l)
{
    static const char *const known[] = {"origin", "n_parent", "kept_parent", "kept_source", NULL};
    const struct keep_map *m = r->m;
    uint32_t parent, source;
    int n_source;
    if (json_type(&r->doc, v) != JSON_OBJECT)
        return bad(r, v, "want an object for each layer");
    if (check_members(r, v, known) || get_string(r, v, "origin", 0, &l->origin) ||
        check_origin(r, v, l->origin) ||
        get_int(r, v, "n_parent", 1, m->base_n_routed_experts, &l->n_parent) ||
        get_object(r, v, "kept_parent", JSON_ARRAY, &parent) ||
        get_object(r, v, "kept_source", JSON_ARRAY, &source) ||
        get_ids(r, parent, l->n_parent, &l->kept_parent, &l->n_kept) ||
        get_ids(r, source, m->base_n_routed_experts, &l->kept_source, &n_source))
        return -1;
    if (n_source != l->n_kept)
        return bad(r, v, "kept_parent and kept_source differ in length");
    if (!m->parent_sha256 &&
        memcmp(l->kept_parent, l->kept_source, (size_t)l->n_kept * sizeof(int)) != 0)
        return bad(r, v, "kept_parent and kept_source differ, but the map has no parent");
    return 0;
}

static int compare_layers(const void *a, const void *b)
{
    const struct keep_layer *x = a, *y = b;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

static int read_layers(const struct reader *r, uint32_t object, int full)
{
    struct keep_map *m = r->m;
    size_t count = json_count(&r->doc, object);
    if (count < 1 || count > KEEP_MAP_MAX_LAYERS)
        return bad(r, object, "want 1 to 1024 layers");
    m->layers = arena_calloc(&m->arena, count, sizeof *m->layers, r->err);
    if (!m->layers)
        return -1;
    for (uint32_t k = json_first(&r->doc, object); k != JSON_NONE;) {
        uint32_t v = json_next(&r->doc, k);
        struct keep_layer *l = &m->layers[m->n_layers];
        l->layer = keep_map_layer_key(&r->doc, k);
        if (l->layer < 0)
            return bad(r, k, "a key is no layer index from 0 to 1023");
        if (full ? read_full_layer(r, v, l) : read_short_layer(r, v, l))
            return prep_note(r->err, "layer %d", l->layer);
        m->n_layers++;
        k = json_next(&r->doc, v);
    }
    qsort(m->layers, m->n_layers, sizeof *m->layers, compare_layers);
    return 0;
}

static int read_runs(const struct reader *r, uint32_t array, struct keep_pass *p)
{
    static const char *const known[] = {"label", "sha256", "tokens", "layers", NULL};
    p->runs = arena_calloc(&r->m->arena, json_count(&r->doc, array), sizeof *p->runs, r->err);
    if (!p->runs)
        return -1;
    for (uint32_t v = json_first(&r->doc, array); v != JSON_NONE; v = json_next(&r->doc, v)) {
        struct keep_run *run = &p->runs[p->n_runs++];
        if (json_type(&r->doc, v) != JSON_OBJECT)
            return bad(r, v, "want an object for each run");
        uint32_t tokens = json_get(&r->doc, v, "tokens");
        if (check_members(r, v, known) || get_string(r, v, "label", 0, &run->label) ||
            get_sha256(r, v, "sha256", 0, &run->sha256) ||
            get_int(r, v, "layers", 0, KEEP_MAP_MAX_LAYERS, &run->layers))
            return -1;
        if (tokens == JSON_NONE || json_u64(&r->doc, tokens, &run->tokens))
            return bad_member(r, v, "tokens", "a count");
    }
    return 0;
}

static const char *const pass_members[] = {
    "from",           "to",      "metric", "pool",         "source",
    "gate_semantics", "protect", "runs",   "tool_version", NULL};

/* Gathers what else a pass says into one object, values as they stand in the text. */
static int read_extra(const struct reader *r, uint32_t pass, struct keep_pass *p)
{
    const struct json *d = &r->doc;
    struct json_out o;
    int rc = -1, any = 0;
    json_out_init(&o, 0);
    json_out_open(&o, '{');
    for (uint32_t k = json_first(d, pass); k != JSON_NONE;) {
        uint32_t v = json_next(d, k);
        size_t n;
        if (!is_one_of(d, k, pass_members)) {
            char *key = json_string(d, k, &r->m->arena, &n, r->err);
            if (!key)
                goto out;
            if (strlen(key) != n) {
                bad(r, k, "a key holds a NUL");
                goto out;
            }
            json_out_key(&o, key);
            json_out_raw(&o, d->text + d->nodes[v].start, d->nodes[v].end - d->nodes[v].start);
            any = 1;
        }
        k = json_next(d, v);
    }
    json_out_close(&o);
    struct span text;
    if (json_out_finish(&o, &text, r->err))
        goto out;
    if (any) {
        p->extra.p = (const unsigned char *)arena_strndup(&r->m->arena, (const char *)text.p,
                                                          text.n, r->err);
        p->extra.n = text.n;
        if (!p->extra.p)
            goto out;
    }
    rc = 0;
out:
    json_out_free(&o);
    return rc;
}

static int read_pass(const struct reader *r, uint32_t v, struct keep_pass *p)
{
    uint32_t runs;
    if (json_type(&r->doc, v) != JSON_OBJECT)
        return bad(r, v, "want an object for each pass");
    if (get_int(r, v, "from", 1, KEEP_MAP_MAX_EXPERTS, &p->from) ||
        get_int(r, v, "to", 1, KEEP_MAP_MAX_EXPERTS, &p->to) ||
        get_string(r, v, "metric", 0, &p->metric) || get_string(r, v, "pool", 0, &p->pool) ||
        get_string(r, v, "source", 0, &p->source) ||
        get_string(r, v, "gate_semantics", 0, &p->gate_semantics) ||
        get_string(r, v, "protect", 0, &p->protect) ||
        get_string(r, v, "tool_version", 0, &p->tool_version) ||
        get_object(r, v, "runs", JSON_ARRAY, &runs) || read_runs(r, runs, p))
        return -1;
    return read_extra(r, v, p);
}

static int read_passes(const struct reader *r, uint32_t array)
{
    struct keep_map *m = r->m;
    m->passes = arena_calloc(&m->arena, json_count(&r->doc, array), sizeof *m->passes, r->err);
    if (!m->passes)
        return -1;
    for (uint32_t v = json_first(&r->doc, array); v != JSON_NONE; v = json_next(&r->doc, v)) {
        if (read_pass(r, v, &m->passes[m->n_passes]))
            return prep_note(r->err, "pass %zu", m->n_passes + 1);
        m->n_passes++;
    }
    return 0;
}

static int read_report(const struct reader *r)
{
    uint32_t v = json_get(&r->doc, 0, "report");
    if (v == JSON_NONE)
        return 0;
    if (json_type(&r->doc, v) != JSON_OBJECT)
        return bad_member(r, v, "report", "an object");
    size_t n = r->doc.nodes[v].end - r->doc.nodes[v].start;
    r->m->report.p = (const unsigned char *)arena_strndup(
        &r->m->arena, r->doc.text + r->doc.nodes[v].start, n, r->err);
    r->m->report.n = n;
    return r->m->report.p ? 0 : -1;
}

static int read_identity(const struct reader *r)
{
    static const char *const base_members[] = {"model", "n_routed_experts", "config_sha256",
                                               "index_sha256", NULL};
    static const char *const parent_members[] = {"keep_map_sha256", "n_routed_experts", NULL};
    struct keep_map *m = r->m;
    uint32_t base, parent = json_get(&r->doc, 0, "parent");
    if (get_object(r, 0, "base", JSON_OBJECT, &base) || check_members(r, base, base_members) ||
        get_string(r, base, "model", 1, &m->base_model) ||
        get_int(r, base, "n_routed_experts", 1, KEEP_MAP_MAX_EXPERTS, &m->base_n_routed_experts) ||
        get_sha256(r, base, "config_sha256", 1, &m->base_config_sha256) ||
        get_sha256(r, base, "index_sha256", 1, &m->base_index_sha256))
        return -1;
    if (parent != JSON_NONE && json_type(&r->doc, parent) == JSON_NULL)
        return 0;
    if (get_object(r, 0, "parent", JSON_OBJECT, &parent) ||
        check_members(r, parent, parent_members) ||
        get_sha256(r, parent, "keep_map_sha256", 0, &m->parent_sha256))
        return -1;
    return get_int(r, parent, "n_routed_experts", 1, m->base_n_routed_experts,
                   &m->parent_n_routed_experts);
}

static int read_full(const struct reader *r)
{
    static const char *const known[] = {"format",
                                        "version",
                                        "base",
                                        "parent",
                                        "n_routed_experts",
                                        "num_hidden_layers",
                                        "num_nextn_predict_layers",
                                        "layers",
                                        "passes",
                                        "report",
                                        NULL};
    struct keep_map *m = r->m;
    uint32_t format = json_get(&r->doc, 0, "format"), layers, passes;
    int version;
    if (json_type(&r->doc, format) != JSON_STRING || !json_equal(&r->doc, format, "reap-keep-map"))
        return bad_member(r, format, "format", "\"reap-keep-map\"");
    if (get_int(r, 0, "version", 1, 1, &version) || check_members(r, 0, known) ||
        read_identity(r) ||
        get_int(r, 0, "n_routed_experts", 1, m->base_n_routed_experts, &m->n_routed_experts) ||
        get_int(r, 0, "num_hidden_layers", 1, KEEP_MAP_MAX_LAYERS, &m->num_hidden_layers) ||
        get_int(r, 0, "num_nextn_predict_layers", 0, KEEP_MAP_MAX_LAYERS,
                &m->num_nextn_predict_layers) ||
        get_object(r, 0, "layers", JSON_OBJECT, &layers) || read_layers(r, layers, 1) ||
        get_object(r, 0, "passes", JSON_ARRAY, &passes) || read_passes(r, passes) || read_report(r))
        return -1;
    int most = 0, n_layers = m->num_hidden_layers + m->num_nextn_predict_layers;
    for (size_t i = 0; i < m->n_layers; i++)
        most = m->layers[i].n_kept > most ? m->layers[i].n_kept : most;
    if (most != m->n_routed_experts)
        return prep_fail_tag(r->err, PREP_EDATA, "KEEP_MAP",
                             "%s: n_routed_experts is %d, but the longest list keeps %d",
                             r->doc.name, m->n_routed_experts, most);
    if (m->layers[m->n_layers - 1].layer >= n_layers)
        return prep_fail_tag(r->err, PREP_EDATA, "KEEP_MAP",
                             "%s: layer %d is named, but the model has %d layers", r->doc.name,
                             m->layers[m->n_layers - 1].layer, n_layers);
    return 0;
}

int keep_map_parse(struct keep_map *m, const char *text, size_t n, const char *name,
                   struct prep_error *err)
{
    *m = (struct keep_map){0};
    arena_init(&m->arena, 0);
    struct reader r = {.m = m, .err = err};
    int rc = -1;
    if (json_parse(&r.doc, text, n, name, err)) {
        if (err->code == PREP_EDATA)
            err->tag = "KEEP_MAP";
        goto out;
    }
    if (json_type(&r.doc, 0) != JSON_OBJECT) {
        bad(&r, 0, "want a JSON object");
        goto out;
    }
    m->full = json_get(&r.doc, 0, "format") != JSON_NONE;
    rc = m->full ? read_full(&r) : read_layers(&r, 0, 0);
out:
    json_free(&r.doc);
    if (rc)
        keep_map_free(m);
    return rc;
}

void keep_map_free(struct keep_map *m)
{
    arena_fini(&m->arena);
    *m = (struct keep_map){0};
}

const struct keep_layer *keep_map_layer(const struct keep_map *m, int layer)
{
    size_t low = 0, high = m->n_layers;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (m->layers[mid].layer == layer)
            return &m->layers[mid];
        if (m->layers[mid].layer < layer)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* SPDX-License-Identifier: MIT */
/*
 * {"format": "reap-obs", "version": 1, "metadata": {...}, "layers": {"3": {"total_tokens": N,
 *  "expert_frequency": [...], ...}, ...}}; everything but "layers" may be absent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/obs_build.h"

struct entry {
    int layer;
    uint32_t node;
};

static int wrong(struct obs_build *b, const struct json *d, uint32_t node, const char *want)
{
    char where[256];
    return obs_bad(b, "OBS_SHAPE", "%s: want %s", json_where(d, node, where, sizeof where), want);
}

/*
 * Shape of an array of numbers or of equally long arrays: 1 or 2 dimensions, or 0. Every element
 * was seen, so that a vector made from dims is never larger than the text.
 */
static int array_dims(const struct json *d, uint32_t node, uint64_t dims[2])
{
    dims[0] = json_count(d, node);
    uint32_t row = json_first(d, node);
    if (row == JSON_NONE || json_type(d, row) != JSON_ARRAY)
        return 1;
    dims[1] = json_count(d, row);
    for (; row != JSON_NONE; row = json_next(d, row)) {
        if (json_type(d, row) != JSON_ARRAY || json_count(d, row) != dims[1])
            return 0;
    }
    return 2;
}

static int read_number(struct obs_build *b, const struct json *d, uint32_t node, enum obs_type type,
                       void *out, uint64_t i)
{
    double v = 0;
    if (type == OBS_I64)
        return json_i64(d, node, &((int64_t *)out)[i]) ? wrong(b, d, node, "a 64-bit integer") : 0;
    if (json_f64(d, node, &v))
        return wrong(b, d, node, "a number");
    if (type == OBS_F64)
        ((double *)out)[i] = v;
    else
        ((float *)out)[i] = (float)v;
    return 0;
}

static int read_row(struct obs_build *b, const struct json *d, uint32_t node, enum obs_type type,
                    void *out, uint64_t *i)
{
    for (uint32_t v = json_first(d, node); v != JSON_NONE; v = json_next(d, v)) {
        if (read_number(b, d, v, type, out, (*i)++))
            return -1;
    }
    return 0;
}

static int read_array(struct obs_build *b, const struct json *d, uint32_t node, int n_dims,
                      enum obs_type type, void *out)
{
    uint64_t i = 0;
    if (n_dims == 1)
        return read_row(b, d, node, type, out, &i);
    for (uint32_t row = json_first(d, node); row != JSON_NONE; row = json_next(d, row)) {
        if (read_row(b, d, row, type, out, &i))
            return -1;
    }
    return 0;
}

static int read_vector(struct obs_build *b, const struct json *d, uint32_t object,
                       struct obs_layer *l, size_t key)
{
    char name[128];
    uint64_t dims[2] = {0, 0};
    if (*b->suffix && !obs_keys[key].suffixed)
        return 0;
    snprintf(name, sizeof name, "%s%s", obs_keys[key].name, b->suffix);
    uint32_t node = json_get(d, object, name);
    if (node == JSON_NONE)
        return 0;
    int n_dims = json_type(d, node) == JSON_ARRAY ? array_dims(d, node, dims) : 0;
    if (n_dims == 0)
        return wrong(b, d, node, "an array, or rows of equal length");
    void *p = obs_build_vector(b, l, key, n_dims, dims);
    return p ? read_array(b, d, node, n_dims, obs_keys[key].type, p) : -1;
}

static int read_output(struct obs_build *b, const struct json *d, uint32_t object,
                       struct obs_layer *l)
{
    static const char *const names[] = {OBS_OUTPUT_SUM, OBS_OUTPUT_MEAN};
    uint64_t dims[2] = {0, 0};
    uint32_t node = JSON_NONE;
    size_t i = 0;
    for (; *b->suffix == 0 && i < 2; i++) {
        node = json_get(d, object, names[i]);
        if (node != JSON_NONE)
            break;
    }
    if (node == JSON_NONE)
        return 0;
    int n_dims = json_type(d, node) == JSON_ARRAY ? array_dims(d, node, dims) : 0;
    if (n_dims == 0)
        return wrong(b, d, node, "rows of equal length");
    double *p = obs_build_output(b, l, names[i], n_dims, dims);
    return p ? read_array(b, d, node, n_dims, OBS_F64, p) : -1;
}

static int read_layer(struct obs_build *b, const struct json *d, const struct entry *e)
{
    if (json_type(d, e->node) != JSON_OBJECT)
        return wrong(b, d, e->node, "an object of metrics");
    struct obs_layer *l = obs_build_layer(b, e->layer);
    if (!l)
        return -1;
    uint32_t tokens = json_get(d, e->node, OBS_TOTAL_TOKENS);
    if (tokens != JSON_NONE) {
        if (json_i64(d, tokens, &l->total_tokens))
            return wrong(b, d, tokens, "total_tokens as a 64-bit integer");
        l->has_total_tokens = 1;
    }
    for (size_t k = 0; k < OBS_N_KEYS; k++) {
        if (read_vector(b, d, e->node, l, k))
            return -1;
    }
    if (read_output(b, d, e->node, l))
        return -1;
    return l->n_experts
               ? 0
               : obs_bad(b, "OBS_SHAPE", "%s: layer %d holds no known metric", b->path, l->layer);
}

static int by_layer(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

/* Layers are judged in ascending order; the parser has seen to it that no key occurs twice. */
static int read_layers(struct obs_build *b, const struct json *d, uint32_t object,
                       struct arena *tmp)
{
    size_t n = 0;
    struct entry *entries = arena_calloc(tmp, json_count(d, object), sizeof *entries, b->err);
    if (!entries)
        return -1;
    for (uint32_t key = json_first(d, object); key != JSON_NONE;) {
        size_t len = 0;
        uint32_t value = json_next(d, key);
        const char *text = json_string(d, key, tmp, &len, b->err);
        if (!text)
            return -1;
        entries[n] = (struct entry){obs_parse_layer(text, len), value};
        if (entries[n++].layer < 0)
            return wrong(b, d, key, "a layer index");
        key = json_next(d, value);
    }
    qsort(entries, n, sizeof *entries, by_layer);
    for (size_t i = 0; i < n; i++) {
        if (read_layer(b, d, &entries[i]))
            return -1;
    }
    return 0;
}

static int read_metadata(struct obs_build *b, const struct json *d, uint32_t object)
{
    struct arena *arena = &b->run->arena;
    if (json_type(d, object) != JSON_OBJECT)
        return wrong(b, d, object, "metadata as an object");
    for (uint32_t key = json_first(d, object); key != JSON_NONE;) {
        uint32_t value = json_next(d, key);
        size_t key_n = 0, value_n = 0;
        if (json_type(d, value) != JSON_STRING)
            return wrong(b, d, value, "metadata values as strings");
        char *k = json_string(d, key, arena, &key_n, b->err);
        char *v = json_string(d, value, arena, &value_n, b->err);
        if (!k || !v)
            return -1;
        if (strlen(k) != key_n || strlen(v) != value_n)
            return wrong(b, d, key, "metadata without NUL");
        if (obs_build_metadata(b, k, v))
            return -1;
        key = json_next(d, value);
    }
    return 0;
}

static int read_document(struct obs_build *b, const struct json *d, struct arena *tmp)
{
    int64_t number = 0;
    if (json_type(d, 0) != JSON_OBJECT)
        return wrong(b, d, 0, "an object with \"layers\"");
    uint32_t format = json_get(d, 0, "format"), version = json_get(d, 0, "version");
    uint32_t metadata = json_get(d, 0, "metadata"), layers = json_get(d, 0, "layers");
    if (format != JSON_NONE &&
        (json_type(d, format) != JSON_STRING || !json_equal(d, format, "reap-obs")))
        return wrong(b, d, format, "format \"reap-obs\"");
    if (version != JSON_NONE && (json_i64(d, version, &number) || number != 1))
        return wrong(b, d, version, "version 1");
    if (layers == JSON_NONE || json_type(d, layers) != JSON_OBJECT)
        return wrong(b, d, layers == JSON_NONE ? 0 : layers, "an object \"layers\"");
    if (metadata != JSON_NONE && read_metadata(b, d, metadata))
        return -1;
    return read_layers(b, d, layers, tmp);
}

int obs_read_json(struct obs_build *b, struct span file)
{
    struct json d;
    struct arena tmp;
    arena_init(&tmp, 0);
    if (json_parse(&d, (const char *)file.p, file.n, b->path, b->err))
        return -1;
    int rc = read_document(b, &d, &tmp) ? -1 : obs_build_native(b);
    json_free(&d);
    arena_fini(&tmp);
    return rc;
}

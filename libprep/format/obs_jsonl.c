/* SPDX-License-Identifier: MIT */
/*
 * One sample per line: {"observation": {"layers": {"3": {"expert_frequencies": [n...],
 * "reap_score": [mean...], "activation_norms": [mean...], "seqlen": T}}}}. A sample adds n,
 * n * reap_score, n * activation_norms and seqlen to the layer.
 */
#include <string.h>

#include "libprep/format/obs_build.h"

static int wrong(struct obs_build *b, const struct json *d, uint32_t node, const char *want)
{
    char where[256];
    return obs_bad(b, "OBS_SHAPE", "%s: want %s", json_where(d, node, where, sizeof where), want);
}

/* Counts may be spelled 12 or 12.0. */
static int read_count(struct obs_build *b, const struct json *d, uint32_t node, int64_t *v)
{
    double f = 0;
    if (json_i64(d, node, v) == 0)
        return 0;
    if (json_f64(d, node, &f) || !(f >= 0 && f < 0x1p53) || f != (double)(int64_t)f)
        return wrong(b, d, node, "a count");
    *v = (int64_t)f;
    return 0;
}

/* The layer, made at its first sample with vectors of zeros. */
static struct obs_layer *find_layer(struct obs_build *b, int layer, uint64_t n_experts)
{
    for (size_t i = 0; i < b->n_layers; i++) {
        if (b->layers[i].layer != layer)
            continue;
        if ((uint64_t)b->layers[i].n_experts == n_experts)
            return &b->layers[i];
        obs_bad(b, "OBS_SHAPE", "%s: layer %d: has %llu experts, in earlier samples %d", b->path,
                layer, (unsigned long long)n_experts, b->layers[i].n_experts);
        return NULL;
    }
    struct obs_layer *l = obs_build_layer(b, layer);
    for (size_t k = 0; l && k < OBS_N_KEYS; k++) {
        int wanted = strcmp(obs_keys[k].name, "expert_frequency") == 0 ||
                     strcmp(obs_keys[k].name, "ean_sum") == 0 ||
                     strcmp(obs_keys[k].name, "weighted_ean_sum") == 0;
        if (wanted && !obs_build_vector(b, l, k, 1, &n_experts))
            return NULL;
    }
    if (l)
        l->has_total_tokens = 1;
    return l;
}

static int get_array(struct obs_build *b, const struct json *d, uint32_t object, const char *name,
                     size_t n, uint32_t *first)
{
    uint32_t node = json_get(d, object, name);
    if (node == JSON_NONE || json_type(d, node) != JSON_ARRAY || json_count(d, node) != n)
        return obs_bad(b, "OBS_SHAPE", "%s: %s is not an array of %zu numbers", d->name, name, n);
    *first = json_first(d, node);
    return 0;
}

static int add_tokens(struct obs_build *b, const struct json *d, uint32_t object,
                      struct obs_layer *l)
{
    int64_t t = 0;
    uint32_t node = json_get(d, object, "seqlen");
    if (node == JSON_NONE)
        return wrong(b, d, object, "\"seqlen\"");
    if (read_count(b, d, node, &t))
        return -1;
    if (t < 0 || __builtin_add_overflow(l->total_tokens, t, &l->total_tokens))
        return wrong(b, d, node, "a seqlen that can be added");
    return 0;
}

/* n, n * reap_score and n * activation_norms, each product rounded, added in line order. */
static int add_layer(struct obs_build *b, const struct json *d, uint32_t object, int layer)
{
    uint32_t n_node = json_get(d, object, "expert_frequencies"), reap, norm;
    if (n_node == JSON_NONE || json_type(d, n_node) != JSON_ARRAY)
        return wrong(b, d, object, "\"expert_frequencies\"");
    size_t experts = json_count(d, n_node);
    struct obs_layer *l = find_layer(b, layer, experts);
    if (!l || get_array(b, d, object, "reap_score", experts, &reap) ||
        get_array(b, d, object, "activation_norms", experts, &norm))
        return -1;
    uint32_t count = json_first(d, n_node);
    for (size_t e = 0; e < experts; e++) {
        int64_t n = 0;
        double r = 0, a = 0;
        if (read_count(b, d, count, &n))
            return -1;
        if (json_f64(d, reap, &r) || json_f64(d, norm, &a))
            return wrong(b, d, reap, "numbers");
        if (n < 0 || __builtin_add_overflow(l->expert_frequency[e], n, &l->expert_frequency[e]))
            return wrong(b, d, count, "a count that can be added");
        l->weighted_ean_sum[e] += (double)n * r;
        l->ean_sum[e] += (double)n * a;
        count = json_next(d, count);
        reap = json_next(d, reap);
        norm = json_next(d, norm);
    }
    return add_tokens(b, d, object, l);
}

static int add_sample(struct obs_build *b, const struct json *d, struct arena *tmp)
{
    uint32_t observation =
        json_type(d, 0) == JSON_OBJECT ? json_get(d, 0, "observation") : JSON_NONE;
    uint32_t layers = JSON_NONE;
    if (observation != JSON_NONE && json_type(d, observation) == JSON_OBJECT)
        layers = json_get(d, observation, "layers");
    if (layers == JSON_NONE || json_type(d, layers) != JSON_OBJECT)
        return wrong(b, d, 0, "an object with \"observation\" and its \"layers\"");
    for (uint32_t key = json_first(d, layers); key != JSON_NONE;) {
        uint32_t value = json_next(d, key);
        size_t len = 0;
        const char *text = json_string(d, key, tmp, &len, b->err);
        int layer = text ? obs_parse_layer(text, len) : -1;
        if (layer < 0 || json_type(d, value) != JSON_OBJECT)
            return text ? wrong(b, d, key, "a layer index and an object") : -1;
        if (add_layer(b, d, value, layer))
            return prep_note(b->err, "layer %d", layer);
        key = json_next(d, value);
    }
    return 0;
}

static int read_line(struct obs_build *b, const char *text, size_t n, size_t number)
{
    struct json d;
    struct arena tmp;
    int rc = -1;
    arena_init(&tmp, 0);
    char *name = arena_printf(&tmp, b->err, "%s: line %zu", b->path, number);
    if (!name || json_parse(&d, text, n, name, b->err))
        goto out;
    rc = add_sample(b, &d, &tmp);
    json_free(&d);
out:
    arena_fini(&tmp);
    return rc;
}

static int is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r')
            return 0;
    }
    return 1;
}

int obs_read_jsonl(struct obs_build *b, struct span file)
{
    const char *text = (const char *)file.p;
    size_t number = 1;
    b->from_means = 1;
    for (size_t at = 0; at < file.n; number++) {
        const char *end = memchr(text + at, '\n', file.n - at);
        size_t n = end ? (size_t)(end - text) - at : file.n - at;
        if (!is_blank(text + at, n) && read_line(b, text + at, n, number))
            return -1;
        at += n + 1;
    }
    return 0;
}

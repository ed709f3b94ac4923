/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/model/config_read.h"

/* Elements of a list key: -1 with the error, else the node or JSON_NONE in *list. */
static int find_list(const struct config_reader *r, const char *key, uint32_t *list)
{
    *list = config_find(r, key);
    if (*list != JSON_NONE && json_type(r->d, *list) != JSON_ARRAY)
        return config_bad(r, *list, key, PREP_EDATA, "CONFIG_TYPE", "a list");
    return 0;
}

static int wrong_length(const struct config_reader *r, const char *key, const char *tag, size_t n,
                        int want)
{
    return prep_fail_tag(r->err, PREP_EDATA, tag,
                         "%s: %s has %zu entries, want one for each of %d layers", r->d->name, key,
                         n, want);
}

/* The two words of a list as 1 and 0. */
static int read_word(const struct config_reader *r, uint32_t node, const char *key, const char *tag,
                     const char *one, const char *zero, unsigned char *v)
{
    char want[64] = "\"";
    if (json_type(r->d, node) == JSON_STRING) {
        *v = (unsigned char)json_equal(r->d, node, one);
        if (*v || json_equal(r->d, node, zero))
            return 0;
    }
    strcat(strcat(strcat(strcat(want, one), "\" or \""), zero), "\"");
    return config_bad(r, node, key, PREP_EDATA, tag, want);
}

/* mlp_layer_types, when the file has it: must say what first_k_dense_replace says, if that is
 * there. */
static int read_type_list(const struct config_reader *r, uint32_t list)
{
    static const char KEY[] = "mlp_layer_types";
    struct config *c = r->c;
    size_t n = json_count(r->d, list);
    if (n != (size_t)c->num_hidden_layers && n != (size_t)c->n_layers)
        return wrong_length(r, KEY, "CONFIG_RANGE", n, c->num_hidden_layers);
    int layer = 0, dense = 0;
    for (uint32_t i = json_first(r->d, list); i != JSON_NONE; i = json_next(r->d, i), layer++) {
        if (read_word(r, i, KEY, "CONFIG_TYPE", "sparse", "dense", &c->is_moe[layer]))
            return -1;
        if (!c->is_moe[layer] && dense < layer)
            return config_bad(r, list, KEY, PREP_EUNSUP, "UNSUPPORTED",
                              "dense layers first and sparse ones after them");
        dense += !c->is_moe[layer];
    }
    if (dense > c->num_hidden_layers)
        return config_bad(r, list, KEY, PREP_EUNSUP, "UNSUPPORTED", "a sparse MTP layer");
    if (config_find(r, "first_k_dense_replace") != JSON_NONE && c->first_k_dense_replace != dense)
        return config_bad(r, list, KEY, PREP_EDATA, "CONFIG_RANGE",
                          "as many dense layers as first_k_dense_replace");
    c->first_k_dense_replace = dense;
    return 0;
}

int config_read_mlp_types(const struct config_reader *r)
{
    struct config *c = r->c;
    size_t n = (size_t)c->n_layers;
    uint32_t list;
    c->is_moe = arena_calloc(&c->arena, n, 1, r->err);
    c->full_indexer = arena_calloc(&c->arena, n, 1, r->err);
    c->n_experts = arena_calloc(&c->arena, n, sizeof *c->n_experts, r->err);
    if (!c->is_moe || !c->full_indexer || !c->n_experts || find_list(r, "mlp_layer_types", &list))
        return -1;
    if (list != JSON_NONE) {
        if (read_type_list(r, list))
            return -1;
    } else if (config_find(r, "first_k_dense_replace") == JSON_NONE) {
        return config_missing(r, "first_k_dense_replace");
    }
    for (int layer = 0; layer < c->n_layers; layer++)
        c->is_moe[layer] = layer >= c->first_k_dense_replace;
    return 0;
}

int config_read_expert_counts(const struct config_reader *r)
{
    static const char KEY[] = "num_routed_experts_per_layer";
    struct config *c = r->c;
    uint32_t list;
    for (int layer = 0; layer < c->n_layers; layer++)
        c->n_experts[layer] = c->is_moe[layer] ? c->n_routed_experts : 0;
    if (find_list(r, KEY, &list))
        return -1;
    if (list == JSON_NONE)
        return 0;
    size_t n = json_count(r->d, list);
    if (n != (size_t)c->n_layers)
        return wrong_length(r, KEY, "CONFIG_RANGE", n, c->n_layers);
    int layer = 0, most = 0;
    for (uint32_t i = json_first(r->d, list); i != JSON_NONE; i = json_next(r->d, i), layer++) {
        int64_t lo = c->is_moe[layer] ? c->num_experts_per_tok : 0;
        int64_t hi = c->is_moe[layer] ? c->n_routed_experts : 0, v;
        if (config_node_int(r, i, KEY, lo, hi, &v))
            return -1;
        if (v % c->n_group != 0)
            return config_bad(r, i, KEY, PREP_EDATA, "CONFIG_RANGE", "a multiple of n_group");
        c->n_experts[layer] = (int)v;
        most = v > most ? (int)v : most;
    }
    if (most > 0 && most != c->n_routed_experts)
        return config_bad(r, list, KEY, PREP_EDATA, "CONFIG_RANGE",
                          "n_routed_experts as its largest entry");
    return 0;
}

static int read_types(const struct config_reader *r, uint32_t list, const char *key,
                      unsigned char *full)
{
    struct config *c = r->c;
    size_t n = json_count(r->d, list);
    if (n != (size_t)c->num_hidden_layers)
        return wrong_length(r, key, "INDEXCACHE", n, c->num_hidden_layers);
    int layer = 0;
    for (uint32_t i = json_first(r->d, list); i != JSON_NONE; i = json_next(r->d, i), layer++)
        if (read_word(r, i, key, "INDEXCACHE", "full", "shared", &full[layer]))
            return -1;
    return 0;
}

/* A string of F and S, one letter per main layer; or a list of words, as indexer_types. */
static int read_pattern(const struct config_reader *r, uint32_t node, unsigned char *full)
{
    static const char KEY[] = "index_topk_pattern";
    struct config *c = r->c;
    if (json_type(r->d, node) == JSON_ARRAY)
        return read_types(r, node, KEY, full);
    if (json_type(r->d, node) != JSON_STRING)
        return config_bad(r, node, KEY, PREP_EDATA, "CONFIG_TYPE", "a string of F and S");
    size_t n;
    const char *s = json_string(r->d, node, &c->arena, &n, r->err);
    if (!s)
        return -1;
    if (n > (size_t)c->num_hidden_layers)
        return wrong_length(r, KEY, "INDEXCACHE", n, c->num_hidden_layers);
    for (size_t i = 0; i < n; i++) {
        if (s[i] != 'F' && s[i] != 'S')
            return config_bad(r, node, KEY, PREP_EDATA, "INDEXCACHE", "only the letters F and S");
        full[i] = s[i] == 'F';
    }
    if (n < (size_t)c->num_hidden_layers)
        report_warn(r->report, "INDEXCACHE_SHORT",
                    "%s: index_topk_pattern has %zu letters for %d layers; engines differ in what "
                    "the rest does (taken as F)",
                    r->d->name, n, c->num_hidden_layers);
    return 0;
}

/* Layer i is full when max(i - offset + 1, 0) is a multiple of freq. */
static int read_frequency(const struct config_reader *r, unsigned char *full)
{
    int64_t freq = 1, offset = 2;
    if (config_int(r, "index_topk_freq", 1, CONFIG_MAX_LAYERS, &freq) ||
        config_int(r, "index_skip_topk_offset", 0, CONFIG_MAX_LAYERS, &offset))
        return -1;
    for (int layer = 0; layer < r->c->num_hidden_layers; layer++) {
        int64_t i = layer - offset + 1;
        full[layer] = (i > 0 ? i : 0) % freq == 0;
    }
    return 0;
}

int config_read_indexers(const struct config_reader *r)
{
    struct config *c = r->c;
    size_t n = (size_t)c->n_layers;
    uint32_t types, pattern = config_find(r, "index_topk_pattern");
    unsigned char *other = arena_calloc(&c->arena, n, 1, r->err);
    if (!other || find_list(r, "indexer_types", &types))
        return -1;
    memset(c->full_indexer, 1, n); /* MTP layers always run their own */
    memset(other, 1, n);
    if (pattern != JSON_NONE && read_pattern(r, pattern, other))
        return -1;
    if (types != JSON_NONE) {
        if (read_types(r, types, "indexer_types", c->full_indexer))
            return -1;
        if (pattern != JSON_NONE && memcmp(c->full_indexer, other, n) != 0)
            report_warn(r->report, "INDEXCACHE_TWICE",
                        "%s: indexer_types and index_topk_pattern disagree; indexer_types rules",
                        r->d->name);
    } else if (pattern != JSON_NONE) {
        memcpy(c->full_indexer, other, n);
        c->shared_indexers_stored = 1;
    } else if (read_frequency(r, c->full_indexer)) {
        return -1;
    }
    if (!c->full_indexer[0])
        return prep_fail_tag(r->err, PREP_EDATA, "INDEXCACHE",
                             "%s: layer 0 shares a selection, but there is none before it: it "
                             "must be F",
                             r->d->name);
    return 0;
}

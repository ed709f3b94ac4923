/* SPDX-License-Identifier: MIT */
#include "libprep/prune/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"

int prune_model_from_config(struct prune_model *m, const struct config *c, struct arena *arena,
                            struct prep_error *err)
{
    size_t n = 0;
    *m = (struct prune_model){0};
    m->n_routed_experts = c->n_routed_experts;
    m->num_experts_per_tok = c->num_experts_per_tok;
    m->n_group = c->n_group;
    m->topk_group = c->topk_group;
    m->num_hidden_layers = c->num_hidden_layers;
    m->num_nextn_predict_layers = c->num_nextn_predict_layers;
    int *layers = arena_calloc(arena, (size_t)c->n_layers, sizeof *layers, err);
    int *experts = arena_calloc(arena, (size_t)c->n_layers, sizeof *experts, err);
    if (!layers || !experts)
        return -1;
    for (int i = 0; i < c->n_layers; i++) {
        if (!c->is_moe[i])
            continue;
        layers[n] = i;
        experts[n++] = c->n_experts[i];
    }
    m->moe_layers = layers;
    m->n_experts = experts;
    m->n_moe_layers = n;
    return 0;
}

int prune_model_experts(const struct prune_model *m, size_t i)
{
    return m->n_experts ? m->n_experts[i] : m->n_routed_experts;
}

size_t prune_model_find(const struct prune_model *m, int layer)
{
    for (size_t i = 0; i < m->n_moe_layers; i++)
        if (m->moe_layers[i] == layer)
            return i;
    return SIZE_MAX;
}

int prune_model_is_mtp(const struct prune_model *m, int layer)
{
    return layer >= m->num_hidden_layers;
}

static const char *const pool_names[] = {"routed", "total-tokens", "equal", "weights", NULL};
static const char *const metric_names[] = {"reap",
                                           "ean_mean",
                                           "ean_sum",
                                           "weighted_ean_sum",
                                           "frequency",
                                           "weighted_frequency_sum",
                                           "max_activations",
                                           "ean_ca",
                                           NULL};
static const char *const mtp_names[] = {"proxy", "own", "first", "full", "drop", NULL};
static const char *const protect_names[] = {"none", "super", "outliers", NULL};
static const char *const norm_names[] = {"sum", "none", NULL};

const char *prune_pool_name(enum prune_pool v)
{
    return pool_names[v];
}

const char *prune_metric_name(enum prune_metric v)
{
    return metric_names[v];
}

const char *prune_mtp_name(enum prune_mtp v)
{
    return mtp_names[v];
}

const char *prune_protect_name(enum prune_protect v)
{
    return protect_names[v];
}

/* Position of word among the names; an unknown one is refused with the whole list. */
static int choose(int *v, const char *what, const char *const *names, const char *word,
                  struct prep_error *err)
{
    char list[256] = "";
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], word) == 0) {
            *v = i;
            return 0;
        }
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", names[i]);
    }
    return prep_fail(err, PREP_EUSAGE, "%s \"%s\" is unknown, want one of %s", what, word, list);
}

int prune_pool_parse(enum prune_pool *v, const char *word, struct prep_error *err)
{
    int i;
    if (choose(&i, "pool mode", pool_names, word, err))
        return -1;
    *v = (enum prune_pool)i;
    return 0;
}

int prune_metric_parse(enum prune_metric *v, const char *word, struct prep_error *err)
{
    int i;
    if (choose(&i, "metric", metric_names, word, err))
        return -1;
    *v = (enum prune_metric)i;
    return 0;
}

int prune_mtp_parse(enum prune_mtp *v, const char *word, struct prep_error *err)
{
    int i;
    if (choose(&i, "MTP rule", mtp_names, word, err))
        return -1;
    *v = (enum prune_mtp)i;
    return 0;
}

int prune_layer_norm_parse(enum prune_layer_norm *v, const char *word, struct prep_error *err)
{
    int i;
    if (choose(&i, "layer norm", norm_names, word, err))
        return -1;
    *v = (enum prune_layer_norm)i;
    return 0;
}

static int bad(const struct json *d, uint32_t node, const char *what, struct prep_error *err)
{
    char where[512];
    return prep_fail(err, PREP_EDATA, "%s: %s", json_where(d, node, where, sizeof where), what);
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static int compare_lists(const void *a, const void *b)
{
    return compare_ints(&((const struct layer_ids *)a)->layer,
                        &((const struct layer_ids *)b)->layer);
}

static int compare_counts(const void *a, const void *b)
{
    return compare_ints(&((const struct layer_count *)a)->layer,
                        &((const struct layer_count *)b)->layer);
}

/* Opens {"3": ...}; the number of layers is capped. */
static int parse_layers(struct json *d, const char *text, size_t bytes, const char *name,
                        struct prep_error *err)
{
    if (json_parse(d, text, bytes, name, err))
        return -1;
    if (json_type(d, 0) != JSON_OBJECT || json_count(d, 0) > KEEP_MAP_MAX_LAYERS)
        return bad(d, 0, "want an object whose keys are layer indices", err);
    for (uint32_t k = json_first(d, 0); k != JSON_NONE; k = json_next(d, json_next(d, k)))
        if (keep_map_layer_key(d, k) < 0)
            return bad(d, k, "not a layer index from 0 to 1023", err);
    return 0;
}

static int read_ids(const struct json *d, uint32_t array, struct layer_ids *l, struct arena *arena,
                    struct prep_error *err)
{
    size_t n = json_type(d, array) == JSON_ARRAY ? json_count(d, array) : SIZE_MAX;
    if (n > KEEP_MAP_MAX_EXPERTS)
        return bad(d, array, "want an array of expert ids", err);
    l->ids = arena_calloc(arena, n, sizeof *l->ids, err);
    if (!l->ids)
        return -1;
    for (uint32_t v = json_first(d, array); v != JSON_NONE; v = json_next(d, v)) {
        int64_t id;
        if (json_i64(d, v, &id) || id < 0 || id >= KEEP_MAP_MAX_EXPERTS)
            return bad(d, v, "not an expert id", err);
        l->ids[l->n++] = (int)id;
    }
    qsort(l->ids, l->n, sizeof *l->ids, compare_ints);
    for (size_t i = 1; i < l->n; i++)
        if (l->ids[i] == l->ids[i - 1])
            return bad(d, array, "an expert id stands twice in the list", err);
    return 0;
}

int prune_ids_parse(struct layer_ids **lists, size_t *n, const char *text, size_t bytes,
                    const char *name, struct arena *arena, struct prep_error *err)
{
    struct json d = {0};
    int rc = -1;
    *n = 0;
    if (parse_layers(&d, text, bytes, name, err))
        goto out;
    *lists = arena_calloc(arena, json_count(&d, 0), sizeof **lists, err);
    if (!*lists)
        goto out;
    for (uint32_t k = json_first(&d, 0); k != JSON_NONE; k = json_next(&d, json_next(&d, k))) {
        struct layer_ids *l = &(*lists)[(*n)++];
        l->layer = keep_map_layer_key(&d, k);
        if (read_ids(&d, json_next(&d, k), l, arena, err))
            goto out;
    }
    qsort(*lists, *n, sizeof **lists, compare_lists);
    rc = 0;
out:
    json_free(&d);
    return rc;
}

int prune_counts_parse(struct layer_count **counts, size_t *n, const char *text, size_t bytes,
                       const char *name, struct arena *arena, struct prep_error *err)
{
    struct json d = {0};
    int rc = -1;
    *n = 0;
    if (parse_layers(&d, text, bytes, name, err))
        goto out;
    *counts = arena_calloc(arena, json_count(&d, 0), sizeof **counts, err);
    if (!*counts)
        goto out;
    for (uint32_t k = json_first(&d, 0); k != JSON_NONE; k = json_next(&d, json_next(&d, k))) {
        int64_t count;
        if (json_i64(&d, json_next(&d, k), &count) || count < 0 || count > KEEP_MAP_MAX_EXPERTS) {
            bad(&d, json_next(&d, k), "not a number of experts", err);
            goto out;
        }
        (*counts)[(*n)++] = (struct layer_count){keep_map_layer_key(&d, k), (int)count};
    }
    qsort(*counts, *n, sizeof **counts, compare_counts);
    rc = 0;
out:
    json_free(&d);
    return rc;
}

int prune_weights_parse(double **weights, size_t *n, const char *text, struct arena *arena,
                        struct prep_error *err)
{
    struct json d = {0};
    int rc = -1;
    *n = 0;
    /* The list is a JSON array without its brackets: numbers read the same in every locale. */
    char *list = arena_printf(arena, err, "[%s]", text);
    if (!list || json_parse(&d, list, strlen(list), "weights", err))
        goto out;
    *weights = arena_calloc(arena, json_count(&d, 0), sizeof **weights, err);
    if (!*weights)
        goto out;
    for (uint32_t v = json_first(&d, 0); v != JSON_NONE; v = json_next(&d, v)) {
        double w;
        if (json_f64(&d, v, &w) || !isfinite(w) || w < 0) {
            prep_fail(err, PREP_EUSAGE, "weights \"%s\": number %zu is not finite and >= 0", text,
                      *n + 1);
            goto out;
        }
        (*weights)[(*n)++] = w;
    }
    rc = 0;
out:
    if (rc && err->code == PREP_EDATA)
        err->code = PREP_EUSAGE;
    json_free(&d);
    return rc;
}

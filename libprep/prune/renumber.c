/* SPDX-License-Identifier: MIT */
#include "libprep/prune/renumber.h"

#include <stdio.h>
#include <string.h>

void renumber_fini(struct renumber *r)
{
    arena_fini(&r->arena);
    *r = (struct renumber){0};
}

/* The ids of the input that stay in this layer, n_kept of them. */
static const int *ids_for(struct renumber *r, const struct keep_map *map,
                          const struct keep_layer *k, int n_experts, struct prep_error *err)
{
    const int *ids = k->kept_parent;
    if (k->n_parent && k->n_parent != n_experts) {
        if (!map->full || map->base_n_routed_experts != n_experts) {
            prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                          "layer %d of the keep-map is cut from %d experts, the checkpoint has %d",
                          k->layer, k->n_parent, n_experts);
            return NULL;
        }
        ids = k->kept_source;
        r->from_base = 1;
    }
    for (int i = 0; i < k->n_kept; i++) {
        if (ids[i] >= 0 && ids[i] < n_experts && (i == 0 || ids[i] > ids[i - 1]))
            continue;
        prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                      "layer %d of the keep-map: id %d, want ascending ids below %d", k->layer,
                      ids[i], n_experts);
        return NULL;
    }
    return ids;
}

static int fit_layer(struct renumber *r, const struct keep_map *map, const struct keep_layer *k,
                     struct prep_error *err)
{
    struct renumber_layer *l = &r->layers[k->layer];
    if (l->n_parent == 0)
        return prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                             "the keep-map names layer %d, which has no routed experts", k->layer);
    if (k->n_kept < 1)
        return prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                             "layer %d of the keep-map keeps no expert", k->layer);
    const int *ids = ids_for(r, map, k, l->n_parent, err);
    if (!ids)
        return -1;
    if (k->n_kept == l->n_parent)
        return 0;
    int *new_id = arena_alloc(&r->arena, (size_t)l->n_parent * sizeof *new_id, err);
    if (!new_id)
        return -1;
    for (int e = 0; e < l->n_parent; e++)
        new_id[e] = -1;
    for (int i = 0; i < k->n_kept; i++)
        new_id[ids[i]] = i;
    l->kept = ids;
    l->n_kept = k->n_kept;
    l->new_id = new_id;
    return 0;
}

static int fit(struct renumber *r, const struct config *config, const struct keep_map *map,
               struct prep_error *err)
{
    if (map->full && map->num_hidden_layers != config->num_hidden_layers)
        return prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                             "the keep-map is of a model with %d layers, the checkpoint has %d",
                             map->num_hidden_layers, config->num_hidden_layers);
    for (int i = 0; i < r->n_layers; i++) {
        r->layers[i].n_parent = config->is_moe[i] ? config->n_experts[i] : 0;
        r->layers[i].n_kept = r->layers[i].n_parent;
    }
    for (size_t i = 0; i < map->n_layers; i++) {
        const struct keep_layer *k = &map->layers[i];
        /* A checkpoint may have lost its MTP layer since the map was made. */
        if (k->layer >= r->num_hidden_layers && (r->drop_mtp || k->layer >= r->n_layers))
            continue;
        if (k->layer < 0 || fit_layer(r, map, k, err))
            return -1;
    }
    return 0;
}

int renumber_init(struct renumber *r, const struct config *config, const struct keep_map *map,
                  int drop_mtp, struct prep_error *err)
{
    *r = (struct renumber){.n_layers = config->n_layers,
                           .num_hidden_layers = config->num_hidden_layers,
                           .drop_mtp = drop_mtp};
    arena_init(&r->arena, 0);
    r->layers = arena_calloc(&r->arena, (size_t)r->n_layers, sizeof *r->layers, err);
    if (!r->layers || fit(r, config, map, err)) {
        renumber_fini(r);
        return -1;
    }
    return 0;
}

const struct renumber_layer *renumber_pruned(const struct renumber *r, int layer)
{
    if (layer < 0 || layer >= r->n_layers || !r->layers[layer].new_id)
        return NULL;
    return &r->layers[layer];
}

int renumber_drops_layer(const struct renumber *r, int layer)
{
    return r->drop_mtp && layer >= r->num_hidden_layers;
}

static void format_shape(const struct tensor_info *t, char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = 0;
    for (int i = 0; i < t->n_dims && n < size; i++) {
        int k =
            snprintf(buf + n, size - n, "%s%llu", i ? ", " : "", (unsigned long long)t->shape[i]);
        n += k > 0 ? (size_t)k : 0;
    }
}

static int unknown_tensor(const struct tensor_info *t, const char *want, int n,
                          struct prep_error *err)
{
    char shape[200];
    format_shape(t, shape, sizeof shape);
    return prep_fail_tag(err, PREP_EDATA, "APPLY_UNKNOWN_TENSOR",
                         "%s of shape [%s] in a layer of %d experts: %s", t->name, shape, n, want);
}

static int has_rows(const struct tensor_info *t, int n)
{
    return t->n_dims > 0 && t->shape[0] == (uint64_t)n;
}

/* One value for all experts. */
static int is_shared_value(const struct tensor_info *t)
{
    return t->n_dims == 0 || t->shape[0] == 1;
}

static int is_one_of(const struct name_parts *parts, const char *const *list)
{
    for (; *list; list++)
        if (name_suffix_is(parts, *list))
            return 1;
    return 0;
}

static int quantised_router(const struct tensor_info *t, struct prep_error *err)
{
    return prep_fail_tag(err, PREP_EDATA, "APPLY_QUANTISED_ROUTER",
                         "%s: a quantised router cannot lose experts without being decoded; "
                         "want mlp.gate.weight with one row per expert",
                         t->name);
}

static int router_fate(struct renumber_fate *fate, const struct tensor_info *t,
                       struct prep_error *err)
{
    /* Packed along the experts, or described by their number. */
    static const char *const packed[] = {"qweight",
                                         "qzeros",
                                         "scales",
                                         "g_idx",
                                         "weight_packed",
                                         "weight_shape",
                                         "weight_g_idx",
                                         "weight_zero_point",
                                         NULL};
    static const char *const rows[] = {"weight", "bias", "e_score_correction_bias", NULL};
    static const char *const scales[] = {"weight_scale",
                                         "weight_scale_inv",
                                         "weight_scale_2",
                                         "weight_global_scale",
                                         "input_scale",
                                         "input_global_scale",
                                         NULL};
    int n = fate->layer->n_parent;
    if (is_one_of(&fate->parts, packed))
        return quantised_router(t, err);
    if (has_rows(t, n)) {
        if (!is_one_of(&fate->parts, rows) && !is_one_of(&fate->parts, scales))
            return unknown_tensor(t, "not known what its rows are", n, err);
        fate->action = RENUMBER_GATHER;
        return 0;
    }
    if (is_one_of(&fate->parts, rows))
        return unknown_tensor(t, "want one row per expert", n, err);
    if (is_one_of(&fate->parts, scales) && !is_shared_value(t))
        return quantised_router(t, err); /* blocks that span several experts */
    return 0;
}

static int fate_in_pruned_layer(struct renumber_fate *fate, const struct tensor_info *t,
                                struct prep_error *err)
{
    const struct renumber_layer *l = fate->layer;
    switch (fate->parts.role) {
    case ROLE_EXPERT:
        if (fate->parts.expert >= l->n_parent)
            return unknown_tensor(t, "there is no such expert", l->n_parent, err);
        fate->expert = l->new_id[fate->parts.expert];
        if (fate->expert != fate->parts.expert)
            fate->action = fate->expert < 0 ? RENUMBER_DROP : RENUMBER_RENAME;
        return 0;
    case ROLE_FUSED_EXPERTS:
        if (has_rows(t, l->n_parent))
            fate->action = RENUMBER_GATHER;
        else if (!is_shared_value(t))
            return unknown_tensor(t, "want a first dimension of that or of 1", l->n_parent, err);
        return 0;
    case ROLE_ROUTER:
        return router_fate(fate, t, err);
    case ROLE_OTHER:
    case ROLE_DENSE_MLP:
        if (strstr(t->name, "mlp.experts") ||
            (strstr(t->name, "mlp.gate") && has_rows(t, l->n_parent)))
            return unknown_tensor(t, "not known whether it belongs to the experts", l->n_parent,
                                  err);
        return 0;
    default:
        return 0;
    }
}

int renumber_tensor(struct renumber_fate *fate, const struct renumber *r,
                    const struct tensor_info *tensor, struct prep_error *err)
{
    *fate = (struct renumber_fate){.parts = name_parse(tensor->name, strlen(tensor->name))};
    int layer = fate->parts.layer;
    fate->expert = fate->parts.expert;
    if (layer >= 0 && renumber_drops_layer(r, layer)) {
        fate->action = RENUMBER_DROP;
        return 0;
    }
    fate->layer = renumber_pruned(r, layer);
    return fate->layer ? fate_in_pruned_layer(fate, tensor, err) : 0;
}

void renumber_module(struct renumber_fate *fate, const struct renumber *r, const char *name,
                     size_t n)
{
    *fate = (struct renumber_fate){.parts = name_parse(name, n)};
    int layer = fate->parts.layer;
    fate->expert = fate->parts.expert;
    fate->layer = renumber_pruned(r, layer);
    if (layer >= 0 && renumber_drops_layer(r, layer)) {
        fate->action = RENUMBER_DROP;
    } else if (fate->layer && fate->expert >= 0) {
        /* A name of an expert that never was goes, too: its number may mean another one now. */
        fate->expert =
            fate->expert < fate->layer->n_parent ? fate->layer->new_id[fate->expert] : -1;
        if (fate->expert != fate->parts.expert)
            fate->action = fate->expert < 0 ? RENUMBER_DROP : RENUMBER_RENAME;
    }
}

/* SPDX-License-Identifier: MIT */
#include "libprep/prune/protect.h"

#include <stdlib.h>

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

float protect_quantile(float *v, size_t n)
{
    if (n == 0)
        return 0;
    qsort(v, n, sizeof *v, compare_floats);
    const float position = 0.995f * (float)(n - 1);
    const size_t i = (size_t)position;
    if (i + 1 >= n)
        return v[n - 1];
    const float w = position - (float)i;
    const float step = w * (v[i + 1] - v[i]);
    return v[i] + step;
}

/* thr = max(q, M/10) over all maxima of all observed layers, in the pool's own id space. */
static int find_threshold(struct selection *s, struct prep_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_layers; i++)
        n += (size_t)s->layers[i].pool->n_experts;
    float *all = arena_calloc(&s->arena, n, sizeof *all, err);
    if (!all)
        return -1;
    n = 0;
    for (size_t i = 0; i < s->n_layers; i++)
        for (int e = 0; e < s->layers[i].pool->n_experts; e++)
            all[n++] = s->layers[i].pool->max_activations[e];
    const double q = (double)protect_quantile(all, n);
    const double tenth = n ? (double)all[n - 1] / 10 : 0;
    s->threshold = q > tenth ? q : tenth;
    return 0;
}

static int protect_outliers(struct selection *s, enum prune_protect rule, struct prep_error *err)
{
    if (find_threshold(s, err))
        return -1;
    size_t n = s->n_layers;
    if (rule == PROTECT_SUPER)
        n = (size_t)(0.75 * (double)n);
    for (size_t i = 0; i < n; i++) {
        struct select_layer *l = &s->layers[i];
        for (int e = 0; e < l->n_experts; e++) {
            int id = l->pool_id ? l->pool_id[e] : e;
            if (!((double)l->pool->max_activations[id] > s->threshold))
                continue;
            if (l->rank_class[e] == RANK_DROP)
                return prep_fail_tag(err, PREP_EUSAGE, "PLAN_PROTECT_CONFLICT",
                                     "layer %d: expert %d is on the drop list, but its largest "
                                     "activation %g is above the threshold %g of --protect-%s",
                                     l->layer, l->base_id ? l->base_id[e] : e,
                                     (double)l->pool->max_activations[id], s->threshold,
                                     prune_protect_name(rule));
            l->auto_protected[e] = 1;
            l->rank_class[e] = RANK_PROTECTED;
        }
    }
    return 0;
}

static struct select_layer *find_layer(struct selection *s, int layer)
{
    for (size_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].layer == layer)
            return &s->layers[i];
    return NULL;
}

/* The candidate that is this base expert, or -1 when an earlier pass dropped it. */
static int candidate_of(const struct select_layer *l, int base)
{
    if (!l->base_id)
        return base;
    for (int e = 0; e < l->n_experts; e++)
        if (l->base_id[e] == base)
            return e;
    return -1;
}

static int mark_list(struct select_layer *l, const struct layer_ids *list, int n_base, int rank,
                     struct report *report, struct prep_error *err)
{
    const char *what = rank == RANK_DROP ? "drop" : "protect";
    for (size_t i = 0; i < list->n; i++) {
        if (list->ids[i] < 0 || list->ids[i] >= n_base)
            return prep_fail(err, PREP_EDATA, "%s list: layer %d has no expert %d, only 0 to %d",
                             what, l->layer, list->ids[i], n_base - 1);
        int e = candidate_of(l, list->ids[i]);
        if (e < 0) {
            report_warn(report, "PLAN_LIST_UNUSED",
                        "%s list: expert %d of layer %d was dropped by an earlier pass", what,
                        list->ids[i], l->layer);
            continue;
        }
        if (l->rank_class[e] == RANK_PROTECTED && rank == RANK_DROP)
            return prep_fail_tag(err, PREP_EUSAGE, "PLAN_PROTECT_CONFLICT",
                                 "layer %d: expert %d is on the protect and on the drop list",
                                 l->layer, list->ids[i]);
        l->rank_class[e] = (signed char)rank;
    }
    return 0;
}

static int mark_lists(struct selection *s, const struct layer_ids *lists, size_t n, int rank,
                      const struct known_map *parent, struct report *report, struct prep_error *err)
{
    const char *what = rank == RANK_DROP ? "drop" : "protect";
    for (size_t i = 0; i < n; i++) {
        size_t at = prune_model_find(s->model, lists[i].layer);
        struct select_layer *l = find_layer(s, lists[i].layer);
        if (at == SIZE_MAX)
            return prep_fail(err, PREP_EDATA, "%s list: layer %d is no MoE layer of the model",
                             what, lists[i].layer);
        if (!l) {
            report_warn(report, "PLAN_LIST_UNUSED",
                        "%s list: layer %d is not selected by statistics", what, lists[i].layer);
            continue;
        }
        int n_base = parent ? parent->map->base_n_routed_experts : l->n_experts;
        if (mark_list(l, &lists[i], n_base, rank, report, err))
            return -1;
    }
    return 0;
}

int protect_mark(struct selection *s, const struct known_map *parent, const struct prune_options *o,
                 struct report *report, struct prep_error *err)
{
    if (mark_lists(s, o->protect, o->n_protect, RANK_PROTECTED, parent, report, err) ||
        mark_lists(s, o->drop, o->n_drop, RANK_DROP, parent, report, err))
        return -1;
    return o->protect_auto == PROTECT_NONE ? 0 : protect_outliers(s, o->protect_auto, err);
}

/* SPDX-License-Identifier: MIT */
#include "libprep/prune/compose.h"

#include <string.h>

#include "libprep/base/json.h"

struct composer {
    struct keep_map *out;
    const struct prune_model *model;
    const struct known_map *parent;
    const struct prune_options *options;
    struct report *report;
    struct prep_error *err;
};

static const char *copy_string(struct composer *c, const char *s)
{
    return s ? arena_strndup(&c->out->arena, s, strlen(s), c->err) : NULL;
}

static int copy_span(struct composer *c, struct span *to, const struct span *from)
{
    *to = (struct span){NULL, from->n};
    if (from->n == 0)
        return 0;
    to->p = (const unsigned char *)arena_strndup(&c->out->arena, (const char *)from->p, from->n,
                                                 c->err);
    return to->p ? 0 : -1;
}

static int *copy_ids(struct composer *c, const int *ids, int n)
{
    int *copy = arena_calloc(&c->out->arena, (size_t)n, sizeof *copy, c->err);
    for (int i = 0; copy && i < n; i++)
        copy[i] = ids[i];
    return copy;
}

/* The parent's survivors of a layer; NULL when input ids are base ids. */
static const struct keep_layer *parent_layer(const struct composer *c, int layer)
{
    return c->parent ? keep_map_layer(c->parent->map, layer) : NULL;
}

/* Adds a layer whose kept ids are ids of the input checkpoint. */
static int add_layer(struct composer *c, int layer, int n_parent, const char *origin,
                     const int *kept, int n)
{
    const struct keep_layer *k = parent_layer(c, layer);
    struct keep_layer *l = &c->out->layers[c->out->n_layers++];
    *l = (struct keep_layer){.layer = layer, .n_parent = n_parent, .n_kept = n};
    l->origin = copy_string(c, origin);
    l->kept_parent = copy_ids(c, kept, n);
    l->kept_source = copy_ids(c, kept, n);
    if (!l->origin || !l->kept_parent || !l->kept_source)
        return -1;
    for (int i = 0; k && i < n; i++)
        l->kept_source[i] = k->kept_source[kept[i]];
    if (n > c->out->n_routed_experts)
        c->out->n_routed_experts = n;
    return 0;
}

/*
 * Adds a layer whose kept ids are ids of the base; *missing is the first that the input no
 * longer holds, or -1.
 */
static int add_base_layer(struct composer *c, int layer, int n_parent, const char *origin,
                          const int *kept, int n, int *missing)
{
    const struct keep_layer *k = parent_layer(c, layer);
    int *ids = copy_ids(c, kept, n);
    *missing = -1;
    if (!ids)
        return -1;
    for (int i = 0, j = 0; i < n; i++) {
        /* Both lists ascend. */
        while (k && j < k->n_kept && k->kept_source[j] < kept[i])
            j++;
        if (k ? j == k->n_kept || k->kept_source[j] != kept[i] : kept[i] >= n_parent) {
            *missing = kept[i];
            return 0;
        }
        ids[i] = k ? j : kept[i];
    }
    return add_layer(c, layer, n_parent, origin, ids, n);
}

static int add_identity(struct composer *c, int layer, int n_parent)
{
    int *ids = arena_calloc(&c->out->arena, (size_t)n_parent, sizeof *ids, c->err);
    if (!ids)
        return -1;
    for (int i = 0; i < n_parent; i++)
        ids[i] = i;
    return add_layer(c, layer, n_parent, "identity", ids, n_parent);
}

/* The finished layer that MTP layers imitate. */
static const struct keep_layer *proxy_layer(struct composer *c)
{
    const struct prune_options *o = c->options;
    const struct keep_layer *last = NULL;
    for (size_t i = 0; i < c->out->n_layers; i++) {
        const struct keep_layer *l = &c->out->layers[i];
        if (prune_model_is_mtp(c->model, l->layer))
            continue;
        if (!o->has_mtp_proxy || l->layer == o->mtp_proxy)
            last = l;
    }
    if (!last)
        prep_fail(c->err, PREP_EUSAGE, "MTP proxy layer %d is no MoE layer of the model",
                  o->has_mtp_proxy ? o->mtp_proxy : -1);
    return last;
}

static int add_mtp_by_base(struct composer *c, int layer, int n_parent, const char *origin,
                           const int *kept, int n)
{
    int missing;
    if (add_base_layer(c, layer, n_parent, origin, kept, n, &missing))
        return -1;
    if (missing < 0)
        return 0;
    return prep_fail_tag(c->err, PREP_EDATA, "PLAN_MTP_NOT_NESTED",
                         "MTP layer %d was pruned by another rule and no longer holds expert %d; "
                         "stitch it from the base checkpoint",
                         layer, missing);
}

static int add_mtp(struct composer *c, int layer, int n_parent)
{
    const struct keep_layer *proxy;
    char *origin;
    int *ids;
    switch (c->options->mtp) {
    case MTP_PROXY:
        proxy = proxy_layer(c);
        origin = proxy ? arena_printf(&c->out->arena, c->err, "proxy:%d", proxy->layer) : NULL;
        if (!origin)
            return -1;
        return add_mtp_by_base(c, layer, n_parent, origin, proxy->kept_source, proxy->n_kept);
    case MTP_FIRST:
        proxy = proxy_layer(c);
        ids = proxy ? copy_ids(c, proxy->kept_source, proxy->n_kept) : NULL;
        if (!ids)
            return -1;
        for (int i = 0; i < proxy->n_kept; i++)
            ids[i] = i;
        return add_mtp_by_base(c, layer, n_parent, "first", ids, proxy->n_kept);
    case MTP_FULL:
        return add_identity(c, layer, n_parent);
    case MTP_OWN:
        return prep_fail_tag(c->err, PREP_EDATA, "OBS_LAYER_MISSING", "MTP layer %d is in no run",
                             layer);
    case MTP_DROP:
        break;
    }
    c->out->num_nextn_predict_layers = 0;
    return 0;
}

static int open_map(struct composer *c)
{
    struct keep_map *out = c->out;
    const struct keep_map *p = c->parent ? c->parent->map : NULL;
    *out = (struct keep_map){.full = 1};
    arena_init(&out->arena, 0);
    out->base_model = copy_string(c, p ? p->base_model : c->model->name);
    out->base_config_sha256 = copy_string(c, p ? p->base_config_sha256 : c->model->config_sha256);
    out->base_index_sha256 = copy_string(c, p ? p->base_index_sha256 : c->model->index_sha256);
    out->base_n_routed_experts = p ? p->base_n_routed_experts : c->model->n_routed_experts;
    out->parent_sha256 = copy_string(c, p ? c->parent->sha256 : NULL);
    out->parent_n_routed_experts = p ? c->model->n_routed_experts : 0;
    out->num_hidden_layers = c->model->num_hidden_layers;
    out->num_nextn_predict_layers = c->model->num_nextn_predict_layers;
    out->layers = arena_calloc(&out->arena, c->model->n_moe_layers, sizeof *out->layers, c->err);
    return c->err->code != PREP_OK || select_check_parent(c->model, c->parent, c->err) ? -1 : 0;
}

static int copy_pass(struct composer *c, struct keep_pass *to, const struct keep_pass *from)
{
    *to = (struct keep_pass){.from = from->from, .to = from->to, .n_runs = from->n_runs};
    to->metric = copy_string(c, from->metric);
    to->pool = copy_string(c, from->pool);
    to->source = copy_string(c, from->source);
    to->gate_semantics = copy_string(c, from->gate_semantics);
    to->protect = copy_string(c, from->protect);
    to->tool_version = copy_string(c, from->tool_version);
    to->runs = arena_calloc(&c->out->arena, from->n_runs, sizeof *to->runs, c->err);
    for (size_t i = 0; to->runs && i < from->n_runs; i++) {
        to->runs[i] = from->runs[i];
        to->runs[i].label = copy_string(c, from->runs[i].label);
        to->runs[i].sha256 = copy_string(c, from->runs[i].sha256);
    }
    return copy_span(c, &to->extra, &from->extra) || c->err->code != PREP_OK ? -1 : 0;
}

/* Room for the passes of a map and n more. */
static int copy_passes(struct composer *c, const struct keep_map *from, size_t n_more)
{
    size_t n = from ? from->n_passes : 0;
    c->out->passes = arena_calloc(&c->out->arena, n + n_more, sizeof *c->out->passes, c->err);
    if (!c->out->passes)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (copy_pass(c, &c->out->passes[c->out->n_passes++], &from->passes[i]))
            return -1;
    return 0;
}

static const char *tool_version(const struct composer *c)
{
    return c->options->tool_version ? c->options->tool_version : PREP_VERSION;
}

/* What the fixed members of a pass have no room for, in one JSON object, or nothing. */
static int describe_options(struct composer *c, const struct pool *pool, struct span *extra)
{
    const struct prune_options *o = c->options;
    struct json_out j;
    struct span text;
    json_out_init(&j, 0);
    json_out_open(&j, '{');
    if (o->pool == POOL_WEIGHTS) {
        json_out_key(&j, "weights");
        json_out_open(&j, '[');
        for (size_t i = 0; i < o->n_weights; i++)
            json_out_f64(&j, o->weights[i]);
        json_out_close(&j);
    }
    if (pool->mixed_gates) {
        json_out_key(&j, "mixed_gates");
        json_out_bool(&j, 1);
    }
    if (o->size == SIZE_BUDGET) {
        json_out_key(&j, "budget");
        json_out_i64(&j, o->budget);
        json_out_key(&j, "layer_norm");
        json_out_string(&j, o->layer_norm == LAYER_NORM_SUM ? "sum" : "none");
    }
    if (o->n_drop) {
        json_out_key(&j, "drop");
        json_out_string(&j, "list");
    }
    json_out_close(&j);
    int rc = json_out_finish(&j, &text, c->err);
    *extra = (struct span){NULL, 0};
    if (rc == 0 && memchr(text.p, ':', text.n))
        rc = copy_span(c, extra, &text);
    json_out_free(&j);
    return rc;
}

static int describe_runs(struct composer *c, const struct pool *pool, struct keep_pass *p)
{
    p->runs = arena_calloc(&c->out->arena, pool->n_runs, sizeof *p->runs, c->err);
    if (!p->runs)
        return -1;
    for (size_t i = 0; i < pool->n_runs; i++) {
        const struct obs_run *run = &pool->runs[i];
        struct keep_run *r = &p->runs[p->n_runs++];
        r->label = copy_string(c, run->label ? run->label : "");
        r->sha256 = copy_string(c, run->sha256);
        r->tokens = run->tokens;
        for (size_t k = 0; k < run->n_layers; k++)
            r->layers += prune_model_find(c->model, run->layers[k].layer) != SIZE_MAX;
        if (!r->label || !r->sha256)
            return -1;
    }
    return 0;
}

static int add_selection_pass(struct composer *c, const struct pool *pool)
{
    const struct prune_options *o = c->options;
    struct keep_pass *p = &c->out->passes[c->out->n_passes++];
    p->from = c->model->n_routed_experts;
    for (size_t i = 0; i < c->out->n_layers; i++)
        if (!prune_model_is_mtp(c->model, c->out->layers[i].layer) &&
            c->out->layers[i].n_kept > p->to)
            p->to = c->out->layers[i].n_kept;
    p->metric = prune_metric_name(o->metric);
    p->pool = prune_pool_name(o->pool);
    p->source = o->stored ? "stored" : "sums";
    p->gate_semantics = copy_string(c, pool->gate_semantics);
    if (o->n_protect == 0)
        p->protect = prune_protect_name(o->protect_auto);
    else if (o->protect_auto == PROTECT_NONE)
        p->protect = "list";
    else
        p->protect = o->protect_auto == PROTECT_SUPER ? "list+super" : "list+outliers";
    p->tool_version = copy_string(c, tool_version(c));
    if (!p->gate_semantics || !p->tool_version)
        return -1;
    return describe_runs(c, pool, p) || describe_options(c, pool, &p->extra) ? -1 : 0;
}

static int finish_map(struct composer *c)
{
    const struct keep_map *out = c->out;
    if (out->n_layers == 0)
        return prep_fail(c->err, PREP_EDATA, "the model has no MoE layer to prune");
    for (size_t i = 1; i < out->n_layers; i++) {
        if (out->layers[i].n_kept == out->layers[0].n_kept)
            continue;
        if (!c->report || !report_has(c->report, "PLAN_NONUNIFORM"))
            report_warn(c->report, "PLAN_NONUNIFORM",
                        "layer %d keeps %d experts, layer %d keeps %d: only engines that read "
                        "num_routed_experts_per_layer can load the result",
                        out->layers[0].layer, out->layers[0].n_kept, out->layers[i].layer,
                        out->layers[i].n_kept);
        break;
    }
    return 0;
}

static const struct select_layer *selected_layer(const struct selection *s, int layer)
{
    for (size_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].layer == layer)
            return &s->layers[i];
    return NULL;
}

static int build_selection(struct composer *c, const struct selection *s, const struct pool *pool,
                           const struct span *cut_json)
{
    if (open_map(c))
        return -1;
    for (size_t i = 0; i < c->model->n_moe_layers; i++) {
        const int layer = c->model->moe_layers[i], n = prune_model_experts(c->model, i);
        const struct select_layer *l = selected_layer(s, layer);
        const int mtp = prune_model_is_mtp(c->model, layer);
        int rc;
        if (l)
            rc = add_layer(c, layer, n, mtp ? "own" : "observed", l->kept, l->n_kept);
        else
            rc = mtp ? add_mtp(c, layer, n) : add_identity(c, layer, n);
        if (rc)
            return -1;
    }
    if (copy_passes(c, c->parent ? c->parent->map : NULL, 1) || add_selection_pass(c, pool))
        return -1;
    if (cut_json && copy_span(c, &c->out->report, cut_json))
        return -1;
    return finish_map(c);
}

int compose_selection(struct keep_map *out, const struct selection *s, const struct pool *pool,
                      const struct known_map *parent, const struct prune_options *options,
                      const struct span *cut_json, struct report *report, struct prep_error *err)
{
    struct composer c = {out, s->model, parent, options, report, err};
    if (build_selection(&c, s, pool, cut_json) == 0)
        return 0;
    keep_map_free(out);
    return -1;
}

/* With a group-limited router every group must keep the same number. */
static int check_groups(struct composer *c, const struct keep_layer *l)
{
    const int groups = c->model->n_group;
    if (groups <= 1)
        return 0;
    const int size = l->n_parent / groups, quota = l->n_kept / groups;
    for (int i = 0; i < l->n_kept; i++)
        if (l->kept_parent[i] / size != i / quota)
            return prep_fail_tag(c->err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                                 "layer %d: the list does not keep %d experts in each of %d groups",
                                 l->layer, quota, groups);
    return 0;
}

static int add_explicit(struct composer *c, const struct keep_map *plan, const struct keep_layer *l,
                        int n_parent)
{
    int missing = -1;
    if (plan->full) {
        if (add_base_layer(c, l->layer, n_parent, l->origin, l->kept_source, l->n_kept, &missing))
            return -1;
    } else {
        if (l->kept_parent[l->n_kept - 1] >= n_parent)
            missing = l->kept_parent[l->n_kept - 1];
        else if (add_layer(c, l->layer, n_parent, "explicit", l->kept_parent, l->n_kept))
            return -1;
    }
    if (missing >= 0)
        return prep_fail_tag(c->err, PREP_EDATA, "KEEP_MAP",
                             "layer %d: the plan keeps expert %d, which this checkpoint of %d "
                             "experts does not hold",
                             l->layer, missing, n_parent);
    if (select_check_count(c->model, l->layer, n_parent, l->n_kept, c->err))
        return -1;
    return check_groups(c, &c->out->layers[c->out->n_layers - 1]);
}

/* A full plan is for one base: of another size it cannot be meant, of another hash hardly. */
static int check_base(struct composer *c, const struct keep_map *plan)
{
    struct keep_map *out = c->out;
    if (!plan->full)
        return 0;
    if (plan->base_n_routed_experts != out->base_n_routed_experts)
        return prep_fail_tag(c->err, PREP_EDATA, "KEEP_MAP",
                             "the plan is for a base of %d experts, this one has %d",
                             plan->base_n_routed_experts, out->base_n_routed_experts);
    if (plan->base_config_sha256 && out->base_config_sha256 &&
        strcmp(plan->base_config_sha256, out->base_config_sha256) != 0)
        report_warn(c->report, "KEEP_MAP_BASE",
                    "the plan was made for a base with another config.json (SHA-256 %s, here %s)",
                    plan->base_config_sha256, out->base_config_sha256);
    out->base_model = copy_string(c, plan->base_model);
    out->base_config_sha256 = copy_string(c, plan->base_config_sha256);
    out->base_index_sha256 = copy_string(c, plan->base_index_sha256);
    return c->err->code == PREP_OK ? 0 : -1;
}

static int check_layers(struct composer *c, const struct keep_map *plan)
{
    for (size_t i = 0; i < plan->n_layers; i++) {
        const int layer = plan->layers[i].layer;
        if (prune_model_find(c->model, layer) != SIZE_MAX)
            continue;
        if (!prune_model_is_mtp(c->model, layer))
            return prep_fail_tag(c->err, PREP_EDATA, "KEEP_MAP",
                                 "the plan names layer %d, which is no MoE layer of the model",
                                 layer);
        report_warn(c->report, "KEEP_MAP_MTP",
                    "the plan names MTP layer %d, which this checkpoint does not have", layer);
    }
    return 0;
}

static int add_explicit_pass(struct composer *c)
{
    struct keep_pass *p = &c->out->passes[c->out->n_passes++];
    *p = (struct keep_pass){.from = c->model->n_routed_experts,
                            .to = c->out->n_routed_experts,
                            .metric = "explicit",
                            .pool = "none",
                            .source = "none",
                            .gate_semantics = "none",
                            .protect = "none",
                            .tool_version = copy_string(c, tool_version(c))};
    return p->tool_version ? 0 : -1;
}

static int build_explicit(struct composer *c, const struct keep_map *plan)
{
    if (open_map(c) || check_base(c, plan) || check_layers(c, plan))
        return -1;
    for (size_t i = 0; i < c->model->n_moe_layers; i++) {
        const int layer = c->model->moe_layers[i], n = prune_model_experts(c->model, i);
        const struct keep_layer *l = keep_map_layer(plan, layer);
        int rc = 0;
        if (l)
            rc = add_explicit(c, plan, l, n);
        else if (!prune_model_is_mtp(c->model, layer))
            rc = add_identity(c, layer, n);
        else if (plan->full && plan->num_nextn_predict_layers == 0)
            c->out->num_nextn_predict_layers = 0;
        else
            rc = add_mtp(c, layer, n);
        if (rc)
            return -1;
    }
    if (plan->full)
        return copy_passes(c, plan, 0) || copy_span(c, &c->out->report, &plan->report) ||
                       finish_map(c)
                   ? -1
                   : 0;
    if (copy_passes(c, c->parent ? c->parent->map : NULL, 1) || add_explicit_pass(c))
        return -1;
    return finish_map(c);
}

static int warn_explicit(struct composer *c)
{
    const struct keep_map *out = c->out;
    int *counts = arena_calloc(&c->out->arena, out->n_layers, sizeof *counts, c->err);
    if (!counts)
        return -1;
    for (size_t i = 0; i < out->n_layers; i++)
        counts[i] = out->layers[i].n_kept;
    select_warn_counts(counts, out->n_layers, c->options->tensor_parallel, c->report);
    return 0;
}

int compose_explicit(struct keep_map *out, const struct keep_map *plan,
                     const struct prune_model *model, const struct known_map *parent,
                     const struct prune_options *options, struct report *report,
                     struct prep_error *err)
{
    struct composer c = {out, model, parent, options, report, err};
    if (build_explicit(&c, plan) == 0 && warn_explicit(&c) == 0)
        return 0;
    keep_map_free(out);
    return -1;
}

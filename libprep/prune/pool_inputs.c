/* SPDX-License-Identifier: MIT */
#include "libprep/prune/pool_inputs.h"

#include <string.h>

#include "libprep/prune/select.h"

static const char default_semantics[] = "logit-softmax-renorm";

static int check_duplicates(const struct obs_run *runs, size_t n, struct prep_error *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            if (runs[i].sha256[0] && strcmp(runs[i].sha256, runs[k].sha256) == 0)
                return prep_fail_tag(err, PREP_EDATA, "OBS_DUPLICATE_RUN",
                                     "runs %s and %s have the same content (SHA-256 %s)",
                                     runs[i].path, runs[k].path, runs[i].sha256);
    return 0;
}

static int seen_before(const struct pool_inputs *in, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(in->inputs[k].gate_semantics, in->inputs[i].gate_semantics) == 0)
            return 1;
    return 0;
}

static int check_semantics(struct pool_inputs *in, const struct pool_context *ctx,
                           struct arena *arena, struct prep_error *err)
{
    const char *assumed = ctx->options->gate_semantics;
    for (size_t i = 0; i < in->n; i++) {
        const char *said = in->inputs[i].run->gate_semantics;
        in->semantics_assumed |= !said;
        in->inputs[i].gate_semantics = said ? said : assumed ? assumed : default_semantics;
        if (i == 0)
            in->gate_semantics = in->inputs[0].gate_semantics;
        else if (!seen_before(in, i))
            in->gate_semantics =
                arena_printf(arena, err, "%s+%s", in->gate_semantics, in->inputs[i].gate_semantics);
        if (!in->gate_semantics)
            return -1;
        in->mixed_gates |= strcmp(in->inputs[i].gate_semantics, in->inputs[0].gate_semantics) != 0;
        if (in->mixed_gates && !ctx->options->allow_mixed_gates)
            return prep_fail_tag(err, PREP_EDATA, "OBS_SEMANTICS_MIX",
                                 "run %s has gate semantics %s, run %s has %s; "
                                 "--allow-mixed-gates would normalise each run",
                                 in->inputs[0].run->path, in->inputs[0].gate_semantics,
                                 in->inputs[i].run->path, in->inputs[i].gate_semantics);
    }
    return 0;
}

int pool_wants_layer(const struct pool_context *ctx, size_t i)
{
    return !prune_model_is_mtp(ctx->model, ctx->model->moe_layers[i]) ||
           ctx->options->mtp == MTP_OWN;
}

int pool_experts(const struct pool_context *ctx, enum pool_space space, size_t i)
{
    if (space == SPACE_BASE && ctx->parent)
        return ctx->parent->map->base_n_routed_experts;
    return prune_model_experts(ctx->model, i);
}

static const struct keep_map *find_map(const struct pool_context *ctx, const char *sha256)
{
    const struct prune_options *o = ctx->options;
    if (!sha256)
        return NULL;
    if (ctx->parent && strcmp(ctx->parent->sha256, sha256) == 0)
        return ctx->parent->map;
    for (size_t i = 0; i < o->n_run_maps; i++)
        if (strcmp(o->run_maps[i].sha256, sha256) == 0)
            return o->run_maps[i].map;
    return NULL;
}

/* Does every wanted layer of the run have the expert count of this space? */
static int fits_space(const struct obs_run *run, const struct pool_context *ctx,
                      enum pool_space space)
{
    for (size_t i = 0; i < ctx->model->n_moe_layers; i++) {
        const struct obs_layer *l = obs_run_layer(run, ctx->model->moe_layers[i]);
        if (l && pool_wants_layer(ctx, i) && l->n_experts != pool_experts(ctx, space, i))
            return 0;
    }
    return 1;
}

/* Which experts are the rows of this run? A count that fits nothing is judged later, by layer. */
static int resolve_space(struct pool_input *in, const struct pool_context *ctx,
                         struct prep_error *err)
{
    const struct obs_run *run = in->run;
    if (run->id_space && strcmp(run->id_space, "base") != 0) {
        in->map = find_map(ctx, run->keep_map_sha256);
        if (!in->map)
            return prep_fail_tag(err, PREP_EDATA, "OBS_SPACE_MIX",
                                 "run %s was observed on a pruned checkpoint whose keep-map (%s) "
                                 "is not the one given here (%s)",
                                 run->path,
                                 run->keep_map_sha256 ? run->keep_map_sha256 : "not named",
                                 ctx->parent ? ctx->parent->sha256 : "none");
        return 0;
    }
    if (!ctx->parent || fits_space(run, ctx, SPACE_BASE) || !fits_space(run, ctx, SPACE_CURRENT))
        return 0;
    in->map = ctx->parent->map;
    report_warn(ctx->report, "OBS_SPACE_ASSUMED",
                "run %s does not say what it observed; its expert counts are those of the pruned "
                "checkpoint, not of its base, and are taken for that",
                run->path);
    return 0;
}

static int check_spaces(struct pool_inputs *in, const struct pool_context *ctx,
                        struct prep_error *err)
{
    size_t n_current = 0, n_base = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (resolve_space(&in->inputs[i], ctx, err))
            return -1;
        n_base += in->inputs[i].map == NULL;
        n_current += ctx->parent && in->inputs[i].map == ctx->parent->map;
    }
    in->space = n_current == in->n && ctx->parent ? SPACE_CURRENT : SPACE_BASE;
    if (n_base == in->n || n_current == in->n)
        return 0;
    if (ctx->options->stored)
        return prep_fail_tag(err, PREP_EDATA, "OBS_SPACE_MIX",
                             "stored means rank the rows of run %s, which are experts of another "
                             "checkpoint",
                             in->inputs[0].run->path);
    if (!ctx->options->allow_mixed_spaces)
        return prep_fail_tag(err, PREP_EDATA, "OBS_SPACE_MIX",
                             "%zu of %zu runs were observed on a pruned checkpoint; "
                             "--allow-mixed-spaces pools them by base expert",
                             in->n - n_base, in->n);
    if (ctx->options->pool != POOL_ROUTED)
        return prep_fail_tag(err, PREP_EDATA, "OBS_SPACE_MIX",
                             "runs in different id spaces pool in mode routed only, not %s",
                             prune_pool_name(ctx->options->pool));
    return 0;
}

/* All wanted layers have one and the same count, larger than the checkpoint's. */
static int looks_like_base(const struct obs_run *run, const struct pool_context *ctx)
{
    int count = 0;
    for (size_t i = 0; i < ctx->model->n_moe_layers; i++) {
        const struct obs_layer *l = obs_run_layer(run, ctx->model->moe_layers[i]);
        if (!l || !pool_wants_layer(ctx, i))
            continue;
        if (l->n_experts <= prune_model_experts(ctx->model, i) || (count && l->n_experts != count))
            return 0;
        count = l->n_experts;
    }
    return count > 0;
}

static int check_count(const struct pool_inputs *in, size_t input, const struct obs_layer *l,
                       const struct pool_context *ctx, size_t i, struct prep_error *err)
{
    const struct pool_input *p = &in->inputs[input];
    int want = pool_experts(ctx, SPACE_BASE, i);
    if (p->map) {
        const struct keep_layer *k = keep_map_layer(p->map, l->layer);
        /* A layer that the map does not name was left unpruned. */
        want = k ? k->n_kept : p->map->base_n_routed_experts;
    }
    if (l->n_experts == want)
        return 0;
    if (!p->map && !ctx->parent && looks_like_base(p->run, ctx))
        return prep_fail_tag(err, PREP_EDATA, "PLAN_NO_KEEP_MAP",
                             "run %s: statistics of %d experts for a checkpoint of %d: a pruned "
                             "checkpoint needs the keep-map it was made with",
                             p->run->path, l->n_experts, want);
    return prep_fail_tag(err, PREP_EDATA, "OBS_EXPERT_COUNT",
                         "run %s: layer %d has %d experts, want %d", p->run->path, l->layer,
                         l->n_experts, want);
}

static int has_metric(const struct obs_layer *l, const struct prune_options *o)
{
    const int n = l->expert_frequency != NULL;
    switch (o->metric) {
    case METRIC_REAP:
        return o->stored ? l->reap != NULL : n && l->weighted_ean_sum;
    case METRIC_EAN_MEAN:
        return o->stored ? l->ean_mean != NULL : n && l->ean_sum;
    case METRIC_WEIGHTED_EAN_SUM:
        return l->weighted_ean_sum != NULL;
    case METRIC_EAN_SUM:
        return l->ean_sum != NULL;
    case METRIC_FREQUENCY:
        return n;
    case METRIC_WEIGHTED_FREQUENCY_SUM:
        return l->weighted_expert_frequency_sum != NULL;
    case METRIC_MAX_ACTIVATIONS:
        return l->max_activations != NULL;
    case METRIC_EAN_CA:
        return n && l->routed_output;
    }
    return 0;
}

static int check_metric(const struct obs_run *run, const struct obs_layer *l,
                        const struct prune_options *o, struct prep_error *err)
{
    const char *missing = NULL;
    if (!has_metric(l, o))
        missing = prune_metric_name(o->metric);
    else if (o->protect_auto != PROTECT_NONE && !l->max_activations)
        missing = "max_activations";
    else if (o->pool == POOL_TOTAL_TOKENS && !l->has_total_tokens)
        missing = "total_tokens";
    if (!missing)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "OBS_METRIC_MISSING",
                         "run %s: layer %d holds nothing to obtain %s%s from", run->path, l->layer,
                         o->stored ? "a stored " : "", missing);
}

static int check_layer(const struct pool_inputs *in, const struct pool_context *ctx, size_t i,
                       struct prep_error *err)
{
    const int layer = ctx->model->moe_layers[i];
    size_t n_have = 0;
    for (size_t k = 0; k < in->n; k++) {
        const struct obs_layer *l = obs_run_layer(in->inputs[k].run, layer);
        if (!l)
            continue;
        n_have++;
        if (check_count(in, k, l, ctx, i, err) ||
            check_metric(in->inputs[k].run, l, ctx->options, err))
            return -1;
    }
    if (ctx->alone || n_have == in->n)
        return 0;
    if (n_have == 0)
        return prep_fail_tag(err, PREP_EDATA, "OBS_LAYER_MISSING", "MoE layer %d is in no run",
                             layer);
    if (ctx->options->strict_coverage)
        return prep_fail_tag(err, PREP_EDATA, "OBS_PARTIAL_COVERAGE",
                             "layer %d is in %zu of %zu runs only", layer, n_have, in->n);
    report_warn(ctx->report, "OBS_PARTIAL_COVERAGE", "layer %d is in %zu of %zu runs only", layer,
                n_have, in->n);
    return 0;
}

static void warn_layers(const struct obs_run *run, const struct pool_context *ctx)
{
    const struct obs_layer *first = NULL, *differs = NULL;
    for (size_t i = 0; i < run->n_layers; i++) {
        const struct obs_layer *l = &run->layers[i];
        if (prune_model_find(ctx->model, l->layer) == SIZE_MAX) {
            report_warn(ctx->report, "OBS_LAYER_UNKNOWN",
                        "run %s: layer %d is no MoE layer of the model and is ignored", run->path,
                        l->layer);
            continue;
        }
        if (!l->has_total_tokens)
            continue;
        if (!first)
            first = l;
        else if (!differs && l->total_tokens != first->total_tokens)
            differs = l;
    }
    if (differs)
        report_warn(ctx->report, "OBS_TOKENS_DIFFER",
                    "run %s: layer %d saw %lld tokens, layer %d saw %lld", run->path, first->layer,
                    (long long)first->total_tokens, differs->layer,
                    (long long)differs->total_tokens);
}

static int check_values(const struct obs_run *runs, size_t n_runs, const struct pool_context *ctx,
                        struct prep_error *err)
{
    const struct prune_model *m = ctx->model;
    const struct obs_expect expect = {.layers = m->moe_layers,
                                      .n_experts = m->n_experts,
                                      .n_layers = m->n_moe_layers,
                                      .top_k = m->num_experts_per_tok};
    for (size_t i = 0; i < n_runs; i++)
        if (obs_run_check_values(&runs[i], &expect, ctx->options->lenient, ctx->report, err))
            return -1;
    return 0;
}

int pool_inputs_check(struct pool_inputs *in, const struct obs_run *runs, size_t n_runs,
                      const struct pool_context *ctx, struct arena *arena, struct prep_error *err)
{
    const struct prune_options *o = ctx->options;
    *in = (struct pool_inputs){.n = n_runs};
    if (n_runs == 0)
        return prep_fail(err, PREP_EUSAGE, "no observation run is given");
    if (o->stored && n_runs > 1)
        return prep_fail(err, PREP_EUSAGE, "stored means cannot be pooled: one run, not %zu",
                         n_runs);
    if (o->pool == POOL_WEIGHTS && !ctx->alone && o->n_weights != n_runs)
        return prep_fail(err, PREP_EUSAGE, "%zu weights for %zu runs", o->n_weights, n_runs);
    in->inputs = arena_calloc(arena, n_runs, sizeof *in->inputs, err);
    if (!in->inputs)
        return -1;
    for (size_t i = 0; i < n_runs; i++)
        in->inputs[i].run = &runs[i];
    if (select_check_parent(ctx->model, ctx->parent, err) || check_duplicates(runs, n_runs, err) ||
        check_semantics(in, ctx, arena, err) || check_spaces(in, ctx, err))
        return -1;
    for (size_t i = 0; i < ctx->model->n_moe_layers; i++)
        if (pool_wants_layer(ctx, i) && check_layer(in, ctx, i, err))
            return -1;
    if (ctx->alone)
        return 0;
    for (size_t i = 0; i < n_runs; i++)
        warn_layers(&runs[i], ctx);
    return check_values(runs, n_runs, ctx, err);
}

int pool_input_rows(const int **rows, const struct pool_inputs *in, size_t input, int layer, int n,
                    struct arena *arena, struct prep_error *err)
{
    const struct keep_map *map = in->inputs[input].map;
    const struct keep_layer *k = map ? keep_map_layer(map, layer) : NULL;
    *rows = NULL;
    if (in->space == SPACE_CURRENT || !k)
        return 0;
    int *list = arena_calloc(arena, (size_t)n, sizeof *list, err);
    if (!list)
        return -1;
    for (int e = 0; e < n; e++)
        list[e] = -1;
    for (int j = 0; j < k->n_kept; j++) {
        if (k->kept_source[j] >= n)
            return prep_fail_tag(err, PREP_EDATA, "OBS_SPACE_MIX",
                                 "layer %d: the keep-map of run %s names expert %d of %d", layer,
                                 in->inputs[input].run->path, k->kept_source[j], n);
        list[k->kept_source[j]] = j;
    }
    *rows = list;
    return 0;
}

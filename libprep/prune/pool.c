/* SPDX-License-Identifier: MIT */
#include "libprep/prune/pool.h"

#include <math.h>
#include <string.h>

#include "libprep/prune/pool_inputs.h"

/* One run's share in a layer; vectors are indexed by row, NULL when the run lacks them. */
struct source {
    const struct obs_layer *l;
    const char *path;
    const int *rows; /* row of pool id e, or -1; NULL: e itself */
    const double *s, *ean_sum, *g, *sumsq;
    double weight; /* of the run, for POOL_EQUAL and POOL_WEIGHTS */
};

struct layer_work {
    struct pool *p;
    struct pool_layer *out;
    struct source *sources;
    size_t n;
    const struct pool_context *ctx;
    struct prep_error *err;
};

/* Row of pool id e in a source, or -1: no contribution. */
static int row_of(const struct source *s, int e)
{
    return s->rows ? s->rows[e] : e;
}

/* 0/0 is 0 everywhere. */
static double ratio(double a, double b)
{
    return b == 0 ? 0 : a / b;
}

/* Each element divided by a positive scale, in a copy. */
static int scaled(const double **v, int n, double scale, struct layer_work *w)
{
    if (!*v)
        return 0;
    double *copy = arena_calloc(&w->p->arena, (size_t)n, sizeof *copy, w->err);
    if (!copy)
        return -1;
    for (int e = 0; e < n; e++)
        copy[e] = ratio((*v)[e], scale);
    *v = copy;
    return 0;
}

/* Runs under different gate rules have no common unit: S is counted in shares of its layer. */
static int normalise(struct source *s, struct layer_work *w)
{
    double total = 0;
    if (!s->s)
        return 0;
    for (int e = 0; e < s->l->n_experts; e++)
        total += s->s[e];
    return scaled(&s->s, s->l->n_experts, total, w) ||
           scaled(&s->sumsq, s->l->n_experts, total * total, w);
}

static int open_source(struct source *s, const struct pool_inputs *in, size_t run,
                       const struct obs_layer *l, struct layer_work *w)
{
    const struct prune_options *o = w->ctx->options;
    *s = (struct source){.l = l, .path = in->inputs[run].run->path, .weight = 1};
    if (o->pool == POOL_WEIGHTS && !w->ctx->alone)
        s->weight = o->weights[run];
    s->s = l->weighted_ean_sum;
    s->ean_sum = l->ean_sum;
    s->g = l->weighted_expert_frequency_sum;
    s->sumsq = l->weighted_ean_sumsq;
    w->p->sums_from_means |= l->weighted_ean_sum_from_mean | l->ean_sum_from_mean;
    if (in->mixed_gates && normalise(s, w))
        return -1;
    return pool_input_rows(&s->rows, in, run, l->layer, w->out->n_experts, &w->p->arena, w->err);
}

/* The layer's runs, in order; 0 of them leaves the layer out. */
static int open_sources(const struct pool_inputs *in, int layer, struct layer_work *w)
{
    w->sources = arena_calloc(&w->p->arena, in->n, sizeof *w->sources, w->err);
    w->out->runs = arena_calloc(&w->p->arena, in->n, sizeof *w->out->runs, w->err);
    if (!w->sources || !w->out->runs)
        return -1;
    for (size_t i = 0; i < in->n; i++) {
        const struct obs_layer *l = obs_run_layer(in->inputs[i].run, layer);
        if (!l)
            continue;
        w->out->runs[w->n] = (int)i;
        if (open_source(&w->sources[w->n++], in, i, l, w))
            return -1;
    }
    w->out->n_runs = w->n;
    return 0;
}

static int pool_counts(struct layer_work *w)
{
    struct pool_layer *out = w->out;
    int all_counts = 1;
    out->has_total_tokens = 1;
    for (size_t i = 0; i < w->n; i++) {
        const struct obs_layer *l = w->sources[i].l;
        out->has_total_tokens &= l->has_total_tokens;
        all_counts &= l->expert_frequency != NULL;
        if (l->has_total_tokens &&
            __builtin_add_overflow(out->total_tokens, l->total_tokens, &out->total_tokens))
            goto overflow;
    }
    if (!all_counts)
        return 0;
    out->expert_frequency =
        arena_calloc(&w->p->arena, (size_t)out->n_experts, sizeof(int64_t), w->err);
    if (!out->expert_frequency)
        return -1;
    for (int e = 0; e < out->n_experts; e++) {
        int64_t *n = &out->expert_frequency[e];
        for (size_t i = 0; i < w->n; i++) {
            int row = row_of(&w->sources[i], e);
            if (row >= 0 && __builtin_add_overflow(*n, w->sources[i].l->expert_frequency[row], n))
                goto overflow;
        }
    }
    return 0;
overflow:
    return prep_fail_tag(w->err, PREP_EDATA, "OBS_COUNT_MISMATCH",
                         "layer %d: the token counts of the runs add up to more than 2^63",
                         out->layer);
}

static const double *source_vector(const struct source *s, size_t offset)
{
    const double *v;
    memcpy(&v, (const char *)s + offset, sizeof v);
    return v;
}

/* The elementwise sum of one vector (a member of struct source) over the runs, if all have it. */
static int pool_sum(double **out, size_t offset, struct layer_work *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (!source_vector(&w->sources[i], offset))
            return 0;
    *out = arena_calloc(&w->p->arena, (size_t)w->out->n_experts, sizeof **out, w->err);
    if (!*out)
        return -1;
    for (int e = 0; e < w->out->n_experts; e++) {
        double sum = 0;
        for (size_t i = 0; i < w->n; i++) {
            int row = row_of(&w->sources[i], e);
            if (row >= 0)
                sum += source_vector(&w->sources[i], offset)[row];
        }
        (*out)[e] = sum;
    }
    return 0;
}

static int pool_maxima(struct layer_work *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (!w->sources[i].l->max_activations)
            return 0;
    float *out = arena_calloc(&w->p->arena, (size_t)w->out->n_experts, sizeof *out, w->err);
    if (!out)
        return -1;
    for (int e = 0; e < w->out->n_experts; e++) {
        /* The metric has a floor of 0. */
        for (size_t i = 0; i < w->n; i++) {
            int row = row_of(&w->sources[i], e);
            if (row >= 0 && w->sources[i].l->max_activations[row] > out[e])
                out[e] = w->sources[i].l->max_activations[row];
        }
    }
    w->out->max_activations = out;
    return 0;
}

/* What the mean of one run weighs in the modes other than routed. */
static double run_weight(const struct source *s, const struct pool_context *ctx)
{
    return ctx->options->pool == POOL_TOTAL_TOKENS ? (double)s->l->total_tokens : s->weight;
}

static double total_weight(const struct layer_work *w)
{
    double total = 0;
    if (w->ctx->options->pool == POOL_TOTAL_TOKENS)
        return (double)w->out->total_tokens;
    for (size_t i = 0; i < w->n; i++)
        total += w->sources[i].weight;
    return total;
}

/* reap and ean_mean: sum is the pooled sum of the vector at offset. */
static int pool_mean(double **out, const double *sum, size_t offset, struct layer_work *w)
{
    const int64_t *n = w->out->expert_frequency;
    const double total = total_weight(w);
    if (!sum || !n)
        return 0;
    *out = arena_calloc(&w->p->arena, (size_t)w->out->n_experts, sizeof **out, w->err);
    if (!*out)
        return -1;
    for (int e = 0; e < w->out->n_experts; e++) {
        if (w->ctx->options->pool == POOL_ROUTED) {
            (*out)[e] = ratio(sum[e], (double)n[e]);
            continue;
        }
        double mean = 0;
        for (size_t i = 0; i < w->n; i++) {
            const struct source *s = &w->sources[i];
            int row = row_of(s, e);
            if (row >= 0)
                mean += run_weight(s, w->ctx) *
                        ratio(source_vector(s, offset)[row], (double)s->l->expert_frequency[row]);
        }
        (*out)[e] = ratio(mean, total);
    }
    return 0;
}

static int pool_gate_mean(struct layer_work *w)
{
    struct pool_layer *out = w->out;
    if (!out->weighted_expert_frequency_sum || !out->expert_frequency)
        return 0;
    out->gate_mean = arena_calloc(&w->p->arena, (size_t)out->n_experts, sizeof(double), w->err);
    if (!out->gate_mean)
        return -1;
    for (int e = 0; e < out->n_experts; e++)
        out->gate_mean[e] =
            ratio(out->weighted_expert_frequency_sum[e], (double)out->expert_frequency[e]);
    return 0;
}

/* Element h of sum_r n_r * mean_r for pool id e. */
static double output_sum(const struct layer_work *w, int e, size_t h)
{
    double sum = 0;
    for (size_t i = 0; i < w->n; i++) {
        const struct obs_layer *l = w->sources[i].l;
        int row = row_of(&w->sources[i], e);
        if (row < 0)
            continue;
        double v = l->routed_output[(size_t)row * (size_t)l->hidden + h];
        sum += l->routed_output_is_sum ? v : (double)l->expert_frequency[row] * v;
    }
    return sum;
}

static int pool_ean_ca(struct layer_work *w)
{
    struct pool_layer *out = w->out;
    for (size_t i = 0; i < w->n; i++) {
        const struct obs_layer *l = w->sources[i].l;
        if (!l->routed_output || l->hidden < 1 || !out->expert_frequency)
            return 0;
        if (l->hidden != w->sources[0].l->hidden)
            return prep_fail_tag(w->err, PREP_EDATA, "OBS_SHAPE",
                                 "layer %d: expert outputs have %lld columns in run %s, %lld in "
                                 "run %s",
                                 out->layer, (long long)w->sources[0].l->hidden, w->sources[0].path,
                                 (long long)l->hidden, w->sources[i].path);
    }
    out->ean_ca = arena_calloc(&w->p->arena, (size_t)out->n_experts, sizeof(double), w->err);
    if (!out->ean_ca)
        return -1;
    for (int e = 0; e < out->n_experts; e++) {
        double squares = 0;
        for (size_t h = 0; h < (size_t)w->sources[0].l->hidden; h++) {
            double v = ratio(output_sum(w, e, h), (double)out->expert_frequency[e]);
            squares += v * v;
        }
        out->ean_ca[e] = sqrt(squares);
    }
    return 0;
}

static int fill_layer(struct layer_work *w)
{
    struct pool_layer *out = w->out;
    if (w->ctx->options->pool == POOL_WEIGHTS && total_weight(w) == 0)
        return prep_fail(w->err, PREP_EUSAGE, "the weights of the runs that hold layer %d are 0",
                         out->layer);
    if (pool_counts(w) || pool_sum(&out->ean_sum, offsetof(struct source, ean_sum), w) ||
        pool_sum(&out->weighted_ean_sum, offsetof(struct source, s), w) ||
        pool_sum(&out->weighted_expert_frequency_sum, offsetof(struct source, g), w) ||
        pool_sum(&out->weighted_ean_sumsq, offsetof(struct source, sumsq), w) || pool_maxima(w) ||
        pool_mean(&out->reap, out->weighted_ean_sum, offsetof(struct source, s), w) ||
        pool_mean(&out->ean_mean, out->ean_sum, offsetof(struct source, ean_sum), w) ||
        pool_gate_mean(w))
        return -1;
    if (w->ctx->options->metric == METRIC_EAN_CA && pool_ean_ca(w))
        return -1;
    if (w->n == 1 && !w->sources[0].rows) {
        out->stored_reap = w->sources[0].l->reap;
        out->stored_ean_mean = w->sources[0].l->ean_mean;
    }
    return 0;
}

static int pool_all(struct pool *p, const struct pool_context *ctx, struct prep_error *err)
{
    struct pool_inputs in;
    if (pool_inputs_check(&in, p->runs, p->n_runs, ctx, &p->arena, err))
        return -1;
    p->space = in.space;
    p->gate_semantics = in.gate_semantics;
    p->semantics_assumed = in.semantics_assumed;
    p->mixed_gates = in.mixed_gates;
    p->layers = arena_calloc(&p->arena, ctx->model->n_moe_layers, sizeof *p->layers, err);
    if (!p->layers)
        return -1;
    for (size_t i = 0; i < ctx->model->n_moe_layers; i++) {
        struct pool_layer *out = &p->layers[p->n_layers];
        struct layer_work w = {.p = p, .out = out, .ctx = ctx, .err = err};
        if (!pool_wants_layer(ctx, i))
            continue;
        out->layer = ctx->model->moe_layers[i];
        out->n_experts = pool_experts(ctx, p->space, i);
        if (open_sources(&in, out->layer, &w))
            return -1;
        if (w.n == 0)
            continue;
        p->n_layers++;
        if (fill_layer(&w))
            return -1;
    }
    return 0;
}

static int pool_with(struct pool *p, const struct obs_run *runs, size_t n_runs,
                     const struct pool_context *ctx, struct prep_error *err)
{
    *p = (struct pool){.runs = runs, .n_runs = n_runs};
    arena_init(&p->arena, 0);
    if (pool_all(p, ctx, err) == 0)
        return 0;
    pool_free(p);
    return -1;
}

int pool_runs(struct pool *p, const struct obs_run *runs, size_t n_runs,
              const struct prune_model *model, const struct known_map *parent,
              const struct prune_options *options, struct report *report, struct prep_error *err)
{
    const struct pool_context ctx = {model, parent, options, report, 0};
    return pool_with(p, runs, n_runs, &ctx, err);
}

int pool_alone(struct pool *p, const struct obs_run *run, const struct prune_model *model,
               const struct known_map *parent, const struct prune_options *options,
               struct prep_error *err)
{
    const struct pool_context ctx = {model, parent, options, NULL, 1};
    return pool_with(p, run, 1, &ctx, err);
}

void pool_free(struct pool *p)
{
    arena_fini(&p->arena);
    *p = (struct pool){0};
}

const struct pool_layer *pool_layer(const struct pool *p, int layer)
{
    for (size_t i = 0; i < p->n_layers; i++)
        if (p->layers[i].layer == layer)
            return &p->layers[i];
    return NULL;
}

double pool_saliency(const struct pool_layer *l, const struct prune_options *options, int e)
{
    switch (options->metric) {
    case METRIC_REAP:
        return options->stored ? (double)l->stored_reap[e] : l->reap[e];
    case METRIC_EAN_MEAN:
        return options->stored ? (double)l->stored_ean_mean[e] : l->ean_mean[e];
    case METRIC_EAN_SUM:
        return l->ean_sum[e];
    case METRIC_WEIGHTED_EAN_SUM:
        return l->weighted_ean_sum[e];
    case METRIC_FREQUENCY:
        return (double)l->expert_frequency[e];
    case METRIC_WEIGHTED_FREQUENCY_SUM:
        return l->weighted_expert_frequency_sum[e];
    case METRIC_MAX_ACTIVATIONS:
        return (double)l->max_activations[e];
    case METRIC_EAN_CA:
        return l->ean_ca[e];
    }
    return 0;
}

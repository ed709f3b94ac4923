/* SPDX-License-Identifier: MIT */
#include "libprep/prune/cut_report.h"

#include <math.h>
#include <stdio.h>

/* What each run alone would choose, ranked once for all cuts. */
struct solo {
    struct pool pool;
    struct selection ranked;
};

struct cutter {
    struct cut_report *r;
    const struct selection *s;
    const struct pool *pool;
    const struct prune_options *options;
    struct solo *solos; /* one per run; NULL for a single run */
    size_t n_solos;
    struct arena scratch;
    struct prep_error *err;
};

static int pool_index(const struct select_layer *l, int e)
{
    return l->pool_id ? l->pool_id[e] : e;
}

static int base_index(const struct select_layer *l, int e)
{
    return l->base_id ? l->base_id[e] : e;
}

static double quotient(double a, double b)
{
    return b == 0 ? (double)NAN : a / b;
}

/* Element of one of the four vectors, which must be there. */
static double share_value(const struct pool_layer *p, enum cut_share which, int id)
{
    switch (which) {
    case CUT_S:
        return p->weighted_ean_sum[id];
    case CUT_N:
        return (double)p->expert_frequency[id];
    case CUT_G:
        return p->weighted_expert_frequency_sum[id];
    case CUT_REAP:
        return p->reap[id];
    case CUT_SHARES:
        break;
    }
    return 0;
}

static int has_share(const struct pool_layer *p, enum cut_share which)
{
    const void *const vectors[CUT_SHARES] = {p->weighted_ean_sum, p->expert_frequency,
                                             p->weighted_expert_frequency_sum, p->reap};
    return vectors[which] != NULL;
}

/* Both sums run over ascending ids. */
static double kept_share(const struct select_layer *l, enum cut_share which,
                         const unsigned char *flags)
{
    double kept = 0, all = 0;
    if (!has_share(l->pool, which))
        return (double)NAN;
    for (int e = 0; e < l->n_experts; e++) {
        double v = share_value(l->pool, which, pool_index(l, e));
        all += v;
        if (flags[e])
            kept += v;
    }
    return quotient(kept, all);
}

/* (s_a - s_b) / sqrt(v_a/n_a + v_b/n_b), v = sumsq/n - s^2 */
static double z_score(const struct cutter *c, const struct select_layer *l, int a, int b)
{
    const struct pool_layer *p = l->pool;
    const struct prune_options *o = c->options;
    if (!p->weighted_ean_sumsq || !p->expert_frequency || !p->reap || o->metric != METRIC_REAP ||
        o->stored || o->pool != POOL_ROUTED)
        return (double)NAN;
    double variance = 0;
    const int ids[2] = {pool_index(l, a), pool_index(l, b)};
    for (int i = 0; i < 2; i++) {
        double n = (double)p->expert_frequency[ids[i]], s = p->reap[ids[i]];
        if (n == 0)
            return (double)NAN;
        double v = p->weighted_ean_sumsq[ids[i]] / n - s * s;
        variance += v / n;
    }
    if (!(variance > 0))
        return (double)NAN;
    return (p->reap[ids[0]] - p->reap[ids[1]]) / sqrt(variance);
}

static void find_boundary(const struct cutter *c, const struct select_layer *l,
                          const unsigned char *flags, struct cut_layer *out)
{
    int last = -1, first = -1;
    for (int i = 0; i < l->n_experts; i++) {
        if (flags[l->order[i]])
            last = l->order[i];
        else if (first < 0)
            first = l->order[i];
    }
    out->kept_id = last < 0 ? -1 : base_index(l, last);
    out->dropped_id = first < 0 ? -1 : base_index(l, first);
    out->kept_saliency = last < 0 ? (double)NAN : l->saliency[last];
    out->dropped_saliency = first < 0 ? (double)NAN : l->saliency[first];
    out->ratio = quotient(out->kept_saliency, out->dropped_saliency);
    out->z_score = last < 0 || first < 0 ? (double)NAN : z_score(c, l, last, first);
}

static int find_never_routed(struct cutter *c, const struct select_layer *l, struct cut_layer *out)
{
    const struct pool_layer *p = l->pool;
    out->never_routed =
        arena_calloc(&c->r->arena, (size_t)l->n_experts, sizeof *out->never_routed, c->err);
    if (!out->never_routed)
        return -1;
    for (int e = 0; p->expert_frequency && e < l->n_experts; e++)
        if (p->expert_frequency[pool_index(l, e)] == 0)
            out->never_routed[out->n_never_routed++] = base_index(l, e);
    return 0;
}

static const struct select_layer *layer_of(const struct selection *s, int layer)
{
    for (size_t i = 0; i < s->n_layers; i++)
        if (s->layers[i].layer == layer)
            return &s->layers[i];
    return NULL;
}

/* Size of the intersection over size of the union, over all runs that hold the layer. */
static int find_jaccard(struct cutter *c, const struct select_layer *l, struct cut_layer *out)
{
    const size_t n = (size_t)l->n_experts;
    int *votes = arena_calloc(&c->scratch, n, sizeof *votes, c->err);
    int *kept = arena_calloc(&c->scratch, n, sizeof *kept, c->err);
    unsigned char *flags = arena_calloc(&c->scratch, n, 1, c->err);
    int n_runs = 0, n_all = 0, n_any = 0;
    if (!votes || !kept || !flags)
        return -1;
    for (size_t i = 0; i < c->n_solos; i++) {
        const struct select_layer *alone = layer_of(&c->solos[i].ranked, l->layer);
        if (!alone)
            continue;
        n_runs++;
        select_survivors(&c->solos[i].ranked, alone, out->n_kept, flags, kept);
        for (size_t e = 0; e < n; e++)
            votes[e] += flags[e];
    }
    for (size_t e = 0; e < n; e++) {
        n_all += votes[e] == n_runs;
        n_any += votes[e] > 0;
    }
    out->jaccard = n_runs > 1 ? quotient(n_all, n_any) : (double)NAN;
    return 0;
}

static int cut_one(struct cutter *c, const struct select_layer *l, struct cut_layer *out)
{
    unsigned char *flags = arena_calloc(&c->scratch, (size_t)l->n_experts, 1, c->err);
    int *kept = arena_calloc(&c->scratch, (size_t)l->n_experts, sizeof *kept, c->err);
    if (!flags || !kept)
        return -1;
    out->layer = l->layer;
    out->n_experts = l->n_experts;
    select_survivors(c->s, l, out->n_kept, flags, kept);
    for (int i = 0; i < CUT_SHARES; i++)
        out->share[i] = kept_share(l, (enum cut_share)i, flags);
    find_boundary(c, l, flags, out);
    return find_never_routed(c, l, out) || find_jaccard(c, l, out) ? -1 : 0;
}

static int make_cut(struct cutter *c, const struct prune_options *o, struct cut *cut)
{
    const size_t n = c->s->n_layers;
    int *counts = arena_calloc(&c->scratch, n, sizeof *counts, c->err);
    cut->layers = arena_calloc(&c->r->arena, n, sizeof *cut->layers, c->err);
    if (!counts || !cut->layers || select_counts(counts, c->s, o, c->err))
        return -1;
    double dropped = 0;
    for (size_t i = 0; i < n; i++) {
        cut->layers[i].n_kept = counts[i];
        cut->n_kept += counts[i];
        if (cut_one(c, &c->s->layers[i], &cut->layers[i]))
            return -1;
        dropped += 1 - cut->layers[i].share[CUT_S];
    }
    cut->mean_dropped_share = quotient(dropped, (double)n);
    return 0;
}

static int open_solos(struct cutter *c, const struct known_map *parent)
{
    if (c->pool->n_runs < 2)
        return 0;
    c->solos = arena_calloc(&c->scratch, c->pool->n_runs, sizeof *c->solos, c->err);
    if (!c->solos)
        return -1;
    struct prune_options o = *c->options;
    /* A run of its own may find an outlier on the drop list: that is no fault of the plan. */
    if (o.n_drop)
        o.protect_auto = PROTECT_NONE;
    for (size_t i = 0; i < c->pool->n_runs; i++) {
        struct solo *solo = &c->solos[c->n_solos++];
        if (pool_alone(&solo->pool, &c->pool->runs[i], c->s->model, parent, &o, c->err) ||
            select_rank(&solo->ranked, &solo->pool, c->s->model, parent, &o, NULL, c->err))
            return prep_note(c->err, "run %s alone", c->pool->runs[i].label);
    }
    return 0;
}

static int make_cuts(struct cutter *c, const struct known_map *parent, const int64_t *keeps,
                     size_t n_keeps)
{
    struct cut_report *r = c->r;
    r->n_cuts = n_keeps ? n_keeps : 1;
    r->cuts = arena_calloc(&r->arena, r->n_cuts, sizeof *r->cuts, c->err);
    if (!r->cuts || open_solos(c, parent))
        return -1;
    for (size_t i = 0; i < r->n_cuts; i++) {
        struct prune_options o = *c->options;
        if (n_keeps) {
            o.size = SIZE_KEEP;
            o.keep = keeps[i];
        }
        if (make_cut(c, &o, &r->cuts[i]))
            return -1;
    }
    return 0;
}

int cut_report_make(struct cut_report *r, const struct selection *s, const struct pool *pool,
                    const struct known_map *parent, const struct prune_options *options,
                    const int64_t *keeps, size_t n_keeps, struct prep_error *err)
{
    struct cutter c = {.r = r, .s = s, .pool = pool, .options = options, .err = err};
    *r = (struct cut_report){.n_layers = s->n_layers, .semantics_assumed = pool->semantics_assumed};
    arena_init(&r->arena, 0);
    arena_init(&c.scratch, 0);
    int rc = make_cuts(&c, parent, keeps, n_keeps);
    for (size_t i = 0; i < c.n_solos; i++) {
        selection_free(&c.solos[i].ranked);
        pool_free(&c.solos[i].pool);
    }
    arena_fini(&c.scratch);
    if (rc)
        cut_report_free(r);
    return rc;
}

void cut_report_free(struct cut_report *r)
{
    arena_fini(&r->arena);
    *r = (struct cut_report){0};
}

/* A NaN member is left out. */
static void put_number(struct json_out *o, const char *key, double v)
{
    if (!isfinite(v))
        return;
    json_out_key(o, key);
    json_out_f64(o, v);
}

static void put_side(struct json_out *o, const char *key, int id, double saliency)
{
    if (id < 0)
        return;
    json_out_key(o, key);
    json_out_open(o, '[');
    json_out_i64(o, id);
    json_out_f64(o, saliency);
    json_out_close(o);
}

static void put_layer(struct json_out *o, const struct cut_layer *l)
{
    static const char *const names[CUT_SHARES] = {"kept_share_s", "kept_share_n", "kept_share_g",
                                                  "kept_share_reap"};
    json_out_open(o, '{');
    for (int i = 0; i < CUT_SHARES; i++)
        put_number(o, names[i], l->share[i]);
    put_side(o, "boundary_kept", l->kept_id, l->kept_saliency);
    put_side(o, "boundary_dropped", l->dropped_id, l->dropped_saliency);
    put_number(o, "boundary_ratio", l->ratio);
    put_number(o, "boundary_z_score", l->z_score);
    json_out_key(o, "never_routed");
    json_out_open(o, '[');
    for (int i = 0; i < l->n_never_routed; i++)
        json_out_i64(o, l->never_routed[i]);
    json_out_close(o);
    put_number(o, "jaccard_between_runs", l->jaccard);
    json_out_close(o);
}

/* The members "3": {...}, ... of an open object. */
static void put_layers(struct json_out *o, const struct cut_report *r, const struct cut *cut)
{
    for (size_t i = 0; i < r->n_layers; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", cut->layers[i].layer);
        json_out_key(o, key);
        put_layer(o, &cut->layers[i]);
    }
}

int cut_report_json(const struct cut_report *r, size_t i, struct arena *arena, struct span *out,
                    struct prep_error *err)
{
    struct json_out o;
    struct span text;
    json_out_init(&o, 0);
    json_out_open(&o, '{');
    put_layers(&o, r, &r->cuts[i]);
    json_out_key(&o, "overall");
    json_out_open(&o, '{');
    put_number(&o, "mean_dropped_share", r->cuts[i].mean_dropped_share);
    if (r->semantics_assumed) {
        json_out_key(&o, "gate_semantics");
        json_out_string(&o, "assumed");
    }
    json_out_close(&o);
    json_out_close(&o);
    int rc = json_out_finish(&o, &text, err);
    if (rc == 0) {
        out->p = (const unsigned char *)arena_strndup(arena, (const char *)text.p, text.n, err);
        out->n = text.n;
        rc = out->p ? 0 : -1;
    }
    json_out_free(&o);
    return rc;
}

int cut_report_facts(const struct cut_report *r, struct report *report, struct prep_error *err)
{
    struct json_out o;
    struct span text;
    int rc = -1;
    json_out_init(&o, 0);
    json_out_open(&o, '[');
    for (size_t i = 0; i < r->n_cuts; i++) {
        json_out_open(&o, '{');
        json_out_key(&o, "n_kept");
        json_out_i64(&o, r->cuts[i].n_kept);
        put_number(&o, "mean_dropped_share", r->cuts[i].mean_dropped_share);
        json_out_key(&o, "layers");
        json_out_open(&o, '{');
        put_layers(&o, r, &r->cuts[i]);
        json_out_close(&o);
        json_out_close(&o);
    }
    json_out_close(&o);
    if (json_out_finish(&o, &text, err))
        goto out;
    cJSON *cuts = cJSON_ParseWithLength((const char *)text.p, text.n);
    if (!cuts || !cJSON_AddItemToObject(report->facts, "cuts", cuts)) {
        cJSON_Delete(cuts);
        prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
        goto out;
    }
    rc = 0;
out:
    json_out_free(&o);
    return rc;
}

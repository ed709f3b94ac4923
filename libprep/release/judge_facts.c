/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "libprep/release/judge.h"

/* cJSON prints what is not a number as null: not measured. */
static void add(cJSON *object, const char *key, double v)
{
    cJSON_AddNumberToObject(object, key, v);
}

static void add_interval(cJSON *object, const char *key, const struct bootstrap_interval *i)
{
    cJSON *o = cJSON_AddObjectToObject(object, key);
    add(o, "mean", i->mean);
    add(o, "low", i->low);
    add(o, "high", i->high);
}

static void add_list(cJSON *object, const char *key, const double *x, uint64_t n)
{
    cJSON *list = cJSON_AddArrayToObject(object, key);
    for (uint64_t i = 0; i < n; i++)
        report_add(list, cJSON_CreateNumber(x[i]));
}

static void add_likelihood(cJSON *object, const struct judge_series *s)
{
    add_interval(object, "nll", &s->nll);
    add(object, "perplexity", s->perplexity);
    add_list(object, "window_nll", s->window_nll, s->n_windows);
}

static void add_spread(cJSON *object, const struct judge_spread *s)
{
    cJSON *list = cJSON_AddArrayToObject(object, "kl_by_position");
    for (size_t i = 0; i < s->n_positions; i++) {
        const struct spread_position *p = &s->positions[i];
        cJSON *o = report_add_object(list);
        report_u64(o, "first", p->first);
        report_u64(o, "last", p->last);
        add(o, "mean", p->kl.mean);
        add(o, "low", p->kl.low);
        add(o, "high", p->kl.high);
    }
    list = cJSON_AddArrayToObject(object, "kl_sizes");
    for (int i = 0; i < SPREAD_SIZES; i++) {
        if (!s->sizes[i])
            continue;
        cJSON *o = report_add_object(list);
        add(o, "from", i ? spread_edge(i) : 0);
        add(o, "to", i + 1 < SPREAD_SIZES ? spread_edge(i + 1) : (double)NAN);
        report_u64(o, "tokens", s->sizes[i]);
    }
    report_u64(object, "kl_zero", s->n_zero);
}

static void add_load(cJSON *object, const struct judge_load *l)
{
    cJSON *list = cJSON_AddArrayToObject(object, "expert_load");
    for (int i = 0; i < l->n_layers; i++) {
        if (!l->tokens[i])
            continue;
        cJSON *o = report_add_object(list);
        add(o, "layer", i);
        cJSON *tokens = cJSON_AddArrayToObject(o, "tokens");
        for (int e = 0; e < l->n_experts[i]; e++)
            report_add(tokens, cJSON_CreateNumber((double)l->tokens[i][e]));
    }
}

static void add_series(cJSON *object, const char *key, const struct judge_series *s, int judged)
{
    cJSON *o = cJSON_AddObjectToObject(object, key);
    add_likelihood(o, s);
    if (judged)
        add_interval(o, "nll_increase", &s->more_nll);
    if (!s->compared)
        return;
    add_interval(o, "kl", &s->kl);
    add(o, "kl_p50", s->kl_p50);
    add(o, "kl_p90", s->kl_p90);
    add(o, "kl_p99", s->kl_p99);
    add(o, "kl_max", s->kl_max);
    report_u64(o, "kl_max_window", s->max_window);
    report_u64(o, "kl_max_position", s->max_row);
    add_interval(o, "top1", &s->first);
    add_interval(o, "top5", &s->five);
    add_list(o, "window_kl", s->window_kl, s->n_windows);
}

static void add_layers(cJSON *object, const struct judge_layers *l)
{
    cJSON *list = cJSON_AddArrayToObject(object, "layers");
    for (int i = 0; i < l->n_layers; i++) {
        const struct judge_layer *x = &l->layers[i];
        cJSON *o = report_add_object(list);
        add(o, "layer", i);
        add(o, "block_error", x->block_error);
        add(o, "hidden_error", x->hidden_error);
        add(o, "hidden_error_forced", x->forced_error);
        add(o, "experts_shared", x->expert_share);
        add(o, "positions_shared", x->position_share);
        if (l->has_kl)
            add_interval(o, "kl", &x->kl);
    }
}

static void add_scope(cJSON *object, const char *key, const struct judge_scope *s)
{
    cJSON *o = cJSON_AddObjectToObject(object, key);
    report_u64(o, "linears", s->n);
    add(o, "geometric_mean", s->geometric);
    add(o, "p95", s->p95);
    add(o, "worst", s->worst);
    if (s->worst_linear)
        cJSON_AddStringToObject(o, "worst_linear", s->worst_linear->other->name);
}

static void add_linears_by_layer(cJSON *object, const struct judge_result *r)
{
    cJSON *list = cJSON_AddArrayToObject(object, "by_layer");
    for (int i = 0; i <= r->layers.n_layers; i++) {
        const struct judge_linears_layer *l = &r->by_layer[i];
        if (!l->n)
            continue;
        cJSON *o = report_add_object(list);
        add(o, "layer", i < r->layers.n_layers ? i : -1);
        report_u64(o, "linears", l->n);
        add(o, "least", l->least);
        add(o, "p25", l->p25);
        add(o, "median", l->median);
        add(o, "p75", l->p75);
        add(o, "worst", l->worst);
    }
}

static void add_linears(cJSON *object, const struct judge_result *r)
{
    cJSON *o = cJSON_AddObjectToObject(object, "nmse");
    add_scope(o, "routed_experts", &r->experts);
    add_scope(o, "all", &r->all);
    report_u64(o, "unmatched", r->linears.n_unmatched);
    add_linears_by_layer(o, r);
    cJSON *list = cJSON_AddArrayToObject(o, "linears");
    for (size_t i = 0; i < r->linears.n; i++) {
        const struct judge_linear *x = &r->linears.items[i];
        if (!x->changed)
            continue;
        cJSON *item = report_add_object(list);
        cJSON_AddStringToObject(item, "name", x->other->name);
        cJSON_AddStringToObject(item, "form", linear_form_name(x->other->form));
        report_u64(item, "tokens", x->tokens);
        add(item, "nmse", x->nmse);
    }
}

static void add_model(cJSON *object, const struct judge_model *m)
{
    cJSON_AddStringToObject(object, "path", m->path);
    report_u64(object, "tensor_bytes", m->tensor_bytes);
    report_u64(object, "tensors", m->n_tensors);
    report_u64(object, "n_routed_experts", (uint64_t)m->config->n_routed_experts);
    cJSON_AddStringToObject(object, "forms", m->forms);
    cJSON_AddStringToObject(object, "config_sha256", m->pruned.source.config_sha256);
    cJSON_AddStringToObject(object, "index_sha256", m->pruned.source.index_sha256);
    cJSON_AddStringToObject(object, "tokenizer_sha256", m->identity.tokenizer_sha256);
    cJSON_AddStringToObject(object, "final_norm_sha256", m->identity.final_norm_sha256);
}

/* Of split models: bytes of each rank's share. */
static void add_rank_bytes(cJSON *object, const uint64_t *bytes, int n)
{
    if (!bytes)
        return;
    cJSON *list = cJSON_AddArrayToObject(object, "rank_bytes");
    for (int i = 0; i < n; i++) /* up to 2^53 a number of JSON */
        report_add(list, cJSON_CreateNumber((double)bytes[i]));
}

static void add_result(cJSON *list, const struct judgement *j, const struct judge_result *r)
{
    const int judged = j->has_original || j->has_reference;
    cJSON *o = report_add_object(list);
    add_model(o, &r->model);
    add_rank_bytes(o, r->rank_bytes, j->n_ranks);
    add_series(o, "free", &r->free, judged);
    if (r->spread.n_positions)
        add_spread(o, &r->spread);
    if (r->has_forced)
        add_series(o, "forced", &r->forced, judged);
    if (r->has_mtp) {
        add_series(o, "mtp", &r->mtp, j->has_original);
        add_interval(o, "mtp_accepted", &r->draft.accepted);
    }
    if (r->has_layers)
        add_layers(o, &r->layers);
    if (r->has_linears)
        add_linears(o, r);
    add_load(o, &r->load);
    if (r->cut.n_layers)
        judge_cut_facts(o, &r->cut);
}

static void add_text(cJSON *object, const struct judgement *j)
{
    cJSON *o = cJSON_AddObjectToObject(object, "text");
    report_u64(o, "windows", j->text.n_windows);
    report_u64(o, "window", j->text.window);
    report_u64(o, "tokens", j->text.n_windows * j->text.window);
    report_u64(o, "windows_available", j->text.n_available);
    cJSON_AddStringToObject(o, "text_sha256", j->text.sha256);
    cJSON_AddBoolToObject(o, "enough_windows", j->text.n_windows >= JUDGE_LEAST_WINDOWS);
}

static void add_original(cJSON *object, const struct judgement *j)
{
    cJSON *o;
    if (j->has_original) {
        o = cJSON_AddObjectToObject(object, "original");
        add_model(o, &j->original);
        add_rank_bytes(o, j->original_rank_bytes, j->n_ranks);
    } else if (j->has_reference) {
        o = cJSON_AddObjectToObject(object, "reference");
        cJSON_AddStringToObject(o, "path", j->reference_path);
        const char *model = reference_metadata(&j->reference, "model");
        cJSON_AddStringToObject(o, "model", model ? model : "");
    } else {
        return;
    }
    add_likelihood(o, &j->original_free);
    if (j->has_original)
        add_load(o, &j->original_load);
    if (j->original_mtp.rows) {
        cJSON *mtp = cJSON_AddObjectToObject(o, "mtp");
        add_likelihood(mtp, &j->original_mtp);
        add_interval(o, "mtp_accepted", &j->original_draft.accepted);
    }
}

static void add_pairs(cJSON *object, const struct judgement *j)
{
    cJSON *list = cJSON_AddArrayToObject(object, "pairs");
    for (size_t i = 0; i < j->n_pairs; i++) {
        const struct judge_pair *p = &j->pairs[i];
        cJSON *o = report_add_object(list);
        cJSON_AddStringToObject(o, "a", j->results[p->a].model.path);
        cJSON_AddStringToObject(o, "b", j->results[p->b].model.path);
        add_interval(o, "nll", &p->nll);
        if (j->has_original || j->has_reference)
            add_interval(o, "kl", &p->kl);
        if (!isnan(p->forced_kl.mean))
            add_interval(o, "forced_kl", &p->forced_kl);
        add(o, "nmse_geometric_ratio", p->geometric_ratio);
        add(o, "nmse_p95_ratio", p->p95_ratio);
        cJSON_AddStringToObject(o, "better",
                                p->better < 0   ? "a"
                                : p->better > 0 ? "b"
                                                : "no claim");
        cJSON_AddBoolToObject(o, "end_to_end", p->end_to_end);
    }
}

int judge_facts(cJSON *object, const struct judgement *j, const struct judge_verdict *verdicts,
                size_t n_verdicts, struct prep_error *err)
{
    add_text(object, j);
    if (j->n_ranks)
        cJSON_AddNumberToObject(object, "tp", j->n_ranks);
    cJSON_AddStringToObject(object, "settings", j->settings);
    add_original(object, j);
    cJSON *models = cJSON_AddArrayToObject(object, "models");
    for (size_t i = 0; i < j->n_results; i++)
        add_result(models, j, &j->results[i]);
    if (j->n_pairs)
        add_pairs(object, j);
    cJSON *list = cJSON_AddArrayToObject(object, "limits");
    for (size_t i = 0; i < n_verdicts; i++) {
        const struct judge_verdict *v = &verdicts[i];
        cJSON *o = report_add_object(list);
        cJSON_AddStringToObject(o, "limit", v->name);
        cJSON_AddStringToObject(o, "model", j->results[v->result].model.path);
        add(o, "want", v->limit);
        add(o, "found", v->found);
        cJSON_AddBoolToObject(o, "holds", v->holds);
    }
    if (!list || cJSON_GetArraySize(list) != (int)n_verdicts)
        return prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
    return 0;
}

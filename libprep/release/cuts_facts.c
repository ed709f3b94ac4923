/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "libprep/release/cuts.h"

/* cJSON prints what is not a number as null: not measured. */
static void add_interval(cJSON *object, const char *key, const struct bootstrap_interval *i)
{
    cJSON *o = cJSON_AddObjectToObject(object, key);
    cJSON_AddNumberToObject(o, "mean", i->mean);
    cJSON_AddNumberToObject(o, "low", i->low);
    cJSON_AddNumberToObject(o, "high", i->high);
}

static void add_windows(cJSON *object, const struct judge_series *s)
{
    cJSON *list = cJSON_AddArrayToObject(object, "window_nll");
    for (uint64_t i = 0; i < s->n_windows; i++)
        report_add(list, cJSON_CreateNumber(s->window_nll[i]));
}

static void add_text(cJSON *object, const struct judge_text *t)
{
    cJSON *o = cJSON_AddObjectToObject(object, "text");
    report_u64(o, "windows", t->n_windows);
    report_u64(o, "window", t->window);
    report_u64(o, "tokens", t->n_windows * t->window);
    report_u64(o, "windows_available", t->n_available);
    cJSON_AddStringToObject(o, "text_sha256", t->sha256);
    cJSON_AddBoolToObject(o, "enough_windows", t->n_windows >= JUDGE_LEAST_WINDOWS);
}

static void add_cut(cJSON *list, const struct cuts *c, const struct judged_cut *cut)
{
    const struct judge_series *s = &cut->line.series;
    cJSON *o = report_add_object(list);
    cJSON_AddStringToObject(o, "path", cut->path);
    report_u64(o, "size", cut->size);
    add_interval(o, "nll", &s->nll);
    add_interval(o, "nll_increase", &s->more_nll);
    add_interval(o, "kl", &s->kl);
    if (c->n_draws) {
        report_u64(o, "rank", cut->rank);
        cJSON_AddNumberToObject(o, "p", cut->p);
        cJSON_AddBoolToObject(o, "better_than_random", cut->better_than_random);
    }
    add_windows(o, s);
}

/* {"3":[..]}: what --keep-map takes. */
static void add_sets(cJSON *object, const struct cuts *c, const struct expert_set *sets)
{
    cJSON *kept = cJSON_AddObjectToObject(object, "kept");
    char key[16];
    for (int i = 0; i < c->original.config->num_hidden_layers; i++) {
        if (!sets[i].experts)
            continue;
        snprintf(key, sizeof key, "%d", i);
        cJSON *ids = cJSON_AddArrayToObject(kept, key);
        for (size_t e = 0; e < sets[i].n; e++)
            report_add(ids, cJSON_CreateNumber(sets[i].experts[e]));
    }
}

static void add_size(cJSON *list, const struct cuts *c, const struct cuts_size *s)
{
    cJSON *o = report_add_object(list);
    char key[16];
    cJSON *experts = cJSON_AddObjectToObject(o, "n_experts");
    for (int i = 0; i < c->original.config->num_hidden_layers; i++) {
        snprintf(key, sizeof key, "%d", i);
        if (s->n_experts[i])
            cJSON_AddNumberToObject(experts, key, s->n_experts[i]);
    }
    cJSON_AddNumberToObject(o, "mean", s->mean);
    cJSON_AddNumberToObject(o, "deviation", s->deviation);
    cJSON_AddNumberToObject(o, "lowest", s->lowest);
    cJSON_AddNumberToObject(o, "highest", s->highest);
    cJSON *draws = cJSON_AddArrayToObject(o, "draws");
    for (size_t i = 0; i < c->n_draws; i++) {
        cJSON *d = report_add_object(draws);
        report_u64(d, "seed", i + 1);
        cJSON_AddNumberToObject(d, "nll_increase", s->increases[i]);
        cJSON_AddNumberToObject(d, "kl", s->draws[i].series.kl.mean);
        add_sets(d, c, s->draws[i].sets);
    }
}

static void add_pairs(cJSON *object, const struct cuts *c)
{
    cJSON *list = cJSON_AddArrayToObject(object, "pairs");
    for (size_t i = 0; i < c->n_pairs; i++) {
        const struct cuts_pair *p = &c->pairs[i];
        cJSON *o = report_add_object(list);
        cJSON_AddStringToObject(o, "a", c->cuts[p->a].path);
        cJSON_AddStringToObject(o, "b", c->cuts[p->b].path);
        add_interval(o, "nll", &p->nll);
        add_interval(o, "kl", &p->kl);
    }
}

int cuts_facts(cJSON *object, const struct cuts *c, struct prep_error *err)
{
    add_text(object, &c->text);
    cJSON_AddStringToObject(object, "settings", c->settings);
    cJSON *o = cJSON_AddObjectToObject(object, "original");
    cJSON_AddStringToObject(o, "path", c->original.path);
    add_interval(o, "nll", &c->unpruned.nll);
    add_windows(o, &c->unpruned);
    cJSON *cuts = cJSON_AddArrayToObject(object, "cuts");
    for (size_t i = 0; i < c->n_cuts; i++)
        add_cut(cuts, c, &c->cuts[i]);
    cJSON *sizes = cJSON_AddArrayToObject(object, "sizes");
    for (size_t i = 0; i < c->n_sizes; i++)
        add_size(sizes, c, &c->sizes[i]);
    add_pairs(object, c);
    if (!sizes || cJSON_GetArraySize(sizes) != (int)c->n_sizes)
        return prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
    return 0;
}

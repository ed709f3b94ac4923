/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "libprep/release/probe_run.h"

static void add_tally(cJSON *o, const struct probe_tally *t)
{
    report_u64(o, "n", t->n);
    report_u64(o, "hits", t->hits);
    cJSON_AddNumberToObject(o, "rate", t->rate.rate);
    cJSON_AddNumberToObject(o, "low", t->rate.low);
    cJSON_AddNumberToObject(o, "high", t->rate.high);
    if (isnan(t->p))
        return;
    report_u64(o, "only_original", t->pairs.only_first);
    report_u64(o, "only_model", t->pairs.only_second);
    cJSON_AddNumberToObject(o, "p", t->p);
    cJSON_AddStringToObject(o, "claim", t->claim > 0 ? "better" : t->claim < 0 ? "worse" : "none");
}

static void add_cases(cJSON *object, const struct probe_results *r, const struct probe_model *m,
                      const struct probe_group *g)
{
    cJSON *list = cJSON_AddArrayToObject(object, "cases");
    for (size_t i = g->first; i < g->first + g->n; i++) {
        const struct probe_outcome *x = &m->outcomes[i];
        cJSON *o = report_add_object(list);
        cJSON_AddStringToObject(o, "id", r->suite.cases[i].id);
        cJSON_AddBoolToObject(o, "hit", x->hit);
        report_u64(o, "tokens", x->n);
        cJSON_AddBoolToObject(o, "stopped", x->stopped);
        if (g->kind == PROBE_LOOPS)
            cJSON_AddNumberToObject(o, "period", x->period);
        if (g->kind == PROBE_TOOLS) {
            cJSON_AddNumberToObject(o, "calls", x->calls);
            cJSON_AddStringToObject(o, "format", tool_fault_text((enum tool_fault)x->fault));
        }
    }
}

static void add_groups(cJSON *object, const struct probe_results *r, const struct probe_model *m,
                       enum probe_kind kind)
{
    cJSON *list = cJSON_AddArrayToObject(object, "groups");
    for (size_t i = 0; i < r->suite.n_groups; i++) {
        const struct probe_group *g = &r->suite.groups[i];
        if (g->kind != kind)
            continue;
        cJSON *o = report_add_object(list);
        cJSON_AddStringToObject(o, "name", g->name);
        if (kind == PROBE_NEEDLE) {
            report_u64(o, "length", g->length);
            cJSON_AddNumberToObject(o, "depth", g->depth);
        }
        add_tally(o, &m->groups[i]);
        add_cases(o, r, m, g);
    }
}

int probe_facts(cJSON *object, const struct probe_results *r, struct prep_error *err)
{
    cJSON_AddBoolToObject(object, "has_original", r->has_original);
    if (r->has_chat)
        cJSON_AddStringToObject(object, "chat_template_sha256", r->chat_sha256);
    cJSON *models = cJSON_AddArrayToObject(object, "probed");
    for (size_t i = 0; i < r->n_models; i++) {
        const struct probe_model *m = &r->models[i];
        cJSON *o = report_add_object(models);
        cJSON_AddStringToObject(o, "path", m->path);
        report_u64(o, "answers_that_ended", m->stopped);
        report_u64(o, "answers_with_calls", m->calls);
        report_u64(o, "of_these_sound", m->sound_calls);
        for (int k = 0; k < PROBE_N_KINDS; k++) {
            if (m->kinds[k].n == 0)
                continue;
            cJSON *probe = cJSON_AddObjectToObject(o, probe_name((enum probe_kind)k));
            add_tally(probe, &m->kinds[k]);
            add_groups(probe, r, m, (enum probe_kind)k);
        }
    }
    if (!models || cJSON_GetArraySize(models) != (int)r->n_models)
        return prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
    return 0;
}

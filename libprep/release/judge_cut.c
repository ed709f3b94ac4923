/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_cut.h"

#include <math.h>
#include <stdio.h>

#include "libprep/base/json.h"
#include "libprep/base/report.h"

static const char *const share_names[JUDGE_CUT_SHARES] = {"kept_share_s", "kept_share_n",
                                                          "kept_share_g", "kept_share_reap"};

static double number_at(const struct json *d, uint32_t object, const char *key)
{
    double v;
    const uint32_t node = json_get(d, object, key);
    return node != JSON_NONE && !json_f64(d, node, &v) && isfinite(v) ? v : (double)NAN;
}

/* [id, saliency] */
static void read_side(const struct json *d, uint32_t object, const char *key, int *id,
                      double *saliency)
{
    const uint32_t list = json_get(d, object, key);
    int64_t n;
    if (list == JSON_NONE || json_type(d, list) != JSON_ARRAY || json_count(d, list) != 2)
        return;
    const uint32_t first = json_first(d, list);
    if (json_i64(d, first, &n) || n < 0 || n >= KEEP_MAP_MAX_EXPERTS)
        return;
    *id = (int)n;
    if (json_f64(d, json_next(d, first), saliency) || !isfinite(*saliency))
        *saliency = (double)NAN;
}

static void read_scores(struct judge_cut_layer *to, const struct json *d)
{
    char key[16];
    snprintf(key, sizeof key, "%d", to->layer);
    const uint32_t o = json_get(d, 0, key);
    if (o == JSON_NONE || json_type(d, o) != JSON_OBJECT)
        return;
    for (int i = 0; i < JUDGE_CUT_SHARES; i++)
        to->share[i] = number_at(d, o, share_names[i]);
    read_side(d, o, "boundary_kept", &to->kept_id, &to->kept_saliency);
    read_side(d, o, "boundary_dropped", &to->dropped_id, &to->dropped_saliency);
    to->ratio = number_at(d, o, "boundary_ratio");
    to->z_score = number_at(d, o, "boundary_z_score");
    to->jaccard = number_at(d, o, "jaccard_between_runs");
    const uint32_t never = json_get(d, o, "never_routed");
    if (never != JSON_NONE && json_type(d, never) == JSON_ARRAY)
        to->n_never_routed = (int)json_count(d, never);
}

static void read_report(struct judge_cut *cut, const struct json *d)
{
    if (json_type(d, 0) != JSON_OBJECT)
        return;
    for (size_t i = 0; i < cut->n_layers; i++) {
        read_scores(&cut->layers[i], d);
        for (int k = 0; k < JUDGE_CUT_SHARES; k++)
            cut->has_scores |= !isnan(cut->layers[i].share[k]);
    }
    const uint32_t overall = json_get(d, 0, "overall");
    if (overall != JSON_NONE && json_type(d, overall) == JSON_OBJECT)
        cut->mean_dropped_share = number_at(d, overall, "mean_dropped_share");
}

static void list_layers(struct judge_cut *cut)
{
    int removed = 0;
    for (size_t i = 0; i < cut->map->n_layers; i++) {
        const struct keep_layer *l = &cut->map->layers[i];
        const int before = cut->n_before ? cut->n_before : l->n_parent;
        cut->layers[i] = (struct judge_cut_layer){.layer = l->layer,
                                                  .n_before = before,
                                                  .n_kept = l->n_kept,
                                                  .kept = l->kept_source,
                                                  .origin = l->origin ? l->origin : "",
                                                  .share = {NAN, NAN, NAN, NAN},
                                                  .kept_id = -1,
                                                  .dropped_id = -1,
                                                  .kept_saliency = NAN,
                                                  .dropped_saliency = NAN,
                                                  .ratio = NAN,
                                                  .z_score = NAN,
                                                  .jaccard = NAN,
                                                  .n_never_routed = -1};
        removed |= before == 0 || l->n_kept < before;
    }
    cut->n_layers = removed ? cut->map->n_layers : 0;
}

int judge_cut_make(struct judge_cut *cut, const struct keep_map *map, struct arena *arena,
                   struct prep_error *err)
{
    struct prep_error unread = PREP_ERROR_INIT;
    struct json d;
    *cut = (struct judge_cut){
        .map = map, .n_before = map->base_n_routed_experts, .mean_dropped_share = NAN};
    cut->layers = arena_calloc(arena, map->n_layers, sizeof *cut->layers, err);
    if (!cut->layers)
        return -1;
    list_layers(cut);
    if (!map->report.n)
        return 0;
    if (json_parse(&d, (const char *)map->report.p, map->report.n, "report", &unread))
        return unread.code == PREP_ENOMEM ? prep_fail(err, PREP_ENOMEM, "%s", unread.msg) : 0;
    read_report(cut, &d);
    json_free(&d);
    return 0;
}

/* ---- facts ---- */

static void add_passes(cJSON *object, const struct keep_map *m)
{
    cJSON *list = cJSON_AddArrayToObject(object, "passes");
    for (size_t i = 0; i < m->n_passes; i++) {
        const struct keep_pass *p = &m->passes[i];
        cJSON *o = report_add_object(list);
        cJSON_AddNumberToObject(o, "from", p->from);
        cJSON_AddNumberToObject(o, "to", p->to);
        cJSON_AddStringToObject(o, "metric", p->metric ? p->metric : "");
        cJSON_AddStringToObject(o, "pool", p->pool ? p->pool : "");
        cJSON_AddStringToObject(o, "tool_version", p->tool_version ? p->tool_version : "");
        cJSON *runs = cJSON_AddArrayToObject(o, "runs");
        for (size_t k = 0; k < p->n_runs; k++) {
            cJSON *run = report_add_object(runs);
            cJSON_AddStringToObject(run, "label", p->runs[k].label);
            cJSON_AddStringToObject(run, "sha256", p->runs[k].sha256);
            report_u64(run, "tokens", p->runs[k].tokens);
        }
    }
}

static void add_layer(cJSON *list, const struct judge_cut_layer *l)
{
    cJSON *o = report_add_object(list);
    cJSON_AddNumberToObject(o, "layer", l->layer);
    cJSON_AddNumberToObject(o, "experts_before", l->n_before);
    cJSON_AddStringToObject(o, "origin", l->origin);
    cJSON *kept = cJSON_CreateIntArray(l->kept, l->n_kept);
    cJSON_AddItemToObject(o, "kept", kept);
    for (int i = 0; i < JUDGE_CUT_SHARES; i++)
        cJSON_AddNumberToObject(o, share_names[i], l->share[i]);
    if (l->kept_id >= 0) {
        cJSON_AddNumberToObject(o, "last_kept", l->kept_id);
        cJSON_AddNumberToObject(o, "last_kept_saliency", l->kept_saliency);
    }
    if (l->dropped_id >= 0) {
        cJSON_AddNumberToObject(o, "first_dropped", l->dropped_id);
        cJSON_AddNumberToObject(o, "first_dropped_saliency", l->dropped_saliency);
    }
    cJSON_AddNumberToObject(o, "boundary_ratio", l->ratio);
    cJSON_AddNumberToObject(o, "boundary_z_score", l->z_score);
    cJSON_AddNumberToObject(o, "jaccard_between_runs", l->jaccard);
    if (l->n_never_routed >= 0)
        cJSON_AddNumberToObject(o, "never_routed", l->n_never_routed);
}

void judge_cut_facts(cJSON *object, const struct judge_cut *cut)
{
    cJSON *o = cJSON_AddObjectToObject(object, "cut");
    cJSON_AddNumberToObject(o, "experts_before", cut->n_before);
    cJSON_AddNumberToObject(o, "mean_dropped_share", cut->mean_dropped_share);
    add_passes(o, cut->map);
    cJSON *list = cJSON_AddArrayToObject(o, "layers");
    for (size_t i = 0; i < cut->n_layers; i++)
        add_layer(list, &cut->layers[i]);
}

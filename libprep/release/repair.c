/* SPDX-License-Identifier: MIT */
#include "libprep/release/repair.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/format/hf_index.h"
#include "libprep/release/repair_job.h"

int repair_wants(const struct repairing *k, const char *code)
{
    return lint_count(&k->r->found, code) > 0;
}

void repair_mended(struct repairing *k, const char *code, size_t n, const char *text)
{
    struct repair_result *r = k->r;
    if (n && r->n_mends < REPAIR_MAX_MENDS)
        r->mends[r->n_mends++] = (struct repair_mend){lint_rule(code)->code, n, text};
}

void repair_result_free(struct repair_result *r)
{
    plan_free(r->plan);
    view_fini(&r->view);
    if (r->config)
        config_free(r->config);
    checkpoint_close(r->ckpt);
    lint_fini(&r->found);
    arena_fini(&r->arena);
    *r = (struct repair_result){0};
}

/* ---- opening ---- */

/* Faults that are gone once the files are written again. */
static const char *const rewritten[] = {
    "HEADER_ALIGNMENT",   "HEADER_PADDING",   "HEADER_LEADING_SPACE", "UNKNOWN_FIELD", "TOTAL_SIZE",
    "TOTAL_SIZE_MISSING", "TOTAL_SIZE_FLOAT", "SHARD_NAMING",         "STRAY_SHARD"};

static int open_source(struct repairing *k, struct prep_error *err)
{
    struct repair_result *r = k->r;
    struct prep_error why = PREP_ERROR_INIT;
    if (checkpoint_open(&r->ckpt, k->job->io, k->job->source, NULL, &why)) {
        if (!checkpoint_is_index_fault(&why)) {
            *err = why;
            return -1;
        }
        if (checkpoint_open_shards(&r->ckpt, k->job->io, k->job->source, NULL, err))
            return -1;
        repair_mended(k, why.tag, 1, "the index made from the shards");
    }
    r->config = arena_calloc(&r->arena, 1, sizeof *r->config, err);
    if (!r->config || config_load(r->config, k->job->io, r->ckpt->dir, NULL, err)) {
        r->config = NULL;
        return -1;
    }
    k->modules.ckpt = r->ckpt;
    k->modules.c = r->config;
    return lint_build_modules(&k->modules, err);
}

static int find_faults(struct repairing *k, struct prep_error *err)
{
    const struct lint_options opt = {.engines = k->job->engines, .n_threads = k->job->n_threads};
    return lint_run(&k->r->found, k->job->io, k->job->source, &opt, err);
}

/* What the lists and zero points of the configs say, for those who mend them. */
static int read_quantization(struct repairing *k, struct prep_error *err)
{
    struct lint ignored = {.engines = 0};
    arena_init(&ignored.arena, 0);
    k->modules.out = &ignored;
    int rc = lint_quant_config(&k->modules, err);
    lint_fini(&ignored);
    k->modules.out = NULL;
    return rc;
}

/* ---- the plan ---- */

static int plan_rework(struct repairing *k, struct rework *w, uint32_t first_source,
                       struct prep_error *err)
{
    struct plan_range ranges[3];
    for (uint32_t i = 0; i < w->n_inputs; i++) {
        const struct checkpoint_tensor *t = &k->r->ckpt->tensors[w->inputs[i]];
        ranges[i] = (struct plan_range){first_source + t->file, t->info.offset, t->info.bytes};
    }
    return plan_add_call(k->r->plan, w->fn, w->arg, 0, ranges, w->n_inputs, &w->step, err);
}

static int list_tensors(struct repairing *k, struct layout *l, struct prep_error *err)
{
    const struct view *v = &k->r->view;
    l->tensors = arena_calloc(&k->r->arena, v->n_tensors, sizeof *l->tensors, err);
    if (!l->tensors)
        return -1;
    for (uint32_t i = 0; i < k->r->ckpt->n_tensors; i++)
        if (k->rework[i] && k->rework[i]->of == k->rework[i] &&
            plan_rework(k, k->rework[i], l->first_source[0], err))
            return -1;
    for (size_t i = 0; i < v->n_tensors; i++) {
        const struct view_tensor *t = &v->tensors[i];
        struct rework *w = k->rework[t->tensor];
        struct layout_tensor *out = &l->tensors[l->n_tensors++];
        *out = (struct layout_tensor){.info = t->info, .order = t->order, .group = t->group};
        if (w) {
            out->step = w->of->step;
            out->output = w->output;
        } else {
            out->copy = t;
        }
    }
    return 0;
}

static int is_written_anew(const struct repairing *k, const char *name)
{
    static const char *const ours[] = {HF_INDEX_NAME, "prep-manifest.json", "prep-report.html"};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (strcmp(name, ours[i]) == 0)
            return 1;
    for (size_t i = 0; i < k->n_texts; i++)
        if (strcmp(name, k->texts[i].name) == 0)
            return 1;
    return 0;
}

static int list_sidecars(struct repairing *k, struct layout *l, struct prep_error *err)
{
    const struct checkpoint *c = k->r->ckpt;
    struct layout_sidecar *side = arena_calloc(&k->r->arena, c->n_files, sizeof *side, err);
    if (!side)
        return -1;
    for (size_t i = c->n_shards; i < c->n_files; i++)
        if (!is_written_anew(k, c->files[i].name))
            side[l->n_sidecars++] = (struct layout_sidecar){c->files[i].name, 0, (uint32_t)i};
    l->sidecars = side;
    return 0;
}

/* The mends decide the bytes: they go into the key. */
static int add_options(struct repairing *k, struct prep_error *err)
{
    for (size_t i = 0; i < k->r->n_mends; i++)
        if (plan_option(k->r->plan, "mend", k->r->mends[i].code, err))
            return -1;
    return 0;
}

static int make_plan(struct repairing *k, struct prep_error *err)
{
    struct repair_result *r = k->r;
    struct layout l = {.view = &r->view,
                       .index = r->ckpt->index_text,
                       .single_file = r->ckpt->single_file,
                       .texts = k->texts,
                       .n_texts = k->n_texts,
                       .shard_bytes = k->job->shard_bytes};
    return plan_new(&r->plan, "prep-inspect", PREP_VERSION, err) || add_options(k, err) ||
                   plan_add_checkpoint(r->plan, r->ckpt, &l.first_source[0], err) ||
                   list_tensors(k, &l, err) || list_sidecars(k, &l, err) ||
                   layout_plan(r->plan, &l, k->report, err) || plan_finish(r->plan, err)
               ? -1
               : 0;
}

int repair_job_run(struct repair_result *result, const struct repair_job *job,
                   struct report *report, struct prep_error *err)
{
    struct repairing k = {.job = job, .r = result, .report = report};
    int rc = -1;
    *result = (struct repair_result){0};
    arena_init(&result->arena, 0);
    arena_init(&k.modules.arena, 0);
    view_init(&result->view);
    if (find_faults(&k, err))
        goto out;
    if (!result->found.n_faults) {
        rc = 0;
        goto out;
    }
    if (open_source(&k, err) || read_quantization(&k, err) || repair_tensors(&k, err) ||
        repair_view(&k, err) || repair_configs(&k, err))
        goto out;
    for (size_t i = 0; i < sizeof rewritten / sizeof *rewritten; i++)
        repair_mended(&k, rewritten[i], lint_count(&result->found, rewritten[i]), "written anew");
    rc = result->n_mends ? make_plan(&k, err) : 0;
out:
    arena_fini(&k.modules.arena);
    return rc;
}

int repair_facts(cJSON *object, const struct repair_result *r, struct prep_error *err)
{
    cJSON *list = cJSON_AddArrayToObject(object, "mends");
    for (size_t i = 0; i < r->n_mends && list; i++) {
        cJSON *o = cJSON_CreateObject();
        if (!o || !cJSON_AddItemToArray(list, o)) {
            cJSON_Delete(o);
            list = NULL;
            break;
        }
        report_u64(o, "n", r->mends[i].n);
        if (!cJSON_AddStringToObject(o, "code", r->mends[i].code) ||
            !cJSON_AddStringToObject(o, "text", r->mends[i].text))
            list = NULL;
    }
    return list ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory while listing mends");
}

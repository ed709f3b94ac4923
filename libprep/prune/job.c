/* SPDX-License-Identifier: MIT */
#include "libprep/prune/job.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/prune/compose.h"
#include "libprep/prune/job_write.h"
#include "libprep/prune/pool.h"
#include "libprep/prune/recover.h"
#include "libprep/prune/select.h"

#define MAX_LIST (UINT64_C(64) << 20)

/* What lives between reading the request and having a keep-map. */
struct work {
    const struct prune_job *job;
    struct prune_result *result;
    struct prune_options options;
    struct prune_model model;
    struct known_map parent; /* map NULL before a first pass */
    struct obs_run *runs;
    struct keep_map *run_maps;
    size_t n_runs, n_run_maps; /* read so far */
    struct pool pool;
    struct selection selection;
    struct report *report;
};

static void work_fini(struct work *w)
{
    for (size_t i = 0; i < w->n_runs; i++)
        obs_run_free(&w->runs[i]);
    for (size_t i = 0; i < w->n_run_maps; i++)
        keep_map_free(&w->run_maps[i]);
    selection_free(&w->selection);
    pool_free(&w->pool);
}

/* ---- the request's files ---- */

static int read_text(const struct work *w, const char *path, struct span *text,
                     struct prep_error *err)
{
    return io_read_file(w->job->io, path, MAX_LIST, &w->result->arena, text, err);
}

static int read_ids(const struct work *w, const char *path, const struct layer_ids **lists,
                    size_t *n, struct prep_error *err)
{
    struct span text;
    struct layer_ids *read;
    if (!path)
        return 0;
    if (read_text(w, path, &text, err) ||
        prune_ids_parse(&read, n, (const char *)text.p, text.n, path, &w->result->arena, err))
        return -1;
    *lists = read;
    return 0;
}

static int read_counts(struct work *w, struct prep_error *err)
{
    struct span text;
    struct layer_count *counts;
    const char *path = w->job->keep_counts;
    if (!path)
        return 0;
    if (read_text(w, path, &text, err) ||
        prune_counts_parse(&counts, &w->options.n_counts, (const char *)text.p, text.n, path,
                           &w->result->arena, err))
        return -1;
    w->options.counts = counts;
    w->options.size = SIZE_COUNTS;
    return 0;
}

static int read_run_maps(struct work *w, struct prep_error *err)
{
    struct arena *arena = &w->result->arena;
    size_t n = w->job->n_run_maps;
    struct known_map *known = arena_calloc(arena, n, sizeof *known, err);
    w->run_maps = arena_calloc(arena, n, sizeof *w->run_maps, err);
    if (!known || !w->run_maps)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct span text;
        char hex[SHA256_HEX];
        const char *path = w->job->run_maps[i];
        if (read_text(w, path, &text, err) ||
            keep_map_parse(&w->run_maps[i], (const char *)text.p, text.n, path, err))
            return -1;
        w->n_run_maps++;
        sha256_hex(text.p, text.n, hex);
        known[i] = (struct known_map){&w->run_maps[i], arena_strndup(arena, hex, 64, err)};
        if (!known[i].sha256)
            return -1;
    }
    w->options.run_maps = known;
    w->options.n_run_maps = n;
    return 0;
}

static int read_runs(struct work *w, struct prep_error *err)
{
    w->runs = arena_calloc(&w->result->arena, w->job->n_observations, sizeof *w->runs, err);
    if (!w->runs)
        return -1;
    for (; w->n_runs < w->job->n_observations; w->n_runs++)
        if (obs_run_read(&w->runs[w->n_runs], w->job->io, w->job->observations[w->n_runs],
                         w->job->suffix, w->report, err))
            return -1;
    return 0;
}

/* ---- the checkpoint's own history ---- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* Without a keep-map of its own: the one given, or one rebuilt from the model it was cut from. */
static int find_parent(struct work *w, struct prep_error *err)
{
    struct source *s = &w->result->source;
    if (w->job->source_map && source_read_map(s, w->job->io, w->job->source_map, err))
        return -1;
    if (w->job->recover_base) {
        if (s->has_map)
            return prep_fail(err, PREP_EUSAGE, "%s: has a %s, nothing to recover", s->path,
                             KEEP_MAP_NAME);
        struct source base = {0};
        struct span text;
        int rc = source_open(&base, w->job->io, w->job->recover_base, NULL, err) ||
                 recover_keep_map(&s->map, s->ckpt, &s->config, base.ckpt, &base.config, err);
        source_close(&base);
        s->has_map = !rc;
        s->map.base_model =
            w->job->model_name ? w->job->model_name : last_part(w->job->recover_base);
        if (rc || keep_map_write(&s->map, &w->result->arena, &text, err))
            return -1;
        sha256_hex(text.p, text.n, s->map_sha256);
    }
    if (s->has_map && s->map.full)
        w->parent = (struct known_map){&s->map, s->map_sha256};
    return 0;
}

/* The public id of the base: as asked, else as the runs or the hub path say, else the folder. */
static const char *model_name(const struct work *w)
{
    if (w->job->model_name)
        return w->job->model_name;
    for (size_t i = 0; i < w->n_runs; i++)
        if (w->runs[i].model)
            return w->runs[i].model;
    const char *path = w->job->source;
    int hub_id = w->result->source.ckpt->revision && path[0] != '/' && path[0] != '.';
    return hub_id ? path : last_part(path);
}

static int describe_model(struct work *w, struct prep_error *err)
{
    struct source *s = &w->result->source;
    if (prune_model_from_config(&w->model, &s->config, &w->result->arena, err))
        return -1;
    w->model.name = model_name(w);
    w->model.config_sha256 = s->config_sha256;
    w->model.index_sha256 = s->index_sha256;
    return 0;
}

/* ---- from statistics to a keep-map ---- */

static int report_cuts(struct work *w, struct prep_error *err)
{
    struct prune_result *r = w->result;
    const struct known_map *parent = w->parent.map ? &w->parent : NULL;
    if (cut_report_make(&r->cuts, &w->selection, &w->pool, parent, &w->options, NULL, 0, err))
        return -1;
    r->has_cuts = 1;
    if (w->job->n_compare && cut_report_make(&r->compared, &w->selection, &w->pool, parent,
                                             &w->options, w->job->compare, w->job->n_compare, err))
        return -1;
    return cut_report_facts(w->job->n_compare ? &r->compared : &r->cuts, w->report, err);
}

static int map_from_statistics(struct work *w, struct prep_error *err)
{
    struct span cut_json;
    const struct known_map *parent = w->parent.map ? &w->parent : NULL;
    if (pool_runs(&w->pool, w->runs, w->n_runs, &w->model, parent, &w->options, w->report, err) ||
        select_experts(&w->selection, &w->pool, &w->model, parent, &w->options, w->report, err) ||
        report_cuts(w, err) ||
        cut_report_json(&w->result->cuts, 0, &w->result->arena, &cut_json, err))
        return -1;
    return compose_selection(&w->result->map, &w->selection, &w->pool, parent, &w->options,
                             &cut_json, w->report, err);
}

static int map_from_file(struct work *w, struct prep_error *err)
{
    struct span text;
    struct keep_map plan = {0};
    const struct known_map *parent = w->parent.map ? &w->parent : NULL;
    if (read_text(w, w->job->keep_map, &text, err) ||
        keep_map_parse(&plan, (const char *)text.p, text.n, w->job->keep_map, err))
        return -1;
    int rc =
        compose_explicit(&w->result->map, &plan, &w->model, parent, &w->options, w->report, err);
    keep_map_free(&plan);
    return rc;
}

static int make_map(struct work *w, struct prep_error *err)
{
    const struct prune_job *job = w->job;
    if (!job->keep_map == !job->n_observations)
        return prep_fail(err, PREP_EUSAGE,
                         "give observations (--obs) or a plan (--keep-map), one of the two");
    if (read_ids(w, job->protect, &w->options.protect, &w->options.n_protect, err) ||
        read_ids(w, job->drop, &w->options.drop, &w->options.n_drop, err) || read_counts(w, err) ||
        read_run_maps(w, err) || read_runs(w, err) || find_parent(w, err) || describe_model(w, err))
        return -1;
    return job->keep_map ? map_from_file(w, err) : map_from_statistics(w, err);
}

static void output_facts(const struct prune_output *out, struct report *report)
{
    cJSON *f = cJSON_AddObjectToObject(report->facts, "tensors");
    report_u64(f, "in", out->n_in);
    report_u64(f, "out", out->n_out);
    report_u64(f, "dropped", out->n_dropped);
    report_u64(f, "renamed", out->n_renamed);
    report_u64(f, "gathered", out->n_gathered);
}

static void mend_facts(const struct mends *m, struct report *report)
{
    cJSON *f = cJSON_AddObjectToObject(report->facts, "mends");
    report_u64(f, "gate_up_pairs", m->n_pairs);
    report_u64(f, "gate_up_unequal", m->n_unequal);
    report_u64(f, "gate_up_rescaled", m->options.fix_gate_up ? m->n_unequal : 0);
    report_u64(f, "biases_centered", m->n - (m->options.fix_gate_up ? m->n_unequal : 0));
}

static int make_output(struct work *w, struct prep_error *err)
{
    struct prune_result *r = w->result;
    struct apply_options apply = w->job->apply;
    apply.drop_mtp = w->options.mtp == MTP_DROP;
    if (prune_apply(&r->output, r->source.ckpt, &r->source.config, &r->map, &apply, w->report,
                    err) ||
        mends_find(&r->mends, &r->output.view, &r->source.config, &w->job->mend, &r->arena,
                   w->report, err))
        return -1;
    const struct job_write write = {"reap-prune",        &r->output, &r->map,  &r->mends,
                                    w->job->shard_bytes, &r->arena,  w->report};
    if (job_write_plan(&r->plan, &write, err))
        return -1;
    output_facts(&r->output, w->report);
    mend_facts(&r->mends, w->report);
    return report_ok(w->report, err);
}

int prune_job_run(struct prune_result *result, const struct prune_job *job, int with_plan,
                  struct report *report, struct prep_error *err)
{
    *result = (struct prune_result){0};
    arena_init(&result->arena, 0);
    struct work w = {.job = job, .result = result, .options = job->options, .report = report};
    int rc = source_open(&result->source, job->io, job->source, report, err) || make_map(&w, err) ||
             (with_plan && make_output(&w, err));
    work_fini(&w);
    return rc ? -1 : 0;
}

void prune_result_free(struct prune_result *r)
{
    plan_free(r->plan);
    prune_output_fini(&r->output);
    cut_report_free(&r->cuts);
    cut_report_free(&r->compared);
    keep_map_free(&r->map);
    source_close(&r->source);
    arena_fini(&r->arena);
    *r = (struct prune_result){0};
}

/* ---- stitch-mtp ---- */

int stitch_job_run(struct stitch_result *result, const struct stitch_job *job,
                   struct report *report, struct prep_error *err)
{
    *result = (struct stitch_result){0};
    arena_init(&result->arena, 0);
    struct source *target = &result->target, *source = &result->source;
    if (source_open(target, job->io, job->target, report, err) ||
        (job->keep_map && source_read_map(target, job->io, job->keep_map, err)) ||
        source_open(source, job->io, job->source, NULL, err))
        return -1;
    const struct stitch_input a = {target->ckpt, &target->config};
    const struct stitch_input b = {source->ckpt, &source->config};
    if (stitch_mtp(&result->stitched, &a, &b, target->has_map ? &target->map : NULL, &job->options,
                   report, err))
        return -1;
    const struct job_write write = {
        "stitch-mtp", &result->stitched.out, target->has_map ? &result->stitched.map : NULL,
        NULL,         job->shard_bytes,      &result->arena,
        report};
    if (job_write_plan(&result->plan, &write, err))
        return -1;
    output_facts(&result->stitched.out, report);
    return report_ok(report, err);
}

void stitch_result_free(struct stitch_result *r)
{
    plan_free(r->plan);
    stitched_fini(&r->stitched);
    source_close(&r->target);
    source_close(&r->source);
    arena_fini(&r->arena);
    *r = (struct stitch_result){0};
}

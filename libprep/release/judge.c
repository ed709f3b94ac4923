/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libprep/release/judge_ranks.h"

/* ---- what is measured ---- */

static int start_draft(struct judge_draft *d, struct judgement *j, struct prep_error *err)
{
    const size_t n = (size_t)j->text.n_windows;
    d->accepted_rows = arena_calloc(&j->arena, n, (size_t)j->text.window, err);
    d->window_accepted = arena_calloc(&j->arena, n, sizeof *d->window_accepted, err);
    return d->accepted_rows && d->window_accepted ? 0 : -1;
}

static int start_series(struct judge_series *s, struct judgement *j, uint64_t ahead, int compared,
                        struct prep_error *err)
{
    const struct judge_text *t = &j->text;
    if (judge_series_init(s, t->tokens, t->n_windows, t->window, ahead, &j->arena, err))
        return -1;
    s->compared = compared;
    return 0;
}

static int same_counts(const struct judge_result *r)
{
    return r->model.matrices.experts == NULL;
}

static int start_result(struct judge_result *r, struct judgement *j, const struct judge_job *job,
                        struct prep_error *err)
{
    const int judged = j->has_original || j->has_reference;
    r->has_forced = j->has_original && same_counts(r);
    r->has_mtp = job->with_mtp;
    r->has_layers = j->has_original;
    r->has_linears = j->has_original && !job->no_linears && !j->n_ranks;
    if (judge_load_init(&r->load, r->model.config, &j->arena, err) ||
        (r->model.map && judge_cut_make(&r->cut, r->model.map, &j->arena, err)) ||
        start_series(&r->free, j, 1, judged, err) ||
        (r->has_forced && start_series(&r->forced, j, 1, 1, err)) ||
        (r->has_mtp &&
         (start_series(&r->mtp, j, 2, j->has_original, err) || start_draft(&r->draft, j, err))))
        return -1;
    if (r->has_layers && judge_layers_init(&r->layers, j->original.config->num_hidden_layers,
                                           j->text.n_windows, &j->arena, err))
        return -1;
    r->at = r->layers.layers;
    if (!r->has_linears)
        return 0;
    return judge_linears_init(&r->linears, &j->original.matrices, &r->model.matrices,
                              j->original.config->num_hidden_layers, &j->arena, err);
}

static int start_measuring(struct judgement *j, const struct judge_job *job, struct prep_error *err)
{
    if ((j->has_original || j->has_reference) && start_series(&j->original_free, j, 1, 0, err))
        return -1;
    if (j->has_original && judge_load_init(&j->original_load, j->original.config, &j->arena, err))
        return -1;
    if (job->with_mtp && j->has_original &&
        (start_series(&j->original_mtp, j, 2, 0, err) || start_draft(&j->original_draft, j, err)))
        return -1;
    for (size_t i = 0; i < j->n_results; i++)
        if (start_result(&j->results[i], j, job, err))
            return -1;
    if (!job->save)
        return 0;
    j->has_saved = 1;
    if (reference_init(&j->saved, j->text.tokens, j->text.n_windows, j->text.window,
                       (uint64_t)j->results[0].model.config->vocab_size, &j->arena, err))
        return -1;
    j->saved.identity = j->results[0].model.identity;
    return 0;
}

static int add_lane(struct judge_watch *w, struct runtime *r, int forced_by, int fed_by)
{
    const int at = (int)w->n_lanes++;
    w->lanes[at] = (struct lane){.runtime = r, .forced_by = forced_by, .fed_by = fed_by};
    return at;
}

static int any_linears(const struct judgement *j)
{
    for (size_t i = 0; i < j->n_results; i++)
        if (j->results[i].has_linears)
            return 1;
    return 0;
}

static int prepare_watch(struct judge_watch *w, struct prep_error *err)
{
    struct judgement *j = w->j;
    const struct config *c = j->results[0].model.config;
    const size_t n = w->unit_sequences * (size_t)j->text.window;
    const size_t n_tokens = (size_t)(j->text.n_windows * j->text.window);
    w->hidden_size = (size_t)c->hidden_size;
    w->vocab_size = (size_t)c->vocab_size;
    w->n_layers = c->num_hidden_layers;
    w->kernels = logits_kernels(w->job->run.isa);
    w->how = (struct judge_linears_how){w->job->run.n_threads, w->job->run.isa};
    if (j->has_original)
        add_lane(w, j->original.runtime, -1, -1);
    for (size_t i = 0; i < j->n_results; i++) {
        struct judge_result *r = &j->results[i];
        struct runtime *runtime = r->model.runtime;
        w->of[i] = (struct judge_lanes){add_lane(w, runtime, -1, -1), -1, -1};
        if (!r->has_forced)
            continue;
        w->of[i].forced = add_lane(w, runtime, 0, -1);
        w->of[i].fed = add_lane(w, runtime, 0, 0);
    }
    for (size_t i = 0; w->job->with_mtp && i <= JUDGE_MAX_MODELS; i++) {
        if (i >= j->n_results && !(i == JUDGE_MAX_MODELS && j->has_original))
            continue;
        w->first[i] = arena_calloc(&j->arena, n_tokens, sizeof *w->first[i], err);
        if (!w->first[i])
            return -1;
    }
    if (!j->has_original)
        return 0;
    w->x = arena_calloc(&j->arena, 3 * n, w->hidden_size * sizeof *w->x, err);
    if (!w->x || judge_sites_init(&w->sites, j->original.config, n, &j->arena, err))
        return -1;
    w->y = w->x + n * w->hidden_size;
    w->q = w->y + n * w->hidden_size;
    if (any_linears(j))
        w->lanes[0].taps = &w->sites.taps;
    return 0;
}

/* The schedule counts tokens times layers; people count tokens. */
static void tell(void *arg, const struct progress *p)
{
    const struct judge_watch *w = arg;
    struct progress tokens = *p;
    tokens.unit = "tokens";
    tokens.done_bytes /= (uint64_t)w->n_layers;
    tokens.total_bytes /= (uint64_t)w->n_layers;
    w->job->progress(w->job->progress_arg, &tokens);
}

static int run_schedule(struct judge_watch *w, struct prep_error *err)
{
    struct judgement *j = w->j;
    const struct judge_text *t = &j->text;
    const int dealt = judge_is_dealt(w->job);
    struct sequence *sequences =
        arena_calloc(&j->arena, (size_t)t->n_windows, sizeof *sequences, err);
    if (!sequences)
        return -1;
    for (uint64_t i = 0; i < t->n_windows; i++)
        sequences[i] = (struct sequence){
            .tokens = t->tokens + i * t->window, .n = (size_t)t->window, .cache = NULL};
    const struct schedule s = {.sequences = sequences,
                               .n_sequences = (size_t)t->n_windows,
                               .unit_sequences = w->unit_sequences,
                               .lanes = w->lanes,
                               .n_lanes = w->n_lanes,
                               .with_mtp = w->job->with_mtp,
                               .part = dealt ? (size_t)w->job->ranks->rank : 0,
                               .n_parts = dealt ? (size_t)w->job->ranks->size : 0,
                               .io = w->job->io,
                               .visitor = {.arg = w,
                                           .before = judge_before_layer,
                                           .after = judge_after_layer,
                                           .logits = judge_see_logits},
                               .progress = w->job->progress ? tell : NULL,
                               .progress_arg = w};
    return schedule_run(&s, err) || judge_ranks_gather(w, err) ? -1 : 0;
}

/* ---- figures ---- */

static int finish_draft(struct judge_draft *d, const struct judge_series *s, struct arena *arena,
                        struct prep_error *err)
{
    double *work = arena_alloc(arena, BOOTSTRAP_RESAMPLES * sizeof *work, err);
    if (!work)
        return -1;
    for (uint64_t w = 0; w < s->n_windows; w++) {
        uint64_t n = 0;
        for (uint64_t i = 0; i < s->n_rows; i++)
            n += d->accepted_rows[w * s->n_rows + i];
        d->window_accepted[w] = (double)n / (double)s->n_rows;
    }
    bootstrap_mean(&d->accepted, d->window_accepted, (size_t)s->n_windows, BOOTSTRAP_SEED, work);
    return 0;
}

static int finish_result(struct judge_result *r, struct judgement *j, struct prep_error *err)
{
    const struct judge_series *p = j->has_original || j->has_reference ? &j->original_free : NULL;
    if (judge_series_finish(&r->free, p, &j->arena, err) ||
        judge_spread_make(&r->spread, &r->free, &j->arena, err) ||
        (r->has_forced && judge_series_finish(&r->forced, p, &j->arena, err)) ||
        (r->has_mtp &&
         (judge_series_finish(&r->mtp, j->has_original ? &j->original_mtp : NULL, &j->arena, err) ||
          finish_draft(&r->draft, &r->mtp, &j->arena, err))))
        return -1;
    if (r->has_layers)
        judge_layers_finish(&r->layers);
    if (!r->has_linears)
        return 0;
    judge_linears_finish(&r->linears);
    r->by_layer = arena_calloc(&j->arena, (size_t)r->layers.n_layers + 1, sizeof *r->by_layer, err);
    return !r->by_layer || judge_linears_scope(&r->experts, &r->linears, ROLE_EXPERT, err) ||
                   judge_linears_scope(&r->all, &r->linears, ROLE_OTHER, err) ||
                   judge_linears_layers(r->by_layer, &r->linears, r->layers.n_layers, err)
               ? -1
               : 0;
}

static int same_linears(const struct judge_linears *a, const struct judge_linears *b)
{
    size_t i = 0, k = 0;
    for (;; i++, k++) {
        while (i < a->n && !a->items[i].changed)
            i++;
        while (k < b->n && !b->items[k].changed)
            k++;
        if (i == a->n || k == b->n)
            return i == a->n && k == b->n && a->n > 0;
        if (a->items[i].original != b->items[k].original)
            return 0;
    }
}

/* Is the first better, by all that must hold together? */
static int is_better(double geometric, double p95, const struct bootstrap_interval *forced)
{
    return geometric <= 0.98 && p95 <= 1.02 && judge_sign(forced) < 0;
}

static void claim_pair(struct judge_pair *p, const struct judge_result *x,
                       const struct judge_result *y)
{
    p->geometric_ratio = p->p95_ratio = NAN;
    if (!x->has_linears || !y->has_linears || !same_linears(&x->linears, &y->linears))
        return;
    p->geometric_ratio = x->all.geometric / y->all.geometric;
    p->p95_ratio = x->all.p95 / y->all.p95;
    if (x->free.n_windows < JUDGE_LEAST_WINDOWS || isnan(p->forced_kl.mean))
        return;
    const struct bootstrap_interval turned = {-p->forced_kl.mean, -p->forced_kl.high,
                                              -p->forced_kl.low};
    p->better = is_better(1 / p->geometric_ratio, 1 / p->p95_ratio, &turned) -
                is_better(p->geometric_ratio, p->p95_ratio, &p->forced_kl);
    p->end_to_end = p->better && judge_sign(&p->kl) == p->better;
}

static void compare_pair(struct judge_pair *p, const struct judge_result *x,
                         const struct judge_result *y, size_t windows, double *work)
{
    bootstrap_difference(&p->nll, x->free.window_nll, y->free.window_nll, windows, BOOTSTRAP_SEED,
                         work);
    bootstrap_difference(&p->kl, x->free.window_kl, y->free.window_kl, windows, BOOTSTRAP_SEED,
                         work);
    p->forced_kl = (struct bootstrap_interval){NAN, NAN, NAN};
    if (x->has_forced && y->has_forced)
        bootstrap_difference(&p->forced_kl, x->forced.window_kl, y->forced.window_kl, windows,
                             BOOTSTRAP_SEED, work);
    claim_pair(p, x, y);
}

static int compare_pairs(struct judgement *j, struct prep_error *err)
{
    const size_t n = j->n_results;
    double *work = arena_alloc(&j->arena, BOOTSTRAP_RESAMPLES * sizeof *work, err);
    j->pairs = arena_calloc(&j->arena, n * n, sizeof *j->pairs, err);
    if (!work || !j->pairs)
        return -1;
    for (size_t a = 0; a < n; a++)
        for (size_t b = a + 1; b < n; b++) {
            struct judge_pair *p = &j->pairs[j->n_pairs++];
            *p = (struct judge_pair){.a = a, .b = b};
            compare_pair(p, &j->results[a], &j->results[b], (size_t)j->text.n_windows, work);
        }
    return 0;
}

static int finish(struct judgement *j, struct prep_error *err)
{
    if ((j->has_original || j->has_reference) &&
        judge_series_finish(&j->original_free, NULL, &j->arena, err))
        return -1;
    if (j->original_mtp.rows &&
        (judge_series_finish(&j->original_mtp, NULL, &j->arena, err) ||
         finish_draft(&j->original_draft, &j->original_mtp, &j->arena, err)))
        return -1;
    for (size_t i = 0; i < j->n_results; i++)
        if (finish_result(&j->results[i], j, err))
            return -1;
    return compare_pairs(j, err);
}

/* Behind the settings that both sides of a reference share. */
static const char *inputs_name(enum inputs_scope inputs)
{
    return inputs == INPUTS_NVFP4           ? ", inputs NVFP4"
           : inputs == INPUTS_NVFP4_EXPERTS ? ", inputs of experts NVFP4"
                                            : "";
}

void judge_settings(char text[JUDGE_SETTINGS], const struct judge_model *m,
                    const struct runtime_options *run)
{
    const struct config *c = m->config;
    const double eps = run->latent_eps > 0 ? run->latent_eps : 1e-6;
    char pattern[65];
    int n = 0;
    for (; n < c->num_hidden_layers && n < 64; n++)
        pattern[n] = runtime_is_full(m->runtime, n) ? 'F' : 'S';
    pattern[n] = 0;
    if (run->dense)
        snprintf(text, JUDGE_SETTINGS, "attention dense, norm_eps %g%s", eps,
                 inputs_name(run->inputs));
    else
        snprintf(text, JUDGE_SETTINGS, "attention sparse, indexers %s%s, norm_eps %g%s", pattern,
                 n < c->num_hidden_layers ? "..." : "", eps, inputs_name(run->inputs));
}

static void add_stats(struct judgement *j, const struct judge_model *m)
{
    struct runtime_stats s;
    if (!m->runtime)
        return;
    runtime_stats(m->runtime, &s);
    j->peak_weights += s.peak_weights;
    j->read_bytes += s.read_bytes;
}

static int share_bytes(struct judgement *j, const struct judge_job *job, struct prep_error *err)
{
    if (!j->n_ranks)
        return 0;
    if (j->has_original && judge_ranks_bytes(&j->original_rank_bytes, j, job, &j->original, err))
        return -1;
    for (size_t i = 0; i < j->n_results; i++)
        if (judge_ranks_bytes(&j->results[i].rank_bytes, j, job, &j->results[i].model, err))
            return -1;
    return 0;
}

static void warn_settings(const struct judgement *j, struct report *report)
{
    const char *made = j->has_reference ? reference_metadata(&j->reference, "settings") : NULL;
    if (made && strcmp(made, j->settings) != 0)
        report_warn(report, "JUDGE_SETTINGS",
                    "%s was made with %s, the model runs with %s: the figures hold that "
                    "difference too",
                    j->reference_path, made, j->settings);
}

int judge_run(struct judgement *j, const struct judge_job *job, struct report *report,
              struct prep_error *err)
{
    struct judge_watch w = {.j = j, .job = job};
    *j = (struct judgement){0};
    arena_init(&j->arena, 0);
    if (judge_ranks_meet(job, err))
        return -1;
    j->n_ranks = job->run.ranks ? job->run.ranks->size : 0;
    if (j->n_ranks && job->original && !job->no_linears)
        report_warn(report, "JUDGE_SPLIT",
                    "errors of single linears are not measured with --tp: no rank sees all inputs");
    if (judge_open(j, job, report, err) || start_measuring(j, job, err) ||
        judge_start(&w, report, err) || judge_round_inputs(&w, err))
        return -1;
    judge_settings(j->settings, &j->results[0].model, &job->run);
    warn_settings(j, report);
    if (prepare_watch(&w, err) || run_schedule(&w, err) || finish(j, err))
        return -1;
    add_stats(j, &j->original);
    for (size_t i = 0; i < j->n_results; i++)
        add_stats(j, &j->results[i].model);
    return share_bytes(j, job, err);
}

void judgement_free(struct judgement *j)
{
    for (size_t i = 0; i < j->n_results; i++)
        judge_model_close(&j->results[i].model);
    judge_model_close(&j->original);
    arena_fini(&j->arena);
    *j = (struct judgement){0};
}

int judgement_save(struct span *out, struct judgement *j, const char *tool, struct prep_error *err)
{
    const struct source *s = &j->results[0].model.pruned.source;
    struct metadata_pair metadata[] = {
        {"settings", j->settings},
        {"model", j->results[0].model.path},
        {"config_sha256", s->config_sha256},
        {"index_sha256", s->index_sha256},
        {"tool", tool},
        {"tool_version", PREP_VERSION},
    };
    j->saved.metadata = metadata;
    j->saved.n_metadata = sizeof metadata / sizeof *metadata;
    int rc = reference_write(out, &j->saved, &j->arena, err);
    j->saved.metadata = NULL;
    j->saved.n_metadata = 0;
    return rc;
}

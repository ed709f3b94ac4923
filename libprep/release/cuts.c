/* SPDX-License-Identifier: MIT */
/*
 * Lines that are the original, restricted, come before those of models of their own. What does not
 * fit into one run of the schedule goes through in several passes, the original in each of them.
 */
#include "libprep/release/cuts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/numeric/proportion.h"
#include "libprep/release/cuts_parts.h"
#include "libprep/release/judge_parts.h"

struct work {
    struct cuts *c;
    const struct cuts_job *job;
    struct cuts_line **lines;
    size_t n_lines, n_restricted;
    size_t pass_lines; /* at most, of one pass */
    size_t unit_sequences;
    size_t first, n; /* lines of the pass that is running */
    const struct logits_kernels *kernels;
};

/* ---- lines ---- */

static int list_line(struct work *w, struct cuts_line *line, struct prep_error *err)
{
    const struct judge_text *t = &w->c->text;
    w->lines[w->n_lines++] = line;
    if (judge_series_init(&line->series, t->tokens, t->n_windows, t->window, 1, &w->c->arena, err))
        return -1;
    line->series.compared = 1;
    return 0;
}

static int list_lines(struct work *w, struct prep_error *err)
{
    struct cuts *c = w->c;
    const struct judge_text *t = &c->text;
    w->lines = arena_calloc(&c->arena, c->n_cuts + c->n_sizes * c->n_draws, sizeof *w->lines, err);
    if (!w->lines ||
        judge_series_init(&c->unpruned, t->tokens, t->n_windows, t->window, 1, &c->arena, err))
        return -1;
    for (size_t i = 0; i < c->n_cuts; i++)
        if (!c->cuts[i].line.model && list_line(w, &c->cuts[i].line, err))
            return -1;
    for (size_t i = 0; i < c->n_sizes * c->n_draws; i++)
        if (list_line(w, &c->sizes[i / c->n_draws].draws[i % c->n_draws], err))
            return -1;
    w->n_restricted = w->n_lines;
    for (size_t i = 0; i < c->n_cuts; i++)
        if (c->cuts[i].line.model && list_line(w, &c->cuts[i].line, err))
            return -1;
    return 0;
}

/* ---- memory ---- */

static uint64_t need_of_original(const struct work *w, size_t sequences, size_t pass_lines)
{
    const size_t window = (size_t)w->c->text.window;
    const size_t restricted = pass_lines < w->n_restricted ? pass_lines : w->n_restricted;
    return judge_need(&w->c->original, sequences * window, 1 + restricted, window, 0);
}

static uint64_t need_of_model(const struct work *w, size_t model, size_t sequences)
{
    const size_t window = (size_t)w->c->text.window;
    return judge_need(&w->c->models[model], sequences * window, 1, window, 0);
}

static uint64_t floor_of(const struct work *w, size_t sequences, size_t pass_lines)
{
    const struct judge_text *t = &w->c->text;
    uint64_t bytes = (w->n_lines + 1) * judge_series_memory(t->n_windows, t->window) +
                     need_of_original(w, sequences, pass_lines);
    for (size_t i = 0; i < w->c->n_models; i++)
        bytes += need_of_model(w, i, sequences);
    return bytes;
}

static int start(struct judge_model *m, const struct cuts_job *job, uint64_t mem,
                 struct report *report, struct prep_error *err)
{
    struct runtime_options run = job->run;
    run.mem = mem;
    run.without_mtp = 1;
    return judge_model_start(m, &run, report, err);
}

/* Open everything once to learn the floors, then again with its share of what is left. */
static int start_models(struct work *w, struct report *report, struct prep_error *err)
{
    struct cuts *c = w->c;
    const uint64_t mem = w->job->run.mem, n_windows = c->text.n_windows;
    if (start(&c->original, w->job, 0, report, err))
        return -1;
    for (size_t i = 0; i < c->n_models; i++)
        if (start(&c->models[i], w->job, 0, report, err))
            return -1;
    w->unit_sequences = n_windows < UNIT_SEQUENCES ? (size_t)n_windows : UNIT_SEQUENCES;
    w->pass_lines = w->n_lines < SCHEDULE_MAX_LANES - 1 ? w->n_lines : SCHEDULE_MAX_LANES - 1;
    while (mem && w->unit_sequences > 1 && floor_of(w, w->unit_sequences, w->pass_lines) > mem)
        w->unit_sequences--;
    while (mem && w->pass_lines > 1 && floor_of(w, w->unit_sequences, w->pass_lines) > mem)
        w->pass_lines--;
    if (!mem)
        return 0;
    const uint64_t least = floor_of(w, w->unit_sequences, w->pass_lines);
    if (least > mem)
        return prep_fail(err, PREP_EUSAGE,
                         "memory of %" PRIu64 " bytes is too little for windows of %" PRIu64
                         " tokens: at least %" PRIu64 " bytes are needed",
                         mem, c->text.window, least);
    const uint64_t more = (mem - least) / (c->n_models + 1);
    if (start(&c->original, w->job, need_of_original(w, w->unit_sequences, w->pass_lines) + more,
              NULL, err))
        return -1;
    for (size_t i = 0; i < c->n_models; i++)
        if (start(&c->models[i], w->job, need_of_model(w, i, w->unit_sequences) + more, NULL, err))
            return -1;
    return 0;
}

/* ---- running ---- */

struct tile {
    struct work *w;
    const struct schedule_logits *l;
    uint64_t row; /* of its first, through all windows */
};

static int see_row(size_t i, void *arg, struct prep_error *err)
{
    const struct tile *t = arg;
    struct work *w = t->w;
    const size_t n = (size_t)w->c->original.config->vocab_size;
    const float *p = t->l->logits[0] + i * n;
    (void)err;
    if (w->first == 0)
        judge_row_alone(&w->c->unpruned, w->kernels, t->row + i, p, n);
    for (size_t k = 0; k < w->n; k++)
        judge_row_beside(&w->lines[w->first + k]->series, w->kernels, t->row + i, p,
                         t->l->logits[k + 1] + i * n, n);
    return 0;
}

static int see_logits(void *arg, const struct schedule_logits *l, struct prep_error *err)
{
    struct work *w = arg;
    struct tile t = {w, l, l->first_sequence * w->c->text.window + l->first_row};
    return prep_parallel_for(l->n_rows, w->job->run.n_threads, see_row, &t, err);
}

/* The schedule counts tokens times layers of a pass; people count tokens of the text. */
static void tell(void *arg, const struct progress *p)
{
    const struct work *w = arg;
    const uint64_t layers = (uint64_t)w->c->original.config->num_hidden_layers;
    struct progress tokens = *p;
    tokens.unit = "tokens";
    tokens.done_bytes = (p->done_bytes / layers * w->n + p->total_bytes / layers * w->first);
    tokens.total_bytes = p->total_bytes / layers * w->n_lines;
    w->job->progress(w->job->progress_arg, &tokens);
}

static int run_pass(struct work *w, const struct sequence *sequences, struct prep_error *err)
{
    struct lane lanes[SCHEDULE_MAX_LANES];
    lanes[0] = (struct lane){.runtime = w->c->original.runtime, .forced_by = -1, .fed_by = -1};
    for (size_t i = 0; i < w->n; i++) {
        const struct cuts_line *line = w->lines[w->first + i];
        lanes[i + 1] = lanes[0];
        lanes[i + 1].among = line->sets;
        if (line->model)
            lanes[i + 1].runtime = line->model->runtime;
    }
    const struct schedule s = {.sequences = sequences,
                               .n_sequences = (size_t)w->c->text.n_windows,
                               .unit_sequences = w->unit_sequences,
                               .lanes = lanes,
                               .n_lanes = w->n + 1,
                               .io = w->job->io,
                               .visitor = {.arg = w, .logits = see_logits},
                               .progress = w->job->progress ? tell : NULL,
                               .progress_arg = w};
    return schedule_run(&s, err);
}

static int run_lines(struct work *w, struct prep_error *err)
{
    const struct judge_text *t = &w->c->text;
    struct sequence *sequences =
        arena_calloc(&w->c->arena, (size_t)t->n_windows, sizeof *sequences, err);
    if (!sequences)
        return -1;
    for (uint64_t i = 0; i < t->n_windows; i++)
        sequences[i] =
            (struct sequence){.tokens = t->tokens + i * t->window, .n = (size_t)t->window};
    w->kernels = logits_kernels(w->job->run.isa);
    for (w->first = 0; w->first < w->n_lines; w->first += w->n) {
        const size_t rest = w->n_lines - w->first;
        w->n = rest < w->pass_lines ? rest : w->pass_lines;
        if (run_pass(w, sequences, err))
            return -1;
    }
    return 0;
}

/* ---- figures ---- */

static int finish_size(struct cuts *c, struct cuts_size *s, struct prep_error *err)
{
    s->lowest = s->highest = s->mean = s->deviation = NAN;
    for (size_t i = 0; i < c->n_draws; i++) {
        if (judge_series_finish(&s->draws[i].series, &c->unpruned, &c->arena, err))
            return -1;
        const double x = s->increases[i] = s->draws[i].series.more_nll.mean;
        s->lowest = i == 0 || x < s->lowest ? x : s->lowest;
        s->highest = i == 0 || x > s->highest ? x : s->highest;
    }
    if (c->n_draws == 0)
        return 0;
    s->mean = sample_mean(s->increases, c->n_draws);
    s->deviation = proportion_deviation(s->increases, c->n_draws);
    return 0;
}

static int finish_cut(struct cuts *c, struct judged_cut *cut, struct prep_error *err)
{
    const struct cuts_size *s = &c->sizes[cut->size];
    struct judge_series *series = &cut->line.series;
    if (judge_series_finish(series, &c->unpruned, &c->arena, err))
        return -1;
    cut->rank = proportion_rank(series->more_nll.mean, s->increases, c->n_draws);
    cut->p = c->n_draws ? (double)(cut->rank + 1) / (double)(c->n_draws + 1) : NAN;
    cut->better_than_random = c->text.n_windows >= JUDGE_LEAST_WINDOWS && cut->p < 0.05;
    return 0;
}

static int compare_pairs(struct cuts *c, struct prep_error *err)
{
    const size_t n = c->n_cuts, windows = (size_t)c->text.n_windows;
    double *work = arena_alloc(&c->arena, BOOTSTRAP_RESAMPLES * sizeof *work, err);
    c->pairs = arena_calloc(&c->arena, n * n, sizeof *c->pairs, err);
    if (!work || !c->pairs)
        return -1;
    for (size_t i = 0; i < n * n; i++) {
        const struct judged_cut *a = &c->cuts[i / n], *b = &c->cuts[i % n];
        if (a >= b || a->size != b->size)
            continue;
        struct cuts_pair *p = &c->pairs[c->n_pairs++];
        *p = (struct cuts_pair){.a = i / n, .b = i % n};
        bootstrap_difference(&p->nll, a->line.series.window_nll, b->line.series.window_nll, windows,
                             BOOTSTRAP_SEED, work);
        bootstrap_difference(&p->kl, a->line.series.window_kl, b->line.series.window_kl, windows,
                             BOOTSTRAP_SEED, work);
    }
    return 0;
}

static int finish(struct cuts *c, struct prep_error *err)
{
    if (judge_series_finish(&c->unpruned, NULL, &c->arena, err))
        return -1;
    for (size_t i = 0; i < c->n_sizes; i++)
        if (finish_size(c, &c->sizes[i], err))
            return -1;
    for (size_t i = 0; i < c->n_cuts; i++)
        if (finish_cut(c, &c->cuts[i], err))
            return -1;
    return compare_pairs(c, err);
}

static void add_stats(struct cuts *c, const struct judge_model *m)
{
    struct runtime_stats s;
    runtime_stats(m->runtime, &s);
    c->peak_weights += s.peak_weights;
    c->read_bytes += s.read_bytes;
}

int cuts_run(struct cuts *c, const struct cuts_job *job, struct report *report,
             struct prep_error *err)
{
    struct work w = {.c = c, .job = job};
    *c = (struct cuts){0};
    arena_init(&c->arena, 0);
    if (cuts_open(c, job, report, err) || list_lines(&w, err) || start_models(&w, report, err))
        return -1;
    judge_settings(c->settings, &c->original, &job->run);
    if (run_lines(&w, err) || finish(c, err))
        return -1;
    add_stats(c, &c->original);
    for (size_t i = 0; i < c->n_models; i++)
        add_stats(c, &c->models[i]);
    return 0;
}

void cuts_free(struct cuts *c)
{
    for (size_t i = 0; i < c->n_models; i++)
        judge_model_close(&c->models[i]);
    judge_model_close(&c->original);
    arena_fini(&c->arena);
    *c = (struct cuts){0};
}

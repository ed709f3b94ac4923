/* SPDX-License-Identifier: MIT */
#include "libprep/release/smoke.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/batch.h"
#include "libprep/engine/generate.h"
#include "libprep/numeric/elementary.h"
#include "libprep/release/smoke_look.h"
#include "libprep/release/smoke_text.h"

/* Prompt and continuation of the stage "generate". */
enum { PROMPT = 24, NEW = 16, DRAFTS = 2, WINDOW = 64, WINDOWS = 8 };

const char *smoke_stage_name(enum smoke_stage_id id)
{
    static const char *const names[] = {"open", "check",   "lint",    "run",
                                        "mtp",  "compare", "generate"};
    return names[id];
}

const char *smoke_figure_name(enum smoke_stage_id id)
{
    static const char *const names[] = {
        "tensors", "faults", "faults", "nats per token", "drafts accepted", "KL", "tokens",
    };
    return names[id];
}

struct work {
    struct smoke *s;
    const struct smoke_job *job;
    struct report *report;
    double began;
    uint32_t prompt[PROMPT];
    size_t n_prompt;
    int has_mtp;
};

/* ---- stages ---- */

static void begin(struct work *w, enum smoke_stage_id id)
{
    struct smoke_stage *s = &w->s->stages[id];
    w->began = w->job->now();
    s->value = NAN;
    if (w->job->tell)
        w->job->tell(w->job->arg, id, s, 0);
}

static void end(struct work *w, enum smoke_stage_id id, enum smoke_state state, const char *fmt,
                ...) PREP_PRINTF(4, 5);
static void end(struct work *w, enum smoke_stage_id id, enum smoke_state state, const char *fmt,
                ...)
{
    struct smoke_stage *s = &w->s->stages[id];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->message, sizeof s->message, fmt, ap);
    va_end(ap);
    s->seconds = w->job->now() - w->began;
    s->state = state;
    if (state == SMOKE_FAILED && w->s->failed < 0)
        w->s->failed = (int)id;
    if (w->job->tell)
        w->job->tell(w->job->arg, id, s, 1);
}

/* A stage met an error: 0 when it is a failed stage, -1 when the run cannot go on. */
static int end_by_error(struct work *w, enum smoke_stage_id id, const struct prep_error *e,
                        struct prep_error *err)
{
    struct smoke_found f;
    const int rc = smoke_error(&f, e, err);
    end(w, id, SMOKE_FAILED, "%s", f.message);
    return rc;
}

static int look(struct work *w, enum smoke_stage_id id, struct prep_error *err)
{
    const struct smoke_job *job = w->job;
    const struct smoke_look l = {job->io, job->model, job->engines, job->run.n_threads, w->report};
    struct smoke_found f = {.value = NAN};
    begin(w, id);
    const int rc = id == SMOKE_OPEN    ? smoke_look_open(&f, &w->has_mtp, &l, err)
                   : id == SMOKE_CHECK ? smoke_look_check(&f, &l, err)
                                       : smoke_look_lint(&f, &l, err);
    w->s->stages[id].value = f.value;
    end(w, id, f.failed ? SMOKE_FAILED : SMOKE_PASSED, "%s", f.message);
    return rc;
}

/* ---- a short text ---- */

static int has_text(const struct judge_text_request *t)
{
    return t->n_texts || t->windows || t->tokens || t->memory.n;
}

static void fill(struct judge_job *to, const struct work *w, int with_mtp)
{
    const struct smoke_job *job = w->job;
    *to = (struct judge_job){.io = job->io,
                             .models = &job->model,
                             .n_models = 1,
                             .original = job->original,
                             .reference = job->reference,
                             .tokenizer = job->tokenizer,
                             .text = job->text,
                             .with_mtp = with_mtp,
                             .no_linears = 1,
                             .run = job->run,
                             .ranks = job->run.ranks};
    if (!has_text(&to->text) && !job->reference) {
        to->text.memory = smoke_text();
        to->text.window = WINDOW;
    }
    to->text.max_windows = to->text.max_windows ? to->text.max_windows : WINDOWS;
}

static void judge_likelihood(struct work *w, const struct judgement *j)
{
    const struct judge_result *r = &j->results[0];
    const double known = prep_log((double)r->model.config->vocab_size);
    const double most = isnan(w->job->max_nats) ? SMOKE_NATS * known : w->job->max_nats;
    w->s->stages[SMOKE_RUN].value = r->free.nll.mean;
    if (r->free.nll.mean <= most)
        end(w, SMOKE_RUN, SMOKE_PASSED, "%s", "");
    else
        end(w, SMOKE_RUN, SMOKE_FAILED,
            "%.4f nats per token, want at most %.4f; a model that knows nothing has %.4f",
            r->free.nll.mean, most, known);
}

static void judge_drafts(struct work *w, const struct judgement *j, int with_mtp)
{
    const struct judge_result *r = &j->results[0];
    begin(w, SMOKE_MTP);
    if (!with_mtp) {
        end(w, SMOKE_MTP, SMOKE_SKIPPED, "%s",
            w->has_mtp ? "the original has no MTP layer" : "there is no MTP layer");
        return;
    }
    w->s->stages[SMOKE_MTP].value = r->draft.accepted.mean;
    if (r->draft.accepted.mean >= SMOKE_MIN_ACCEPTED)
        end(w, SMOKE_MTP, SMOKE_PASSED, "%s", "");
    else
        end(w, SMOKE_MTP, SMOKE_FAILED, "%.4f of the drafts are what the model says, want %.2f",
            r->draft.accepted.mean, SMOKE_MIN_ACCEPTED);
}

static int has_limits(const struct judge_limits *l)
{
    return !isnan(l->max_kl) || !isnan(l->max_forced_kl) || !isnan(l->max_token_kl) ||
           !isnan(l->max_nll_increase) || !isnan(l->min_top1) || !isnan(l->min_top5) ||
           !isnan(l->max_nmse) || !isnan(l->max_block_error);
}

static int judge_difference(struct work *w, struct judgement *j, struct prep_error *err)
{
    struct judge_limits limits = w->job->limits;
    struct judge_verdict *v = NULL;
    size_t n = 0, bad = 0;
    begin(w, SMOKE_COMPARE);
    if (!j->has_original && !j->has_reference) {
        end(w, SMOKE_COMPARE, SMOKE_SKIPPED, "nothing to compare with");
        return 0;
    }
    if (!has_limits(&limits)) {
        limits.max_kl = SMOKE_MAX_KL;
        limits.max_nll_increase = SMOKE_MAX_INCREASE;
    }
    w->s->stages[SMOKE_COMPARE].value = j->results[0].free.kl.mean;
    if (judge_limits_check(&v, &n, &limits, j, err))
        return -1;
    while (bad < n && v[bad].holds)
        bad++;
    if (bad < n)
        end(w, SMOKE_COMPARE, SMOKE_FAILED, "%s: %.6f, want %.6f", v[bad].name, v[bad].found,
            v[bad].limit);
    else
        end(w, SMOKE_COMPARE, SMOKE_PASSED, "%s", "");
    return 0;
}

/* Does the original have an MTP layer, too? Where it cannot be told, judge_run() says why. */
static int draft_both(const struct work *w)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    struct config c;
    if (!w->has_mtp || w->job->reference || !w->job->original)
        return w->has_mtp;
    if (config_load(&c, w->job->io, w->job->original, NULL, &ignored))
        return 0;
    const int both = c.num_nextn_predict_layers > 0;
    config_free(&c);
    return both;
}

static void keep_prompt(struct work *w, const struct judge_text *t)
{
    w->n_prompt = t->window < PROMPT ? (size_t)t->window : PROMPT;
    memcpy(w->prompt, t->tokens, w->n_prompt * sizeof *w->prompt);
}

static int run_text(struct work *w, struct prep_error *err)
{
    const int with_mtp = draft_both(w);
    struct prep_error e = PREP_ERROR_INIT;
    struct judge_job job;
    struct judgement j;
    int rc = 0;
    fill(&job, w, with_mtp);
    begin(w, SMOKE_RUN);
    if (judge_run(&j, &job, w->report, &e)) {
        rc = end_by_error(w, SMOKE_RUN, &e, err);
    } else {
        keep_prompt(w, &j.text);
        judge_likelihood(w, &j);
        judge_drafts(w, &j, with_mtp);
        rc = judge_difference(w, &j, err);
    }
    judgement_free(&j);
    return rc;
}

/* ---- generation ---- */

static int write_text(struct generate_result *made, const struct work *w, struct runtime *r,
                      int draft, struct prep_error *err)
{
    static const struct sampling greedy = SAMPLING_GREEDY;
    const struct generate_request request = {
        .prompt = w->prompt, .n_prompt = w->n_prompt, .n_new = NEW, .sampling = greedy};
    const struct generate g = {.runtime = r, .requests = &request, .n = 1, .draft = draft};
    return generate_run(made, NULL, &g, err);
}

/* What the model says after each of the last n tokens, when all are given at once. */
static int say_again(uint32_t *out, struct runtime *r, const uint32_t *tokens, size_t n_all,
                     size_t n, struct prep_error *err)
{
    const struct config *c = runtime_config(r);
    const size_t vocab = (size_t)c->vocab_size;
    const struct sequence s = {.tokens = tokens, .n = n_all};
    float *z = calloc(n, (size_t)c->hidden_size * sizeof *z);
    float *logits = calloc(n, vocab * sizeof *logits);
    struct batch *b = NULL;
    int rc = z && logits ? 0 : prep_fail(err, PREP_ENOMEM, "no memory for %zu rows of logits", n);
    rc = rc || batch_new(&b, r, &s, 1, err) || runtime_embed(r, b, err);
    for (int layer = 0; layer < c->num_hidden_layers && !rc; layer++)
        rc = runtime_layer(r, layer, b, NULL, err);
    rc = rc || runtime_final(r, -1, b, n_all - n, n, z, err) ||
         runtime_logits(r, z, n, logits, NULL, err);
    for (size_t i = 0; i < n && !rc; i++)
        out[i] = (uint32_t)greedy_pick(logits + i * vocab, vocab);
    batch_free(b);
    free(z);
    free(logits);
    return rc ? -1 : 0;
}

static size_t count_same(const struct generate_result *a, const uint32_t *b, size_t n)
{
    size_t same = 0;
    while (same < a->tokens.n && same < n && a->tokens.ids[same] == b[same])
        same++;
    return same;
}

/* With a cache, without one, and with drafts of the MTP layer. */
static int compare_ways(struct work *w, struct runtime *r, struct prep_error *err)
{
    struct generate_result made = {0}, drafted = {0};
    uint32_t all[PROMPT + NEW], again[NEW];
    int rc = write_text(&made, w, r, 0, err);
    const size_t n = made.tokens.n;
    if (!rc && n && n <= NEW) {
        memcpy(all, w->prompt, w->n_prompt * sizeof *all);
        memcpy(all + w->n_prompt, made.tokens.ids, n * sizeof *all);
        rc = say_again(again, r, all, w->n_prompt + n - 1, n, err);
    }
    if (!rc && w->has_mtp)
        rc = write_text(&drafted, w, r, DRAFTS, err);
    if (!rc) {
        const size_t same = count_same(&made, again, n);
        const size_t also =
            w->has_mtp ? count_same(&made, drafted.tokens.ids, drafted.tokens.n) : n;
        w->s->stages[SMOKE_GENERATE].value = (double)n;
        if (n == NEW && same == n && also == n)
            end(w, SMOKE_GENERATE, SMOKE_PASSED, "%s", "");
        else
            end(w, SMOKE_GENERATE, SMOKE_FAILED,
                "%zu tokens of %d; without a cache %zu of them are the same, with drafts %zu", n,
                (int)NEW, same, also);
    }
    generate_results_free(&made, 1);
    generate_results_free(&drafted, 1);
    return rc ? -1 : 0;
}

static int generate(struct work *w, struct prep_error *err)
{
    struct prep_error e = PREP_ERROR_INIT;
    struct runtime_options run = w->job->run;
    struct judge_model m;
    run.without_mtp = !w->has_mtp;
    begin(w, SMOKE_GENERATE);
    int rc = judge_model_open(&m, w->job->io, w->job->model, NULL, NULL, &e) ||
             judge_model_start(&m, &run, NULL, &e) || compare_ways(w, m.runtime, &e);
    if (rc)
        rc = end_by_error(w, SMOKE_GENERATE, &e, err);
    judge_model_close(&m);
    return rc;
}

/* ---- all of it ---- */

static int run_stages(struct work *w, struct prep_error *err)
{
    if (look(w, SMOKE_OPEN, err))
        return -1;
    if (w->s->failed >= 0)
        return 0;
    if (look(w, SMOKE_CHECK, err) || look(w, SMOKE_LINT, err) || run_text(w, err))
        return -1;
    return w->n_prompt ? generate(w, err) : 0;
}

int smoke_run(struct smoke *s, const struct smoke_job *job, struct report *report,
              struct prep_error *err)
{
    struct work w = {.s = s, .job = job, .report = report};
    const double began = job->now();
    *s = (struct smoke){.failed = -1};
    for (int i = 0; i < SMOKE_N; i++)
        s->stages[i].value = NAN;
    const int rc = run_stages(&w, err);
    s->seconds = job->now() - began;
    for (int i = 0; i < SMOKE_N; i++)
        if (s->stages[i].state == SMOKE_SKIPPED && !s->stages[i].message[0])
            snprintf(s->stages[i].message, SMOKE_MESSAGE, "not reached");
    if (rc)
        return -1;
    if (s->failed < 0)
        return 0;
    return prep_fail_tag(err, PREP_EVERIFY, "SMOKE", "%s: stage %s failed: %s", job->model,
                         smoke_stage_name((enum smoke_stage_id)s->failed),
                         s->stages[s->failed].message);
}

int smoke_facts(cJSON *object, const struct smoke *s, const struct smoke_job *job,
                struct prep_error *err)
{
    static const char *const states[] = {"skipped", "passed", "failed"};
    cJSON_AddStringToObject(object, "model", job->model);
    if (job->original || job->reference)
        cJSON_AddStringToObject(object, job->original ? "original" : "reference",
                                job->original ? job->original : job->reference);
    cJSON *list = cJSON_AddArrayToObject(object, "stages");
    for (int i = 0; i < SMOKE_N; i++) {
        const struct smoke_stage *x = &s->stages[i];
        cJSON *o = report_add_object(list);
        cJSON_AddStringToObject(o, "stage", smoke_stage_name((enum smoke_stage_id)i));
        cJSON_AddBoolToObject(o, "ok", x->state != SMOKE_FAILED);
        cJSON_AddStringToObject(o, "state", states[x->state]);
        cJSON_AddNumberToObject(o, "seconds", rint(x->seconds * 1000) / 1000);
        cJSON_AddStringToObject(o, "figure", smoke_figure_name((enum smoke_stage_id)i));
        cJSON_AddNumberToObject(o, "value", x->value);
        cJSON_AddStringToObject(o, "message", x->message);
    }
    cJSON_AddNumberToObject(object, "seconds", rint(s->seconds * 1000) / 1000);
    cJSON_AddStringToObject(object, "verdict", s->failed < 0 ? "pass" : "fail");
    if (s->failed >= 0)
        cJSON_AddStringToObject(object, "failed", smoke_stage_name((enum smoke_stage_id)s->failed));
    if (!list || cJSON_GetArraySize(list) != SMOKE_N)
        return prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
    return 0;
}

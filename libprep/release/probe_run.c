/* SPDX-License-Identifier: MIT */
#include "libprep/release/probe_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/probe/bundled.h"
#include "libprep/probe/model_generator.h"

/* Needles are hidden in at most so many tokens of the text, which is repeated where that is short.
 */
enum { NEEDLE_TOKENS = 1 << 18, NEEDLE_ROOM = 64 };

void probe_sizes_default(struct probe_sizes *s)
{
    *s = (struct probe_sizes){.loop_prompts = 64,
                              .loop_prompt_tokens = 64,
                              .loop_tokens = 256,
                              .loop_seeds = 3,
                              .lengths = {1024, 4096, 16384},
                              .n_lengths = 3,
                              .depths = {0, 0.25, 0.5, 0.75, 1},
                              .n_depths = 5,
                              .needles = 2,
                              .digits = {1, 2, 3},
                              .n_digits = 3,
                              .problems = 20,
                              .answer_tokens = 512};
}

/* ---- opening ---- */

static int asked(const struct probe_job *job, enum probe_kind kind)
{
    return (job->kinds >> kind & 1) != 0;
}

static int check_job(const struct probe_job *job, struct prep_error *err)
{
    const struct judge_text_request *t = &job->text;
    const size_t n = job->n_models + (job->original != NULL);
    if (n < 1 || n > PROBE_MOST_MODELS)
        return prep_fail(err, PREP_EUSAGE, "%zu models to probe, want 1 to %d", n,
                         (int)PROBE_MOST_MODELS);
    if (!job->kinds && !job->n_prompts)
        return prep_fail(err, PREP_EUSAGE, "no probe was asked for");
    if ((asked(job, PROBE_LOOPS) || asked(job, PROBE_NEEDLE)) && !t->n_texts && !t->windows &&
        !t->tokens)
        return prep_fail(err, PREP_EUSAGE,
                         "loops and needles are made of a text: give texts, windows or packed "
                         "tokens");
    return 0;
}

/* The tokenizer and the template are the original's, for everyone. */
static int open_words(struct probe_results *r, const struct probe_job *job, struct report *report,
                      struct prep_error *err)
{
    struct prep_error none = PREP_ERROR_INIT;
    const char *folder = job->original ? job->original : job->models[0];
    if (tokenizer_open(&r->tokenizer, job->io, job->tokenizer ? job->tokenizer : folder, report,
                       err))
        return -1;
    if (chat_template_open(&r->chat, job->io, folder, &none) == 0) {
        r->has_chat = 1;
        memcpy(r->chat_sha256, chat_template_sha256(r->chat), sizeof r->chat_sha256);
    } else if (none.code == PREP_ENOINPUT) {
        report_warn(report, "PROBE_NO_CHAT",
                    "%s has no chat template: questions are asked as they stand", folder);
    } else {
        *err = none;
        return -1;
    }
    r->source = (struct suite_source){r->tokenizer, r->chat, job->args, job->n_args};
    return suite_open(&r->suite, &r->source, err);
}

static int read_text(struct probe_results *r, const struct probe_job *job, struct prep_error *err)
{
    struct judge_text_request t = job->text;
    if (!asked(job, PROBE_LOOPS) && !asked(job, PROBE_NEEDLE))
        return 0;
    t.max_windows = 0;
    t.part = t.part ? t.part : "calibration";
    if (judge_text_read(&r->text, &t, r->tokenizer, job->io, &r->arena, err))
        return -1;
    r->text_windows = r->text.n_windows;
    return 0;
}

/* ---- the cases ---- */

static int add_loops(struct probe_results *r, const struct probe_job *job, struct prep_error *err)
{
    struct judge_text t;
    if (judge_text_take(&t, r->text.tokens, r->text.n_windows, r->text.window,
                        job->sizes.loop_prompts, &r->arena, err))
        return -1;
    const struct suite_loops l = {.tokens = t.tokens,
                                  .n_windows = (size_t)t.n_windows,
                                  .window = (size_t)t.window,
                                  .n_prompt = job->sizes.loop_prompt_tokens,
                                  .n_new = job->sizes.loop_tokens,
                                  .n_seeds = job->sizes.loop_seeds};
    return suite_add_loops(&r->suite, &l, err);
}

/* Lengths that leave room for what is around the text and for an answer. */
static size_t fitting(size_t *lengths, const struct probe_job *job, int64_t positions,
                      struct report *report)
{
    size_t n = 0;
    for (size_t i = 0; i < job->sizes.n_lengths; i++) {
        const size_t length = job->sizes.lengths[i];
        if (length + NEEDLE_ROOM + job->sizes.answer_tokens <= (size_t)positions)
            lengths[n++] = length;
        else
            report_warn(report, "PROBE_LENGTH",
                        "a needle in %zu tokens is left out: with an answer of %zu it does not fit "
                        "into the %lld positions of the model",
                        length, job->sizes.answer_tokens, (long long)positions);
    }
    return n;
}

static int add_needles(struct probe_results *r, const struct probe_job *job, int64_t positions,
                       struct report *report, struct prep_error *err)
{
    const uint64_t all = r->text.n_windows * r->text.window;
    struct token_text text = {0};
    size_t lengths[16];
    const size_t n_lengths = fitting(lengths, job, positions, report);
    if (n_lengths == 0)
        return 0;
    int rc = tokenizer_decode(&text, r->tokenizer, r->text.tokens,
                              (size_t)(all < NEEDLE_TOKENS ? all : NEEDLE_TOKENS), 1, err);
    const struct suite_needle n = {.text = text.p,
                                   .n_text = text.n,
                                   .lengths = lengths,
                                   .n_lengths = n_lengths,
                                   .depths = job->sizes.depths,
                                   .n_depths = job->sizes.n_depths,
                                   .n_seeds = job->sizes.needles,
                                   .n_new = job->sizes.answer_tokens};
    rc = rc || suite_add_needle(&r->suite, &n, err);
    token_text_free(&text);
    return rc ? -1 : 0;
}

static int add_set(struct probe_results *r, enum probe_kind kind, const struct probe_job *job,
                   struct prep_error *err)
{
    return suite_add_prompts(&r->suite, kind, &r->sets[r->n_sets - 1], job->sizes.answer_tokens,
                             err);
}

static int add_sets(struct probe_results *r, const struct probe_job *job, struct prep_error *err)
{
    static const struct {
        enum probe_kind kind;
        const char *name;
    } bundled[] = {{PROBE_TOOLS, "tool-chat"}, {PROBE_FACTS, "facts"}};
    if (job->n_prompts + 2 > PROBE_MOST_SETS)
        return prep_fail(err, PREP_EUSAGE, "%zu sets of prompts, want at most %d", job->n_prompts,
                         PROBE_MOST_SETS - 2);
    for (size_t i = 0; i < 2; i++)
        if (asked(job, bundled[i].kind) &&
            (prompt_set_bundled(&r->sets[r->n_sets++], bundled[i].name, err) ||
             add_set(r, bundled[i].kind, job, err)))
            return -1;
    for (size_t i = 0; i < job->n_prompts; i++) {
        struct prompt_set *set = &r->sets[r->n_sets++];
        if (prompt_set_open(set, job->io, job->prompts[i], err) ||
            add_set(r, set->tools != JSON_NONE ? PROBE_TOOLS : PROBE_FACTS, job, err))
            return -1;
    }
    return 0;
}

static int build(struct probe_results *r, const struct probe_job *job, int64_t positions,
                 struct report *report, struct prep_error *err)
{
    const struct probe_sizes *s = &job->sizes;
    if ((asked(job, PROBE_LOOPS) && add_loops(r, job, err)) ||
        (asked(job, PROBE_NEEDLE) && add_needles(r, job, positions, report, err)))
        return -1;
    for (size_t i = 0; i < s->n_digits && asked(job, PROBE_ARITHMETIC); i++)
        if (suite_add_arithmetic(&r->suite, s->digits[i], s->problems, s->answer_tokens, err))
            return -1;
    return add_sets(r, job, err);
}

/* ---- asking ---- */

struct asking {
    const struct probe_job *job;
    size_t model, n_models;
};

static void tell(void *arg, size_t done, size_t total)
{
    const struct asking *a = arg;
    const struct progress p = {.phase = "answers",
                               .done_bytes = a->model * total + done,
                               .total_bytes = a->n_models * total,
                               .unit = "answers"};
    if (a->job->progress)
        a->job->progress(a->job->progress_arg, &p);
}

/* The model is open; the first one that is says how many positions there are. */
static int ask(struct probe_results *r, struct judge_model *m, struct asking *a,
               struct prep_error *err)
{
    const struct config *c = m->config;
    struct probe_model *to = &r->models[a->model];
    struct runtime_options run = a->job->run;
    struct generator g;
    uint32_t stop[64];
    const size_t n_stop = (size_t)(c->n_eos < 64 ? c->n_eos : 64);
    run.without_mtp = 1;
    for (size_t i = 0; i < n_stop; i++)
        stop[i] = (uint32_t)c->eos_token_id[i];
    to->outcomes = arena_calloc(&r->arena, r->suite.n_cases + 1, sizeof *to->outcomes, err);
    if (!to->outcomes || judge_model_start(m, &run, NULL, err))
        return -1;
    model_generator(&g, m->runtime);
    const struct suite_asking how = {&g, stop, n_stop, tell, a};
    return suite_ask(to->outcomes, &r->suite, &how, err) ? prep_note(err, "%s", to->path) : 0;
}

static int ask_model(struct probe_results *r, struct asking *a, struct report *report,
                     struct prep_error *err)
{
    const struct probe_job *job = a->job;
    const int original = job->original && a->model == 0;
    struct probe_model *to = &r->models[r->n_models++];
    struct judge_model m;
    to->path = original ? job->original : job->models[a->model - (job->original != NULL)];
    int rc = judge_model_open(&m, job->io, to->path, original ? NULL : job->keep_map, report, err);
    if (!rc && a->model == 0)
        rc = build(r, job, m.config->max_position_embeddings, report, err);
    rc = rc || ask(r, &m, a, err);
    judge_model_close(&m);
    return rc ? -1 : 0;
}

/* ---- counting ---- */

static void finish_tally(struct probe_tally *t, enum probe_kind kind, int is_compared)
{
    proportion_wilson(&t->rate, t->hits, t->n);
    t->p = is_compared ? proportion_mcnemar(&t->pairs) : NAN;
    t->claim = 0;
    if (!is_compared || !(t->p < 0.05))
        return;
    t->claim = t->pairs.only_second > t->pairs.only_first ? 1 : -1;
    if (!probe_wants_hits(kind))
        t->claim = -t->claim;
}

static void count_case(struct probe_tally *t, const struct probe_outcome *o,
                       const struct probe_outcome *original)
{
    t->n++;
    t->hits += o->hit;
    if (original)
        proportion_add_pair(&t->pairs, original->hit, o->hit);
}

static int count_model(struct probe_results *r, struct probe_model *m, struct prep_error *err)
{
    const int compared = r->has_original && m != &r->models[0];
    m->groups = arena_calloc(&r->arena, r->suite.n_groups + 1, sizeof *m->groups, err);
    if (!m->groups)
        return -1;
    for (size_t i = 0; i < r->suite.n_cases; i++) {
        const struct probe_outcome *o = &m->outcomes[i];
        const size_t g = r->suite.cases[i].group;
        const struct probe_outcome *original = compared ? &r->models[0].outcomes[i] : NULL;
        count_case(&m->groups[g], o, original);
        count_case(&m->kinds[r->suite.groups[g].kind], o, original);
        if (r->suite.groups[g].kind == PROBE_TOOLS && (o->calls || o->fault != TOOL_SOUND)) {
            m->calls++;
            m->sound_calls += o->fault == TOOL_SOUND;
        }
        m->stopped += o->stopped;
    }
    for (size_t g = 0; g < r->suite.n_groups; g++)
        finish_tally(&m->groups[g], r->suite.groups[g].kind, compared);
    for (int k = 0; k < PROBE_N_KINDS; k++)
        finish_tally(&m->kinds[k], (enum probe_kind)k, compared);
    return 0;
}

int probe_count(struct probe_results *r, struct prep_error *err)
{
    for (size_t i = 0; i < r->n_models; i++)
        if (count_model(r, &r->models[i], err))
            return -1;
    return 0;
}

int probe_run(struct probe_results *r, const struct probe_job *job, struct report *report,
              struct prep_error *err)
{
    struct asking a = {.job = job, .n_models = job->n_models + (job->original != NULL)};
    *r = (struct probe_results){0};
    arena_init(&r->arena, 0);
    if (check_job(job, err) || open_words(r, job, report, err) || read_text(r, job, err))
        return -1;
    r->has_original = job->original != NULL;
    r->models = arena_calloc(&r->arena, a.n_models, sizeof *r->models, err);
    if (!r->models)
        return -1;
    for (a.model = 0; a.model < a.n_models; a.model++)
        if (ask_model(r, &a, report, err))
            return -1;
    return probe_count(r, err);
}

void probe_results_free(struct probe_results *r)
{
    suite_close(&r->suite);
    for (size_t i = 0; i < r->n_sets; i++)
        prompt_set_close(&r->sets[i]);
    chat_template_free(r->chat);
    tokenizer_free(r->tokenizer);
    arena_fini(&r->arena);
    *r = (struct probe_results){0};
}

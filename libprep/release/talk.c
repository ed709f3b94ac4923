/* SPDX-License-Identifier: MIT */
#include "libprep/release/talk.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/release/judge_model.h"

struct talk {
    const struct talk_job *job;
    struct judge_model model;
    struct tokenizer *tokenizer;
    struct tokenizer_encoder *encoder;
    struct chat_template *chat_template; /* NULL until messages come */
    struct generation_config config;
    struct generate_memory *memory;
    cJSON *messages; /* of the conversation */
};

/* Opening */

static int read_config(struct talk *t, struct prep_error *err)
{
    const struct config *c = t->model.config;
    struct prep_error local = PREP_ERROR_INIT;
    if (generation_config_read(&t->config, t->job->io, t->job->model, &local) == 0)
        return 0;
    if (local.code != PREP_ENOINPUT) {
        *err = local;
        return -1;
    }
    t->config = (struct generation_config){.sampling = SAMPLING_GREEDY, .pad = UINT32_MAX};
    for (int i = 0; i < c->n_eos && i < GENERATION_MAX_EOS; i++)
        t->config.eos[t->config.n_eos++] = (uint32_t)c->eos_token_id[i];
    return 0;
}

static void take(double *to, double from)
{
    if (!isnan(from))
        *to = from;
}

/* The preset, and what was said beside it; into the config's. */
static int set_sampling(struct talk *t, struct prep_error *err)
{
    struct sampling *s = &t->config.sampling;
    const struct sampling *want = &t->job->sampling;
    if (strcmp(t->job->preset, "model") != 0 && sampling_preset(s, t->job->preset, err))
        return -1;
    take(&s->temperature, want->temperature);
    take(&s->top_p, want->top_p);
    take(&s->min_p, want->min_p);
    take(&s->repetition_penalty, want->repetition_penalty);
    take(&s->frequency_penalty, want->frequency_penalty);
    s->top_k = want->top_k == TALK_UNSET ? s->top_k : want->top_k;
    return sampling_check(s, err);
}

int talk_open(struct talk **out, const struct talk_job *job, struct report *report,
              struct prep_error *err)
{
    struct talk *t = calloc(1, sizeof *t);
    struct runtime_options run = job->run;
    if (!t)
        return prep_fail(err, PREP_ENOMEM, "no memory for a conversation");
    t->job = job;
    t->messages = cJSON_CreateArray();
    run.without_mtp = job->draft == 0;
    const char *tokenizer = job->tokenizer ? job->tokenizer : job->model;
    if (!t->messages)
        prep_fail(err, PREP_ENOMEM, "no memory for a conversation");
    else if (judge_model_open(&t->model, job->io, job->model, job->keep_map, report, err) == 0 &&
             read_config(t, err) == 0 && set_sampling(t, err) == 0 &&
             tokenizer_open(&t->tokenizer, job->io, tokenizer, report, err) == 0 &&
             tokenizer_encoder_new(&t->encoder, t->tokenizer, err) == 0 &&
             judge_model_start(&t->model, &run, report, err) == 0 &&
             generate_memory_new(&t->memory, err) == 0) {
        *out = t;
        return 0;
    }
    talk_close(t);
    return -1;
}

void talk_close(struct talk *t)
{
    if (!t)
        return;
    generate_memory_free(t->memory);
    tokenizer_encoder_free(t->encoder);
    tokenizer_free(t->tokenizer);
    chat_template_free(t->chat_template);
    judge_model_close(&t->model);
    cJSON_Delete(t->messages);
    free(t);
}

struct sampling talk_sampling(const struct talk *t)
{
    return t->config.sampling;
}

void talk_answer_free(struct talk_answer *a)
{
    generate_results_free(&a->made, 1);
    token_text_free(&a->text);
}

/* Text */

struct showing {
    const struct talk *t;
    struct talk_answer *a;
};

static int append(struct token_text *text, const char *p, size_t n, struct prep_error *err)
{
    if (text->cap - text->n < n) {
        const size_t cap = text->n + n > 2 * text->cap ? text->n + n : 2 * text->cap;
        char *more = realloc(text->p, cap);
        if (!more)
            return prep_fail(err, PREP_ENOMEM, "no memory for %zu bytes of text", cap);
        text->p = more;
        text->cap = cap;
    }
    if (n)
        memcpy(text->p + text->n, p, n);
    text->n += n;
    return 0;
}

static int show_token(void *arg, const struct generate_token *token, struct prep_error *err)
{
    const struct showing *s = arg;
    const struct talk_job *job = s->t->job;
    if (append(&s->a->text, token->text, token->n_text, err))
        return -1;
    return job->show ? job->show(job->arg, token->text, token->n_text, err) : 0;
}

/* Write on behind the ids. */
static int answer(struct talk *t, struct talk_answer *a, const struct token_ids *prompt,
                  struct prep_error *err)
{
    const struct talk_job *job = t->job;
    struct showing showing = {t, a};
    struct stop_stream stream = {0};
    const struct generate_request request = {
        .prompt = prompt->ids,
        .n_prompt = prompt->n,
        .n_new = job->n_new,
        .sampling = t->config.sampling,
        .seed = job->seed,
        .stop = t->config.eos,
        .n_stop = t->config.n_eos,
        .text = &stream,
        .memory = t->memory,
    };
    const struct generate g = {
        .runtime = t->model.runtime,
        .requests = &request,
        .n = 1,
        .kv = job->kv,
        .token = show_token,
        .arg = &showing,
        .draft = job->draft,
        .now = job->now,
    };
    a->n_prompt = prompt->n;
    if (prompt->n == 0)
        return prep_fail(err, PREP_EUSAGE, "the prompt is empty");
    int rc = stop_open(&stream, t->tokenizer, 1, NULL, 0, job->stop, job->n_stop, err) ||
             generate_run(&a->made, &a->stats, &g, err);
    stop_close(&stream);
    return rc ? -1 : 0;
}

static int check_text(const char *text, size_t n, const char *what, struct prep_error *err)
{
    const size_t bad = utf8_valid(text, n);
    if (bad < n)
        return prep_fail_tag(err, PREP_EDATA, "TALK_TEXT", "%s: byte %zu is not UTF-8", what, bad);
    if (memchr(text, 0, n))
        return prep_fail_tag(err, PREP_EDATA, "TALK_TEXT", "%s holds a NUL", what);
    return 0;
}

int talk_prompt(struct talk *t, struct talk_answer *a, const char *text, size_t n,
                struct prep_error *err)
{
    struct token_ids ids = {0};
    *a = (struct talk_answer){0};
    const int rc = check_text(text, n, "the prompt", err) ||
                   tokenizer_encode(&ids, t->encoder, TOKENIZER_ALL, text, n, err) ||
                   answer(t, a, &ids, err);
    token_ids_free(&ids);
    return rc ? -1 : 0;
}

/* Messages */

static int open_template(struct talk *t, struct prep_error *err)
{
    const char *path = t->job->chat_template ? t->job->chat_template : t->job->model;
    if (t->chat_template)
        return 0;
    return chat_template_open(&t->chat_template, t->job->io, path, err);
}

int talk_messages(struct talk *t, struct talk_answer *a, const char *json, size_t n,
                  const char *name, struct report *report, struct prep_error *err)
{
    const enum chat_bodies bodies = t->job->special ? CHAT_PARSE_SPECIAL : CHAT_NO_SPECIAL;
    struct chat chat = {0};
    struct chat_text text = {0};
    struct token_ids ids = {0};
    *a = (struct talk_answer){0};
    const int rc =
        open_template(t, err) ||
        chat_open(&chat, json, n, name, CHAT_PARSE_ARGUMENTS | CHAT_EMPTY_CONTENT, report, err) ||
        chat_render(&text, &chat, t->chat_template, NULL, 0, 1, err) ||
        chat_encode(&ids, t->encoder, &text, bodies, err) || answer(t, a, &ids, err);
    token_ids_free(&ids);
    chat_text_free(&text);
    chat_close(&chat);
    return rc ? -1 : 0;
}

static int add_message(cJSON *messages, const char *role, const char *text, size_t n,
                       struct prep_error *err)
{
    char *copy = malloc(n + 1);
    cJSON *m = cJSON_CreateObject();
    if (copy) {
        if (n)
            memcpy(copy, text, n);
        copy[n] = 0;
    }
    if (copy && m && cJSON_AddStringToObject(m, "role", role) &&
        cJSON_AddStringToObject(m, "content", copy) && cJSON_AddItemToArray(messages, m)) {
        free(copy);
        return 0;
    }
    free(copy);
    cJSON_Delete(m);
    return prep_fail(err, PREP_ENOMEM, "no memory for a message");
}

static int ask(struct talk *t, struct talk_answer *a, struct prep_error *err)
{
    char *json = cJSON_PrintUnformatted(t->messages);
    if (!json)
        return prep_fail(err, PREP_ENOMEM, "no memory for a conversation");
    const int rc = talk_messages(t, a, json, strlen(json), "the conversation", NULL, err);
    cJSON_free(json);
    return rc;
}

int talk_turn(struct talk *t, struct talk_answer *a, const char *line, size_t n,
              struct prep_error *err)
{
    const int n_before = cJSON_GetArraySize(t->messages);
    *a = (struct talk_answer){0};
    if (check_text(line, n, "the line", err) || add_message(t->messages, "user", line, n, err))
        return -1;
    if (ask(t, a, err) == 0 &&
        add_message(t->messages, "assistant", a->text.p, a->text.n, err) == 0)
        return 0;
    while (cJSON_GetArraySize(t->messages) > n_before)
        cJSON_DeleteItemFromArray(t->messages, n_before);
    return -1;
}

/* Facts */

/* cJSON's strings end at a NUL: one that a model says becomes U+FFFD. */
static int add_text(cJSON *object, const struct token_text *text, struct prep_error *err)
{
    struct token_text copy = {0};
    int rc = 0;
    for (size_t i = 0, n; i < text->n && !rc; i += n + 1) {
        const char *nul = memchr(text->p + i, 0, text->n - i);
        n = nul ? (size_t)(nul - text->p) - i : text->n - i;
        rc = append(&copy, text->p + i, n, err) ||
             (nul && append(&copy, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT), err));
    }
    rc = rc || append(&copy, "", 1, err);
    if (!rc && !cJSON_AddStringToObject(object, "text", copy.p))
        rc = prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
    token_text_free(&copy);
    return rc ? -1 : 0;
}

static void add_rate(cJSON *object, const char *key, uint64_t n, double seconds)
{
    if (seconds > 0)
        cJSON_AddNumberToObject(object, key, (double)n / seconds);
    else
        cJSON_AddNullToObject(object, key);
}

int talk_facts(cJSON *object, const struct talk *t, const struct talk_answer *a,
               struct prep_error *err)
{
    const struct generate_stats *s = &a->stats;
    cJSON *ids = cJSON_AddArrayToObject(object, "tokens");
    for (size_t i = 0; i < a->made.tokens.n; i++)
        report_add(ids, cJSON_CreateNumber(a->made.tokens.ids[i]));
    if (!ids || add_text(object, &a->text, err))
        return prep_fail(err, PREP_ENOMEM, "out of memory while reporting");
    cJSON_AddStringToObject(object, "finish_reason", generate_end_name(a->made.end));
    report_u64(object, "prompt_tokens", a->n_prompt);
    report_u64(object, "reused_tokens", a->made.n_reused);
    report_u64(object, "new_tokens", a->made.tokens.n);
    report_u64(object, "seed", t->job->seed);
    cJSON_AddStringToObject(object, "kv_cache", kv_form_name(t->job->kv));
    add_rate(object, "prefill_tokens_per_second", s->prefill_tokens, s->prefill_seconds);
    add_rate(object, "decode_tokens_per_second", s->decode_tokens, s->decode_seconds);
    if (!t->job->draft)
        return 0;
    report_u64(object, "drafted", s->drafted);
    report_u64(object, "accepted", s->accepted);
    add_rate(object, "acceptance", s->accepted, (double)s->drafted);
    add_rate(object, "tokens_per_pass", s->decode_tokens, (double)s->decode_turns);
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "tools/cli_talk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROMPT_BYTES = 64 << 20, NEW_TOKENS = 64, NEW_TOKENS_OF_A_TURN = 1024 };

struct speaking {
    struct cli *cli;
    const struct cli_talk_options *o;
    const volatile sig_atomic_t *stop;
    struct report *report;
    struct talk *talk;
    struct ranks *ranks; /* over which the model is split: they hear what rank 0 reads; or NULL */
};

int cli_talk_is_wanted(const struct cli_talk_options *o)
{
    return o->prompt || o->prompt_file || o->messages || o->chat;
}

/* U+0080 to U+009F obey like their ASCII kin. */
static void print_text(FILE *f, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        const int is_c1 = c == 0xC2 && i + 1 < n && (unsigned char)text[i + 1] < 0xA0;
        if (is_c1)
            fprintf(f, "\\u%04x", (unsigned char)text[++i]);
        else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
            fprintf(f, "\\x%02x", c);
        else
            fputc(c, f);
    }
}

static int show(void *arg, const char *text, size_t n, struct prep_error *err)
{
    const struct speaking *s = arg;
    (void)err;
    if (!s->cli->common.json) {
        print_text(s->cli->host.out, text, n);
        fflush(s->cli->host.out);
    }
    return *s->stop != 0;
}

static int make_job(struct talk_job *t, const struct speaking *s, const struct judge_job *job,
                    struct prep_error *err)
{
    const struct cli_talk_options *o = s->o;
    const int turns = o->chat || o->messages;
    *t = (struct talk_job){
        .io = job->io,
        .model = job->models[0],
        .keep_map = job->keep_map,
        .tokenizer = job->tokenizer,
        .chat_template = o->chat_template,
        .run = job->run,
        .draft = (int)o->draft,
        .preset = o->preset ? o->preset
                  : o->chat ? "chat"
                            : "greedy",
        .sampling = {o->temperature, o->top_p, o->min_p, o->repetition_penalty,
                     o->frequency_penalty, o->top_k < 0 ? TALK_UNSET : (uint32_t)o->top_k},
        .seed = (uint64_t)o->seed,
        .n_new = o->new_tokens ? (size_t)o->new_tokens
                 : turns       ? NEW_TOKENS_OF_A_TURN
                               : NEW_TOKENS,
        .stop = o->stops.items,
        .n_stop = o->stops.n,
        .special = o->special,
        .now = s->cli->host.now,
        .show = show,
        .arg = (void *)(uintptr_t)s,
    };
    if (!!o->prompt + !!o->prompt_file + !!o->messages + !!o->chat > 1)
        return prep_fail(err, PREP_EUSAGE,
                         "want one of --prompt, --prompt-file, --messages and --chat");
    if (job->n_models > 1)
        return prep_fail(err, PREP_EUSAGE, "talk to one MODEL at a time");
    return kv_form_parse(&t->kv, o->kv_cache, err);
}

/* Figures of an answer, for -v. */
static void say_rates(const struct speaking *s, const struct talk_answer *a)
{
    const struct generate_stats *t = &a->stats;
    const double prefill = t->prefill_seconds > 0 ? t->prefill_seconds : 1e-9;
    const double decode = t->decode_seconds > 0 ? t->decode_seconds : 1e-9;
    if (!s->cli->common.verbose)
        return;
    cli_say(s->cli,
            "prompt of %zu tokens, %zu of them known: %.1f tokens/s; %zu new tokens: %.1f "
            "tokens/s; ended by %s",
            a->n_prompt, a->made.n_reused, (double)t->prefill_tokens / prefill, a->made.tokens.n,
            (double)t->decode_tokens / decode, generate_end_name(a->made.end));
    if (t->drafted)
        cli_say(s->cli, "%" PRIu64 " of %" PRIu64 " drafts accepted, %.2f tokens per pass",
                t->accepted, t->drafted,
                t->decode_turns ? (double)t->decode_tokens / (double)t->decode_turns : 0.0);
}

/* What stands after an answer; it may have been cut short. */
static int end_answer(const struct speaking *s, const struct talk_answer *a, cJSON *facts,
                      struct prep_error *err)
{
    if (!s->cli->common.json)
        fputc('\n', s->cli->host.out);
    else if (talk_facts(facts, s->talk, a, err))
        return -1;
    say_rates(s, a);
    if (*s->stop)
        return prep_fail(err, PREP_ESTOPPED, "stopped; the text ends where it was");
    return 0;
}

static int answer_file(const struct speaking *s, const char *path, int messages,
                       struct prep_error *err)
{
    struct talk_answer a = {0};
    struct span text;
    int rc = io_read_file(&io_posix, path, PROMPT_BYTES, &s->cli->arena, &text, err);
    if (!rc && messages)
        rc = talk_messages(s->talk, &a, (const char *)text.p, text.n, path, s->report, err);
    else if (!rc)
        rc = talk_prompt(s->talk, &a, (const char *)text.p, text.n, err);
    rc = rc || end_answer(s, &a, s->report->facts, err);
    talk_answer_free(&a);
    return rc ? -1 : 0;
}

static int answer_prompt(const struct speaking *s, struct prep_error *err)
{
    struct talk_answer a = {0};
    const int rc = talk_prompt(s->talk, &a, s->o->prompt, strlen(s->o->prompt), err) ||
                   end_answer(s, &a, s->report->facts, err);
    talk_answer_free(&a);
    return rc ? -1 : 0;
}

static int turn(const struct speaking *s, const char *line, size_t n, cJSON *turns,
                struct prep_error *err)
{
    struct talk_answer a = {0};
    cJSON *facts = s->cli->common.json ? cJSON_CreateObject() : NULL;
    int rc = talk_turn(s->talk, &a, line, n, err);
    if (!rc)
        rc = end_answer(s, &a, facts, err);
    if (facts)
        report_add(turns, facts);
    talk_answer_free(&a);
    return rc ? -1 : 0;
}

/* Length of the next line, on every rank that holds a share of the model; -1 at the end. */
static int next_line(const struct speaking *s, char **line, size_t *cap, ssize_t *n,
                     struct prep_error *err)
{
    int64_t length = -1;
    if (!s->ranks || s->ranks->rank == 0)
        length = getline(line, cap, stdin);
    if (s->ranks) {
        if (ranks_agree(s->ranks, 0, err) ||
            ranks_broadcast(s->ranks, &length, sizeof length, 0, err))
            return -1;
        int rc = 0;
        if (length >= 0 && s->ranks->rank > 0) {
            free(*line);
            *line = malloc((size_t)length + 1);
            rc = *line ? 0 : prep_fail(err, PREP_ENOMEM, "no memory for a line");
        }
        if (ranks_agree(s->ranks, rc, err) ||
            (length > 0 && ranks_broadcast(s->ranks, *line, (size_t)length, 0, err)))
            return -1;
    }
    *n = (ssize_t)length;
    return 0;
}

/* A line is a turn; an empty one is none. */
static int converse(const struct speaking *s, struct prep_error *err)
{
    const int asks = isatty(STDIN_FILENO) && s->cli->host.live_width > 0;
    cJSON *turns = s->cli->common.json ? cJSON_AddArrayToObject(s->report->facts, "turns") : NULL;
    char *line = NULL;
    size_t cap = 0;
    int rc = 0;
    while (!rc && !*s->stop) {
        if (asks)
            fputs("> ", s->cli->host.err);
        ssize_t n = -1;
        rc = next_line(s, &line, &cap, &n, err);
        if (n < 0)
            break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n > 0)
            rc = turn(s, line, (size_t)n, turns, err);
    }
    free(line);
    return rc;
}

int cli_talk(struct cli *cli, const struct cli_talk_options *o, const struct judge_job *job,
             struct report *report, struct prep_error *err)
{
    struct speaking s = {.cli = cli, .o = o, .report = report, .ranks = job->run.ranks};
    struct talk_job t;
    if (make_job(&t, &s, job, err))
        return -1;
    s.stop = cli_catch_signals();
    if (talk_open(&s.talk, &t, report, err))
        return -1;
    const int rc = o->chat          ? converse(&s, err)
                   : o->prompt      ? answer_prompt(&s, err)
                   : o->prompt_file ? answer_file(&s, o->prompt_file, 0, err)
                                    : answer_file(&s, o->messages, 1, err);
    talk_close(s.talk);
    return rc;
}

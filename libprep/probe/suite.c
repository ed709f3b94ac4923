/* SPDX-License-Identifier: MIT */
/* Cases in a list, asked and judged. What they are is in suite_build.c. */
#include "libprep/probe/suite.h"

#include <stdlib.h>

#include "libprep/engine/loops.h"
#include "libprep/probe/answer.h"

const char *probe_name(enum probe_kind kind)
{
    static const char *const names[] = {"loops", "needle", "arithmetic", "tools", "facts"};
    return names[kind];
}

int probe_wants_hits(enum probe_kind kind)
{
    return kind != PROBE_LOOPS;
}

int suite_open(struct suite *s, const struct suite_source *source, struct prep_error *err)
{
    *s = (struct suite){.source = source};
    arena_init(&s->arena, 0);
    return tokenizer_encoder_new(&s->encoder, source->tokenizer, err);
}

void suite_close(struct suite *s)
{
    tokenizer_encoder_free(s->encoder);
    free(s->cases);
    free(s->groups);
    arena_fini(&s->arena);
    *s = (struct suite){0};
}

/* ---- judging ---- */

static int judge_text(struct probe_outcome *o, const struct probe_case *c, const char *text,
                      size_t n, struct prep_error *err)
{
    struct prompt_verdict v;
    if (!c->set) {
        o->hit = answer_is_number(text, n, c->number) != 0;
        return 0;
    }
    if (prompt_try(&v, c->set, c->prompt, text, n, err))
        return -1;
    o->hit = v.right != 0;
    o->calls = (unsigned char)(v.calls < 255 ? v.calls : 255);
    o->fault = (unsigned char)v.fault;
    return 0;
}

/* Where the prompt itself opens the thinking, the answer has only its end. */
static int decode_opening(struct token_text *text, const struct suite *s,
                          const struct probe_case *c, struct prep_error *err)
{
    static const char tag[] = "<think>";
    const struct tokenizer *t = s->source->tokenizer;
    const uint32_t think = tokenizer_find(t, tag, sizeof tag - 1);
    const uint32_t *p = c->ask.prompt;
    const size_t n = c->ask.n_prompt;
    const int open = think != TOKENIZER_NONE && n > 1 && (p[n - 1] == think || p[n - 2] == think);
    const uint32_t closing = tokenizer_find(t, "</think>", sizeof "</think>" - 1);
    return open && p[n - 1] != closing ? tokenizer_decode(text, t, &think, 1, 0, err) : 0;
}

int suite_judge(struct probe_outcome *o, const struct suite *s, size_t i, const uint32_t *tokens,
                size_t n, struct prep_error *err)
{
    const struct probe_case *c = &s->cases[i];
    struct token_text text = {0};
    *o = (struct probe_outcome){.stopped = n < c->ask.n_new, .n = (uint32_t)n};
    if (s->groups[c->group].kind == PROBE_LOOPS) {
        o->period = (unsigned char)loop_find(tokens, n).period;
        o->hit = o->period != 0;
        return 0;
    }
    /* Tags of thinking and of calls are tokens, and special in some vocabularies. */
    const int rc = decode_opening(&text, s, c, err) ||
                   tokenizer_decode(&text, s->source->tokenizer, tokens, n, 0, err) ||
                   judge_text(o, c, text.p ? text.p : "", text.n, err);
    token_text_free(&text);
    return rc ? -1 : 0;
}

/* ---- asking ---- */

struct asking {
    const struct suite *s;
    const struct suite_asking *how;
    struct probe_outcome *outcomes;
    unsigned char *answered;
    size_t n_answered;
};

static int take(void *arg, size_t i, const uint32_t *tokens, size_t n, struct prep_error *err)
{
    struct asking *a = arg;
    if (i >= a->s->n_cases || a->answered[i])
        return prep_fail(err, PREP_EBUG, "answer %zu of %zu came twice, or was not asked for", i,
                         a->s->n_cases);
    if (suite_judge(&a->outcomes[i], a->s, i, tokens, n, err))
        return prep_note(err, "%s: case %s", a->s->groups[a->s->cases[i].group].name,
                         a->s->cases[i].id);
    a->answered[i] = 1;
    a->n_answered++;
    if (a->how->progress)
        a->how->progress(a->how->arg, a->n_answered, a->s->n_cases);
    return 0;
}

int suite_ask(struct probe_outcome *outcomes, const struct suite *s,
              const struct suite_asking *asking, struct prep_error *err)
{
    const struct generator *g = asking->generator;
    struct asking a = {.s = s, .how = asking, .outcomes = outcomes};
    struct probe_ask *asks = calloc(s->n_cases + 1, sizeof *asks);
    a.answered = calloc(s->n_cases + 1, 1);
    int rc =
        asks && a.answered ? 0 : prep_fail(err, PREP_ENOMEM, "no memory for %zu cases", s->n_cases);
    for (size_t i = 0; i < s->n_cases && !rc; i++)
        asks[i] = s->cases[i].ask;
    rc = rc || g->answer(g->self, asks, s->n_cases, asking->stop, asking->n_stop, take, &a, err);
    if (!rc && a.n_answered < s->n_cases)
        rc = prep_fail(err, PREP_EBUG, "%zu of %zu cases were answered", a.n_answered, s->n_cases);
    free(asks);
    free(a.answered);
    return rc ? -1 : 0;
}

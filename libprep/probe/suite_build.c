/* SPDX-License-Identifier: MIT */
/* The cases of every probe. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/probe/arithmetic.h"
#include "libprep/probe/needle.h"
#include "libprep/probe/suite.h"

static struct probe_group *new_group(struct suite *s, enum probe_kind kind, struct prep_error *err)
{
    if (prep_grow(&s->groups, &s->cap_groups, s->n_groups, sizeof *s->groups, err))
        return NULL;
    struct probe_group *g = &s->groups[s->n_groups++];
    *g = (struct probe_group){.kind = kind, .first = s->n_cases};
    return g;
}

static const struct sampling greedy = SAMPLING_GREEDY;

/* A case of the newest group. */
static struct probe_case *new_case(struct suite *s, size_t n_new, struct prep_error *err)
{
    if (prep_grow(&s->cases, &s->cap_cases, s->n_cases, sizeof *s->cases, err))
        return NULL;
    struct probe_case *c = &s->cases[s->n_cases++];
    *c = (struct probe_case){.group = s->n_groups - 1, .ask = {.n_new = n_new, .sampling = greedy}};
    s->groups[s->n_groups - 1].n++;
    return c;
}

/* ---- prompts ---- */

static int keep_prompt(struct suite *s, struct probe_case *c, const struct token_ids *ids,
                       struct prep_error *err)
{
    if (ids->n == 0)
        return prep_fail(err, PREP_EUSAGE, "case %s: the prompt has no token", c->id);
    uint32_t *copy = arena_alloc(&s->arena, ids->n * sizeof *copy, err);
    if (!copy)
        return -1;
    memcpy(copy, ids->ids, ids->n * sizeof *copy);
    c->ask.prompt = copy;
    c->ask.n_prompt = ids->n;
    return 0;
}

/* A conversation, as JSON, through the template. */
static int prompt_of_chat(struct suite *s, struct probe_case *c, struct span json,
                          struct prep_error *err)
{
    const struct suite_source *from = s->source;
    struct chat chat = {0};
    struct chat_text text = {0};
    struct token_ids ids = {0};
    const int rc =
        chat_open(&chat, (const char *)json.p, json.n, c->id, CHAT_PARSE_ARGUMENTS, NULL, err) ||
        chat_render(&text, &chat, from->chat, from->args, from->n_args, 1, err) ||
        chat_encode(&ids, s->encoder, &text, CHAT_NO_SPECIAL, err) || keep_prompt(s, c, &ids, err);
    token_ids_free(&ids);
    chat_text_free(&text);
    chat_close(&chat);
    return rc ? -1 : 0;
}

static int prompt_of_raw(struct suite *s, struct probe_case *c, const char *text, size_t n,
                         struct prep_error *err)
{
    struct token_ids ids = {0};
    const int rc = tokenizer_encode(&ids, s->encoder, TOKENIZER_NOSPECIAL, text, n, err) ||
                   keep_prompt(s, c, &ids, err);
    token_ids_free(&ids);
    return rc ? -1 : 0;
}

/* What one user says. */
static int prompt_of_text(struct suite *s, struct probe_case *c, const char *text, size_t n,
                          struct prep_error *err)
{
    struct json_out o;
    struct span json;
    if (!s->source->chat)
        return prompt_of_raw(s, c, text, n, err);
    json_out_init(&o, JSON_ONE_LINE);
    json_out_open(&o, '[');
    json_out_open(&o, '{');
    json_out_key(&o, "role");
    json_out_string(&o, "user");
    json_out_key(&o, "content");
    json_out_string_n(&o, text, n);
    json_out_close(&o);
    json_out_close(&o);
    const int rc = json_out_finish(&o, &json, err) || prompt_of_chat(s, c, json, err);
    json_out_free(&o);
    return rc ? -1 : 0;
}

/* ---- loops ---- */

static int add_loop_cases(struct suite *s, const struct suite_loops *l, uint64_t seed,
                          struct prep_error *err)
{
    for (size_t i = 0; i < l->n_windows; i++) {
        struct probe_case *c = new_case(s, l->n_new, err);
        if (!c || (seed && sampling_preset(&c->ask.sampling, "loops", err)))
            return -1;
        snprintf(c->id, sizeof c->id, seed ? "%zu/%" PRIu64 : "%zu", i, seed);
        c->ask.prompt = l->tokens + i * l->window;
        c->ask.n_prompt = l->n_prompt < l->window ? l->n_prompt : l->window;
        c->ask.seed = seed;
        c->ask.stream = i;
    }
    return 0;
}

int suite_add_loops(struct suite *s, const struct suite_loops *l, struct prep_error *err)
{
    if (l->n_windows < 1 || l->window < 1 || l->n_prompt < 1 || l->n_new < 1)
        return prep_fail(err, PREP_EUSAGE, "loops: want prompts with tokens, and new tokens");
    struct probe_group *g = new_group(s, PROBE_LOOPS, err);
    if (!g)
        return -1;
    snprintf(g->name, sizeof g->name, "greedy");
    if (add_loop_cases(s, l, 0, err))
        return -1;
    if (l->n_seeds == 0)
        return 0;
    g = new_group(s, PROBE_LOOPS, err);
    if (!g)
        return -1;
    snprintf(g->name, sizeof g->name, "temperature 0.8, top-p 0.95");
    for (uint64_t seed = 1; seed <= l->n_seeds; seed++)
        if (add_loop_cases(s, l, seed, err))
            return -1;
    return 0;
}

/* ---- needles ---- */

static int add_needle(struct suite *s, const struct needle_source *source,
                      const struct needle_case *where, size_t n_new, struct prep_error *err)
{
    struct needle_prompt p = {0};
    struct probe_case *c = new_case(s, n_new, err);
    if (!c)
        return -1;
    snprintf(c->id, sizeof c->id, "%zu/%.2f/%" PRIu64, where->tokens, where->depth, where->seed);
    int rc = needle_build(&p, source, s->encoder, where, err);
    c->number = p.number;
    rc = rc || prompt_of_text(s, c, p.text, p.n, err);
    needle_free(&p);
    return rc ? prep_note(err, "needle of %zu tokens", where->tokens) : 0;
}

static int add_cell(struct suite *s, const struct needle_source *source,
                    const struct suite_needle *n, struct needle_case where, struct prep_error *err)
{
    struct probe_group *g = new_group(s, PROBE_NEEDLE, err);
    if (!g)
        return -1;
    snprintf(g->name, sizeof g->name, "%zu tokens, depth %.2f", where.tokens, where.depth);
    g->length = where.tokens;
    g->depth = where.depth;
    for (where.seed = 1; where.seed <= n->n_seeds; where.seed++)
        if (add_needle(s, source, &where, n->n_new, err))
            return -1;
    return 0;
}

int suite_add_needle(struct suite *s, const struct suite_needle *n, struct prep_error *err)
{
    struct needle_source source = {0};
    if (n->n_lengths < 1 || n->n_depths < 1 || n->n_seeds < 1)
        return prep_fail(err, PREP_EUSAGE, "needle: want lengths, depths and at least one needle");
    int rc = needle_open(&source, s->encoder, n->text, n->n_text, err);
    for (size_t i = 0; i < n->n_lengths * n->n_depths && !rc; i++) {
        const struct needle_case where = {.tokens = n->lengths[i / n->n_depths],
                                          .depth = n->depths[i % n->n_depths]};
        rc = add_cell(s, &source, n, where, err);
    }
    needle_close(&source);
    return rc ? -1 : 0;
}

/* ---- the others ---- */

int suite_add_arithmetic(struct suite *s, int digits, size_t n, size_t n_new,
                         struct prep_error *err)
{
    struct probe_group *g = new_group(s, PROBE_ARITHMETIC, err);
    if (!g)
        return -1;
    snprintf(g->name, sizeof g->name, "%d digit%s", digits, digits == 1 ? "" : "s");
    for (size_t i = 0; i < n; i++) {
        struct arithmetic_problem p;
        struct probe_case *c = new_case(s, n_new, err);
        if (!c || arithmetic_make(&p, digits, 1, i, err))
            return -1;
        snprintf(c->id, sizeof c->id, "%d/%zu", digits, i);
        c->number = p.result;
        if (prompt_of_text(s, c, p.question, strlen(p.question), err))
            return -1;
    }
    return 0;
}

/* Without a template nothing says who said what: a single message is asked as it stands. */
static int only_content(struct span *out, struct span json, struct arena *arena,
                        struct prep_error *err)
{
    struct json d = {0};
    int rc = json_parse(&d, (const char *)json.p, json.n, "prompt", err);
    if (!rc) {
        const uint32_t list = json_get(&d, 0, "messages");
        const uint32_t text = list != JSON_NONE && json_count(&d, list) == 1
                                  ? json_get(&d, json_first(&d, list), "content")
                                  : JSON_NONE;
        if (text == JSON_NONE || json_type(&d, text) != JSON_STRING)
            rc = prep_fail(err, PREP_EUSAGE,
                           "a conversation of several messages needs a chat template");
        else
            out->p = (unsigned char *)json_string(&d, text, arena, &out->n, err);
        rc = rc || !out->p;
    }
    json_free(&d);
    return rc ? -1 : 0;
}

static int add_prompt(struct suite *s, const struct prompt_set *set, size_t i, size_t n_new,
                      struct prep_error *err)
{
    struct span json;
    struct probe_case *c = new_case(s, n_new, err);
    if (!c)
        return -1;
    snprintf(c->id, sizeof c->id, "%s", set->prompts[i].id);
    c->set = set;
    c->prompt = i;
    if (prompt_request(&json, set, i, &s->arena, err))
        return -1;
    if (s->source->chat)
        return prompt_of_chat(s, c, json, err);
    return only_content(&json, json, &s->arena, err) ||
                   prompt_of_raw(s, c, (const char *)json.p, json.n, err)
               ? -1
               : 0;
}

int suite_add_prompts(struct suite *s, enum probe_kind kind, const struct prompt_set *set,
                      size_t n_new, struct prep_error *err)
{
    struct probe_group *g = new_group(s, kind, err);
    if (!g)
        return -1;
    snprintf(g->name, sizeof g->name, "%s", set->name);
    for (size_t i = 0; i < set->n; i++)
        if (add_prompt(s, set, i, n_new, err))
            return prep_note(err, "%s: %s", set->name, set->prompts[i].id);
    return 0;
}

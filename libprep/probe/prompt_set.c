/* SPDX-License-Identifier: MIT */
#include "libprep/probe/prompt_set.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/probe/answer.h"

static int fault(const struct prompt_set *s, uint32_t node, const char *want,
                 struct prep_error *err)
{
    char where[200];
    return prep_fail_tag(err, PREP_EDATA, "PROBE_SET", "%s: want %s",
                         json_where(&s->doc, node, where, sizeof where), want);
}

/* ---- reading ---- */

/* A list of at least one string that is not empty. */
static int check_words(const struct prompt_set *s, uint32_t list, struct prep_error *err)
{
    const struct json *d = &s->doc;
    if (json_type(d, list) != JSON_ARRAY || json_first(d, list) == JSON_NONE)
        return fault(s, list, "a list of words", err);
    for (uint32_t k = json_first(d, list); k != JSON_NONE; k = json_next(d, k))
        if (json_type(d, k) != JSON_STRING || json_equal(d, k, ""))
            return fault(s, k, "a word", err);
    return 0;
}

/* The function of a call, or JSON_NONE. */
static uint32_t function_of(const struct json *d, uint32_t call)
{
    uint32_t f = json_type(d, call) == JSON_OBJECT ? json_get(d, call, "function") : JSON_NONE;
    return f != JSON_NONE && json_type(d, f) == JSON_OBJECT ? f : JSON_NONE;
}

static int check_calls(const struct prompt_set *s, uint32_t list, struct prep_error *err)
{
    const struct json *d = &s->doc;
    if (json_type(d, list) != JSON_ARRAY || json_first(d, list) == JSON_NONE)
        return fault(s, list, "a list of calls", err);
    for (uint32_t k = json_first(d, list); k != JSON_NONE; k = json_next(d, k)) {
        uint32_t f = function_of(d, k);
        uint32_t name = f == JSON_NONE ? JSON_NONE : json_get(d, f, "name");
        uint32_t args = f == JSON_NONE ? JSON_NONE : json_get(d, f, "arguments");
        if (name == JSON_NONE || json_type(d, name) != JSON_STRING || args == JSON_NONE ||
            json_type(d, args) != JSON_OBJECT)
            return fault(s, k, "{\"function\": {\"name\": ..., \"arguments\": {...}}}", err);
    }
    return 0;
}

static int add(struct prompt_set *s, struct prompt p, struct prep_error *err)
{
    if (prep_grow(&s->prompts, &s->cap, s->n, sizeof *s->prompts, err))
        return -1;
    s->prompts[s->n++] = p;
    return 0;
}

static int read_judge(struct prompt_set *s, struct prompt *p, uint32_t judge,
                      struct prep_error *err)
{
    const struct json *d = &s->doc;
    uint32_t number = json_get(d, judge, "number"), words = json_get(d, judge, "words");
    uint32_t calls = json_get(d, judge, "calls");
    if ((number != JSON_NONE) + (words != JSON_NONE) + (calls != JSON_NONE) != 1)
        return fault(s, judge, "one of \"number\", \"words\" and \"calls\"", err);
    if (number != JSON_NONE) {
        p->judge = PROMPT_NUMBER;
        return json_i64(d, number, &p->number) ? fault(s, number, "an integer", err) : 0;
    }
    p->judge = words != JSON_NONE ? PROMPT_WORDS : PROMPT_CALL;
    p->expect = words != JSON_NONE ? words : calls;
    return words != JSON_NONE ? check_words(s, words, err) : check_calls(s, calls, err);
}

static int read_prompt(struct prompt_set *s, uint32_t node, struct prep_error *err)
{
    const struct json *d = &s->doc;
    struct prompt p = {.expect = JSON_NONE};
    if (json_type(d, node) != JSON_OBJECT)
        return fault(s, node, "an object", err);
    uint32_t id = json_get(d, node, "id"), messages = json_get(d, node, "messages");
    uint32_t judge = json_get(d, node, "judge");
    if (id == JSON_NONE || json_type(d, id) != JSON_STRING)
        return fault(s, node, "an \"id\"", err);
    if (messages == JSON_NONE || json_type(d, messages) != JSON_ARRAY)
        return fault(s, node, "a list \"messages\"", err);
    if (judge == JSON_NONE || json_type(d, judge) != JSON_OBJECT)
        return fault(s, node, "an object \"judge\"", err);
    p.id = json_string(d, id, &s->arena, NULL, err);
    p.messages = (struct span){(const unsigned char *)d->text + d->nodes[messages].start,
                               d->nodes[messages].end - d->nodes[messages].start};
    return !p.id || read_judge(s, &p, judge, err) || add(s, p, err) ? -1 : 0;
}

/* The prompt that a message of a dialog answers; `list` is where the dialog begins. */
static int read_turn(struct prompt_set *s, uint32_t list, uint32_t m, struct prep_error *err)
{
    const struct json *d = &s->doc;
    struct prompt p = {.judge = PROMPT_TEXT, .expect = json_get(d, m, "words")};
    uint32_t calls = json_get(d, m, "tool_calls");
    const char *text = d->text + d->nodes[list].start;
    size_t n = d->nodes[m].start - d->nodes[list].start;
    while (n > 1 && text[n - 1] != ',' && text[n - 1] != '[')
        n--; /* back to the comma before the message, which becomes the end of the list */
    char *copy = arena_strndup(&s->arena, text, n, err);
    p.id = arena_printf(&s->arena, err, "turn-%zu", s->n + 1);
    if (!copy || !p.id)
        return -1;
    if (n < 2)
        return fault(s, m, "a question before the first answer", err);
    copy[n - 1] = ']';
    p.messages = (struct span){(unsigned char *)copy, n};
    if (p.expect != JSON_NONE && check_words(s, p.expect, err))
        return -1;
    if (calls != JSON_NONE) {
        p.judge = PROMPT_CALL;
        p.expect = calls;
        if (check_calls(s, calls, err))
            return -1;
    }
    return add(s, p, err);
}

static int read_dialog(struct prompt_set *s, uint32_t list, struct prep_error *err)
{
    const struct json *d = &s->doc;
    if (json_type(d, list) != JSON_ARRAY)
        return fault(s, list, "a list of messages", err);
    for (uint32_t m = json_first(d, list); m != JSON_NONE; m = json_next(d, m)) {
        uint32_t role = json_type(d, m) == JSON_OBJECT ? json_get(d, m, "role") : JSON_NONE;
        if (role == JSON_NONE || json_type(d, role) != JSON_STRING)
            return fault(s, m, "a message with a \"role\"", err);
        if (json_equal(d, role, "assistant") && read_turn(s, list, m, err))
            return -1;
    }
    return 0;
}

static int read_set(struct prompt_set *s, struct prep_error *err)
{
    const struct json *d = &s->doc;
    uint64_t version;
    if (json_type(d, 0) != JSON_OBJECT)
        return fault(s, 0, "an object", err);
    uint32_t format = json_get(d, 0, "format"), v = json_get(d, 0, "version");
    uint32_t name = json_get(d, 0, "name"), prompts = json_get(d, 0, "prompts");
    uint32_t dialog = json_get(d, 0, "dialog");
    if (format == JSON_NONE || json_type(d, format) != JSON_STRING ||
        !json_equal(d, format, "prep-prompts"))
        return fault(s, 0, "\"format\": \"prep-prompts\"", err);
    if (v == JSON_NONE || json_u64(d, v, &version) || version != 1)
        return fault(s, v == JSON_NONE ? 0 : v, "\"version\": 1", err);
    if (name == JSON_NONE || json_type(d, name) != JSON_STRING)
        return fault(s, 0, "a \"name\"", err);
    s->tools = json_get(d, 0, "tools");
    if (s->tools != JSON_NONE && json_type(d, s->tools) != JSON_ARRAY)
        return fault(s, s->tools, "a list of tools", err);
    s->name = json_string(d, name, &s->arena, NULL, err);
    if (!s->name || (dialog != JSON_NONE && read_dialog(s, dialog, err)))
        return -1;
    if (prompts != JSON_NONE && json_type(d, prompts) != JSON_ARRAY)
        return fault(s, prompts, "a list of prompts", err);
    if (prompts != JSON_NONE)
        for (uint32_t k = json_first(d, prompts); k != JSON_NONE; k = json_next(d, k))
            if (read_prompt(s, k, err))
                return -1;
    return s->n ? 0 : fault(s, 0, "at least one prompt", err);
}

int prompt_set_parse(struct prompt_set *s, const char *text, size_t n, const char *name,
                     struct prep_error *err)
{
    memset(s, 0, sizeof *s);
    arena_init(&s->arena, 0);
    const char *copy = arena_strndup(&s->arena, text, n, err);
    const char *own = copy ? arena_strndup(&s->arena, name, strlen(name), err) : NULL;
    if (!own || json_parse(&s->doc, copy, n, own, err) || read_set(s, err)) {
        prompt_set_close(s);
        return -1;
    }
    return 0;
}

int prompt_set_open(struct prompt_set *s, const struct io *io, const char *path,
                    struct prep_error *err)
{
    struct arena arena;
    struct span text;
    memset(s, 0, sizeof *s);
    arena_init(&arena, 0);
    int rc = io_read_file(io, path, UINT64_C(16) << 20, &arena, &text, err) ||
             prompt_set_parse(s, (const char *)text.p, text.n, path, err);
    arena_fini(&arena);
    return rc ? -1 : 0;
}

void prompt_set_close(struct prompt_set *s)
{
    json_free(&s->doc);
    free(s->prompts);
    arena_fini(&s->arena);
    memset(s, 0, sizeof *s);
}

/* ---- asking and judging ---- */

int prompt_request(struct span *json, const struct prompt_set *s, size_t i, struct arena *arena,
                   struct prep_error *err)
{
    const struct json_node *tools = s->tools == JSON_NONE ? NULL : &s->doc.nodes[s->tools];
    const char *text = arena_printf(
        arena, err, "{\"messages\": %.*s, \"tools\": %.*s}", (int)s->prompts[i].messages.n,
        (const char *)s->prompts[i].messages.p, tools ? (int)(tools->end - tools->start) : 4,
        tools ? s->doc.text + tools->start : "null");
    if (!text)
        return -1;
    *json = (struct span){(const unsigned char *)text, strlen(text)};
    return 0;
}

/* Is any of the words in the answer? No list: yes. */
static int has_words(const struct prompt_set *s, uint32_t list, const char *answer, size_t n,
                     int *found, struct prep_error *err)
{
    struct arena arena;
    int rc = 0;
    arena_init(&arena, 0);
    *found = list == JSON_NONE;
    for (uint32_t k = list == JSON_NONE ? JSON_NONE : json_first(&s->doc, list);
         k != JSON_NONE && !*found && !rc; k = json_next(&s->doc, k)) {
        const char *words = json_string(&s->doc, k, &arena, NULL, err);
        rc = words ? 0 : -1;
        *found = words && answer_has_words(answer, n, words);
    }
    arena_fini(&arena);
    return rc;
}

/* Does the call have this argument? 1, 0 or -1. */
static int has_argument(const struct tool_calls *calls, const struct tool_call *c,
                        const struct json *d, uint32_t key, struct prep_error *err)
{
    for (size_t a = 0; a < c->n; a++) {
        const struct tool_argument *given = &calls->arguments[c->first + a];
        if (json_equal_n(d, key, (const char *)given->key.p, given->key.n))
            return tool_value_is(given->value, d, json_next(d, key), err);
    }
    return 0;
}

/* Has the call this name and these arguments, no more and no fewer? 1, 0 or -1. */
static int is_call(const struct tool_calls *calls, size_t i, const struct json *d, uint32_t node,
                   struct prep_error *err)
{
    const struct tool_call *c = &calls->calls[i];
    uint32_t f = function_of(d, node), args = json_get(d, f, "arguments");
    if (!json_equal_n(d, json_get(d, f, "name"), (const char *)c->name.p, c->name.n) ||
        json_count(d, args) != c->n)
        return 0;
    for (uint32_t k = json_first(d, args); k != JSON_NONE; k = json_next(d, json_next(d, k))) {
        int has = has_argument(calls, c, d, k, err);
        if (has <= 0)
            return has;
    }
    return 1;
}

static int are_calls(const struct tool_calls *calls, const struct json *d, uint32_t list,
                     struct prep_error *err)
{
    size_t i = 0;
    for (uint32_t k = json_first(d, list); k != JSON_NONE; k = json_next(d, k), i++) {
        int is = i < calls->n ? is_call(calls, i, d, k, err) : 0;
        if (is <= 0)
            return is;
    }
    return i == calls->n;
}

/* Is the answer right? 1, 0 or -1. */
static int judge(const struct prompt_set *s, const struct prompt *p, const struct tool_calls *calls,
                 enum tool_fault fault, struct span answer, struct prep_error *err)
{
    const char *text = (const char *)answer.p;
    int found;
    if (p->judge == PROMPT_NUMBER)
        return answer_is_number(text, answer.n, p->number);
    if (p->judge == PROMPT_CALL)
        return fault ? 0 : are_calls(calls, &s->doc, p->expect, err);
    if (has_words(s, p->expect, text, answer.n, &found, err))
        return -1;
    if (!found || !answer_visible(text, answer.n).n)
        return 0;
    return p->judge == PROMPT_WORDS || (!fault && !calls->n);
}

int prompt_try(struct prompt_verdict *v, const struct prompt_set *s, size_t i, const char *answer,
               size_t n, struct prep_error *err)
{
    struct tool_calls calls;
    int rc = -1;
    if (tool_calls_parse(&calls, answer, n, err))
        return -1;
    *v = (struct prompt_verdict){.calls = (int)calls.n, .fault = calls.fault};
    if (s->tools == JSON_NONE || tool_calls_check(&v->fault, &calls, &s->doc, s->tools, err) == 0) {
        const struct span text = {(const unsigned char *)answer, n};
        v->right = judge(s, &s->prompts[i], &calls, v->fault, text, err);
        rc = v->right < 0 ? -1 : 0;
    }
    tool_calls_free(&calls);
    return rc;
}

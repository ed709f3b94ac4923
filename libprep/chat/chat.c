/* SPDX-License-Identifier: MIT */
#include "libprep/chat/chat.h"

#include <stdlib.h>
#include <string.h>

/* ---- checking ---- */

static int check_message(const struct json *d, uint32_t m, size_t i, struct prep_error *err)
{
    if (json_type(d, m) != JSON_OBJECT)
        return prep_fail_tag(err, PREP_EDATA, "CHAT_INPUT", "%s: message %zu is no object", d->name,
                             i);
    uint32_t role = json_get(d, m, "role");
    if (role == JSON_NONE || json_type(d, role) != JSON_STRING)
        return prep_fail_tag(err, PREP_EDATA, "CHAT_INPUT",
                             "%s: message %zu: want a \"role\" that is a string", d->name, i);
    return 0;
}

static int check_list(const struct json *d, uint32_t messages, struct prep_error *err)
{
    size_t i = 0;
    if (messages == JSON_NONE || json_type(d, messages) != JSON_ARRAY)
        return prep_fail_tag(err, PREP_EDATA, "CHAT_INPUT",
                             "%s: want a list of messages, or an object with \"messages\"",
                             d->name);
    for (uint32_t m = json_first(d, messages); m != JSON_NONE; m = json_next(d, m))
        if (check_message(d, m, i++, err))
            return -1;
    return 0;
}

/* A member that is null counts as absent. */
static uint32_t member(const struct json *d, uint32_t object, const char *key)
{
    uint32_t node = json_get(d, object, key);
    return node != JSON_NONE && json_type(d, node) == JSON_NULL ? JSON_NONE : node;
}

static void warn_unused(const struct json *d, struct report *report)
{
    static const char *const known[] = {"messages", "tools", "add_generation_prompt",
                                        "chat_template_kwargs"};
    for (uint32_t k = json_first(d, 0); k != JSON_NONE; k = json_next(d, k)) {
        size_t i = 0;
        while (i < sizeof known / sizeof *known && !json_equal(d, k, known[i]))
            i++;
        if (i == sizeof known / sizeof *known) {
            int n = (int)(d->nodes[k].end - d->nodes[k].start);
            report_warn(report, "CHAT_UNUSED", "%s: %.*s is not used", d->name, n > 80 ? 80 : n,
                        d->text + d->nodes[k].start);
        }
        k = json_next(d, k);
    }
}

static int find_members(struct chat *c, struct report *report, struct prep_error *err)
{
    const struct json *d = &c->doc;
    c->tools = c->arguments = JSON_NONE;
    c->prompt = -1;
    c->messages = 0;
    if (json_type(d, 0) != JSON_OBJECT)
        return check_list(d, 0, err);
    c->messages = member(d, 0, "messages");
    c->tools = member(d, 0, "tools");
    c->arguments = member(d, 0, "chat_template_kwargs");
    uint32_t prompt = member(d, 0, "add_generation_prompt");
    warn_unused(d, report);
    if (c->tools != JSON_NONE && json_type(d, c->tools) != JSON_ARRAY)
        return prep_fail_tag(err, PREP_EDATA, "CHAT_INPUT", "%s: \"tools\" is no list", d->name);
    if (c->arguments != JSON_NONE && json_type(d, c->arguments) != JSON_OBJECT)
        return prep_fail_tag(err, PREP_EDATA, "CHAT_INPUT",
                             "%s: \"chat_template_kwargs\" is no object", d->name);
    if (prompt != JSON_NONE) {
        c->prompt = json_type(d, prompt) == JSON_TRUE;
        if (!c->prompt && json_type(d, prompt) != JSON_FALSE)
            return prep_fail_tag(err, PREP_EDATA, "CHAT_INPUT",
                                 "%s: \"add_generation_prompt\" is neither true nor false",
                                 d->name);
    }
    return check_list(d, c->messages, err);
}

/* ---- what servers do to messages before they render them ---- */

struct edits {
    struct json_edit *items;
    size_t n, cap;
};

static int add_edit(struct edits *e, const struct json *d, uint32_t node, const char *text,
                    size_t n, struct prep_error *err)
{
    if (prep_grow(&e->items, &e->cap, e->n, sizeof *e->items, err))
        return -1;
    e->items[e->n++] = (struct json_edit){d->nodes[node].start, d->nodes[node].end, text, n};
    return 0;
}

/* "arguments": "{\"a\": 1}" -> "arguments": {"a": 1} */
static int parse_arguments(struct chat *c, struct edits *e, uint32_t call, size_t i,
                           struct prep_error *err)
{
    const struct json *d = &c->doc;
    uint32_t f = json_type(d, call) == JSON_OBJECT ? json_get(d, call, "function") : JSON_NONE;
    if (f == JSON_NONE || json_type(d, f) != JSON_OBJECT)
        f = json_type(d, call) == JSON_OBJECT ? call : JSON_NONE;
    uint32_t text = f == JSON_NONE ? JSON_NONE : json_get(d, f, "arguments");
    if (text == JSON_NONE || json_type(d, text) != JSON_STRING)
        return 0;
    size_t n;
    struct json inner;
    const char *s = json_string(d, text, &c->arena, &n, err);
    if (!s)
        return -1;
    if (json_parse(&inner, s, n, "arguments", err))
        return prep_note(err, "%s: message %zu: tool call", d->name, i);
    int is_object = json_type(&inner, 0) == JSON_OBJECT;
    json_free(&inner);
    if (!is_object)
        return prep_fail_tag(err, PREP_EDATA, "CHAT_INPUT",
                             "%s: message %zu: the arguments of a tool call are no object", d->name,
                             i);
    return add_edit(e, d, text, s, n, err);
}

static int edit_message(struct chat *c, struct edits *e, uint32_t m, size_t i, unsigned flags,
                        struct prep_error *err)
{
    const struct json *d = &c->doc;
    uint32_t content = json_get(d, m, "content"), calls = json_get(d, m, "tool_calls");
    if ((flags & CHAT_EMPTY_CONTENT) && content != JSON_NONE &&
        json_type(d, content) == JSON_NULL && add_edit(e, d, content, "\"\"", 2, err))
        return -1;
    if (!(flags & CHAT_PARSE_ARGUMENTS) || calls == JSON_NONE || json_type(d, calls) != JSON_ARRAY)
        return 0;
    for (uint32_t k = json_first(d, calls); k != JSON_NONE; k = json_next(d, k))
        if (parse_arguments(c, e, k, i, err))
            return -1;
    return 0;
}

/* The document again, with the edits made; none: as it is. */
static int edit_messages(struct chat *c, unsigned flags, struct prep_error *err)
{
    struct edits e = {NULL, 0, 0};
    struct span text;
    const char *name = c->doc.name;
    size_t i = 0;
    int rc = -1;
    for (uint32_t m = json_first(&c->doc, c->messages); m != JSON_NONE; m = json_next(&c->doc, m))
        if (edit_message(c, &e, m, i++, flags, err))
            goto out;
    if (e.n) {
        if (json_splice(&text, c->doc.text, c->doc.n, e.items, e.n, &c->arena, err))
            goto out;
        json_free(&c->doc);
        if (json_parse(&c->doc, (const char *)text.p, text.n, name, err) ||
            find_members(c, NULL, err))
            goto out;
    }
    rc = 0;
out:
    free(e.items);
    return rc;
}

int chat_open(struct chat *c, const char *text, size_t n, const char *name, unsigned flags,
              struct report *report, struct prep_error *err)
{
    memset(c, 0, sizeof *c);
    arena_init(&c->arena, 0);
    const char *copy = arena_strndup(&c->arena, text, n, err);
    const char *own = copy ? arena_strndup(&c->arena, name, strlen(name), err) : NULL;
    if (!own || json_parse(&c->doc, copy, n, own, err) || find_members(c, report, err) ||
        edit_messages(c, flags, err)) {
        chat_close(c);
        return -1;
    }
    return 0;
}

void chat_close(struct chat *c)
{
    json_free(&c->doc);
    arena_fini(&c->arena);
    memset(c, 0, sizeof *c);
}

/* ---- rendering ---- */

/* Constants that a template may see. */
static const char constants[] = "[null,false,true]";
enum { NODE_NULL = 1, NODE_FALSE = 2, NODE_TRUE = 3 };

static int has_name(const struct chat_var *vars, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(vars[i].name, name) == 0)
            return 1;
    return 0;
}

/* Variables of the conversation behind those of the operator, unless these have the name. */
static int add_arguments(struct chat_var *vars, size_t *n, const struct chat *c,
                         struct arena *arena, struct prep_error *err)
{
    const struct json *d = &c->doc;
    uint32_t k = c->arguments == JSON_NONE ? JSON_NONE : json_first(d, c->arguments);
    for (; k != JSON_NONE; k = json_next(d, k)) {
        const char *name = json_string(d, k, arena, NULL, err);
        if (!name)
            return -1;
        k = json_next(d, k);
        if (!has_name(vars, *n, name))
            vars[(*n)++] = (struct chat_var){name, d, k, CHAT_DATA};
    }
    return 0;
}

int chat_render(struct chat_text *out, const struct chat *c, const struct chat_template *t,
                const struct chat_var *args, size_t n_args, int prompt, struct prep_error *err)
{
    struct json known = {0};
    struct arena arena;
    size_t n = 0, most = n_args + 3;
    int rc = -1;
    arena_init(&arena, 0);
    if (c->arguments != JSON_NONE)
        most += json_count(&c->doc, c->arguments);
    struct chat_var *vars = arena_calloc(&arena, most, sizeof *vars, err);
    if (!vars || json_parse(&known, constants, sizeof constants - 1, "constants", err))
        goto out;
    for (size_t i = 0; i < n_args; i++)
        vars[n++] = args[i];
    if (!has_name(vars, n, "messages"))
        vars[n++] = (struct chat_var){"messages", &c->doc, c->messages, CHAT_MESSAGES};
    if (!has_name(vars, n, "tools") && c->tools != JSON_NONE)
        vars[n++] = (struct chat_var){"tools", &c->doc, c->tools, CHAT_DATA};
    else if (!has_name(vars, n, "tools"))
        vars[n++] = (struct chat_var){"tools", &known, NODE_NULL, CHAT_TRUSTED};
    if (!has_name(vars, n, "add_generation_prompt"))
        vars[n++] = (struct chat_var){"add_generation_prompt", &known,
                                      (c->prompt < 0 ? prompt : c->prompt) ? NODE_TRUE : NODE_FALSE,
                                      CHAT_TRUSTED};
    if (add_arguments(vars, &n, c, &arena, err) == 0)
        rc = chat_template_render(out, t, vars, n, err);
out:
    json_free(&known);
    arena_fini(&arena);
    return rc;
}

int chat_encode(struct token_ids *out, struct tokenizer_encoder *e, const struct chat_text *text,
                enum chat_bodies bodies, struct prep_error *err)
{
    static const unsigned how[] = {
        [CHAT_NO_SPECIAL] = TOKENIZER_NOSPECIAL,
        [CHAT_RAW] = TOKENIZER_RAW,
        [CHAT_PARSE_SPECIAL] = TOKENIZER_ALL,
    };
    if (bodies == CHAT_PARSE_SPECIAL)
        return tokenizer_encode(out, e, how[bodies], text->p, text->n, err);
    return tokenizer_encode_mixed(out, e, how[bodies], text->p, text->parts, text->n_parts, err);
}

/* SPDX-License-Identifier: MIT */
/*
 * Renders chat templates for comparison with jinja2.
 *
 *   render_chat <REQUESTS
 *
 * A request is a line {"template": TEXT, "context": {NAME: VALUE...}}. Answers are lines
 * {"text": TEXT, "data": [[FROM, TO]...]} (byte ranges that come from the context, but for the
 * words under "role" of "messages"), or {"error": TAG, "message": TEXT}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/chat/template.h"

enum { MAX_VARS = 64 };

static void put_text(struct json_out *o, const struct chat_text *t)
{
    json_out_open(o, '{');
    json_out_key(o, "text");
    json_out_string_n(o, t->p, t->n);
    json_out_key(o, "data");
    json_out_open(o, '[');
    for (size_t i = 0; i < t->n_parts; i++) {
        if (!t->parts[i].data)
            continue;
        json_out_open(o, '[');
        json_out_u64(o, i ? t->parts[i - 1].end : 0);
        json_out_u64(o, t->parts[i].end);
        json_out_close(o);
    }
    json_out_close(o);
    json_out_close(o);
}

static void put_error(struct json_out *o, const struct prep_error *err)
{
    json_out_open(o, '{');
    json_out_key(o, "error");
    json_out_string(o, err->tag);
    json_out_key(o, "message");
    json_out_string(o, err->msg);
    json_out_close(o);
}

static int render(struct chat_text *out, const struct json *doc, struct arena *arena,
                  struct prep_error *err)
{
    struct chat_var vars[MAX_VARS];
    struct chat_template *t;
    size_t n, n_vars = 0;
    uint32_t context = json_get(doc, 0, "context"), text = json_get(doc, 0, "template");
    if (context == JSON_NONE || text == JSON_NONE)
        return prep_fail(err, PREP_EDATA, "a request wants \"template\" and \"context\"");
    const char *s = json_string(doc, text, arena, &n, err);
    if (!s || chat_template_parse(&t, s, n, "template", err))
        return -1;
    for (uint32_t k = json_first(doc, context); k != JSON_NONE && n_vars < MAX_VARS;
         k = json_next(doc, k)) {
        const char *name = json_string(doc, k, arena, NULL, err);
        k = json_next(doc, k);
        if (!name)
            break;
        vars[n_vars++] = (struct chat_var){
            name, doc, k, strcmp(name, "messages") == 0 ? CHAT_MESSAGES : CHAT_DATA};
    }
    int rc = chat_template_render(out, t, vars, n_vars, err);
    chat_template_free(t);
    return rc;
}

static int answer(const char *line, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT, out_err = PREP_ERROR_INIT;
    struct chat_text text = {NULL, 0, NULL, 0};
    struct arena arena;
    struct json doc = {0};
    struct json_out o;
    struct span span;
    arena_init(&arena, 0);
    json_out_init(&o, JSON_ONE_LINE);
    if (json_parse(&doc, line, n, "request", &err) || render(&text, &doc, &arena, &err))
        put_error(&o, &err);
    else
        put_text(&o, &text);
    int rc = json_out_finish(&o, &span, &out_err);
    if (!rc)
        fwrite(span.p, 1, span.n, stdout);
    fflush(stdout);
    json_out_free(&o);
    json_free(&doc);
    chat_text_free(&text);
    arena_fini(&arena);
    return rc;
}

int main(void)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int rc = 0;
    while (!rc && (n = getline(&line, &cap, stdin)) > 0)
        rc = answer(line, (size_t)n - (line[n - 1] == '\n'));
    free(line);
    return rc ? 1 : 0;
}

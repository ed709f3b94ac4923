/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/chat/parse.h"

int tpl_syntax(struct tpl_parser *p, const char *wanted)
{
    static const char *const kinds[] = {
        [TPL_T_END] = "the end of the template", [TPL_T_DATA] = "text",
        [TPL_T_BLOCK_BEGIN] = "\"{%\"",          [TPL_T_BLOCK_END] = "\"%}\"",
        [TPL_T_PRINT_BEGIN] = "\"{{\"",          [TPL_T_PRINT_END] = "\"}}\"",
    };
    const struct tpl_token *t = p->at;
    const char *found = t->kind < TPL_T_NAME ? kinds[t->kind] : NULL;
    if (found)
        return prep_fail_tag(p->err, PREP_EDATA, "TPL_SYNTAX", "%s: line %u: found %s, want %s",
                             p->t->name, t->line, found, wanted);
    return prep_fail_tag(p->err, PREP_EDATA, "TPL_SYNTAX", "%s: line %u: found \"%.*s\", want %s",
                         p->t->name, t->line, t->n > 60 ? 60 : (int)t->n, t->p, wanted);
}

int tpl_refuse(struct tpl_parser *p, uint32_t line, const char *fmt, ...)
{
    char what[120];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return prep_fail_tag(p->err, PREP_EUNSUP, "TPL_UNSUPPORTED",
                         "%s: line %u: %s: not supported in chat templates", p->t->name, line,
                         what);
}

struct tpl_node *tpl_node_new(struct tpl_parser *p, enum tpl_node_kind kind, uint32_t line,
                              size_t n)
{
    struct tpl_node *node = arena_calloc(&p->t->arena, 1, sizeof *node, p->err);
    if (!node || !(node->kids = arena_calloc(&p->t->arena, n, sizeof *node->kids, p->err)))
        return NULL;
    node->kind = kind;
    node->line = line;
    node->n = (uint32_t)n;
    return node;
}

int tpl_is(const struct tpl_parser *p, enum tpl_token_kind kind, const char *text)
{
    return p->at->kind == kind &&
           (!text || (p->at->n == strlen(text) && memcmp(p->at->p, text, p->at->n) == 0));
}

int tpl_skip_if(struct tpl_parser *p, enum tpl_token_kind kind, const char *text)
{
    int is = tpl_is(p, kind, text);
    p->at += is;
    return is;
}

int tpl_expect(struct tpl_parser *p, enum tpl_token_kind kind, const char *text)
{
    char quoted[24];
    if (tpl_skip_if(p, kind, text))
        return 0;
    snprintf(quoted, sizeof quoted, "\"%s\"", text ? text : "");
    return tpl_syntax(p, text                      ? quoted
                         : kind == TPL_T_NAME      ? "a name"
                         : kind == TPL_T_BLOCK_END ? "\"%}\""
                         : kind == TPL_T_PRINT_END ? "\"}}\""
                                                   : "a value");
}

int tpl_intern(struct tpl_parser *p, uint32_t *name, const char *s, size_t n)
{
    struct chat_template *t = p->t;
    *name = name_table_get(&t->names, s, n);
    if (*name != NAME_NONE)
        return 0;
    uint32_t old;
    char *copy = arena_strndup(&t->arena, s, n, p->err);
    if (!copy ||
        prep_grow(&t->name_texts, &t->cap_names, t->n_names, sizeof *t->name_texts, p->err))
        return -1;
    *name = (uint32_t)t->n_names;
    t->name_texts[t->n_names++] = copy;
    return name_table_add(&t->names, copy, n, *name, &old, p->err);
}

/* ---- statements ---- */

static struct tpl_node *parse_body(struct tpl_parser *p, const char *const *ends);

/* Is the target, or any of its parts, a name that may be set? */
static int check_target(struct tpl_parser *p, const struct tpl_node *to)
{
    if (to->kind == TPL_N_TUPLE || to->kind == TPL_N_LIST) {
        if (to->kind == TPL_N_LIST)
            return tpl_refuse(p, to->line, "a list in brackets as a target");
        for (uint32_t i = 0; i < to->n; i++)
            if (check_target(p, to->kids[i]))
                return -1;
        return 0;
    }
    if (to->kind != TPL_N_NAME && to->kind != TPL_N_NSREF)
        return prep_fail_tag(p->err, PREP_EDATA, "TPL_SYNTAX",
                             "%s: line %u: a constant cannot be set", p->t->name, to->line);
    if (to->kind == TPL_N_NAME && p->loops && strcmp(p->t->name_texts[to->name], "loop") == 0)
        return prep_fail_tag(p->err, PREP_EDATA, "TPL_SYNTAX",
                             "%s: line %u: \"loop\" cannot be set in a loop", p->t->name, to->line);
    return 0;
}

static struct tpl_node *parse_target(struct tpl_parser *p, int how, const char *stop)
{
    struct tpl_node *to = tpl_parse_tuple(p, TPL_TARGET | how, stop);
    return to && check_target(p, to) == 0 ? to : NULL;
}

/* From behind the tag's head, over its body, to the name of the tag that ends it. */
static struct tpl_node *parse_block(struct tpl_parser *p, const char *const *ends)
{
    if (tpl_is(p, TPL_T_OPERATOR, ":"))
        p->at++; /* jinja2 lets a tag end as a line of Python does */
    return tpl_expect(p, TPL_T_BLOCK_END, NULL) == 0 ? parse_body(p, ends) : NULL;
}

static struct tpl_node *parse_if(struct tpl_parser *p, uint32_t line)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct tpl_node **parts = NULL, *node = NULL;
    size_t n = 0, cap = 0;
    for (int more = 1; more;) {
        struct tpl_node *test = tpl_parse_tuple(p, TPL_PLAIN, NULL);
        struct tpl_node *body = test ? parse_block(p, ends) : NULL;
        if (!body || prep_grow(&parts, &cap, n, sizeof *parts, p->err))
            goto out;
        parts[n++] = test;
        if (prep_grow(&parts, &cap, n, sizeof *parts, p->err))
            goto out;
        parts[n++] = body;
        more = tpl_skip_if(p, TPL_T_NAME, "elif");
    }
    if (tpl_skip_if(p, TPL_T_NAME, "else")) {
        if (prep_grow(&parts, &cap, n, sizeof *parts, p->err) ||
            !(parts[n++] = parse_block(p, ends + 2)))
            goto out;
    }
    p->at++;
    node = tpl_node_new(p, TPL_N_IF, line, n);
    if (node)
        memcpy(node->kids, parts, n * sizeof *parts);
out:
    free(parts);
    return node;
}

static struct tpl_node *parse_for(struct tpl_parser *p, uint32_t line)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    static const char *const last[] = {"endfor", NULL};
    struct tpl_node *node = tpl_node_new(p, TPL_N_FOR, line, 5);
    int captures = p->captures;
    p->loops++;
    p->captures = 0;
    if (!node || !(node->kids[0] = parse_target(p, 0, "in")) || tpl_expect(p, TPL_T_NAME, "in") ||
        !(node->kids[1] = tpl_parse_tuple(p, TPL_PLAIN, "recursive")))
        return NULL;
    if (tpl_skip_if(p, TPL_T_NAME, "if") && !(node->kids[2] = tpl_parse_expression(p, 1)))
        return NULL;
    if (tpl_is(p, TPL_T_NAME, "recursive")) {
        tpl_refuse(p, line, "a recursive loop");
        return NULL;
    }
    if (!(node->kids[3] = parse_block(p, ends)))
        return NULL;
    p->loops--;
    p->captures = captures;
    if (tpl_skip_if(p, TPL_T_NAME, "else") && !(node->kids[4] = parse_block(p, last)))
        return NULL;
    p->at++;
    return node;
}

static struct tpl_node *parse_set(struct tpl_parser *p, uint32_t line)
{
    static const char *const ends[] = {"endset", NULL};
    struct tpl_node *to = parse_target(p, TPL_NS, NULL);
    struct tpl_node *node = to ? tpl_node_new(p, TPL_N_SET, line, 2) : NULL;
    if (!node)
        return NULL;
    node->kids[0] = to;
    if (tpl_skip_if(p, TPL_T_OPERATOR, "=")) {
        node->kids[1] = tpl_parse_tuple(p, 0, NULL);
        return node->kids[1] ? node : NULL;
    }
    if (tpl_is(p, TPL_T_OPERATOR, "|")) {
        tpl_refuse(p, line, "a filter of a set block");
        return NULL;
    }
    node->kind = TPL_N_SET_BLOCK;
    p->captures++;
    node->kids[1] = parse_block(p, ends);
    p->captures--;
    p->at += node->kids[1] != NULL;
    return node->kids[1] ? node : NULL;
}

/* Parameters of a macro in p and defaults behind kids[0]. */
static int parse_signature(struct tpl_parser *p, struct tpl_node *node)
{
    struct tpl_node *defaults[64];
    uint32_t params[64], n_defaults = 0, n = 0;
    if (tpl_expect(p, TPL_T_OPERATOR, "("))
        return -1;
    while (!tpl_is(p, TPL_T_OPERATOR, ")")) {
        if (n && tpl_expect(p, TPL_T_OPERATOR, ","))
            return -1;
        if (n == 64)
            return tpl_refuse(p, node->line, "a macro of more than 64 parameters");
        if (tpl_is(p, TPL_T_NAME, "caller") || tpl_is(p, TPL_T_NAME, "varargs") ||
            tpl_is(p, TPL_T_NAME, "kwargs"))
            return tpl_refuse(p, p->at->line, "a parameter named \"%.*s\"", (int)p->at->n,
                              p->at->p);
        if (p->at->kind == TPL_T_NAME && tpl_intern(p, &params[n], p->at->p, p->at->n))
            return -1;
        if (tpl_expect(p, TPL_T_NAME, NULL))
            return -1;
        for (uint32_t i = 0; i < n; i++)
            if (params[i] == params[n])
                return tpl_syntax(p, "another name: two parameters have the same");
        n++;
        if (tpl_skip_if(p, TPL_T_OPERATOR, "=")) {
            if (!(defaults[n_defaults++] = tpl_parse_expression(p, 1)))
                return -1;
        } else if (n_defaults) {
            return tpl_syntax(p, "a default, as the parameter before has one");
        }
    }
    p->at++;
    node->params = arena_calloc(&p->t->arena, n, sizeof *params, p->err);
    node->kids = arena_calloc(&p->t->arena, n_defaults + 1, sizeof *node->kids, p->err);
    if (!node->params || !node->kids)
        return -1;
    if (n)
        memcpy(node->params, params, n * sizeof *params);
    if (n_defaults)
        memcpy(node->kids + 1, defaults, n_defaults * sizeof *defaults);
    node->n_params = n;
    node->n = n_defaults + 1;
    return 0;
}

static struct tpl_node *parse_macro(struct tpl_parser *p, uint32_t line)
{
    static const char *const ends[] = {"endmacro", NULL};
    struct tpl_node *node = tpl_node_new(p, TPL_N_MACRO, line, 1);
    int loops = p->loops, captures = p->captures;
    if (node && tpl_is(p, TPL_T_NAME, "loop") && p->loops) {
        tpl_refuse(p, line, "a macro named \"loop\" in a loop");
        return NULL;
    }
    if (!node || (p->at->kind == TPL_T_NAME && tpl_intern(p, &node->name, p->at->p, p->at->n)) ||
        tpl_expect(p, TPL_T_NAME, NULL) || parse_signature(p, node))
        return NULL;
    p->loops = p->captures = 0;
    p->macros++;
    node->kids[0] = parse_block(p, ends);
    p->macros--;
    p->loops = loops;
    p->captures = captures;
    p->at += node->kids[0] != NULL;
    return node->kids[0] ? node : NULL;
}

static struct tpl_node *parse_jump(struct tpl_parser *p, enum tpl_node_kind kind, uint32_t line)
{
    if (p->loops && !p->captures)
        return tpl_node_new(p, kind, line, 0);
    if (p->loops)
        tpl_refuse(p, line, "leaving a loop out of a set block");
    else
        prep_fail_tag(p->err, PREP_EDATA, "TPL_SYNTAX",
                      "%s: line %u: break and continue stand in a loop", p->t->name, line);
    return NULL;
}

/* The statement whose name is the current token. */
static struct tpl_node *parse_statement(struct tpl_parser *p)
{
    static const char *const refused[] = {
        "include", "import", "from",       "extends", "block",      "with",
        "call",    "filter", "autoescape", "print",   "generation", NULL,
    };
    uint32_t line = p->at->line;
    if (p->at->kind != TPL_T_NAME) {
        tpl_syntax(p, "the name of a tag");
        return NULL;
    }
    for (const char *const *r = refused; *r; r++)
        if (tpl_is(p, TPL_T_NAME, *r)) {
            tpl_refuse(p, line, "the tag \"%s\"", *r);
            return NULL;
        }
    if (tpl_skip_if(p, TPL_T_NAME, "if"))
        return parse_if(p, line);
    if (tpl_skip_if(p, TPL_T_NAME, "for"))
        return parse_for(p, line);
    if (tpl_skip_if(p, TPL_T_NAME, "set"))
        return parse_set(p, line);
    if (tpl_skip_if(p, TPL_T_NAME, "macro"))
        return parse_macro(p, line);
    if (tpl_skip_if(p, TPL_T_NAME, "break"))
        return parse_jump(p, TPL_N_BREAK, line);
    if (tpl_skip_if(p, TPL_T_NAME, "continue"))
        return parse_jump(p, TPL_N_CONTINUE, line);
    tpl_syntax(p, "a tag that exists here");
    return NULL;
}

static struct tpl_node *parse_text(struct tpl_parser *p)
{
    struct tpl_str *s = arena_calloc(&p->t->arena, 1, sizeof *s, p->err);
    struct tpl_node *node = tpl_node_new(p, TPL_N_TEXT, p->at->line, 0);
    if (!s || !node)
        return NULL;
    s->p = p->at->p;
    s->n = p->at->n;
    node->value = (struct tpl_value){.kind = TPL_STRING, .u.s = s};
    p->at++;
    return node;
}

static struct tpl_node *parse_print(struct tpl_parser *p)
{
    struct tpl_node *node = tpl_node_new(p, TPL_N_PRINT, p->at++->line, 1);
    if (!node || !(node->kids[0] = tpl_parse_tuple(p, 0, NULL)) ||
        tpl_expect(p, TPL_T_PRINT_END, NULL))
        return NULL;
    return node;
}

static int at_end(const struct tpl_parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (tpl_is(p, TPL_T_NAME, *ends))
            return 1;
    return 0;
}

/* One node of a body; NULL at its end, or with the error set. */
static struct tpl_node *parse_next(struct tpl_parser *p, const char *const *ends)
{
    struct tpl_node *node;
    if (p->at->kind == TPL_T_DATA)
        return parse_text(p);
    if (p->at->kind == TPL_T_PRINT_BEGIN)
        return parse_print(p);
    if (p->at->kind == TPL_T_END) {
        if (ends)
            tpl_syntax(p, ends[0]);
        return NULL;
    }
    p->at++; /* {% */
    if (at_end(p, ends))
        return NULL;
    node = parse_statement(p);
    return node && tpl_expect(p, TPL_T_BLOCK_END, NULL) == 0 ? node : NULL;
}

/* Up to the tag that ends the body: its name is then the current token. */
static struct tpl_node *parse_body(struct tpl_parser *p, const char *const *ends)
{
    struct tpl_node **items = NULL, *node, *body = NULL;
    size_t n = 0, cap = 0;
    uint32_t line = p->at->line;
    if (++p->depth > TPL_MAX_NESTING) {
        prep_fail_tag(p->err, PREP_EDATA, "TPL_LIMIT", "%s: line %u: nested deeper than %d",
                      p->t->name, line, TPL_MAX_NESTING);
        return NULL;
    }
    while ((node = parse_next(p, ends)) && prep_grow(&items, &cap, n, sizeof *items, p->err) == 0)
        items[n++] = node;
    if (!p->err->code && (body = tpl_node_new(p, TPL_N_BLOCK, line, n)) && n)
        memcpy(body->kids, items, n * sizeof *items);
    free(items);
    p->depth--;
    return body;
}

int tpl_parse_template(struct chat_template *t, const struct tpl_tokens *tokens,
                       struct prep_error *err)
{
    struct tpl_parser p = {.t = t, .at = tokens->items, .err = err};
    t->root = parse_body(&p, NULL);
    return t->root ? 0 : -1;
}

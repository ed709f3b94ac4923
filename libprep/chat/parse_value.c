/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/chat/parse.h"

/* Constants, names, lists, and what stands in brackets. */

int tpl_enter(struct tpl_parser *p)
{
    if (++p->depth > TPL_MAX_NESTING)
        return prep_fail_tag(p->err, PREP_EDATA, "TPL_LIMIT", "%s: line %u: nested deeper than %d",
                             p->t->name, p->at->line, TPL_MAX_NESTING);
    return 0;
}

/* ---- lists of nodes that grow while they are read ---- */

int tpl_push(struct tpl_parser *p, struct tpl_nodes *l, struct tpl_node *node,
             const struct tpl_str *name)
{
    if (!node || prep_grow(&l->items, &l->cap, l->n, sizeof *l->items, p->err) ||
        prep_grow(&l->names, &l->cap_names, l->n, sizeof *l->names, p->err))
        return -1;
    l->items[l->n] = node;
    l->names[l->n++] = name;
    return 0;
}

struct tpl_node *tpl_collect(struct tpl_parser *p, struct tpl_nodes *l, int failed,
                             enum tpl_node_kind kind, uint32_t line)
{
    struct tpl_node *node = failed ? NULL : tpl_node_new(p, kind, line, l->n);
    if (node && l->n) {
        memcpy(node->kids, l->items, l->n * sizeof *l->items);
        node->arg_names = arena_calloc(&p->t->arena, l->n, sizeof *node->arg_names, p->err);
        if (!node->arg_names)
            node = NULL;
        else if (l->n > 1) /* kids[0] is what is called */
            memcpy(node->arg_names, l->names + 1, (l->n - 1) * sizeof *l->names);
    }
    free(l->items);
    free(l->names);
    return node;
}

/* ---- values ---- */

struct tpl_str *tpl_make_str(struct tpl_parser *p, const char *s, size_t n)
{
    struct tpl_str *str = arena_calloc(&p->t->arena, 1, sizeof *str, p->err);
    if (str) {
        str->p = s;
        str->n = n;
    }
    return str;
}

static struct tpl_node *constant(struct tpl_parser *p, uint32_t line, struct tpl_value v)
{
    struct tpl_node *node = tpl_node_new(p, TPL_N_CONST, line, 0);
    if (node)
        node->value = v;
    return node;
}

static struct tpl_node *string_node(struct tpl_parser *p, uint32_t line, const char *s, size_t n)
{
    struct tpl_str *str = tpl_make_str(p, s, n);
    return str ? constant(p, line, (struct tpl_value){.kind = TPL_STRING, .u.s = str}) : NULL;
}

static struct tpl_node *parse_name(struct tpl_parser *p, int target)
{
    static const struct {
        const char *name;
        enum tpl_kind kind;
        int i;
    } words[] = {{"true", TPL_BOOL, 1},  {"True", TPL_BOOL, 1}, {"false", TPL_BOOL, 0},
                 {"False", TPL_BOOL, 0}, {"none", TPL_NONE, 0}, {"None", TPL_NONE, 0}};
    const struct tpl_token t = *p->at++;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (t.n == strlen(words[i].name) && memcmp(t.p, words[i].name, t.n) == 0)
            return constant(p, t.line,
                            (struct tpl_value){.kind = words[i].kind, .u.i = words[i].i});
    struct tpl_node *node = tpl_node_new(p, TPL_N_NAME, t.line, 0);
    if (!node || tpl_intern(p, &node->name, t.p, t.n))
        return NULL;
    if ((target & TPL_NS) && tpl_skip_if(p, TPL_T_OPERATOR, ".")) {
        struct tpl_str *attr = tpl_make_str(p, p->at->p, p->at->n);
        if (!attr || tpl_expect(p, TPL_T_NAME, NULL))
            return NULL;
        node->kind = TPL_N_NSREF;
        node->value = (struct tpl_value){.kind = TPL_STRING, .u.s = attr};
    }
    return node;
}

/* Strings side by side are one. */
static struct tpl_node *parse_string(struct tpl_parser *p)
{
    uint32_t line = p->at->line;
    const char *all = "";
    size_t n = 0;
    while (p->at->kind == TPL_T_STRING) {
        const char *s;
        size_t len;
        if (tpl_unescape(&p->t->arena, p->t->name, p->at, &s, &len, p->err))
            return NULL;
        if (n) {
            char *both = arena_alloc(&p->t->arena, n + len + 1, p->err);
            if (!both)
                return NULL;
            memcpy(mempcpy(both, all, n), s, len);
            s = both;
        }
        all = s;
        n += len;
        p->at++;
    }
    return string_node(p, line, all, n);
}

struct tpl_node *tpl_parse_number(struct tpl_parser *p)
{
    const struct tpl_token t = *p->at++;
    char *digits = arena_alloc(&p->t->arena, t.n + 1, p->err);
    struct json doc;
    size_t n = 0, zeros = 0;
    if (!digits)
        return NULL;
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] != '_')
            digits[n++] = t.p[i];
    while (zeros + 1 < n && digits[zeros] == '0' && digits[zeros + 1] >= '0' &&
           digits[zeros + 1] <= '9')
        zeros++; /* Python reads 00 and 01.5, JSON does not */
    digits[n] = 0;
    digits += zeros;
    struct tpl_value v = {.kind = TPL_FLOAT};
    if (json_parse(&doc, digits, n - zeros, p->t->name, p->err))
        return NULL;
    if (t.kind == TPL_T_FLOAT) {
        if (json_f64(&doc, 0, &v.u.f))
            prep_fail(p->err, PREP_ENOMEM, "out of memory reading a number");
    } else if (json_i64(&doc, 0, &v.u.i) == 0) {
        v.kind = TPL_INT;
    } else {
        v.kind = TPL_BIG;
        v.u.s = tpl_make_str(p, digits, n - zeros);
    }
    json_free(&doc);
    return p->err->code ? NULL : constant(p, t.line, v);
}

static struct tpl_node *parse_list(struct tpl_parser *p)
{
    struct tpl_nodes l = {0};
    uint32_t line = p->at++->line;
    int failed = 0;
    while (!failed && !tpl_is(p, TPL_T_OPERATOR, "]")) {
        failed = l.n && tpl_expect(p, TPL_T_OPERATOR, ",");
        if (failed || tpl_is(p, TPL_T_OPERATOR, "]"))
            break;
        failed = tpl_push(p, &l, tpl_parse_expression(p, 1), NULL);
    }
    failed = failed || tpl_expect(p, TPL_T_OPERATOR, "]");
    return tpl_collect(p, &l, failed, TPL_N_LIST, line);
}

static struct tpl_node *parse_dict(struct tpl_parser *p)
{
    struct tpl_nodes l = {0};
    uint32_t line = p->at++->line;
    int failed = 0;
    while (!failed && !tpl_is(p, TPL_T_OPERATOR, "}")) {
        failed = l.n && tpl_expect(p, TPL_T_OPERATOR, ",");
        if (failed || tpl_is(p, TPL_T_OPERATOR, "}"))
            break;
        failed = tpl_push(p, &l, tpl_parse_expression(p, 1), NULL) ||
                 tpl_expect(p, TPL_T_OPERATOR, ":") ||
                 tpl_push(p, &l, tpl_parse_expression(p, 1), NULL);
    }
    failed = failed || tpl_expect(p, TPL_T_OPERATOR, "}");
    return tpl_collect(p, &l, failed, TPL_N_DICT, line);
}

struct tpl_node *tpl_parse_primary(struct tpl_parser *p, int target)
{
    struct tpl_node *node;
    switch (p->at->kind) {
    case TPL_T_NAME:
        return parse_name(p, target);
    case TPL_T_STRING:
        return parse_string(p);
    case TPL_T_INTEGER:
    case TPL_T_FLOAT:
        return tpl_parse_number(p);
    default:
        break;
    }
    if (tpl_is(p, TPL_T_OPERATOR, "[") || tpl_is(p, TPL_T_OPERATOR, "{")) {
        if (tpl_enter(p))
            return NULL;
        node = *p->at->p == '[' ? parse_list(p) : parse_dict(p);
        p->depth--;
        return node;
    }
    if (tpl_skip_if(p, TPL_T_OPERATOR, "(")) {
        if (tpl_enter(p))
            return NULL;
        node = tpl_parse_tuple(p, TPL_PAREN, NULL);
        p->depth--;
        return node && tpl_expect(p, TPL_T_OPERATOR, ")") == 0 ? node : NULL;
    }
    tpl_syntax(p, "a value");
    return NULL;
}

static int is_tuple_end(const struct tpl_parser *p, const char *stop)
{
    return p->at->kind == TPL_T_PRINT_END || p->at->kind == TPL_T_BLOCK_END ||
           tpl_is(p, TPL_T_OPERATOR, ")") || (stop && tpl_is(p, TPL_T_NAME, stop));
}

struct tpl_node *tpl_parse_tuple(struct tpl_parser *p, int how, const char *stop)
{
    struct tpl_nodes l = {0};
    uint32_t line = p->at->line;
    int failed = 0, is_tuple = 0;
    while (!failed) {
        failed = l.n && tpl_expect(p, TPL_T_OPERATOR, ",");
        if (failed || is_tuple_end(p, stop))
            break;
        failed = tpl_push(p, &l,
                          how & TPL_TARGET ? tpl_parse_primary(p, how)
                                           : tpl_parse_expression(p, !(how & TPL_PLAIN)),
                          NULL);
        if (failed || !tpl_is(p, TPL_T_OPERATOR, ","))
            break;
        is_tuple = 1;
    }
    if (!failed && !is_tuple && l.n == 1) {
        struct tpl_node *only = l.items[0];
        free(l.items);
        free(l.names);
        return only;
    }
    if (!failed && !is_tuple && !(how & TPL_PAREN))
        failed = tpl_syntax(p, "an expression");
    return tpl_collect(p, &l, failed, TPL_N_TUPLE, line);
}

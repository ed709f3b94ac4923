/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/chat/parse.h"

/*
 * Expressions, loosest first: a if b else c; or; and; not; comparisons; + -; ~; * / // %; **; a
 * sign; then .name [key] (call) behind a value, | filters and "is" tests. A sign binds looser than
 * .name but tighter than a filter, and "~" tighter than "+": as in jinja2.
 */

static struct tpl_node *parse_unary(struct tpl_parser *p, int with_filter);

static struct tpl_node *one(struct tpl_parser *p, enum tpl_node_kind kind, uint32_t line,
                            struct tpl_node *kid)
{
    struct tpl_node *node = kid ? tpl_node_new(p, kind, line, 1) : NULL;
    if (node)
        node->kids[0] = kid;
    return node;
}

static struct tpl_node *two(struct tpl_parser *p, enum tpl_node_kind kind, uint32_t line,
                            struct tpl_node *left, struct tpl_node *right)
{
    struct tpl_node *node = left && right ? tpl_node_new(p, kind, line, 2) : NULL;
    if (node) {
        node->kids[0] = left;
        node->kids[1] = right;
    }
    return node;
}

/* ---- behind a value ---- */

/* Arguments behind "(": into the list, which holds what is called. */
static int parse_arguments(struct tpl_parser *p, struct tpl_nodes *l)
{
    int named = 0;
    p->at++;
    for (size_t count = 0; !tpl_is(p, TPL_T_OPERATOR, ")"); count++) {
        const struct tpl_str *name = NULL;
        if (count && tpl_expect(p, TPL_T_OPERATOR, ","))
            return -1;
        if (count && tpl_is(p, TPL_T_OPERATOR, ")"))
            break;
        if (tpl_is(p, TPL_T_OPERATOR, "*") || tpl_is(p, TPL_T_OPERATOR, "**"))
            return tpl_refuse(p, p->at->line, "arguments from a list");
        if (p->at->kind == TPL_T_NAME && p->at[1].kind == TPL_T_OPERATOR && p->at[1].n == 1 &&
            *p->at[1].p == '=') {
            name = tpl_make_str(p, p->at->p, p->at->n);
            if (!name)
                return -1;
            p->at += 2;
            named = 1;
        } else if (named) {
            return tpl_syntax(p, "a named argument");
        }
        if (tpl_push(p, l, tpl_parse_expression(p, 1), name))
            return -1;
    }
    return tpl_expect(p, TPL_T_OPERATOR, ")");
}

static struct tpl_node *parse_call(struct tpl_parser *p, struct tpl_node *what)
{
    struct tpl_nodes l = {0};
    uint32_t line = p->at->line;
    int failed = tpl_push(p, &l, what, NULL) || parse_arguments(p, &l);
    return tpl_collect(p, &l, failed, TPL_N_CALL, line);
}

static struct tpl_node *parse_key(struct tpl_parser *p)
{
    uint32_t line = p->at->line;
    struct tpl_node *bounds[3] = {NULL, NULL, NULL};
    if (!tpl_is(p, TPL_T_OPERATOR, ":") && !(bounds[0] = tpl_parse_expression(p, 1)))
        return NULL;
    if (!tpl_is(p, TPL_T_OPERATOR, ":"))
        return bounds[0];
    for (int i = 1; i < 3 && tpl_skip_if(p, TPL_T_OPERATOR, ":"); i++)
        if (!tpl_is(p, TPL_T_OPERATOR, ":") && !tpl_is(p, TPL_T_OPERATOR, "]") &&
            !tpl_is(p, TPL_T_OPERATOR, ",") && !(bounds[i] = tpl_parse_expression(p, 1)))
            return NULL;
    struct tpl_node *slice = tpl_node_new(p, TPL_N_SLICE, line, 3);
    if (slice)
        memcpy(slice->kids, bounds, sizeof bounds);
    return slice;
}

static struct tpl_node *parse_subscript(struct tpl_parser *p, struct tpl_node *of)
{
    uint32_t line = p->at->line;
    if (tpl_skip_if(p, TPL_T_OPERATOR, ".")) {
        struct tpl_node *node;
        if (p->at->kind == TPL_T_INTEGER)
            return two(p, TPL_N_GETITEM, line, of, tpl_parse_number(p));
        struct tpl_str *name = tpl_make_str(p, p->at->p, p->at->n);
        if (!name || tpl_expect(p, TPL_T_NAME, NULL) || !(node = one(p, TPL_N_GETATTR, line, of)))
            return NULL;
        node->value = (struct tpl_value){.kind = TPL_STRING, .u.s = name};
        return node;
    }
    p->at++;
    if (tpl_is(p, TPL_T_OPERATOR, "]")) {
        tpl_refuse(p, line, "brackets without a key");
        return NULL;
    }
    struct tpl_node *key = parse_key(p);
    if (key && tpl_is(p, TPL_T_OPERATOR, ",")) {
        tpl_refuse(p, line, "several keys in brackets");
        return NULL;
    }
    return key && tpl_expect(p, TPL_T_OPERATOR, "]") == 0 ? two(p, TPL_N_GETITEM, line, of, key)
                                                          : NULL;
}

static struct tpl_node *parse_postfix(struct tpl_parser *p, struct tpl_node *node)
{
    while (node) {
        if (tpl_is(p, TPL_T_OPERATOR, ".") || tpl_is(p, TPL_T_OPERATOR, "["))
            node = parse_subscript(p, node);
        else if (tpl_is(p, TPL_T_OPERATOR, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* The number of a filter or test at the current token, which is passed; negative with an error. */
static int parse_known(struct tpl_parser *p, const char *what, int (*find)(const char *, size_t))
{
    const struct tpl_token t = *p->at;
    if (tpl_expect(p, TPL_T_NAME, NULL))
        return -1;
    if (tpl_is(p, TPL_T_OPERATOR, "."))
        return tpl_refuse(p, t.line, "a %s with a dot in its name", what);
    int found = find(t.p, t.n);
    if (found == -1)
        return tpl_refuse(p, t.line, "the %s \"%.*s\"", what, (int)t.n, t.p);
    if (found < 0)
        return prep_fail_tag(p->err, PREP_EDATA, "TPL_SYNTAX",
                             "%s: line %u: there is no %s \"%.*s\"", p->t->name, t.line, what,
                             t.n > 60 ? 60 : (int)t.n, t.p);
    return found;
}

static struct tpl_node *parse_filter(struct tpl_parser *p, struct tpl_node *value)
{
    struct tpl_nodes l = {0};
    uint32_t line = (++p->at)->line;
    int which = parse_known(p, "filter", tpl_find_filter);
    int failed = which < 0 || tpl_push(p, &l, value, NULL) ||
                 (tpl_is(p, TPL_T_OPERATOR, "(") && parse_arguments(p, &l));
    struct tpl_node *node = tpl_collect(p, &l, failed, TPL_N_FILTER, line);
    if (node)
        node->op = which;
    return node;
}

/* Does a test's argument, without brackets, begin here? */
static int begins_argument(const struct tpl_parser *p)
{
    switch (p->at->kind) {
    case TPL_T_NAME:
        return !tpl_is(p, TPL_T_NAME, "else") && !tpl_is(p, TPL_T_NAME, "or") &&
               !tpl_is(p, TPL_T_NAME, "and");
    case TPL_T_STRING:
    case TPL_T_INTEGER:
    case TPL_T_FLOAT:
        return 1;
    default:
        return tpl_is(p, TPL_T_OPERATOR, "[") || tpl_is(p, TPL_T_OPERATOR, "{");
    }
}

static struct tpl_node *parse_test(struct tpl_parser *p, struct tpl_node *value)
{
    struct tpl_nodes l = {0};
    uint32_t line = p->at++->line;
    int negated = tpl_skip_if(p, TPL_T_NAME, "not");
    int which = parse_known(p, "test", tpl_find_test);
    int failed = which < 0 || tpl_push(p, &l, value, NULL);
    if (!failed && tpl_is(p, TPL_T_OPERATOR, "(")) {
        failed = parse_arguments(p, &l);
    } else if (!failed && begins_argument(p)) {
        failed = tpl_is(p, TPL_T_NAME, "is") ? tpl_syntax(p, "one test, not a chain of them") : 0;
        failed = failed || tpl_push(p, &l, parse_postfix(p, tpl_parse_primary(p, 0)), NULL);
    }
    struct tpl_node *node = tpl_collect(p, &l, failed, TPL_N_TEST, line);
    if (!node)
        return NULL;
    node->op = which;
    return negated ? one(p, TPL_N_NOT, line, node) : node;
}

static struct tpl_node *parse_filters(struct tpl_parser *p, struct tpl_node *node)
{
    while (node) {
        if (tpl_is(p, TPL_T_OPERATOR, "|"))
            node = parse_filter(p, node);
        else if (tpl_is(p, TPL_T_NAME, "is"))
            node = parse_test(p, node);
        else if (tpl_is(p, TPL_T_OPERATOR, "("))
            node = parse_call(p, node);
        else
            break;
    }
    return node;
}

/* ---- operators ---- */

static struct tpl_node *parse_unary(struct tpl_parser *p, int with_filter)
{
    uint32_t line = p->at->line;
    struct tpl_node *node;
    if (tpl_enter(p))
        return NULL;
    if (tpl_skip_if(p, TPL_T_OPERATOR, "-"))
        node = one(p, TPL_N_NEG, line, parse_unary(p, 0));
    else if (tpl_skip_if(p, TPL_T_OPERATOR, "+"))
        node = one(p, TPL_N_POS, line, parse_unary(p, 0));
    else
        node = tpl_parse_primary(p, 0);
    node = parse_postfix(p, node);
    if (with_filter)
        node = parse_filters(p, node);
    p->depth--;
    return node;
}

/* Levels of operators that group to the left. */
enum { LEVEL_SUM, LEVEL_CONCAT, LEVEL_PRODUCT, LEVEL_POWER, LEVEL_UNARY };

/* The operator of this level at the current token, or -1. */
static int operator_of(const struct tpl_parser *p, int level)
{
    static const struct {
        const char *text;
        int level, op;
    } all[] = {{"+", LEVEL_SUM, TPL_ADD},     {"-", LEVEL_SUM, TPL_SUB},
               {"*", LEVEL_PRODUCT, TPL_MUL}, {"/", LEVEL_PRODUCT, TPL_DIV},
               {"%", LEVEL_PRODUCT, TPL_MOD}, {"//", LEVEL_PRODUCT, TPL_FLOORDIV},
               {"**", LEVEL_POWER, TPL_POW}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].level == level && tpl_is(p, TPL_T_OPERATOR, all[i].text))
            return all[i].op;
    return -1;
}

static struct tpl_node *parse_level(struct tpl_parser *p, int level);

static struct tpl_node *parse_concat(struct tpl_parser *p)
{
    uint32_t line = p->at->line;
    struct tpl_node *node = parse_level(p, LEVEL_PRODUCT);
    struct tpl_nodes l = {0};
    if (!node || !tpl_is(p, TPL_T_OPERATOR, "~"))
        return node;
    int failed = tpl_push(p, &l, node, NULL);
    while (!failed && tpl_skip_if(p, TPL_T_OPERATOR, "~"))
        failed = tpl_push(p, &l, parse_level(p, LEVEL_PRODUCT), NULL);
    return tpl_collect(p, &l, failed, TPL_N_CONCAT, line);
}

static struct tpl_node *parse_level(struct tpl_parser *p, int level)
{
    if (level == LEVEL_CONCAT)
        return parse_concat(p);
    if (level == LEVEL_UNARY)
        return parse_unary(p, 1);
    struct tpl_node *left = parse_level(p, level + 1);
    int op;
    while (left && (op = operator_of(p, level)) >= 0) {
        uint32_t line = p->at++->line;
        left = two(p, TPL_N_BINARY, line, left, parse_level(p, level + 1));
        if (left)
            left->op = op;
    }
    return left;
}

/* The comparison at the current token, which is passed; or -1. */
static int comparison(struct tpl_parser *p)
{
    static const char *const texts[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (tpl_skip_if(p, TPL_T_OPERATOR, texts[i]))
            return TPL_EQ + i;
    if (tpl_skip_if(p, TPL_T_NAME, "in"))
        return TPL_IN;
    if (tpl_is(p, TPL_T_NAME, "not") && p->at[1].kind == TPL_T_NAME && p->at[1].n == 2 &&
        memcmp(p->at[1].p, "in", 2) == 0) {
        p->at += 2;
        return TPL_NOT_IN;
    }
    return -1;
}

static struct tpl_node *parse_compare(struct tpl_parser *p)
{
    enum { MOST = 64 };
    uint8_t ops[MOST];
    uint32_t line = p->at->line;
    struct tpl_node *node = parse_level(p, LEVEL_SUM);
    struct tpl_nodes l = {0};
    int op, failed = 0;
    if (!node || (op = comparison(p)) < 0)
        return node;
    failed = tpl_push(p, &l, node, NULL);
    for (; !failed && op >= 0; op = comparison(p)) {
        if (l.n > MOST) {
            failed = tpl_refuse(p, line, "a chain of more than 64 comparisons");
            break;
        }
        ops[l.n - 1] = (uint8_t)op;
        failed = tpl_push(p, &l, parse_level(p, LEVEL_SUM), NULL);
        if (failed)
            break;
    }
    size_t n = l.n;
    node = tpl_collect(p, &l, failed, TPL_N_COMPARE, line);
    if (!node || !(node->ops = arena_alloc(&p->t->arena, n, p->err)))
        return NULL;
    memcpy(node->ops, ops, n - 1);
    return node;
}

static struct tpl_node *parse_not(struct tpl_parser *p)
{
    uint32_t line = p->at->line;
    if (!tpl_skip_if(p, TPL_T_NAME, "not"))
        return parse_compare(p);
    if (tpl_enter(p))
        return NULL;
    struct tpl_node *node = one(p, TPL_N_NOT, line, parse_not(p));
    p->depth--;
    return node;
}

static struct tpl_node *parse_and(struct tpl_parser *p)
{
    struct tpl_node *left = parse_not(p);
    while (left && tpl_is(p, TPL_T_NAME, "and")) {
        uint32_t line = p->at++->line;
        left = two(p, TPL_N_AND, line, left, parse_not(p));
    }
    return left;
}

static struct tpl_node *parse_or(struct tpl_parser *p)
{
    struct tpl_node *left = parse_and(p);
    while (left && tpl_is(p, TPL_T_NAME, "or")) {
        uint32_t line = p->at++->line;
        left = two(p, TPL_N_OR, line, left, parse_and(p));
    }
    return left;
}

static struct tpl_node *parse_conditional(struct tpl_parser *p)
{
    struct tpl_node *yes = parse_or(p);
    while (yes && tpl_is(p, TPL_T_NAME, "if")) {
        uint32_t line = p->at++->line;
        struct tpl_node *node = tpl_node_new(p, TPL_N_COND, line, 3);
        if (!node || !(node->kids[0] = parse_or(p)))
            return NULL;
        node->kids[1] = yes;
        if (tpl_skip_if(p, TPL_T_NAME, "else") && !(node->kids[2] = tpl_parse_expression(p, 1)))
            return NULL;
        yes = node;
    }
    return yes;
}

struct tpl_node *tpl_parse_expression(struct tpl_parser *p, int conditional)
{
    if (tpl_enter(p))
        return NULL;
    struct tpl_node *node = conditional ? parse_conditional(p) : parse_or(p);
    p->depth--;
    return node;
}

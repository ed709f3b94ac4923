/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/chat/parse.h"

/*
 * Where a name lives is decided here, before a run, by the rules of jinja2's compiler:
 *
 * - a name that a scope reads first is looked up outside when it is not set;
 * - a name that a scope sets first, and that an outer scope mentions, begins with the outer value;
 * - one that it sets first, outside of any "if", and that no outer scope mentions, begins with
 *   nothing, even when a variable of that name was passed. These are the hidden names.
 */

struct symbols {
    const struct symbols *parent;
    uint8_t *seen;  /* by name: it has a place in this scope */
    uint8_t *fresh; /* it begins with nothing */
};

struct finder {
    struct chat_template *t;
    struct prep_error *err;
};

static int is_known(const struct symbols *s, uint32_t name)
{
    for (; s; s = s->parent)
        if (s->seen[name])
            return 1;
    return 0;
}

static void load(struct symbols *s, uint32_t name)
{
    if (!is_known(s, name))
        s->seen[name] = 1;
}

static void store(struct symbols *s, uint32_t name)
{
    if (s->seen[name])
        return;
    s->fresh[name] = !is_known(s->parent, name);
    s->seen[name] = 1;
}

static void store_target(struct symbols *s, const struct tpl_node *to, int is_parameter)
{
    if (to->kind == TPL_N_TUPLE) {
        for (uint32_t i = 0; i < to->n; i++)
            store_target(s, to->kids[i], is_parameter);
    } else if (to->kind == TPL_N_NSREF) {
        load(s, to->name);
    } else if (is_parameter) {
        s->seen[to->name] = 1;
    } else {
        store(s, to->name);
    }
}

static void see_expression(struct symbols *s, const struct tpl_node *n)
{
    if (!n)
        return;
    if (n->kind == TPL_N_NAME)
        load(s, n->name);
    for (uint32_t i = 0; i < n->n; i++)
        see_expression(s, n->kids[i]);
}

static int see(struct finder *f, struct symbols *s, const struct tpl_node *n);

/* A branch sees what came before it; what it mentions is known afterwards, but nothing is fresh. */
static int see_branch(struct finder *f, struct symbols *s, const struct tpl_node *first,
                      const struct tpl_node *second, uint8_t *merged)
{
    size_t n = f->t->n_names;
    uint8_t *copies = arena_alloc(&f->t->arena, 2 * n, f->err);
    if (!copies)
        return -1;
    struct symbols branch = {s->parent, copies, copies + n};
    memcpy(branch.seen, s->seen, n);
    memcpy(branch.fresh, s->fresh, n);
    if (first)
        see_expression(&branch, first);
    if (see(f, &branch, second))
        return -1;
    for (size_t i = 0; i < n; i++)
        merged[i] |= branch.seen[i];
    return 0;
}

static int see_if(struct finder *f, struct symbols *s, const struct tpl_node *n)
{
    uint8_t *merged = arena_calloc(&f->t->arena, f->t->n_names, 1, f->err);
    if (!merged)
        return -1;
    see_expression(s, n->kids[0]);
    for (uint32_t i = 0; i < n->n; i += 2) {
        int is_else = i + 1 == n->n;
        if (see_branch(f, s, is_else || i == 0 ? NULL : n->kids[i], n->kids[is_else ? i : i + 1],
                       merged))
            return -1;
    }
    for (size_t i = 0; i < f->t->n_names; i++)
        s->seen[i] |= merged[i];
    return 0;
}

/* What a scope itself mentions: inner scopes are not entered. */
static int see(struct finder *f, struct symbols *s, const struct tpl_node *n)
{
    switch (n->kind) {
    case TPL_N_BLOCK:
        for (uint32_t i = 0; i < n->n; i++)
            if (see(f, s, n->kids[i]))
                return -1;
        return 0;
    case TPL_N_IF:
        return see_if(f, s, n);
    case TPL_N_FOR:
        see_expression(s, n->kids[1]);
        return 0;
    case TPL_N_SET:
        see_expression(s, n->kids[1]);
        store_target(s, n->kids[0], 0);
        return 0;
    case TPL_N_SET_BLOCK:
        store_target(s, n->kids[0], 0);
        return 0;
    case TPL_N_MACRO:
        store(s, n->name);
        return 0;
    case TPL_N_PRINT:
        see_expression(s, n->kids[0]);
        return 0;
    default:
        return 0;
    }
}

static int find_inside(struct finder *f, const struct symbols *outer, struct tpl_scope *of,
                       struct tpl_node *n);

static int begin(struct finder *f, struct symbols *s, const struct symbols *parent)
{
    size_t n = f->t->n_names;
    uint8_t *both = arena_calloc(&f->t->arena, 2, n, f->err);
    *s = (struct symbols){parent, both, both ? both + n : NULL};
    return both ? 0 : -1;
}

/* Once a scope has been seen: note what it hides, then look into the scopes inside it. */
static int finish(struct finder *f, const struct symbols *s, struct tpl_scope *scope,
                  struct tpl_node *body)
{
    size_t n = f->t->n_names, count = 0;
    for (size_t i = 0; i < n; i++)
        count += s->fresh[i];
    if (!(scope->hidden = arena_calloc(&f->t->arena, count, sizeof *scope->hidden, f->err)))
        return -1;
    for (uint32_t i = 0; i < n; i++)
        if (s->fresh[i])
            scope->hidden[scope->n_hidden++] = i;
    return body ? find_inside(f, s, scope, body) : 0;
}

static int find_for(struct finder *f, const struct symbols *outer, struct tpl_node *n)
{
    for (int k = 0; k < TPL_N_SCOPES; k++) {
        struct symbols s;
        struct tpl_node *body = n->kids[k == TPL_SCOPE_BODY ? 3 : k == TPL_SCOPE_ELSE ? 4 : 2];
        if (!body)
            continue;
        if (begin(f, &s, outer))
            return -1;
        if (k != TPL_SCOPE_ELSE)
            store_target(&s, n->kids[0], 1);
        if (k == TPL_SCOPE_TEST)
            see_expression(&s, body);
        else if (see(f, &s, body))
            return -1;
        if (finish(f, &s, &n->scopes[k], k == TPL_SCOPE_TEST ? NULL : body))
            return -1;
    }
    return 0;
}

static int find_macro(struct finder *f, const struct symbols *outer, struct tpl_node *n)
{
    struct symbols s;
    if (begin(f, &s, outer))
        return -1;
    for (uint32_t i = 0; i < n->n_params; i++)
        s.seen[n->params[i]] = 1;
    for (uint32_t i = 1; i < n->n; i++)
        see_expression(&s, n->kids[i]);
    return see(f, &s, n->kids[0]) || finish(f, &s, &n->scopes[0], n->kids[0]) ? -1 : 0;
}

static int find_inside(struct finder *f, const struct symbols *outer, struct tpl_scope *of,
                       struct tpl_node *n)
{
    struct symbols s;
    if (n->kind == TPL_N_FOR || n->kind == TPL_N_MACRO || n->kind == TPL_N_SET_BLOCK) {
        size_t count = n->kind == TPL_N_FOR ? TPL_N_SCOPES : 1;
        if (!(n->scopes = arena_calloc(&f->t->arena, count, sizeof *n->scopes, f->err)))
            return -1;
    }
    switch (n->kind) {
    case TPL_N_BLOCK:
    case TPL_N_IF:
        for (uint32_t i = 0; i < n->n; i++)
            if (find_inside(f, outer, of, n->kids[i]))
                return -1;
        return 0;
    case TPL_N_FOR:
        if (find_for(f, outer, n))
            return -1;
        of->has_macro |= n->scopes[TPL_SCOPE_BODY].has_macro | n->scopes[TPL_SCOPE_ELSE].has_macro;
        return 0;
    case TPL_N_MACRO:
        of->has_macro = 1;
        return find_macro(f, outer, n);
    case TPL_N_SET_BLOCK:
        if (begin(f, &s, outer) || see(f, &s, n->kids[1]) ||
            finish(f, &s, &n->scopes[0], n->kids[1]))
            return -1;
        of->has_macro |= n->scopes[0].has_macro;
        return 0;
    default:
        return 0;
    }
}

int tpl_find_scopes(struct chat_template *t, struct prep_error *err)
{
    struct finder f = {t, err};
    struct symbols s;
    if (begin(&f, &s, NULL) || see(&f, &s, t->root))
        return -1;
    return finish(&f, &s, &t->scope, t->root);
}

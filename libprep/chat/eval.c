/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/chat/call.h"
#include "libprep/chat/value.h"

/* What tpl_exec() returns beside 0 and -1: the loop is to be left, or its next item begun. */
enum { LEAVE = 1, NEXT = 2 };

/* ---- names ---- */

static struct tpl_binding *find(struct tpl_frame *f, uint32_t name)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->bindings[i].name == name)
            return &f->bindings[i];
    return NULL;
}

static int is_hidden(const struct tpl_frame *f, uint32_t name)
{
    for (size_t i = 0; i < f->scope->n_hidden; i++)
        if (f->scope->hidden[i] == name)
            return 1;
    return 0;
}

static int bind(struct tpl_run *r, struct tpl_frame *f, uint32_t name, struct tpl_value v)
{
    struct tpl_binding *b = find(f, name);
    if (b) {
        b->value = v;
        return 0;
    }
    if (f->n == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 4;
        struct tpl_binding *bigger = tpl_alloc(r, cap, sizeof *bigger);
        if (!bigger)
            return -1;
        if (f->n)
            memcpy(bigger, f->bindings, f->n * sizeof *bigger);
        f->bindings = bigger;
        f->cap = cap;
    }
    f->bindings[f->n++] = (struct tpl_binding){name, v};
    return 0;
}

static int look_up(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f, uint32_t name)
{
    const char *text = r->t->name_texts[name];
    int hidden = 0;
    for (; f && !hidden; f = f->parent) {
        const struct tpl_binding *b = find(f, name);
        if (tpl_step(r, f->n / 16))
            return -1;
        if (b) {
            *out = b->value;
            return 0;
        }
        hidden = is_hidden(f, name);
    }
    for (size_t i = 0; !hidden && i < r->n_vars; i++)
        if (r->vars[i].name == name) {
            *out = r->vars[i].value;
            return 0;
        }
    int function = hidden ? -1 : tpl_find_function(text);
    if (function < 0)
        return tpl_undefined(r, out, "'%s' is undefined", text);
    *out = (struct tpl_value){.kind = TPL_FUNCTION, .u.i = function};
    return 0;
}

static int set_attribute(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *to,
                         struct tpl_value v)
{
    struct tpl_value ns;
    if (look_up(r, &ns, f, to->name))
        return -1;
    if (ns.kind != TPL_NAMESPACE)
        return tpl_type(r, "an attribute of \"%s\" is set, which is a %s and no namespace",
                        r->t->name_texts[to->name], tpl_kind_name(ns));
    return tpl_dict_set(r, ns.u.d, to->value, v);
}

int tpl_assign(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *to,
               struct tpl_value v)
{
    const struct tpl_value *items;
    size_t n;
    if (to->kind == TPL_N_NAME)
        return bind(r, f, to->name, v);
    if (to->kind == TPL_N_NSREF)
        return set_attribute(r, f, to, v);
    if (v.kind == TPL_UNDEFINED && to->n)
        return tpl_type(r, "nothing is taken apart: %s", v.u.why);
    if (tpl_iterate(r, &items, &n, v))
        return -1;
    if (n != to->n)
        return tpl_type(r, "%zu values for %u names", n, to->n);
    for (uint32_t i = 0; i < to->n; i++)
        if (tpl_assign(r, f, to->kids[i], items[i]))
            return -1;
    return 0;
}

/* ---- expressions ---- */

static int eval_args(struct tpl_run *r, struct tpl_args *args, struct tpl_frame *f,
                     const struct tpl_node *n)
{
    args->n = n->n - 1;
    args->names = n->arg_names;
    args->values = tpl_alloc(r, args->n, sizeof *args->values);
    if (!args->values)
        return -1;
    for (size_t i = 0; i < args->n; i++)
        if (tpl_eval(r, &args->values[i], f, n->kids[i + 1]))
            return -1;
    return 0;
}

static int eval_call(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                     const struct tpl_node *n)
{
    struct tpl_value what;
    struct tpl_args args;
    if (tpl_eval(r, &what, f, n->kids[0]) || eval_args(r, &args, f, n))
        return -1;
    switch (what.kind) {
    case TPL_MACRO:
        return tpl_macro_call(r, out, what.u.macro, &args);
    case TPL_METHOD:
        return tpl_method_call(r, out, what.u.method, &args);
    case TPL_FUNCTION:
        return tpl_function_call(r, out, (int)what.u.i, &args);
    case TPL_UNDEFINED:
        return tpl_type(r, "%s", what.u.why);
    case TPL_LOOP:
    case TPL_MARKUP:
        return tpl_unsupported(r, "calling a %s", tpl_kind_name(what));
    default:
        return tpl_type(r, "a %s is called", tpl_kind_name(what));
    }
}

static int eval_filter(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                       const struct tpl_node *n)
{
    struct tpl_value v;
    struct tpl_args args;
    int passed;
    if (tpl_eval(r, &v, f, n->kids[0]) || eval_args(r, &args, f, n))
        return -1;
    if (n->kind == TPL_N_FILTER)
        return tpl_filter(r, out, n->op, v, &args);
    if (tpl_test(r, &passed, n->op, v, &args))
        return -1;
    *out = tpl_bool(passed);
    return 0;
}

static int eval_item(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                     const struct tpl_node *n)
{
    struct tpl_value of, key, bounds[3];
    const struct tpl_node *slice = n->kids[1];
    if (tpl_eval(r, &of, f, n->kids[0]))
        return -1;
    if (slice->kind != TPL_N_SLICE)
        return tpl_eval(r, &key, f, slice) ? -1 : tpl_get_item(r, out, of, key);
    for (int i = 0; i < 3; i++) {
        bounds[i] = tpl_none();
        if (slice->kids[i] && tpl_eval(r, &bounds[i], f, slice->kids[i]))
            return -1;
    }
    return tpl_slice(r, out, of, bounds);
}

static int eval_compare(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                        const struct tpl_node *n)
{
    struct tpl_value left, right;
    int holds = 1;
    if (tpl_eval(r, &left, f, n->kids[0]))
        return -1;
    for (uint32_t i = 1; holds && i < n->n; i++) {
        if (tpl_eval(r, &right, f, n->kids[i]))
            return -1;
        holds = tpl_compare(r, (enum tpl_op)n->ops[i - 1], left, right);
        if (holds < 0)
            return -1;
        left = right;
    }
    *out = tpl_bool(holds);
    return 0;
}

static int eval_concat(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                       const struct tpl_node *n)
{
    struct tpl_str *all = NULL;
    struct tpl_value v;
    for (uint32_t i = 0; i < n->n; i++) {
        struct tpl_str *s;
        if (tpl_eval(r, &v, f, n->kids[i]) || tpl_to_string(r, &s, v))
            return -1;
        all = all ? tpl_str_join(r, all, s) : s;
        if (!all)
            return -1;
    }
    return tpl_wrap(out, all);
}

static int eval_list(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                     const struct tpl_node *n)
{
    if (tpl_list_new(r, out, n->n, n->kind == TPL_N_LIST ? TPL_A_LIST : TPL_A_TUPLE))
        return -1;
    struct tpl_list *l = out->u.l;
    for (uint32_t i = 0; i < n->n; i++)
        if (tpl_eval(r, &l->items[i], f, n->kids[i]))
            return -1;
    return 0;
}

static int eval_dict(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                     const struct tpl_node *n)
{
    struct tpl_value key, value;
    if (tpl_dict_new(r, out, TPL_DICT, n->n / 2))
        return -1;
    struct tpl_dict *d = out->u.d;
    for (uint32_t i = 0; i < n->n; i += 2) {
        if (tpl_eval(r, &key, f, n->kids[i]) || tpl_eval(r, &value, f, n->kids[i + 1]))
            return -1;
        if (key.kind == TPL_DICT || (key.kind == TPL_LIST && key.u.l->flavor == TPL_A_LIST))
            return tpl_type(r, "a %s is no key", tpl_kind_name(key));
        if (tpl_dict_set(r, d, key, value))
            return -1;
    }
    return 0;
}

/* not, and, or, conditional */
static int eval_logic(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                      const struct tpl_node *n)
{
    if (tpl_eval(r, out, f, n->kids[0]))
        return -1;
    int truth = tpl_truth(*out);
    switch (n->kind) {
    case TPL_N_NOT:
        *out = tpl_bool(!truth);
        return 0;
    case TPL_N_AND:
        return truth ? tpl_eval(r, out, f, n->kids[1]) : 0;
    case TPL_N_OR:
        return truth ? 0 : tpl_eval(r, out, f, n->kids[1]);
    default:
        break;
    }
    if (truth)
        return tpl_eval(r, out, f, n->kids[1]);
    return n->kids[2] ? tpl_eval(r, out, f, n->kids[2])
                      : tpl_undefined(r, out, "a condition without else does not hold");
}

static int eval_arithmetic(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                           const struct tpl_node *n)
{
    struct tpl_value a, b;
    if (tpl_eval(r, &a, f, n->kids[0]))
        return -1;
    if (n->kind == TPL_N_BINARY)
        return tpl_eval(r, &b, f, n->kids[1]) ? -1 : tpl_binary(r, out, (enum tpl_op)n->op, a, b);
    if (tpl_negate(r, out, a))
        return -1;
    return n->kind == TPL_N_POS ? tpl_negate(r, out, *out) : 0;
}

static int eval_kind(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                     const struct tpl_node *n)
{
    struct tpl_value v;
    switch (n->kind) {
    case TPL_N_CONST:
        *out = n->value;
        return 0;
    case TPL_N_NAME:
        return look_up(r, out, f, n->name);
    case TPL_N_GETATTR:
        return tpl_eval(r, &v, f, n->kids[0]) ? -1 : tpl_get_attribute(r, out, v, n->value.u.s);
    case TPL_N_GETITEM:
        return eval_item(r, out, f, n);
    case TPL_N_CALL:
        return eval_call(r, out, f, n);
    case TPL_N_FILTER:
    case TPL_N_TEST:
        return eval_filter(r, out, f, n);
    case TPL_N_NOT:
    case TPL_N_AND:
    case TPL_N_OR:
    case TPL_N_COND:
        return eval_logic(r, out, f, n);
    case TPL_N_NEG:
    case TPL_N_POS:
    case TPL_N_BINARY:
        return eval_arithmetic(r, out, f, n);
    case TPL_N_CONCAT:
        return eval_concat(r, out, f, n);
    case TPL_N_COMPARE:
        return eval_compare(r, out, f, n);
    case TPL_N_LIST:
    case TPL_N_TUPLE:
        return eval_list(r, out, f, n);
    case TPL_N_DICT:
        return eval_dict(r, out, f, n);
    default:
        return tpl_fail(r, PREP_EBUG, "", "node %d is no expression", (int)n->kind);
    }
}

int tpl_eval(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
             const struct tpl_node *n)
{
    uint32_t line = r->line;
    *out = tpl_none();
    r->line = n->line;
    if (tpl_step(r, 1))
        return -1;
    if (++r->depth > TPL_MAX_RECURSION)
        return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "evaluated deeper than %d", TPL_MAX_RECURSION);
    if (eval_kind(r, out, f, n))
        return -1;
    r->depth--;
    r->line = line;
    return 0;
}

/* ---- statements ---- */

/* Every named argument must have a parameter that no positional one has taken. */
static int check_names(struct tpl_run *r, const struct tpl_node *n, const struct tpl_args *args,
                       size_t places)
{
    const char *name = r->t->name_texts[n->name];
    if (places > n->n_params)
        return tpl_type(r, "macro %s takes %u arguments, %zu given", name, n->n_params, places);
    for (size_t i = 0; i < args->n; i++) {
        const struct tpl_str *given = args->names[i];
        size_t k = places;
        while (given && k < n->n_params && !tpl_str_is(given, r->t->name_texts[n->params[k]]))
            k++;
        if (given && k == n->n_params)
            return tpl_type(r, "macro %s has no parameter \"%.*s\" left", name,
                            given->n > 60 ? 60 : (int)given->n, given->p);
    }
    return 0;
}

/* What was given first, then the defaults, which may use parameters. */
static int bind_parameters(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n,
                           const struct tpl_args *args)
{
    const size_t n_defaults = n->n - 1, first = n->n_params - n_defaults;
    struct tpl_value v;
    for (uint32_t k = 0; k < n->n_params; k++) {
        const char *param = r->t->name_texts[n->params[k]];
        if (tpl_argument(&v, args, k, param) == 0 &&
            tpl_undefined(r, &v, "parameter '%s' was not provided", param))
            return -1;
        if (bind(r, f, n->params[k], v))
            return -1;
    }
    for (size_t k = first; k < n->n_params; k++)
        if (tpl_argument(&v, args, k, r->t->name_texts[n->params[k]]) == 0 &&
            (tpl_eval(r, &v, f, n->kids[1 + k - first]) || bind(r, f, n->params[k], v)))
            return -1;
    return 0;
}

int tpl_macro_call(struct tpl_run *r, struct tpl_value *out, const struct tpl_macro *m,
                   const struct tpl_args *args)
{
    const struct tpl_node *n = m->node;
    struct tpl_buf text = {NULL, NULL, 0, 0}, *outer = r->out;
    struct tpl_frame *f = tpl_alloc(r, 1, sizeof *f);
    size_t places = 0;
    if (!f)
        return -1;
    *f = (struct tpl_frame){.parent = m->frame, .scope = &n->scopes[0]};
    if (++r->calls > TPL_MAX_CALLS)
        return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "macros call each other deeper than %d",
                        TPL_MAX_CALLS);
    for (size_t i = 0; i < args->n; i++)
        places += args->names[i] == NULL;
    if (check_names(r, n, args, places) || bind_parameters(r, f, n, args))
        return -1;
    r->out = &text;
    if (tpl_exec(r, f, n->kids[0]))
        return -1;
    r->out = outer;
    r->calls--;
    return tpl_wrap(out, tpl_str_from_buf(r, &text));
}

/* One iteration in a scope of its own, which is used again unless a macro may keep it. */
static int run_body(struct tpl_loop *l, struct tpl_frame **frame, uint32_t loop_name)
{
    struct tpl_run *r = l->run;
    const struct tpl_scope *scope = &l->node->scopes[TPL_SCOPE_BODY];
    if (!*frame || scope->has_macro) {
        *frame = tpl_alloc(r, 1, sizeof **frame);
        if (!*frame)
            return -1;
    }
    (*frame)->parent = l->outer;
    (*frame)->scope = scope;
    (*frame)->n = 0;
    if (loop_name != NAME_NONE &&
        bind(r, *frame, loop_name, (struct tpl_value){.kind = TPL_LOOP, .u.loop = l}))
        return -1;
    if (tpl_assign(r, *frame, l->node->kids[0], l->items[l->at]))
        return -1;
    return tpl_exec(r, *frame, l->node->kids[3]);
}

static int exec_for(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n)
{
    struct tpl_value of;
    struct tpl_frame *frame = NULL;
    struct tpl_loop *l = tpl_alloc(r, 1, sizeof *l);
    uint32_t loop_name = name_table_get(&r->t->names, "loop", 4);
    int none_finished = 1;
    if (!l || tpl_eval(r, &of, f, n->kids[1]))
        return -1;
    *l = (struct tpl_loop){.run = r, .node = n, .outer = f};
    if (tpl_iterate(r, &l->source, &l->n_source, of) ||
        !(l->items = tpl_alloc(r, l->n_source, sizeof *l->items)))
        return -1;
    for (;; l->at++) {
        if (tpl_step(r, 1) || tpl_loop_pull(l, l->at + 1))
            return -1;
        if (l->at >= l->n)
            break;
        int rc = run_body(l, &frame, loop_name);
        if (rc < 0)
            return -1;
        if (rc == LEAVE)
            break;
        /* As in jinja2, "else" is for a loop whose body was never run to its end. */
        none_finished &= rc == NEXT;
    }
    if (!n->kids[4] || !none_finished)
        return 0;
    struct tpl_frame *other = tpl_alloc(r, 1, sizeof *other);
    if (!other)
        return -1;
    *other = (struct tpl_frame){.parent = f, .scope = &n->scopes[TPL_SCOPE_ELSE]};
    return tpl_exec(r, other, n->kids[4]);
}

static int exec_if(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n)
{
    struct tpl_value v;
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        if (tpl_eval(r, &v, f, n->kids[i]))
            return -1;
        if (tpl_truth(v))
            return tpl_exec(r, f, n->kids[i + 1]);
    }
    return n->n % 2 ? tpl_exec(r, f, n->kids[n->n - 1]) : 0;
}

static int exec_set_block(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n)
{
    struct tpl_buf text = {NULL, NULL, 0, 0}, *outer = r->out;
    struct tpl_frame *inner = tpl_alloc(r, 1, sizeof *inner);
    struct tpl_value v;
    if (!inner)
        return -1;
    *inner = (struct tpl_frame){.parent = f, .scope = &n->scopes[0]};
    r->out = &text;
    if (tpl_exec(r, inner, n->kids[1]))
        return -1;
    r->out = outer;
    return tpl_wrap(&v, tpl_str_from_buf(r, &text)) || tpl_assign(r, f, n->kids[0], v) ? -1 : 0;
}

static int exec_macro(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n)
{
    struct tpl_macro *m = tpl_alloc(r, 1, sizeof *m);
    if (!m)
        return -1;
    *m = (struct tpl_macro){n, f};
    return bind(r, f, n->name, (struct tpl_value){.kind = TPL_MACRO, .u.macro = m});
}

static int exec_block(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n)
{
    for (uint32_t i = 0; i < n->n; i++) {
        int rc = tpl_exec(r, f, n->kids[i]);
        if (rc)
            return rc;
    }
    return 0;
}

/* set a.x, b = ...: what is no namespace is found before the value is computed. */
static int check_targets(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *to)
{
    struct tpl_value v;
    if (to->kind == TPL_N_TUPLE) {
        for (uint32_t i = 0; i < to->n; i++)
            if (check_targets(r, f, to->kids[i]))
                return -1;
        return 0;
    }
    if (to->kind != TPL_N_NSREF)
        return 0;
    if (look_up(r, &v, f, to->name))
        return -1;
    return v.kind == TPL_NAMESPACE
               ? 0
               : tpl_type(r, "an attribute of \"%s\" is set, which is a %s and no namespace",
                          r->t->name_texts[to->name], tpl_kind_name(v));
}

static int exec_kind(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n)
{
    struct tpl_value v;
    switch (n->kind) {
    case TPL_N_BLOCK:
        return exec_block(r, f, n);
    case TPL_N_TEXT:
        return tpl_put_str(r, r->out, n->value.u.s);
    case TPL_N_PRINT:
        return tpl_eval(r, &v, f, n->kids[0]) || tpl_print(r, r->out, v) ? -1 : 0;
    case TPL_N_IF:
        return exec_if(r, f, n);
    case TPL_N_FOR:
        return exec_for(r, f, n);
    case TPL_N_SET:
        return check_targets(r, f, n->kids[0]) || tpl_eval(r, &v, f, n->kids[1]) ||
                       tpl_assign(r, f, n->kids[0], v)
                   ? -1
                   : 0;
    case TPL_N_SET_BLOCK:
        return exec_set_block(r, f, n);
    case TPL_N_MACRO:
        return exec_macro(r, f, n);
    case TPL_N_BREAK:
        return LEAVE;
    default:
        return NEXT;
    }
}

int tpl_exec(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n)
{
    uint32_t line = r->line;
    r->line = n->line;
    if (tpl_step(r, 1))
        return -1;
    if (++r->depth > TPL_MAX_RECURSION)
        return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "evaluated deeper than %d", TPL_MAX_RECURSION);
    int rc = exec_kind(r, f, n);
    if (rc < 0)
        return -1;
    r->depth--;
    r->line = line;
    return rc;
}

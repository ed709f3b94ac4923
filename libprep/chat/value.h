/* SPDX-License-Identifier: MIT */
/*
 * value.h - the values of a template run, and the run itself. For libprep/chat only.
 *
 * Values behave as the Python objects do that jinja2 3.1 would hold: integers and floats stay what
 * they are, dictionaries keep their order, nothing but a namespace can be changed. An integer that
 * does not fit 64 bits is kept as its digits: it can be printed and compared, not calculated with.
 *
 * Ownership  everything lives in the run's arena
 * Errors     tags TPL_TYPE, TPL_RAISED, TPL_UNSUPPORTED, TPL_LIMIT of template.h, raised by
 *            tpl_fail(), which names the template and the line
 * Threads    a run belongs to one thread
 */
#ifndef PREP_CHAT_VALUE_H
#define PREP_CHAT_VALUE_H

#include "libprep/chat/ast.h"
#include "libprep/chat/template.h"
#include "libprep/chat/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Evaluations, comparisons and texts inside each other: what the stack is made for. */
enum { TPL_MAX_RECURSION = 2000, TPL_MAX_CALLS = 100 };

struct tpl_list {
    struct tpl_value *items;
    size_t n;
    uint8_t flavor; /* enum tpl_flavor */
    uint8_t used;   /* a TPL_ONCE that was iterated */
};

enum tpl_flavor {
    TPL_A_LIST,
    TPL_A_TUPLE,
    TPL_A_RANGE,
    TPL_A_KEYS, /* views of a dictionary */
    TPL_A_VALUES,
    TPL_A_ITEMS,
    TPL_ONCE, /* what a lazy filter gives: may be iterated once */
};

struct tpl_dict { /* also the attributes of a namespace */
    struct tpl_value *keys, *values;
    size_t n, cap;
};

struct tpl_method {
    struct tpl_value self;
    const struct tpl_str *name;
};

struct tpl_macro {
    const struct tpl_node *node;
    struct tpl_frame *frame; /* where it was defined */
};

struct tpl_binding {
    uint32_t name;
    struct tpl_value value;
};

struct tpl_frame { /* names set in one scope */
    struct tpl_frame *parent;
    const struct tpl_scope *scope;
    struct tpl_binding *bindings;
    size_t n, cap;
};

/* A loop under way. Items are tested as they are asked for. */
struct tpl_loop {
    struct tpl_run *run;
    const struct tpl_node *node;
    struct tpl_frame *outer;
    struct tpl_value *items; /* those that passed the test */
    const struct tpl_value *source;
    size_t n, n_source, next_source, at;
};

struct tpl_run {
    struct arena *arena;
    struct prep_error *err;
    const struct chat_template *t;
    struct tpl_binding *vars;
    size_t n_vars;
    struct tpl_buf *out;
    uint64_t steps;
    uint32_t line;
    int depth, calls; /* nested evaluations, nested macro calls */
};

/* Raise at the line being evaluated; -1. */
#define tpl_fail(r, code, tag, ...)                                                                \
    (prep_fail_tag((r)->err, (code), (tag), __VA_ARGS__), tpl_at_line(r))
#define tpl_type(r, ...) tpl_fail(r, PREP_EDATA, "TPL_TYPE", __VA_ARGS__)
#define tpl_unsupported(r, ...) tpl_fail(r, PREP_EUNSUP, "TPL_UNSUPPORTED", __VA_ARGS__)
int tpl_at_line(struct tpl_run *r);
/* Count work; fails when the run has done too much. */
PREP_MUST_CHECK int tpl_step(struct tpl_run *r, uint64_t n);
/* Zeroed memory of the run, or NULL. */
void *tpl_alloc(struct tpl_run *r, size_t n, size_t size);

static inline struct tpl_value tpl_none(void)
{
    struct tpl_value v;
    v.kind = TPL_NONE;
    v.u.i = 0;
    return v;
}
static inline struct tpl_value tpl_bool(int b)
{
    struct tpl_value v;
    v.kind = TPL_BOOL;
    v.u.i = b != 0;
    return v;
}
static inline struct tpl_value tpl_int(int64_t i)
{
    struct tpl_value v;
    v.kind = TPL_INT;
    v.u.i = i;
    return v;
}
static inline struct tpl_value tpl_float(double f)
{
    struct tpl_value v;
    v.kind = TPL_FLOAT;
    v.u.f = f;
    return v;
}
static inline struct tpl_value tpl_string(struct tpl_str *s)
{
    struct tpl_value v;
    v.kind = TPL_STRING;
    v.u.s = s;
    return v;
}
/* Nothing, with the reason that using it gives. */
PREP_MUST_CHECK int tpl_undefined(struct tpl_run *r, struct tpl_value *out, const char *fmt, ...)
    PREP_PRINTF(3, 4);
/* The value that a pointer made, or -1 when it is NULL for want of memory. */
PREP_MUST_CHECK int tpl_wrap(struct tpl_value *out, struct tpl_str *s);
PREP_MUST_CHECK int tpl_list_new(struct tpl_run *r, struct tpl_value *out, size_t n,
                                 enum tpl_flavor flavor);
PREP_MUST_CHECK int tpl_dict_new(struct tpl_run *r, struct tpl_value *out, enum tpl_kind kind,
                                 size_t cap);
PREP_MUST_CHECK int tpl_dict_set(struct tpl_run *r, struct tpl_dict *d, struct tpl_value key,
                                 struct tpl_value value);
/* 1 and the value, 0 when there is none, -1. */
PREP_MUST_CHECK int tpl_dict_get(struct tpl_run *r, struct tpl_value *out, const struct tpl_dict *d,
                                 struct tpl_value key);

int tpl_truth(struct tpl_value v);
const char *tpl_kind_name(struct tpl_value v); /* "str", "list"... */
static inline int tpl_is_list(struct tpl_value v)
{
    return v.kind == TPL_LIST && v.u.l->flavor <= TPL_A_TUPLE;
}
/* 1, 0, or -1. */
PREP_MUST_CHECK int tpl_equal(struct tpl_run *r, struct tpl_value a, struct tpl_value b);
PREP_MUST_CHECK int tpl_contains(struct tpl_run *r, struct tpl_value in, struct tpl_value what);
PREP_MUST_CHECK int tpl_compare(struct tpl_run *r, enum tpl_op op, struct tpl_value a,
                                struct tpl_value b);
PREP_MUST_CHECK int tpl_binary(struct tpl_run *r, struct tpl_value *out, enum tpl_op op,
                               struct tpl_value a, struct tpl_value b);
PREP_MUST_CHECK int tpl_negate(struct tpl_run *r, struct tpl_value *out, struct tpl_value v);
PREP_MUST_CHECK int tpl_iterate(struct tpl_run *r, const struct tpl_value **items, size_t *n,
                                struct tpl_value v);
/* Python's len(); -1. */
PREP_MUST_CHECK int tpl_length(struct tpl_run *r, size_t *n, struct tpl_value v);

/* x.name, x[key], x[a:b:c] (access.c). */
PREP_MUST_CHECK int tpl_get_attribute(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                                      const struct tpl_str *name);
PREP_MUST_CHECK int tpl_get_item(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                                 struct tpl_value key);
PREP_MUST_CHECK int tpl_slice(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                              const struct tpl_value bounds[3]);

/* Text of values (print.c): str(), repr(), json.dumps(). */
PREP_MUST_CHECK int tpl_print(struct tpl_run *r, struct tpl_buf *b, struct tpl_value v);
PREP_MUST_CHECK int tpl_repr(struct tpl_run *r, struct tpl_buf *b, struct tpl_value v);
PREP_MUST_CHECK int tpl_to_string(struct tpl_run *r, struct tpl_str **out, struct tpl_value v);
/* 'format' % value. */
PREP_MUST_CHECK int tpl_format(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *fmt,
                               struct tpl_value v);

/* eval.c */
PREP_MUST_CHECK int tpl_eval(struct tpl_run *r, struct tpl_value *out, struct tpl_frame *f,
                             const struct tpl_node *n);
PREP_MUST_CHECK int tpl_exec(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *n);
PREP_MUST_CHECK int tpl_assign(struct tpl_run *r, struct tpl_frame *f, const struct tpl_node *to,
                               struct tpl_value v);

#ifdef __cplusplus
}
#endif
#endif

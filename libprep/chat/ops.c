/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "libprep/chat/value.h"

/* Integers up to here are exact as doubles. */
#define EXACT_I64 (INT64_C(1) << 53)

int tpl_truth(struct tpl_value v)
{
    switch (v.kind) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        return 0;
    case TPL_BOOL:
    case TPL_INT:
        return v.u.i != 0;
    case TPL_FLOAT:
        return v.u.f != 0;
    case TPL_STRING:
    case TPL_MARKUP:
        return v.u.s->n != 0;
    case TPL_LIST:
        return v.u.l->n != 0 || v.u.l->flavor == TPL_ONCE;
    case TPL_DICT:
        return v.u.d->n != 0;
    default:
        return 1;
    }
}

const char *tpl_kind_name(struct tpl_value v)
{
    static const char *const names[] = {
        [TPL_UNDEFINED] = "undefined",
        [TPL_NONE] = "none",
        [TPL_BOOL] = "bool",
        [TPL_INT] = "int",
        [TPL_BIG] = "int",
        [TPL_FLOAT] = "float",
        [TPL_STRING] = "str",
        [TPL_MARKUP] = "escaped str",
        [TPL_LIST] = "list",
        [TPL_DICT] = "dict",
        [TPL_NAMESPACE] = "namespace",
        [TPL_MACRO] = "macro",
        [TPL_METHOD] = "method",
        [TPL_FUNCTION] = "function",
        [TPL_LOOP] = "loop",
    };
    static const char *const lists[] = {"list",        "tuple",      "range",    "dict_keys",
                                        "dict_values", "dict_items", "generator"};
    return v.kind == TPL_LIST ? lists[v.u.l->flavor] : names[v.kind];
}

/* ---- equality ---- */

/* -1, 0 or 1; 2 when f is no number. Exact, also where a double cannot hold i. */
static int compare_int_float(int64_t i, double f)
{
    if (isnan(f))
        return 2;
    if (f >= 0x1p63)
        return -1;
    if (f < -0x1p63)
        return 1;
    int64_t whole = (int64_t)f;
    if (i != whole)
        return i < whole ? -1 : 1;
    double rest = f - (double)whole;
    return rest > 0 ? -1 : rest < 0;
}

static int is_int(struct tpl_value v)
{
    return v.kind == TPL_INT || v.kind == TPL_BOOL;
}

static int is_number(struct tpl_value v)
{
    return is_int(v) || v.kind == TPL_FLOAT;
}

/* Of two numbers; 2 when they have no order. */
static int compare_numbers(struct tpl_value a, struct tpl_value b)
{
    if (is_int(a) && is_int(b))
        return (a.u.i > b.u.i) - (a.u.i < b.u.i);
    if (is_int(a))
        return compare_int_float(a.u.i, b.u.f);
    if (is_int(b)) {
        int order = compare_int_float(b.u.i, a.u.f);
        return order == 2 ? 2 : -order;
    }
    if (isnan(a.u.f) || isnan(b.u.f))
        return 2;
    return (a.u.f > b.u.f) - (a.u.f < b.u.f);
}

static int equal_lists(struct tpl_run *r, const struct tpl_list *a, const struct tpl_list *b)
{
    if (a->flavor > TPL_A_RANGE || b->flavor > TPL_A_RANGE)
        return tpl_unsupported(r, "comparing a view of a dictionary");
    if (a->flavor != b->flavor || a->n != b->n)
        return 0;
    for (size_t i = 0; i < a->n; i++) {
        int same = tpl_equal(r, a->items[i], b->items[i]);
        if (same <= 0)
            return same;
    }
    return 1;
}

static int equal_dicts(struct tpl_run *r, const struct tpl_dict *a, const struct tpl_dict *b)
{
    if (a->n != b->n)
        return 0;
    for (size_t i = 0; i < a->n; i++) {
        struct tpl_value other;
        int found = tpl_dict_get(r, &other, b, a->keys[i]);
        int same = found > 0 ? tpl_equal(r, a->values[i], other) : found;
        if (same <= 0)
            return same;
    }
    return 1;
}

/* Of two values of one kind that is no number and no string. */
static int equal_same_kind(struct tpl_run *r, struct tpl_value a, struct tpl_value b)
{
    int same;
    switch (a.kind) {
    case TPL_UNDEFINED:
    case TPL_NONE:
        return 1;
    case TPL_BIG:
        return tpl_str_compare(a.u.s, b.u.s) == 0;
    case TPL_LIST:
    case TPL_DICT:
        if (++r->depth > TPL_MAX_RECURSION)
            return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "values are nested too deep");
        same = a.kind == TPL_LIST ? equal_lists(r, a.u.l, b.u.l) : equal_dicts(r, a.u.d, b.u.d);
        r->depth--;
        return same;
    case TPL_MARKUP:
    case TPL_METHOD:
        return tpl_unsupported(r, "comparing a %s", tpl_kind_name(a));
    case TPL_FUNCTION:
        return a.u.i == b.u.i;
    default:
        return a.u.d == b.u.d; /* namespaces, macros, loops: the same object */
    }
}

int tpl_equal(struct tpl_run *r, struct tpl_value a, struct tpl_value b)
{
    if (tpl_step(r, 1))
        return -1;
    if (is_number(a) && is_number(b))
        return compare_numbers(a, b) == 0;
    if (a.kind == TPL_STRING && b.kind == TPL_STRING)
        return tpl_step(r, a.u.s->n / 256) ? -1 : tpl_str_compare(a.u.s, b.u.s) == 0;
    if ((a.kind == TPL_BIG && b.kind == TPL_FLOAT) || (a.kind == TPL_FLOAT && b.kind == TPL_BIG))
        return tpl_unsupported(r, "comparing an integer beyond 64 bits");
    if ((a.kind == TPL_MARKUP) != (b.kind == TPL_MARKUP))
        return tpl_unsupported(r, "comparing an escaped string");
    return a.kind == b.kind ? equal_same_kind(r, a, b) : 0;
}

/* ---- order ---- */

/* -1, 0, 1, or 2 for numbers without order; *failed is set when there is an error. */
static int order_of(struct tpl_run *r, struct tpl_value a, struct tpl_value b, int *failed)
{
    *failed = tpl_step(r, 1);
    if (*failed)
        return 0;
    if (is_number(a) && is_number(b))
        return compare_numbers(a, b);
    if (a.kind == TPL_STRING && b.kind == TPL_STRING)
        return tpl_str_compare(a.u.s, b.u.s);
    if (tpl_is_list(a) && tpl_is_list(b) && a.u.l->flavor == b.u.l->flavor) {
        size_t n = a.u.l->n < b.u.l->n ? a.u.l->n : b.u.l->n;
        for (size_t i = 0; i < n; i++) {
            int same = tpl_equal(r, a.u.l->items[i], b.u.l->items[i]);
            if (same < 0)
                *failed = -1;
            if (same <= 0)
                return same < 0 ? 0 : order_of(r, a.u.l->items[i], b.u.l->items[i], failed);
        }
        return (a.u.l->n > b.u.l->n) - (a.u.l->n < b.u.l->n);
    }
    if (a.kind == TPL_UNDEFINED || b.kind == TPL_UNDEFINED)
        *failed = tpl_type(r, "%s", a.kind == TPL_UNDEFINED ? a.u.why : b.u.why);
    else if (a.kind == TPL_BIG || b.kind == TPL_BIG || a.kind == TPL_MARKUP ||
             b.kind == TPL_MARKUP || a.kind == TPL_LIST || b.kind == TPL_LIST)
        *failed = tpl_unsupported(r, "an order of %s and %s", tpl_kind_name(a), tpl_kind_name(b));
    else
        *failed = tpl_type(r, "%s and %s have no order", tpl_kind_name(a), tpl_kind_name(b));
    return 0;
}

int tpl_contains(struct tpl_run *r, struct tpl_value in, struct tpl_value what)
{
    struct tpl_value ignored;
    const struct tpl_value *items;
    size_t n;
    if (in.kind == TPL_STRING && what.kind == TPL_STRING)
        return tpl_step(r, in.u.s->n / 256) ? -1 : tpl_str_find(in.u.s, what.u.s, 0) != SIZE_MAX;
    if (in.kind == TPL_STRING && what.kind != TPL_MARKUP)
        return tpl_type(r, "%s in a string", tpl_kind_name(what));
    if (in.kind == TPL_DICT) {
        if (what.kind == TPL_DICT || (what.kind == TPL_LIST && what.u.l->flavor == TPL_A_LIST))
            return tpl_type(r, "a %s is no key", tpl_kind_name(what));
        return tpl_dict_get(r, &ignored, in.u.d, what);
    }
    if (in.kind != TPL_LIST && in.kind != TPL_UNDEFINED)
        return in.kind == TPL_MARKUP || what.kind == TPL_MARKUP || in.kind == TPL_LOOP
                   ? tpl_unsupported(r, "\"in\" of a %s", tpl_kind_name(in))
                   : tpl_type(r, "a %s contains nothing", tpl_kind_name(in));
    if (tpl_iterate(r, &items, &n, in))
        return -1;
    for (size_t i = 0; i < n; i++) {
        int same = tpl_equal(r, items[i], what);
        if (same)
            return same;
    }
    return 0;
}

int tpl_compare(struct tpl_run *r, enum tpl_op op, struct tpl_value a, struct tpl_value b)
{
    int failed, order;
    switch (op) {
    case TPL_EQ:
        return tpl_equal(r, a, b);
    case TPL_NE:
        order = tpl_equal(r, a, b);
        return order < 0 ? -1 : !order;
    case TPL_IN:
        return tpl_contains(r, b, a);
    case TPL_NOT_IN:
        order = tpl_contains(r, b, a);
        return order < 0 ? -1 : !order;
    default:
        break;
    }
    order = order_of(r, a, b, &failed);
    if (failed)
        return -1;
    return order != 2 && (op == TPL_LT   ? order < 0
                          : op == TPL_LE ? order <= 0
                          : op == TPL_GT ? order > 0
                                         : order >= 0);
}

/* ---- arithmetic ---- */

static int too_large(struct tpl_run *r)
{
    return tpl_unsupported(r, "an integer beyond 64 bits");
}

/* As Python does it: the remainder has the sign of the divisor. */
static int divide_ints(struct tpl_run *r, struct tpl_value *out, enum tpl_op op, int64_t a,
                       int64_t b)
{
    if (b == 0)
        return tpl_type(r, "division by zero");
    if (op == TPL_DIV) {
        if (a > EXACT_I64 || a < -EXACT_I64 || b > EXACT_I64 || b < -EXACT_I64)
            return tpl_unsupported(r, "dividing integers beyond 2^53");
        *out = tpl_float((double)a / (double)b);
        return 0;
    }
    if (a == INT64_MIN && b == -1)
        return too_large(r);
    int64_t quotient = a / b, rest = a % b;
    if (rest && (rest < 0) != (b < 0)) {
        rest += b;
        quotient--;
    }
    *out = tpl_int(op == TPL_MOD ? rest : quotient);
    return 0;
}

static int power(struct tpl_run *r, struct tpl_value *out, int64_t base, int64_t exponent)
{
    int64_t v = 1;
    if (exponent < 0)
        return tpl_unsupported(r, "a negative power");
    if (base >= -1 && base <= 1) /* so that 63 steps always end in a result or an overflow */
        exponent = exponent == 0 ? 0 : base == -1 ? 2 - exponent % 2 : 1;
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(v, base, &v))
            return too_large(r);
    *out = tpl_int(v);
    return 0;
}

static int calculate_ints(struct tpl_run *r, struct tpl_value *out, enum tpl_op op, int64_t a,
                          int64_t b)
{
    int64_t v = 0;
    int over;
    switch (op) {
    case TPL_ADD:
        over = __builtin_add_overflow(a, b, &v);
        break;
    case TPL_SUB:
        over = __builtin_sub_overflow(a, b, &v);
        break;
    case TPL_MUL:
        over = __builtin_mul_overflow(a, b, &v);
        break;
    case TPL_POW:
        return power(r, out, a, b);
    default:
        return divide_ints(r, out, op, a, b);
    }
    *out = tpl_int(v);
    return over ? too_large(r) : 0;
}

/* float.__divmod__ of Python: fmod is exact, the rest follows its steps. */
static int divide_floats(struct tpl_run *r, struct tpl_value *out, enum tpl_op op, double a,
                         double b)
{
    if (b == 0)
        return tpl_type(r, "division by zero");
    if (op == TPL_DIV) {
        *out = tpl_float(a / b);
        return 0;
    }
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0) {
        if ((b < 0) != (rest < 0)) {
            rest += b;
            quotient -= 1;
        }
    } else {
        rest = copysign(0, b);
    }
    if (op == TPL_MOD) {
        *out = tpl_float(rest);
        return 0;
    }
    double whole = quotient != 0 ? floor(quotient) : copysign(0, a / b);
    if (quotient - whole > 0.5)
        whole += 1;
    *out = tpl_float(whole);
    return 0;
}

static int calculate_floats(struct tpl_run *r, struct tpl_value *out, enum tpl_op op, double a,
                            double b)
{
    switch (op) {
    case TPL_ADD:
        *out = tpl_float(a + b);
        return 0;
    case TPL_SUB:
        *out = tpl_float(a - b);
        return 0;
    case TPL_MUL:
        *out = tpl_float(a * b);
        return 0;
    case TPL_POW:
        return tpl_unsupported(r, "a power of a number that is not whole");
    default:
        return divide_floats(r, out, op, a, b);
    }
}

static double as_float(struct tpl_value v)
{
    return v.kind == TPL_FLOAT ? v.u.f : (double)v.u.i;
}

/* A list, tuple or string n times. */
static int repeat(struct tpl_run *r, struct tpl_value *out, struct tpl_value v, int64_t times)
{
    size_t n = v.kind == TPL_STRING ? v.u.s->n : v.u.l->n;
    size_t k = times > 0 ? (size_t)times : 0;
    if (n && k > TPL_MAX_TEXT / n)
        return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "a value is repeated too often");
    if (!n)
        k = 0;
    if (tpl_step(r, k))
        return -1;
    if (v.kind == TPL_STRING) {
        struct tpl_buf b = {NULL, NULL, 0, 0};
        for (size_t i = 0; i < k; i++)
            if (tpl_put_str(r, &b, v.u.s))
                return -1;
        return tpl_wrap(out, tpl_str_from_buf(r, &b));
    }
    if (tpl_list_new(r, out, n * k, (enum tpl_flavor)v.u.l->flavor))
        return -1;
    for (size_t i = 0; i < k; i++)
        memcpy(out->u.l->items + i * n, v.u.l->items, n * sizeof *v.u.l->items);
    return 0;
}

static int join_lists(struct tpl_run *r, struct tpl_value *out, const struct tpl_list *a,
                      const struct tpl_list *b)
{
    if (tpl_list_new(r, out, a->n + b->n, (enum tpl_flavor)a->flavor))
        return -1;
    if (a->n)
        memcpy(out->u.l->items, a->items, a->n * sizeof *a->items);
    if (b->n)
        memcpy(out->u.l->items + a->n, b->items, b->n * sizeof *b->items);
    return 0;
}

int tpl_binary(struct tpl_run *r, struct tpl_value *out, enum tpl_op op, struct tpl_value a,
               struct tpl_value b)
{
    if (op == TPL_MOD && a.kind == TPL_STRING)
        return tpl_format(r, out, a.u.s, b);
    if ((a.kind == TPL_LIST && !tpl_is_list(a)) || (b.kind == TPL_LIST && !tpl_is_list(b)))
        return tpl_unsupported(r, "calculating with a %s",
                               tpl_kind_name(a.kind == TPL_LIST && !tpl_is_list(a) ? a : b));
    if (a.kind == TPL_UNDEFINED || b.kind == TPL_UNDEFINED)
        return tpl_type(r, "%s", a.kind == TPL_UNDEFINED ? a.u.why : b.u.why);
    if (is_int(a) && is_int(b))
        return calculate_ints(r, out, op, a.u.i, b.u.i);
    if (is_number(a) && is_number(b))
        return calculate_floats(r, out, op, as_float(a), as_float(b));
    if (op == TPL_ADD && a.kind == TPL_STRING && b.kind == TPL_STRING)
        return tpl_wrap(out, tpl_str_join(r, a.u.s, b.u.s));
    if (op == TPL_ADD && tpl_is_list(a) && tpl_is_list(b) && a.u.l->flavor == b.u.l->flavor)
        return join_lists(r, out, a.u.l, b.u.l);
    if (op == TPL_MUL && is_int(b) && (a.kind == TPL_STRING || tpl_is_list(a)))
        return repeat(r, out, a, b.u.i);
    if (op == TPL_MUL && is_int(a) && (b.kind == TPL_STRING || tpl_is_list(b)))
        return repeat(r, out, b, a.u.i);
    if (a.kind == TPL_BIG || b.kind == TPL_BIG)
        return too_large(r);
    if (a.kind == TPL_MARKUP || b.kind == TPL_MARKUP)
        return tpl_unsupported(r, "an escaped string inside an expression");
    return tpl_type(r, "\"%s\" of %s and %s",
                    (const char *const[]){"+", "-", "*", "/", "//", "%", "**"}[op],
                    tpl_kind_name(a), tpl_kind_name(b));
}

int tpl_negate(struct tpl_run *r, struct tpl_value *out, struct tpl_value v)
{
    if (v.kind == TPL_FLOAT) {
        *out = tpl_float(-v.u.f);
        return 0;
    }
    if (is_int(v) && v.u.i != INT64_MIN) {
        *out = tpl_int(-v.u.i);
        return 0;
    }
    if (v.kind == TPL_BIG || is_int(v))
        return too_large(r);
    if (v.kind == TPL_UNDEFINED)
        return tpl_type(r, "%s", v.u.why);
    return tpl_type(r, "a sign before a %s", tpl_kind_name(v));
}

/* ---- items ---- */

static int characters(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *s)
{
    size_t n = tpl_str_length(s), at = 0;
    if (tpl_list_new(r, out, n, TPL_A_LIST))
        return -1;
    for (size_t i = 0; i < n; i++) {
        size_t len = 1;
        while (at + len < s->n && ((unsigned char)s->p[at + len] & 0xc0) == 0x80)
            len++;
        if (tpl_wrap(&out->u.l->items[i], tpl_str_part(r, s, at, len)))
            return -1;
        at += len;
    }
    return 0;
}

int tpl_iterate(struct tpl_run *r, const struct tpl_value **items, size_t *n, struct tpl_value v)
{
    struct tpl_value list;
    *items = NULL;
    *n = 0;
    switch (v.kind) {
    case TPL_UNDEFINED:
        return 0;
    case TPL_LIST:
        if (v.u.l->flavor == TPL_ONCE && v.u.l->used++)
            return tpl_unsupported(r, "using what a filter gives twice; add \"| list\"");
        *items = v.u.l->items;
        *n = v.u.l->n;
        return 0;
    case TPL_DICT:
        *items = v.u.d->keys;
        *n = v.u.d->n;
        return 0;
    case TPL_STRING:
        if (characters(r, &list, v.u.s))
            return -1;
        *items = list.u.l->items;
        *n = list.u.l->n;
        return 0;
    case TPL_MARKUP:
    case TPL_LOOP:
        return tpl_unsupported(r, "going through a %s", tpl_kind_name(v));
    default:
        return tpl_type(r, "a %s cannot be gone through", tpl_kind_name(v));
    }
}

int tpl_length(struct tpl_run *r, size_t *n, struct tpl_value v)
{
    *n = 0;
    switch (v.kind) {
    case TPL_UNDEFINED:
        return 0;
    case TPL_STRING:
        *n = tpl_str_length(v.u.s);
        return tpl_step(r, v.u.s->n / 256);
    case TPL_LIST:
        if (v.u.l->flavor == TPL_ONCE)
            return tpl_type(r, "what a filter gives has no length; add \"| list\"");
        *n = v.u.l->n;
        return 0;
    case TPL_DICT:
        *n = v.u.d->n;
        return 0;
    case TPL_MARKUP:
    case TPL_LOOP:
        return tpl_unsupported(r, "the length of a %s", tpl_kind_name(v));
    default:
        return tpl_type(r, "a %s has no length", tpl_kind_name(v));
    }
}

/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/chat/call.h"
#include "libprep/chat/value.h"

/* ---- tests ---- */

enum test {
    T_BOOLEAN,
    T_CALLABLE,
    T_DEFINED,
    T_DIVISIBLEBY,
    T_EVEN,
    T_FALSE,
    T_FLOAT,
    T_IN,
    T_INTEGER,
    T_ITERABLE,
    T_MAPPING,
    T_NONE,
    T_NUMBER,
    T_ODD,
    T_SEQUENCE,
    T_STRING,
    T_TRUE,
    T_UNDEFINED,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_REFUSED,
};

static const struct {
    const char *name;
    enum test test;
} tests[] = {
    {"boolean", T_BOOLEAN},
    {"callable", T_CALLABLE},
    {"defined", T_DEFINED},
    {"divisibleby", T_DIVISIBLEBY},
    {"even", T_EVEN},
    {"false", T_FALSE},
    {"float", T_FLOAT},
    {"in", T_IN},
    {"integer", T_INTEGER},
    {"iterable", T_ITERABLE},
    {"mapping", T_MAPPING},
    {"none", T_NONE},
    {"number", T_NUMBER},
    {"odd", T_ODD},
    {"sequence", T_SEQUENCE},
    {"string", T_STRING},
    {"true", T_TRUE},
    {"undefined", T_UNDEFINED},
    {"eq", T_EQ},
    {"equalto", T_EQ},
    {"==", T_EQ},
    {"ne", T_NE},
    {"!=", T_NE},
    {"lt", T_LT},
    {"lessthan", T_LT},
    {"<", T_LT},
    {"le", T_LE},
    {"<=", T_LE},
    {"gt", T_GT},
    {"greaterthan", T_GT},
    {">", T_GT},
    {"ge", T_GE},
    {">=", T_GE},
    /* jinja2 has these too. */
    {"escaped", T_REFUSED},
    {"filter", T_REFUSED},
    {"lower", T_REFUSED},
    {"sameas", T_REFUSED},
    {"test", T_REFUSED},
    {"upper", T_REFUSED},
};

int tpl_find_test(const char *s, size_t n)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strlen(tests[i].name) == n && memcmp(tests[i].name, s, n) == 0)
            return tests[i].test == T_REFUSED ? -1 : (int)tests[i].test;
    return -2;
}

/* x % n == rest */
static int test_rest(struct tpl_run *r, int *out, struct tpl_value v, struct tpl_value n,
                     int64_t rest)
{
    struct tpl_value got;
    int same = tpl_binary(r, &got, TPL_MOD, v, n) ? -1 : tpl_equal(r, got, tpl_int(rest));
    *out = same == 1;
    return same < 0 ? -1 : 0;
}

static int is_sequence(struct tpl_value v)
{
    return v.kind == TPL_UNDEFINED || v.kind == TPL_STRING || v.kind == TPL_DICT ||
           (v.kind == TPL_LIST && v.u.l->flavor <= TPL_A_RANGE);
}

/* Tests of what kind a value is; -1 when `test` is none of them. */
static int test_kind(int test, struct tpl_value v)
{
    int is_int = v.kind == TPL_INT || v.kind == TPL_BIG;
    switch (test) {
    case T_BOOLEAN:
        return v.kind == TPL_BOOL;
    case T_CALLABLE:
        return v.kind == TPL_UNDEFINED || v.kind >= TPL_MACRO;
    case T_DEFINED:
        return v.kind != TPL_UNDEFINED;
    case T_FALSE:
        return v.kind == TPL_BOOL && !v.u.i;
    case T_FLOAT:
        return v.kind == TPL_FLOAT;
    case T_INTEGER:
        return is_int;
    case T_ITERABLE:
        return is_sequence(v) || v.kind == TPL_LIST || v.kind == TPL_LOOP;
    case T_MAPPING:
        return v.kind == TPL_DICT;
    case T_NONE:
        return v.kind == TPL_NONE;
    case T_NUMBER:
        return is_int || v.kind == TPL_BOOL || v.kind == TPL_FLOAT;
    case T_SEQUENCE:
        return is_sequence(v);
    case T_STRING:
        return v.kind == TPL_STRING;
    case T_TRUE:
        return v.kind == TPL_BOOL && v.u.i;
    case T_UNDEFINED:
        return v.kind == TPL_UNDEFINED;
    default:
        return -1;
    }
}

int tpl_test(struct tpl_run *r, int *out, int test, struct tpl_value v, const struct tpl_args *args)
{
    int kind = test_kind(test, v);
    size_t want = kind < 0 && test != T_ODD && test != T_EVEN;
    if (args->n != want || (want && args->names[0]))
        return tpl_type(r, "a test is given %zu arguments, want %zu", args->n, want);
    if (v.kind == TPL_MARKUP && test != T_DEFINED && test != T_UNDEFINED && test != T_NONE)
        return tpl_unsupported(r, "a test of an escaped string");
    if (kind >= 0) {
        *out = kind;
        return 0;
    }
    switch (test) {
    case T_ODD:
        return test_rest(r, out, v, tpl_int(2), 1);
    case T_EVEN:
        return test_rest(r, out, v, tpl_int(2), 0);
    case T_DIVISIBLEBY:
        return test_rest(r, out, v, args->values[0], 0);
    case T_IN:
        *out = tpl_contains(r, args->values[0], v);
        return *out < 0 ? -1 : 0;
    default:
        *out = tpl_compare(r, (enum tpl_op)(TPL_EQ + (test - T_EQ)), v, args->values[0]);
        return *out < 0 ? -1 : 0;
    }
}

/* ---- functions ---- */

enum function { FN_RANGE, FN_DICT, FN_NAMESPACE, FN_RAISE, FN_REFUSED };

static const struct {
    const char *name;
    enum function function;
} functions[] = {
    {"range", FN_RANGE},          {"dict", FN_DICT},
    {"namespace", FN_NAMESPACE},  {"raise_exception", FN_RAISE},
    {"strftime_now", FN_REFUSED}, {"lipsum", FN_REFUSED},
    {"cycler", FN_REFUSED},       {"joiner", FN_REFUSED},
};

int tpl_find_function(const char *s)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, s) == 0)
            return (int)i;
    return -1;
}

static int call_range(struct tpl_run *r, struct tpl_value *out, const struct tpl_args *args)
{
    enum { MOST = 100000 }; /* jinja2's sandbox has the same limit */
    int64_t at = 0, end, step = 1;
    if (args->n < 1 || args->n > 3)
        return tpl_type(r, "range is given %zu arguments", args->n);
    for (size_t i = 0; i < args->n; i++)
        if (args->names[i] || (args->values[i].kind != TPL_INT && args->values[i].kind != TPL_BOOL))
            return tpl_type(r, "range is given a %s, want an integer",
                            tpl_kind_name(args->values[i]));
    end = args->values[args->n > 1].u.i;
    if (args->n > 1)
        at = args->values[0].u.i;
    if (args->n > 2)
        step = args->values[2].u.i;
    if (step == 0)
        return tpl_type(r, "the step of range is 0");
    /* Modulo 2^64 the distance of two 64-bit integers is exact. */
    uint64_t distance = step > 0 ? (uint64_t)end - (uint64_t)at : (uint64_t)at - (uint64_t)end;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t n = (step > 0 ? at < end : at > end) ? (distance - 1) / stride + 1 : 0;
    if (n > MOST)
        return tpl_type(r, "a range of more than %d numbers", MOST);
    if (tpl_list_new(r, out, (size_t)n, TPL_A_RANGE))
        return -1;
    for (uint64_t i = 0; i < n; i++)
        out->u.l->items[i] = tpl_int((int64_t)((uint64_t)at + i * (uint64_t)step));
    return 0;
}

/* dict() and namespace(): an optional mapping, then names. */
static int call_dict(struct tpl_run *r, struct tpl_value *out, enum tpl_kind kind,
                     const struct tpl_args *args)
{
    size_t n_places = 0;
    for (size_t i = 0; i < args->n; i++)
        n_places += args->names[i] == NULL;
    if (n_places > 1)
        return tpl_type(r, "dict and namespace take one mapping, %zu given", n_places);
    if (n_places && args->values[0].kind != TPL_DICT)
        return tpl_unsupported(r, "a dictionary of a %s", tpl_kind_name(args->values[0]));
    const struct tpl_dict *from = n_places ? args->values[0].u.d : NULL;
    if (tpl_dict_new(r, out, kind, args->n + (from ? from->n : 0)))
        return -1;
    for (size_t i = 0; from && i < from->n; i++)
        if (tpl_dict_set(r, out->u.d, from->keys[i], from->values[i]))
            return -1;
    for (size_t i = n_places; i < args->n; i++)
        if (tpl_dict_set(r, out->u.d, tpl_string((struct tpl_str *)args->names[i]),
                         args->values[i]))
            return -1;
    return 0;
}

static int call_raise(struct tpl_run *r, const struct tpl_args *args)
{
    static const char *const names[] = {"message", NULL};
    struct tpl_value message;
    struct tpl_str *s;
    if (tpl_check_args(r, args, 1, names, "raise_exception"))
        return -1;
    if (tpl_argument(&message, args, 0, "message") != 1)
        return tpl_type(r, "raise_exception wants a message");
    if (tpl_to_string(r, &s, message))
        return -1;
    return tpl_fail(r, PREP_EDATA, "TPL_RAISED", "the template says: %.*s",
                    s->n > 800 ? 800 : (int)s->n, s->p);
}

int tpl_function_call(struct tpl_run *r, struct tpl_value *out, int function,
                      const struct tpl_args *args)
{
    switch (functions[function].function) {
    case FN_RANGE:
        return call_range(r, out, args);
    case FN_DICT:
        return call_dict(r, out, TPL_DICT, args);
    case FN_NAMESPACE:
        return call_dict(r, out, TPL_NAMESPACE, args);
    case FN_RAISE:
        return call_raise(r, args);
    default:
        return tpl_unsupported(r, "the function %s()", functions[function].name);
    }
}

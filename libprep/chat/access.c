/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/chat/call.h"
#include "libprep/chat/value.h"

/*
 * x.name is an attribute of the object if it has one, else an item; x[key] is the other way round.
 * An object's attributes are those of the Python type: a dictionary's method hides the item of its
 * name from x.name. Methods that would change an object are refused by jinja2's sandbox.
 */

static const char *const str_names[] = {
    "capitalize",   "casefold",    "center",    "count",      "encode",       "endswith",
    "expandtabs",   "find",        "format",    "format_map", "index",        "isalnum",
    "isalpha",      "isascii",     "isdecimal", "isdigit",    "isidentifier", "islower",
    "isnumeric",    "isprintable", "isspace",   "istitle",    "isupper",      "join",
    "ljust",        "lower",       "lstrip",    "maketrans",  "partition",    "removeprefix",
    "removesuffix", "replace",     "rfind",     "rindex",     "rjust",        "rpartition",
    "rsplit",       "rstrip",      "split",     "splitlines", "startswith",   "strip",
    "swapcase",     "title",       "translate", "upper",      "zfill",        NULL,
};
static const char *const dict_names[] = {"copy", "fromkeys", "get", "items",
                                         "keys", "values",   NULL};
static const char *const dict_changes[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
static const char *const list_names[] = {"copy", "count", "index", NULL};
static const char *const list_changes[] = {"append", "clear",   "extend", "insert", "pop",
                                           "remove", "reverse", "sort",   NULL};
static const char *const tuple_names[] = {"count", "index", NULL};
static const char *const range_names[] = {"count", "index", "start", "step", "stop", NULL};
static const char *const view_names[] = {"isdisjoint", "mapping", NULL};
static const char *const number_names[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
    "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
    "numerator",        "real",      "to_bytes",   NULL,
};
static const char *const none_names[] = {NULL};
static const char *const macro_names[] = {
    "arguments", "caller", "catch_kwargs", "catch_varargs", "explicit_caller", "name", NULL};

static int is_one_of(const struct tpl_str *name, const char *const *list)
{
    for (; *list; list++)
        if (tpl_str_is(name, *list))
            return 1;
    return 0;
}

static const char *const *names_of(struct tpl_value v)
{
    static const char *const *const lists[] = {list_names, tuple_names, range_names, view_names,
                                               view_names, view_names,  none_names};
    switch (v.kind) {
    case TPL_STRING:
        return str_names;
    case TPL_DICT:
        return dict_names;
    case TPL_LIST:
        return lists[v.u.l->flavor];
    case TPL_BOOL:
    case TPL_INT:
    case TPL_BIG:
    case TPL_FLOAT:
        return number_names;
    case TPL_MACRO:
        return macro_names;
    default:
        return none_names;
    }
}

/* An attribute of the Python object: 1, 0 or -1. */
static int own_attribute(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                         const struct tpl_str *name)
{
    const char *const *changes = v.kind == TPL_DICT   ? dict_changes
                                 : v.kind == TPL_LIST ? list_changes
                                                      : none_names;
    if (v.kind == TPL_LOOP)
        return tpl_loop_attribute(r, out, v.u.loop, name) ? -1 : 1;
    if (v.kind == TPL_MARKUP || v.kind == TPL_METHOD || v.kind == TPL_FUNCTION)
        return tpl_unsupported(r, "an attribute of a %s", tpl_kind_name(v));
    if (v.kind == TPL_NAMESPACE)
        return tpl_dict_get(r, out, v.u.d, tpl_string((struct tpl_str *)name));
    if (is_one_of(name, changes) && (v.kind != TPL_LIST || v.u.l->flavor == TPL_A_LIST))
        return tpl_undefined(r, out, "access to attribute '%.*s' of a %s is unsafe", (int)name->n,
                             name->p, tpl_kind_name(v))
                   ? -1
                   : 1;
    if (!is_one_of(name, names_of(v)))
        return 0;
    struct tpl_method *m = tpl_alloc(r, 1, sizeof *m);
    if (!m)
        return -1;
    m->self = v;
    m->name = name;
    *out = (struct tpl_value){.kind = TPL_METHOD, .u.method = m};
    return 1;
}

/* x[key] without attributes: 1, 0 or -1. */
static int own_item(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                    struct tpl_value key)
{
    int is_list = v.kind == TPL_LIST && v.u.l->flavor <= TPL_A_RANGE;
    if (v.kind == TPL_MARKUP || v.kind == TPL_LOOP)
        return tpl_unsupported(r, "an item of a %s", tpl_kind_name(v));
    if (v.kind == TPL_DICT) {
        if (key.kind == TPL_DICT || (key.kind == TPL_LIST && key.u.l->flavor == TPL_A_LIST))
            return 0;
        return tpl_dict_get(r, out, v.u.d, key);
    }
    if ((!is_list && v.kind != TPL_STRING) || (key.kind != TPL_INT && key.kind != TPL_BOOL))
        return 0;
    size_t n;
    if (tpl_length(r, &n, v))
        return -1;
    int64_t i = key.u.i < 0 ? key.u.i + (int64_t)n : key.u.i;
    if (i < 0 || i >= (int64_t)n)
        return 0;
    if (is_list) {
        *out = v.u.l->items[i];
        return 1;
    }
    size_t at = tpl_str_offset(v.u.s, (size_t)i), end = at + 1;
    while (end < v.u.s->n && ((unsigned char)v.u.s->p[end] & 0xc0) == 0x80)
        end++;
    return tpl_wrap(out, tpl_str_part(r, v.u.s, at, end - at)) ? -1 : 1;
}

static int begins_dunder(const struct tpl_str *name)
{
    return name->n > 2 && name->p[0] == '_' && name->p[1] == '_';
}

int tpl_get_attribute(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                      const struct tpl_str *name)
{
    int shown = name->n > 80 ? 80 : (int)name->n;
    if (v.kind == TPL_UNDEFINED && !begins_dunder(name))
        return tpl_type(r, "%s", v.u.why);
    if (begins_dunder(name)) {
        if (v.kind == TPL_DICT || v.kind == TPL_UNDEFINED || v.kind == TPL_NAMESPACE)
            return tpl_unsupported(r, "the attribute \"%.*s\"", shown, name->p);
        return tpl_undefined(r, out, "access to attribute '%.*s' is unsafe", shown, name->p);
    }
    int found = own_attribute(r, out, v, name);
    if (!found && v.kind != TPL_NAMESPACE)
        found = own_item(r, out, v, tpl_string((struct tpl_str *)name));
    if (found)
        return found < 0 ? -1 : 0;
    return tpl_undefined(r, out, "a %s has no attribute '%.*s'", tpl_kind_name(v), shown, name->p);
}

int tpl_get_item(struct tpl_run *r, struct tpl_value *out, struct tpl_value v, struct tpl_value key)
{
    if (v.kind == TPL_UNDEFINED)
        return tpl_type(r, "%s", v.u.why);
    int found = v.kind == TPL_NAMESPACE ? 0 : own_item(r, out, v, key);
    if (!found && key.kind == TPL_STRING) {
        if (begins_dunder(key.u.s))
            return tpl_unsupported(r, "the attribute \"%.*s\"",
                                   key.u.s->n > 80 ? 80 : (int)key.u.s->n, key.u.s->p);
        found = own_attribute(r, out, v, key.u.s);
    }
    if (found)
        return found < 0 ? -1 : 0;
    if (key.kind == TPL_STRING)
        return tpl_undefined(r, out, "a %s has no attribute '%.*s'", tpl_kind_name(v),
                             key.u.s->n > 80 ? 80 : (int)key.u.s->n, key.u.s->p);
    return tpl_undefined(r, out, "a %s has no such element", tpl_kind_name(v));
}

/* ---- slices ---- */

/* slice.indices() of Python: from, to and step for n items. */
static int slice_bounds(struct tpl_run *r, int64_t out[3], const struct tpl_value bounds[3],
                        int64_t n)
{
    for (int i = 0; i < 3; i++)
        if (bounds[i].kind != TPL_NONE && bounds[i].kind != TPL_INT && bounds[i].kind != TPL_BOOL)
            return tpl_unsupported(r, "a slice by a %s", tpl_kind_name(bounds[i]));
    int64_t step = bounds[2].kind == TPL_NONE ? 1 : bounds[2].u.i;
    if (step == 0)
        return tpl_type(r, "the step of a slice is 0");
    if (step < -INT64_MAX)
        step = -INT64_MAX;
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
    for (int i = 0; i < 2; i++) {
        int64_t v = bounds[i].u.i;
        if (bounds[i].kind == TPL_NONE) {
            out[i] = (step < 0) == (i == 0) ? high : low;
            continue;
        }
        if (v < 0)
            v = v < -n ? low : v + n;
        out[i] = v < low ? low : v > high ? high : v;
    }
    out[2] = step;
    return 0;
}

int tpl_slice(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
              const struct tpl_value bounds[3])
{
    int64_t b[3] = {0, 0, 1}, count;
    size_t n;
    if (v.kind == TPL_UNDEFINED)
        return tpl_type(r, "%s", v.u.why);
    if (v.kind == TPL_LIST && v.u.l->flavor > TPL_A_TUPLE)
        return tpl_unsupported(r, "a slice of a %s", tpl_kind_name(v));
    if (v.kind != TPL_STRING && v.kind != TPL_LIST)
        /* jinja2 gives nothing or fails, by whether its compiler could compute it. */
        return tpl_unsupported(r, "a slice of a %s", tpl_kind_name(v));
    if (tpl_length(r, &n, v) || slice_bounds(r, b, bounds, (int64_t)n))
        return -1;
    if (b[2] > 0)
        count = b[0] < b[1] ? (b[1] - b[0] - 1) / b[2] + 1 : 0;
    else
        count = b[1] < b[0] ? (b[0] - b[1] - 1) / -b[2] + 1 : 0;
    if (v.kind == TPL_LIST) {
        if (tpl_list_new(r, out, (size_t)count, (enum tpl_flavor)v.u.l->flavor))
            return -1;
        for (int64_t i = 0; i < count; i++)
            out->u.l->items[i] = v.u.l->items[b[0] + i * b[2]];
        return 0;
    }
    if (b[2] == 1) {
        size_t from = tpl_str_offset(v.u.s, (size_t)b[0]);
        size_t to = count ? tpl_str_offset(v.u.s, (size_t)b[1]) : from;
        return tpl_wrap(out, tpl_str_part(r, v.u.s, from, to - from));
    }
    struct tpl_buf text = {NULL, NULL, 0, 0};
    const struct tpl_value *chars;
    if (tpl_iterate(r, &chars, &n, v))
        return -1;
    for (int64_t i = 0; i < count; i++)
        if (tpl_put_str(r, &text, chars[b[0] + i * b[2]].u.s))
            return -1;
    return tpl_wrap(out, tpl_str_from_buf(r, &text));
}

/* ---- loops ---- */

/* Test items until `want` have passed or there are no more. */
int tpl_loop_pull(struct tpl_loop *l, size_t want)
{
    struct tpl_run *r = l->run;
    while (l->n < want && l->next_source < l->n_source) {
        struct tpl_value item = l->source[l->next_source++], passed = tpl_bool(1);
        if (l->node->kids[2]) {
            struct tpl_frame f = {.parent = l->outer, .scope = &l->node->scopes[TPL_SCOPE_TEST]};
            if (tpl_assign(r, &f, l->node->kids[0], item) ||
                tpl_eval(r, &passed, &f, l->node->kids[2]))
                return -1;
        }
        if (tpl_truth(passed))
            l->items[l->n++] = item;
    }
    return 0;
}

static int neighbour(struct tpl_loop *l, struct tpl_value *out, int ahead)
{
    if (ahead && tpl_loop_pull(l, l->at + 2))
        return -1;
    size_t i = ahead ? l->at + 1 : l->at - 1;
    if (i >= l->n)
        return tpl_undefined(l->run, out, "there is no %s item", ahead ? "next" : "previous");
    *out = l->items[i];
    return 0;
}

int tpl_loop_attribute(struct tpl_run *r, struct tpl_value *out, struct tpl_loop *l,
                       const struct tpl_str *name)
{
    int64_t at = (int64_t)l->at;
    if (tpl_str_is(name, "index") || tpl_str_is(name, "index0")) {
        *out = tpl_int(at + (name->n == 5));
        return 0;
    }
    if (tpl_str_is(name, "first")) {
        *out = tpl_bool(at == 0);
        return 0;
    }
    if (tpl_str_is(name, "depth") || tpl_str_is(name, "depth0")) {
        *out = tpl_int(name->n == 5);
        return 0;
    }
    if (tpl_str_is(name, "nextitem") || tpl_str_is(name, "previtem"))
        return neighbour(l, out, name->p[0] == 'n');
    if (tpl_str_is(name, "last")) {
        if (tpl_loop_pull(l, l->at + 2))
            return -1;
        *out = tpl_bool(l->at + 1 == l->n);
        return 0;
    }
    if (tpl_str_is(name, "length") || tpl_str_is(name, "revindex") ||
        tpl_str_is(name, "revindex0")) {
        if (tpl_loop_pull(l, SIZE_MAX))
            return -1;
        int64_t n = (int64_t)l->n;
        *out = tpl_int(name->n == 6 ? n : n - at - (name->n == 9));
        return 0;
    }
    return tpl_unsupported(r, "\"loop.%.*s\"", name->n > 60 ? 60 : (int)name->n, name->p);
}

/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "libprep/chat/call.h"
#include "libprep/chat/convert.h"
#include "libprep/chat/value.h"

enum filter {
    F_ABS,
    F_CAPITALIZE,
    F_DEFAULT,
    F_ESCAPE,
    F_FIRST,
    F_FLOAT,
    F_INT,
    F_ITEMS,
    F_JOIN,
    F_LAST,
    F_LENGTH,
    F_LIST,
    F_LOWER,
    F_MAP,
    F_REJECT,
    F_REJECTATTR,
    F_REPLACE,
    F_REVERSE,
    F_SAFE,
    F_SELECT,
    F_SELECTATTR,
    F_STRING,
    F_TITLE,
    F_TOJSON,
    F_TRIM,
    F_UPPER,
    F_REFUSED,
};

static const struct {
    const char *name;
    enum filter filter;
} filters[] = {
    {"abs", F_ABS},
    {"capitalize", F_CAPITALIZE},
    {"count", F_LENGTH},
    {"d", F_DEFAULT},
    {"default", F_DEFAULT},
    {"e", F_ESCAPE},
    {"escape", F_ESCAPE},
    {"first", F_FIRST},
    {"float", F_FLOAT},
    {"int", F_INT},
    {"items", F_ITEMS},
    {"join", F_JOIN},
    {"last", F_LAST},
    {"length", F_LENGTH},
    {"list", F_LIST},
    {"lower", F_LOWER},
    {"map", F_MAP},
    {"reject", F_REJECT},
    {"rejectattr", F_REJECTATTR},
    {"replace", F_REPLACE},
    {"reverse", F_REVERSE},
    {"safe", F_SAFE},
    {"select", F_SELECT},
    {"selectattr", F_SELECTATTR},
    {"string", F_STRING},
    {"title", F_TITLE},
    {"tojson", F_TOJSON},
    {"trim", F_TRIM},
    {"upper", F_UPPER},
    /* jinja2 has these too. */
    {"attr", F_REFUSED},
    {"batch", F_REFUSED},
    {"center", F_REFUSED},
    {"dictsort", F_REFUSED},
    {"filesizeformat", F_REFUSED},
    {"forceescape", F_REFUSED},
    {"format", F_REFUSED},
    {"groupby", F_REFUSED},
    {"indent", F_REFUSED},
    {"max", F_REFUSED},
    {"min", F_REFUSED},
    {"pprint", F_REFUSED},
    {"random", F_REFUSED},
    {"round", F_REFUSED},
    {"slice", F_REFUSED},
    {"sort", F_REFUSED},
    {"striptags", F_REFUSED},
    {"sum", F_REFUSED},
    {"truncate", F_REFUSED},
    {"unique", F_REFUSED},
    {"urlencode", F_REFUSED},
    {"urlize", F_REFUSED},
    {"wordcount", F_REFUSED},
    {"wordwrap", F_REFUSED},
    {"xmlattr", F_REFUSED},
};

int tpl_find_filter(const char *s, size_t n)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (strlen(filters[i].name) == n && memcmp(filters[i].name, s, n) == 0)
            return filters[i].filter == F_REFUSED ? -1 : (int)filters[i].filter;
    return -2;
}

static const char *filter_name(int filter)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if ((int)filters[i].filter == filter)
            return filters[i].name;
    return "";
}

/* ---- numbers ---- */

static int to_number(struct tpl_run *r, struct tpl_value *out, int filter, struct tpl_value v,
                     const struct tpl_args *args)
{
    static const char *const names[] = {"default", "base", NULL};
    struct tpl_value otherwise = filter == F_INT ? tpl_int(0) : tpl_float(0), base = tpl_int(10);
    if (tpl_check_args(r, args, filter == F_INT ? 2 : 1, names, filter_name(filter)))
        return -1;
    (void)tpl_argument(&otherwise, args, 0, "default");
    (void)tpl_argument(&base, args, 1, "base");
    if (base.kind != TPL_INT || base.u.i != 10)
        return tpl_unsupported(r, "a base other than 10");
    return filter == F_INT ? tpl_to_int(r, out, v, otherwise) : tpl_to_float(r, out, v, otherwise);
}

static int absolute(struct tpl_run *r, struct tpl_value *out, struct tpl_value v)
{
    struct tpl_value zero = tpl_int(0);
    if (v.kind == TPL_FLOAT) {
        *out = tpl_float(fabs(v.u.f));
        return 0;
    }
    if (v.kind == TPL_INT || v.kind == TPL_BOOL) {
        *out = tpl_int(v.u.i);
        return v.u.i < 0 ? tpl_binary(r, out, TPL_SUB, zero, v) : 0;
    }
    if (v.kind == TPL_BIG)
        return tpl_unsupported(r, "an integer beyond 64 bits");
    return tpl_type(r, "abs of a %s", tpl_kind_name(v));
}

/* ---- text ---- */

static int escape(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *s)
{
    static const struct {
        char c;
        const char *text;
    } all[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    struct tpl_buf b = {NULL, NULL, 0, 0};
    for (size_t i = 0; i < s->n; i++) {
        size_t k = 0;
        while (k < 5 && all[k].c != s->p[i])
            k++;
        if (k < 5 ? tpl_put(r, &b, all[k].text, strlen(all[k].text), tpl_origin(s, i))
                  : tpl_put_part(r, &b, s, i, 1))
            return -1;
    }
    return tpl_wrap(out, tpl_str_from_buf(r, &b));
}

static int mark(struct tpl_run *r, struct tpl_value *out, int filter, struct tpl_value v)
{
    struct tpl_str *s;
    *out = v;
    if (v.kind == TPL_MARKUP)
        return 0;
    if (tpl_to_string(r, &s, v) || (filter == F_ESCAPE && escape(r, out, s)))
        return -1;
    if (filter == F_SAFE)
        out->u.s = s;
    out->kind = TPL_MARKUP;
    return 0;
}

static int trim(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *s,
                const struct tpl_args *args)
{
    static const char *const names[] = {"chars", NULL};
    struct tpl_value set = tpl_none();
    if (tpl_check_args(r, args, 1, names, "trim"))
        return -1;
    (void)tpl_argument(&set, args, 0, "chars");
    if (set.kind != TPL_NONE && set.kind != TPL_STRING)
        return tpl_type(r, "trim of a %s", tpl_kind_name(set));
    return tpl_wrap(
        out, tpl_str_strip(r, s, set.kind == TPL_NONE ? NULL : set.u.s, TPL_LEFT | TPL_RIGHT));
}

static int replace(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *s,
                   const struct tpl_args *args)
{
    static const char *const names[] = {"old", "new", "count", NULL};
    struct tpl_value old, new, count = tpl_int(-1);
    struct tpl_str *from, *to;
    if (tpl_check_args(r, args, 3, names, "replace"))
        return -1;
    if (tpl_argument(&old, args, 0, "old") != 1 || tpl_argument(&new, args, 1, "new") != 1)
        return tpl_type(r, "replace wants two arguments");
    (void)tpl_argument(&count, args, 2, "count");
    if (count.kind == TPL_NONE)
        count = tpl_int(-1);
    if (count.kind != TPL_INT)
        return tpl_type(r, "the count of replace is a %s", tpl_kind_name(count));
    if (tpl_to_string(r, &from, old) || tpl_to_string(r, &to, new))
        return -1;
    return tpl_replace(r, out, s, from, to, count.u.i < 0 ? -1 : count.u.i);
}

/* Filters that turn what they get into a string first. */
static int text_filter(struct tpl_run *r, struct tpl_value *out, int filter, struct tpl_value v,
                       const struct tpl_args *args)
{
    struct tpl_str *s;
    if (tpl_to_string(r, &s, v))
        return -1;
    if (filter == F_TRIM)
        return trim(r, out, s, args);
    if (filter == F_REPLACE)
        return replace(r, out, s, args);
    if (args->n)
        return tpl_type(r, "%s takes no arguments", filter_name(filter));
    switch (filter) {
    case F_CAPITALIZE:
        return tpl_change_case(r, out, s, TPL_CASE_CAPITALIZE);
    case F_LOWER:
        return tpl_change_case(r, out, s, TPL_CASE_LOWER);
    case F_UPPER:
        return tpl_change_case(r, out, s, TPL_CASE_UPPER);
    default:
        return tpl_change_case(r, out, s, TPL_CASE_WORDS);
    }
}

/* ---- lists ---- */

static int join(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                const struct tpl_args *args)
{
    static const char *const names[] = {"d", NULL};
    struct tpl_value between;
    struct tpl_str *s = tpl_str_new(r, "", 0, 0);
    if (!s || tpl_check_args(r, args, 1, names, "join"))
        return -1;
    if (tpl_argument(&between, args, 0, "d") == 1 && tpl_to_string(r, &s, between))
        return -1;
    return tpl_join(r, out, s, v, 1);
}

static int first_or_last(struct tpl_run *r, struct tpl_value *out, int filter, struct tpl_value v)
{
    const struct tpl_value *items;
    size_t n;
    if (filter == F_LAST && v.kind == TPL_LIST && v.u.l->flavor == TPL_ONCE)
        return tpl_unsupported(r, "the last of what a filter gives; add \"| list\"");
    if (tpl_iterate(r, &items, &n, v))
        return -1;
    if (!n)
        return tpl_undefined(r, out, "there is no %s item", filter_name(filter));
    *out = items[filter == F_LAST ? n - 1 : 0];
    return 0;
}

static int make_list(struct tpl_run *r, struct tpl_value *out, struct tpl_value v, int reversed)
{
    const struct tpl_value *items;
    struct tpl_buf b = {NULL, NULL, 0, 0};
    size_t n;
    if (tpl_iterate(r, &items, &n, v) || tpl_list_new(r, out, n, reversed ? TPL_ONCE : TPL_A_LIST))
        return -1;
    for (size_t i = 0; i < n; i++)
        out->u.l->items[i] = items[reversed ? n - 1 - i : i];
    if (!reversed || v.kind != TPL_STRING)
        return 0;
    for (size_t i = n; i > 0; i--)
        if (tpl_put_str(r, &b, items[i - 1].u.s))
            return -1;
    return tpl_wrap(out, tpl_str_from_buf(r, &b));
}

/* x.a.b of an item; whole numbers between the dots are places. */
static int get_path(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                    const struct tpl_value *path)
{
    if (path->kind != TPL_STRING)
        return tpl_get_item(r, out, v, *path);
    const struct tpl_str *s = path->u.s;
    *out = v;
    for (size_t at = 0; at <= s->n;) {
        const char *dot = memchr(s->p + at, '.', s->n - at);
        size_t end = dot ? (size_t)(dot - s->p) : s->n;
        struct tpl_value key, number;
        int digits = end > at;
        for (size_t i = at; i < end; i++)
            digits = digits && s->p[i] >= '0' && s->p[i] <= '9';
        if (tpl_wrap(&key, tpl_str_part(r, s, at, end - at)) ||
            (digits && tpl_read_number(r, &number, key.u.s, 1)) ||
            tpl_get_item(r, out, *out, digits ? number : key))
            return -1;
        at = end + 1;
    }
    return 0;
}

/* Arguments from the k-th on. */
static struct tpl_args behind(const struct tpl_args *args, size_t k)
{
    return args->n < k ? (struct tpl_args){NULL, NULL, 0}
                       : (struct tpl_args){args->values + k, args->names + k, args->n - k};
}

/* The filter or test named by an argument, by `find`; negative with an error. */
static int named(struct tpl_run *r, const struct tpl_value *v, const char *what,
                 int (*find)(const char *, size_t))
{
    if (v->kind != TPL_STRING)
        return tpl_type(r, "the name of a %s is a %s", what, tpl_kind_name(*v));
    const int shown = v->u.s->n > 60 ? 60 : (int)v->u.s->n;
    int found = find(v->u.s->p, v->u.s->n);
    if (found == -1)
        return tpl_unsupported(r, "the %s \"%.*s\"", what, shown, v->u.s->p);
    if (found < 0)
        return tpl_type(r, "there is no %s \"%.*s\"", what, shown, v->u.s->p);
    return found;
}

static int map(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
               const struct tpl_args *args)
{
    static const char *const names[] = {"attribute", "default", NULL};
    struct tpl_value path, otherwise;
    const struct tpl_value *items;
    size_t n;
    int filter = -1, by_path = tpl_argument(&path, args, SIZE_MAX, "attribute");
    int has_default = tpl_argument(&otherwise, args, SIZE_MAX, "default");
    if (by_path ? tpl_check_args(r, args, 0, names, "map")
        : !args->n || args->names[0]
            ? tpl_type(r, "map wants a filter or an attribute")
            : (filter = named(r, &args->values[0], "filter", tpl_find_filter)) < 0)
        return -1;
    struct tpl_args rest = behind(args, 1);
    if (tpl_iterate(r, &items, &n, v) || tpl_list_new(r, out, n, TPL_ONCE))
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct tpl_value *item = &out->u.l->items[i];
        if (tpl_step(r, 1) || (by_path ? get_path(r, item, items[i], &path)
                                       : tpl_filter(r, item, filter, items[i], &rest)))
            return -1;
        if (by_path && has_default && item->kind == TPL_UNDEFINED)
            *item = otherwise;
    }
    return 0;
}

/* select, reject, selectattr, rejectattr */
static int choose(struct tpl_run *r, struct tpl_value *out, int filter, struct tpl_value v,
                  const struct tpl_args *args)
{
    int by_path = filter == F_SELECTATTR || filter == F_REJECTATTR, test = -1;
    int keep = filter == F_SELECT || filter == F_SELECTATTR;
    struct tpl_args given = behind(args, by_path ? 1 : 0), rest = behind(args, 1 + (size_t)by_path);
    const struct tpl_value *items;
    size_t n, kept = 0;
    if (by_path && (!args->n || args->names[0]))
        return tpl_type(r, "%s wants an attribute", filter_name(filter));
    if (given.n && given.names[0])
        return tpl_type(r, "%s has no such argument", filter_name(filter));
    if (given.n && (test = named(r, &given.values[0], "test", tpl_find_test)) < 0)
        return -1;
    if (tpl_iterate(r, &items, &n, v) || tpl_list_new(r, out, n, TPL_ONCE))
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct tpl_value value = items[i];
        int passed;
        if (tpl_step(r, 1) || (by_path && get_path(r, &value, items[i], &args->values[0])))
            return -1;
        passed = tpl_truth(value);
        if (given.n && tpl_test(r, &passed, test, value, &rest))
            return -1;
        if (passed == keep)
            out->u.l->items[kept++] = items[i];
    }
    out->u.l->n = kept;
    return 0;
}

static int or_default(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                      const struct tpl_args *args)
{
    static const char *const names[] = {"default_value", "boolean", NULL};
    struct tpl_value otherwise, boolean = tpl_bool(0);
    if (tpl_check_args(r, args, 2, names, "default") ||
        tpl_wrap(&otherwise, tpl_str_new(r, "", 0, 0)))
        return -1;
    (void)tpl_argument(&otherwise, args, 0, "default_value");
    (void)tpl_argument(&boolean, args, 1, "boolean");
    *out = v.kind == TPL_UNDEFINED || (tpl_truth(boolean) && !tpl_truth(v)) ? otherwise : v;
    return 0;
}

static int plain_filter(struct tpl_run *r, struct tpl_value *out, int filter, struct tpl_value v,
                        const struct tpl_args *args)
{
    struct tpl_str *s;
    size_t n;
    if (args->n)
        return tpl_type(r, "%s takes no arguments", filter_name(filter));
    switch (filter) {
    case F_ABS:
        return absolute(r, out, v);
    case F_ESCAPE:
    case F_SAFE:
        return mark(r, out, filter, v);
    case F_FIRST:
    case F_LAST:
        return first_or_last(r, out, filter, v);
    case F_ITEMS:
        if (v.kind == TPL_UNDEFINED)
            return tpl_list_new(r, out, 0, TPL_ONCE);
        if (v.kind != TPL_DICT)
            return tpl_type(r, "the items of a %s", tpl_kind_name(v));
        return tpl_dict_items(r, out, v.u.d, TPL_ONCE);
    case F_LENGTH:
        if (tpl_length(r, &n, v))
            return -1;
        *out = tpl_int((int64_t)n);
        return 0;
    case F_LIST:
    case F_REVERSE:
        return make_list(r, out, v, filter == F_REVERSE);
    default: /* F_STRING */
        *out = v;
        return v.kind == TPL_MARKUP || (tpl_to_string(r, &s, v) == 0 && tpl_wrap(out, s) == 0) ? 0
                                                                                               : -1;
    }
}

int tpl_filter(struct tpl_run *r, struct tpl_value *out, int filter, struct tpl_value v,
               const struct tpl_args *args)
{
    switch (filter) {
    case F_DEFAULT:
        return or_default(r, out, v, args);
    case F_FLOAT:
    case F_INT:
        return to_number(r, out, filter, v, args);
    case F_JOIN:
        return join(r, out, v, args);
    case F_MAP:
        return map(r, out, v, args);
    case F_SELECT:
    case F_REJECT:
    case F_SELECTATTR:
    case F_REJECTATTR:
        return choose(r, out, filter, v, args);
    case F_TOJSON:
        return tpl_to_json(r, out, v, args);
    case F_CAPITALIZE:
    case F_LOWER:
    case F_UPPER:
    case F_TITLE:
    case F_TRIM:
    case F_REPLACE:
        return text_filter(r, out, filter, v, args);
    default:
        return plain_filter(r, out, filter, v, args);
    }
}

/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/chat/call.h"
#include "libprep/chat/convert.h"
#include "libprep/chat/value.h"

/* ---- case ---- */

static char to_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Does jinja2's title filter begin a new word behind this? */
static int ends_word(char c)
{
    return c && (strchr("-({[<", c) || tpl_is_space((unsigned char)c));
}

/* The first letter of a word? */
static int is_start(enum tpl_case how, const struct tpl_str *s, size_t i)
{
    if (how == TPL_CASE_CAPITALIZE || i == 0)
        return i == 0;
    if (how == TPL_CASE_WORDS)
        return ends_word(s->p[i - 1]);
    return how == TPL_CASE_TITLE && !is_letter(s->p[i - 1]);
}

int tpl_change_case(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *s,
                    enum tpl_case how)
{
    struct tpl_buf b = {NULL, NULL, 0, 0};
    for (size_t i = 0, len; i < s->n; i += len) {
        uint32_t c = utf8_decode(s->p + i, &len);
        if (c < 0x80)
            continue;
        /* The words of the title filter end at any white space. */
        if ((tpl_classes(c) & (TPL_CASED | TPL_UNASSIGNED)) ||
            (how == TPL_CASE_WORDS && tpl_is_space(c)))
            return tpl_unsupported(r, "changing the case of U+%04X", c);
    }
    if (tpl_put_str(r, &b, s))
        return -1;
    for (size_t i = 0; i < b.n; i++) {
        int up = how == TPL_CASE_UPPER || (how != TPL_CASE_LOWER && is_start(how, s, i));
        b.p[i] = up ? to_upper(b.p[i]) : to_lower(b.p[i]);
    }
    return tpl_wrap(out, tpl_str_from_buf(r, &b));
}

/* ---- arguments ---- */

static int no_names(struct tpl_run *r, const struct tpl_args *args, size_t least, size_t most,
                    const struct tpl_str *what)
{
    for (size_t i = 0; i < args->n; i++)
        if (args->names[i])
            return tpl_unsupported(r, "a named argument of %.*s()", (int)what->n, what->p);
    if (args->n < least || args->n > most)
        return tpl_type(r, "%.*s() is given %zu arguments", (int)what->n, what->p, args->n);
    return 0;
}

static int want_string(struct tpl_run *r, struct tpl_value v, const struct tpl_str *what)
{
    if (v.kind == TPL_STRING)
        return 0;
    if (v.kind == TPL_MARKUP)
        return tpl_unsupported(r, "an escaped string inside an expression");
    return tpl_type(r, "%.*s() is given a %s, want a string", (int)what->n, what->p,
                    tpl_kind_name(v));
}

static int want_int(struct tpl_run *r, struct tpl_value v, const struct tpl_str *what)
{
    if (v.kind == TPL_INT || v.kind == TPL_BOOL)
        return 0;
    return tpl_type(r, "%.*s() is given a %s, want a number", (int)what->n, what->p,
                    tpl_kind_name(v));
}

/* ---- strings ---- */

struct pieces {
    struct tpl_value list;
    size_t n;
};

static int add_piece(struct tpl_run *r, struct pieces *p, const struct tpl_str *s, size_t from,
                     size_t to)
{
    struct tpl_list *l = p->list.u.l;
    if (p->n == l->n) {
        struct tpl_value bigger;
        if (tpl_list_new(r, &bigger, 2 * l->n, TPL_A_LIST))
            return -1;
        memcpy(bigger.u.l->items, l->items, l->n * sizeof *l->items);
        p->list = bigger;
        l = bigger.u.l;
    }
    return tpl_wrap(&l->items[p->n++], tpl_str_part(r, s, from, to - from));
}

/* At white space, runs of it counting as one. */
static int split_words(struct tpl_run *r, struct pieces *p, const struct tpl_str *s, int64_t most)
{
    size_t at = 0, len;
    for (;;) {
        while (at < s->n && tpl_is_space(utf8_decode(s->p + at, &len)))
            at += len;
        size_t from = at;
        if (at >= s->n)
            return 0;
        if (most >= 0 && (int64_t)p->n >= most)
            return add_piece(r, p, s, at, s->n);
        while (at < s->n && !tpl_is_space(utf8_decode(s->p + at, &len)))
            at += len;
        if (add_piece(r, p, s, from, at))
            return -1;
    }
}

static int split(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                 const struct tpl_args *args)
{
    static const char *const names[] = {"sep", "maxsplit", NULL};
    const struct tpl_str *s = m->self.u.s;
    struct tpl_value sep = tpl_none(), most = tpl_int(-1);
    struct pieces p = {.n = 0};
    size_t at = 0, hit;
    if (tpl_check_args(r, args, 2, names, "split()"))
        return -1;
    (void)tpl_argument(&sep, args, 0, "sep");
    (void)tpl_argument(&most, args, 1, "maxsplit");
    if (want_int(r, most, m->name) || (sep.kind != TPL_NONE && want_string(r, sep, m->name)) ||
        tpl_list_new(r, &p.list, 8, TPL_A_LIST))
        return -1;
    if (sep.kind == TPL_NONE) {
        if (split_words(r, &p, s, most.u.i))
            return -1;
    } else if (!sep.u.s->n) {
        return tpl_type(r, "split() by an empty string");
    } else {
        while ((most.u.i < 0 || (int64_t)p.n < most.u.i) &&
               (hit = tpl_str_find(s, sep.u.s, at)) != SIZE_MAX) {
            if (add_piece(r, &p, s, at, hit))
                return -1;
            at = hit + sep.u.s->n;
        }
        if (add_piece(r, &p, s, at, s->n))
            return -1;
    }
    p.list.u.l->n = p.n;
    *out = p.list;
    return tpl_step(r, s->n / 256);
}

int tpl_replace(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *s,
                const struct tpl_str *old, const struct tpl_str *by, int64_t most)
{
    struct tpl_buf b = {NULL, NULL, 0, 0};
    size_t at = 0, hit;
    if (!old->n)
        return tpl_unsupported(r, "replacing an empty string");
    for (int64_t i = 0; i != most && (hit = tpl_str_find(s, old, at)) != SIZE_MAX; i++) {
        if (tpl_step(r, 1) || tpl_put_part(r, &b, s, at, hit - at) || tpl_put_str(r, &b, by))
            return -1;
        at = hit + old->n;
    }
    if (tpl_put_part(r, &b, s, at, s->n - at))
        return -1;
    return tpl_wrap(out, tpl_str_from_buf(r, &b));
}

static int replace(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                   const struct tpl_args *args)
{
    if (no_names(r, args, 2, 3, m->name) || want_string(r, args->values[0], m->name) ||
        want_string(r, args->values[1], m->name) ||
        (args->n == 3 && want_int(r, args->values[2], m->name)))
        return -1;
    int64_t most = args->n == 3 && args->values[2].u.i >= 0 ? args->values[2].u.i : -1;
    return tpl_replace(r, out, m->self.u.s, args->values[0].u.s, args->values[1].u.s, most);
}

static int strip(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                 const struct tpl_args *args, int ends)
{
    const struct tpl_str *set = NULL;
    if (no_names(r, args, 0, 1, m->name))
        return -1;
    if (args->n && args->values[0].kind != TPL_NONE) {
        if (want_string(r, args->values[0], m->name))
            return -1;
        set = args->values[0].u.s;
    }
    return tpl_wrap(out, tpl_str_strip(r, m->self.u.s, set, ends));
}

static int has_end(const struct tpl_str *s, const struct tpl_str *what, int at_start)
{
    return what->n <= s->n && memcmp(s->p + (at_start ? 0 : s->n - what->n), what->p, what->n) == 0;
}

static int starts_or_ends(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                          const struct tpl_args *args)
{
    int at_start = m->name->p[0] == 's', found = 0;
    if (args->n > 1)
        return tpl_unsupported(r, "%.*s() of a part", (int)m->name->n, m->name->p);
    if (no_names(r, args, 1, 1, m->name))
        return -1;
    struct tpl_value v = args->values[0];
    int is_tuple = v.kind == TPL_LIST && v.u.l->flavor == TPL_A_TUPLE;
    for (size_t i = 0; !found && i < (is_tuple ? v.u.l->n : 1); i++) {
        struct tpl_value one = is_tuple ? v.u.l->items[i] : v;
        if (want_string(r, one, m->name))
            return -1;
        found = has_end(m->self.u.s, one.u.s, at_start);
    }
    *out = tpl_bool(found);
    return 0;
}

static int remove_end(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                      const struct tpl_args *args)
{
    const struct tpl_str *s = m->self.u.s;
    int at_start = m->name->p[6] == 'p';
    if (no_names(r, args, 1, 1, m->name) || want_string(r, args->values[0], m->name))
        return -1;
    size_t n = has_end(s, args->values[0].u.s, at_start) ? args->values[0].u.s->n : 0;
    return tpl_wrap(out, tpl_str_part(r, s, at_start ? n : 0, s->n - n));
}

int tpl_join(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *between,
             struct tpl_value list, int convert)
{
    static const struct tpl_str what = {.p = "join", .n = 4};
    struct tpl_buf b = {NULL, NULL, 0, 0};
    const struct tpl_value *items;
    size_t n;
    if (tpl_iterate(r, &items, &n, list))
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct tpl_str *s;
        if ((!convert && want_string(r, items[i], &what)) || tpl_to_string(r, &s, items[i]) ||
            (i && tpl_put_str(r, &b, between)) || tpl_put_str(r, &b, s))
            return -1;
    }
    return tpl_wrap(out, tpl_str_from_buf(r, &b));
}

/* find() and count() */
static int look_for(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                    const struct tpl_args *args)
{
    const struct tpl_str *s = m->self.u.s;
    int64_t count = 0;
    if (args->n > 1)
        return tpl_unsupported(r, "%.*s() in a part", (int)m->name->n, m->name->p);
    if (no_names(r, args, 1, 1, m->name) || want_string(r, args->values[0], m->name) ||
        tpl_step(r, s->n / 256))
        return -1;
    const struct tpl_str *what = args->values[0].u.s;
    size_t hit = tpl_str_find(s, what, 0);
    if (m->name->p[0] == 'f') {
        struct tpl_str before = {.p = s->p, .n = hit == SIZE_MAX ? 0 : hit};
        *out = tpl_int(hit == SIZE_MAX ? -1 : (int64_t)tpl_str_length(&before));
        return 0;
    }
    if (!what->n) {
        *out = tpl_int((int64_t)tpl_str_length(s) + 1);
        return 0;
    }
    for (; hit != SIZE_MAX; hit = tpl_str_find(s, what, hit + what->n))
        count++;
    *out = tpl_int(count);
    return 0;
}

static int string_method(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                         const struct tpl_args *args)
{
    static const char *const cases[] = {"upper", "lower", "capitalize", "title"};
    const struct tpl_str *name = m->name;
    for (int i = 0; i < 4; i++)
        if (tpl_str_is(name, cases[i]))
            return no_names(r, args, 0, 0, name)
                       ? -1
                       : tpl_change_case(r, out, m->self.u.s, (enum tpl_case)i);
    if (tpl_str_is(name, "split"))
        return split(r, out, m, args);
    if (tpl_str_is(name, "strip"))
        return strip(r, out, m, args, TPL_LEFT | TPL_RIGHT);
    if (tpl_str_is(name, "lstrip") || tpl_str_is(name, "rstrip"))
        return strip(r, out, m, args, name->p[0] == 'l' ? TPL_LEFT : TPL_RIGHT);
    if (tpl_str_is(name, "startswith") || tpl_str_is(name, "endswith"))
        return starts_or_ends(r, out, m, args);
    if (tpl_str_is(name, "removeprefix") || tpl_str_is(name, "removesuffix"))
        return remove_end(r, out, m, args);
    if (tpl_str_is(name, "replace"))
        return replace(r, out, m, args);
    if (tpl_str_is(name, "find") || tpl_str_is(name, "count"))
        return look_for(r, out, m, args);
    if (tpl_str_is(name, "join"))
        return no_names(r, args, 1, 1, name) ? -1
                                             : tpl_join(r, out, m->self.u.s, args->values[0], 0);
    return tpl_unsupported(r, "the method %.*s() of a string", (int)name->n, name->p);
}

/* ---- dictionaries and lists ---- */

int tpl_dict_items(struct tpl_run *r, struct tpl_value *out, const struct tpl_dict *d,
                   enum tpl_flavor flavor)
{
    if (tpl_list_new(r, out, d->n, flavor))
        return -1;
    for (size_t i = 0; i < d->n; i++) {
        struct tpl_value pair = flavor == TPL_A_VALUES ? d->values[i] : d->keys[i];
        if (flavor == TPL_A_ITEMS || flavor == TPL_ONCE) {
            if (tpl_list_new(r, &pair, 2, TPL_A_TUPLE))
                return -1;
            pair.u.l->items[0] = d->keys[i];
            pair.u.l->items[1] = d->values[i];
        }
        out->u.l->items[i] = pair;
    }
    return 0;
}

static int dict_method(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                       const struct tpl_args *args)
{
    const struct tpl_dict *d = m->self.u.d;
    int is_keys = tpl_str_is(m->name, "keys"), is_values = tpl_str_is(m->name, "values");
    if (tpl_str_is(m->name, "get")) {
        if (no_names(r, args, 1, 2, m->name))
            return -1;
        if (args->values[0].kind == TPL_DICT ||
            (args->values[0].kind == TPL_LIST && args->values[0].u.l->flavor == TPL_A_LIST))
            return tpl_type(r, "a %s is no key", tpl_kind_name(args->values[0]));
        *out = args->n == 2 ? args->values[1] : tpl_none();
        return tpl_dict_get(r, out, d, args->values[0]) < 0 ? -1 : 0;
    }
    if (is_keys || is_values || tpl_str_is(m->name, "items"))
        return no_names(r, args, 0, 0, m->name) ? -1
                                                : tpl_dict_items(r, out, d,
                                                                 is_keys     ? TPL_A_KEYS
                                                                 : is_values ? TPL_A_VALUES
                                                                             : TPL_A_ITEMS);
    return tpl_unsupported(r, "the method %.*s() of a dictionary", (int)m->name->n, m->name->p);
}

static int list_method(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                       const struct tpl_args *args)
{
    const struct tpl_list *l = m->self.u.l;
    int is_index = tpl_str_is(m->name, "index");
    int64_t count = 0;
    if (l->flavor > TPL_A_RANGE || (!is_index && !tpl_str_is(m->name, "count")))
        return tpl_unsupported(r, "the method %.*s() of a %s", (int)m->name->n, m->name->p,
                               tpl_kind_name(m->self));
    if (no_names(r, args, 1, 1, m->name))
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        int same = tpl_equal(r, l->items[i], args->values[0]);
        if (same < 0)
            return -1;
        if (same && is_index) {
            *out = tpl_int((int64_t)i);
            return 0;
        }
        count += same;
    }
    if (is_index)
        return tpl_type(r, "index() of what is not in the list");
    *out = tpl_int(count);
    return 0;
}

int tpl_method_call(struct tpl_run *r, struct tpl_value *out, const struct tpl_method *m,
                    const struct tpl_args *args)
{
    switch (m->self.kind) {
    case TPL_STRING:
        return string_method(r, out, m, args);
    case TPL_DICT:
        return dict_method(r, out, m, args);
    case TPL_LIST:
        return list_method(r, out, m, args);
    default:
        return tpl_unsupported(r, "the method %.*s() of a %s", (int)m->name->n, m->name->p,
                               tpl_kind_name(m->self));
    }
}

/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/base/utf8.h"
#include "libprep/chat/call.h"
#include "libprep/chat/value.h"

/* What quotes around data, and escapes in it, come from counts as template. */
static int put_literal(struct tpl_run *r, struct tpl_buf *b, const char *s)
{
    return tpl_put(r, b, s, strlen(s), 0);
}

static int put_float(struct tpl_run *r, struct tpl_buf *b, double f, int json)
{
    char text[32];
    if (isnan(f))
        return put_literal(r, b, json ? "NaN" : "nan");
    if (isinf(f))
        return put_literal(r, b,
                           json    ? (f < 0 ? "-Infinity" : "Infinity")
                           : f < 0 ? "-inf"
                                   : "inf");
    json_format_f64(f, text);
    return put_literal(r, b, text);
}

static int put_int(struct tpl_run *r, struct tpl_buf *b, int64_t i)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, i);
    return put_literal(r, b, text);
}

/* ---- repr() ---- */

/* How repr() writes a code point: the escape, or "" to leave it; -1. */
static int repr_escape(struct tpl_run *r, uint32_t c, char quote, char out[16])
{
    unsigned classes = c >= 0x80 ? tpl_classes(c) : 0;
    out[0] = 0;
    if (c == '\n' || c == '\r' || c == '\t') {
        snprintf(out, 16, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    } else if (c == '\\' || c == (unsigned char)quote) {
        snprintf(out, 16, "\\%c", (char)c);
    } else if (classes & TPL_UNASSIGNED) {
        return tpl_unsupported(r, "quoting U+%04X, on which versions of Python differ", c);
    } else if (c < 0x20 || c == 0x7f || (classes & TPL_ESCAPED)) {
        if (c < 0x100)
            snprintf(out, 16, "\\x%02x", c);
        else
            snprintf(out, 16, c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
    return 0;
}

static int repr_string(struct tpl_run *r, struct tpl_buf *b, const struct tpl_str *s)
{
    int single = memchr(s->p, '\'', s->n) != NULL, both = memchr(s->p, '"', s->n) != NULL;
    char quote = single && !both ? '"' : '\'', escape[16];
    size_t kept = 0, at = 0, len;
    if (tpl_put(r, b, &quote, 1, 0))
        return -1;
    for (; at < s->n; at += len) {
        if (repr_escape(r, utf8_decode(s->p + at, &len), quote, escape))
            return -1;
        if (!escape[0])
            continue;
        if (tpl_put_part(r, b, s, kept, at - kept) ||
            tpl_put(r, b, escape, strlen(escape), tpl_origin(s, at)))
            return -1;
        kept = at + len;
    }
    return tpl_put_part(r, b, s, kept, at - kept) || tpl_put(r, b, &quote, 1, 0) ? -1 : 0;
}

static int repr_items(struct tpl_run *r, struct tpl_buf *b, const struct tpl_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if ((i && put_literal(r, b, ", ")) || tpl_repr(r, b, l->items[i]))
            return -1;
    return 0;
}

static int repr_list(struct tpl_run *r, struct tpl_buf *b, const struct tpl_list *l)
{
    static const char *const open[] = {"[",           "(", NULL, "dict_keys([", "dict_values([",
                                       "dict_items(["};
    if (l->flavor == TPL_A_RANGE || l->flavor == TPL_ONCE)
        return tpl_unsupported(r, "printing a %s",
                               l->flavor == TPL_ONCE ? "filter's result; add \"| list\"" : "range");
    const char *close = l->flavor == TPL_A_LIST    ? "]"
                        : l->flavor != TPL_A_TUPLE ? "])"
                        : l->n == 1                ? ",)"
                                                   : ")";
    return put_literal(r, b, open[l->flavor]) || repr_items(r, b, l) || put_literal(r, b, close)
               ? -1
               : 0;
}

static int repr_dict(struct tpl_run *r, struct tpl_buf *b, const struct tpl_dict *d)
{
    if (put_literal(r, b, "{"))
        return -1;
    for (size_t i = 0; i < d->n; i++)
        if ((i && put_literal(r, b, ", ")) || tpl_repr(r, b, d->keys[i]) ||
            put_literal(r, b, ": ") || tpl_repr(r, b, d->values[i]))
            return -1;
    return put_literal(r, b, "}");
}

static int repr_nested(struct tpl_run *r, struct tpl_buf *b, struct tpl_value v)
{
    int rc;
    if (++r->depth > TPL_MAX_RECURSION)
        return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "values are nested too deep");
    if (v.kind == TPL_LIST)
        rc = repr_list(r, b, v.u.l);
    else if (v.kind == TPL_DICT)
        rc = repr_dict(r, b, v.u.d);
    else
        rc = put_literal(r, b, "<Namespace ") || repr_dict(r, b, v.u.d) || put_literal(r, b, ">");
    r->depth--;
    return rc ? -1 : 0;
}

int tpl_repr(struct tpl_run *r, struct tpl_buf *b, struct tpl_value v)
{
    if (tpl_step(r, 1))
        return -1;
    switch (v.kind) {
    case TPL_UNDEFINED:
        return put_literal(r, b, "Undefined");
    case TPL_NONE:
        return put_literal(r, b, "None");
    case TPL_BOOL:
        return put_literal(r, b, v.u.i ? "True" : "False");
    case TPL_INT:
        return put_int(r, b, v.u.i);
    case TPL_BIG:
        return tpl_put_str(r, b, v.u.s);
    case TPL_FLOAT:
        return put_float(r, b, v.u.f, 0);
    case TPL_STRING:
        return repr_string(r, b, v.u.s);
    case TPL_LIST:
    case TPL_DICT:
    case TPL_NAMESPACE:
        return repr_nested(r, b, v);
    default:
        return tpl_unsupported(r, "printing a %s", tpl_kind_name(v));
    }
}

int tpl_print(struct tpl_run *r, struct tpl_buf *b, struct tpl_value v)
{
    switch (v.kind) {
    case TPL_UNDEFINED:
        return 0;
    case TPL_STRING:
    case TPL_MARKUP:
        return tpl_put_str(r, b, v.u.s);
    default:
        return tpl_repr(r, b, v);
    }
}

int tpl_to_string(struct tpl_run *r, struct tpl_str **out, struct tpl_value v)
{
    struct tpl_buf b = {NULL, NULL, 0, 0};
    *out = v.kind == TPL_STRING ? v.u.s : NULL;
    if (v.kind == TPL_MARKUP)
        return tpl_unsupported(r, "an escaped string inside an expression");
    if (!*out && tpl_print(r, &b, v) == 0)
        *out = tpl_str_from_buf(r, &b);
    return *out ? 0 : -1;
}

/* ---- json.dumps() ---- */

struct dump {
    struct tpl_run *r;
    struct tpl_buf *b;
    int ascii, sorted, indented;
    struct tpl_str *indent, *between, *colon; /* indent: once per level */
};

static int dump_value(struct dump *d, struct tpl_value v, int level);

/* How json writes a code point: the escape, or "". */
static void json_escape(const struct dump *d, uint32_t c, char out[16])
{
    static const char plain[] = "\"\\\n\r\t\f\b", means[] = "\"\\nrtfb";
    const char *known = c && c < 0x80 ? strchr(plain, (int)c) : NULL;
    out[0] = 0;
    if (known)
        snprintf(out, 16, "\\%c", means[known - plain]);
    else if (c < 0x20 || (d->ascii && c >= 0x7f && c < 0x10000))
        snprintf(out, 16, "\\u%04x", c);
    else if (d->ascii && c >= 0x10000)
        snprintf(out, 16, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                 0xdc00 + ((c - 0x10000) & 0x3ff));
}

static int dump_string(struct dump *d, const struct tpl_str *s)
{
    size_t kept = 0, at = 0, len;
    char escape[16];
    if (put_literal(d->r, d->b, "\""))
        return -1;
    for (; at < s->n; at += len) {
        json_escape(d, utf8_decode(s->p + at, &len), escape);
        if (!escape[0])
            continue;
        if (tpl_put_part(d->r, d->b, s, kept, at - kept) ||
            tpl_put(d->r, d->b, escape, strlen(escape), tpl_origin(s, at)))
            return -1;
        kept = at + len;
    }
    return tpl_put_part(d->r, d->b, s, kept, at - kept) || put_literal(d->r, d->b, "\"") ? -1 : 0;
}

static int new_line(struct dump *d, int level)
{
    if (!d->indented)
        return 0;
    if (put_literal(d->r, d->b, "\n"))
        return -1;
    while (level-- > 0)
        if (tpl_put_str(d->r, d->b, d->indent))
            return -1;
    return 0;
}

static int dump_key(struct dump *d, struct tpl_value k)
{
    if (k.kind == TPL_STRING)
        return dump_string(d, k.u.s);
    if (k.kind > TPL_FLOAT || k.kind == TPL_UNDEFINED)
        return tpl_type(d->r, "a %s is no key in JSON", tpl_kind_name(k));
    return put_literal(d->r, d->b, "\"") || dump_value(d, k, 0) || put_literal(d->r, d->b, "\"")
               ? -1
               : 0;
}

/* The order in which the keys are written. */
static size_t *key_order(struct dump *d, const struct tpl_dict *dict)
{
    size_t *order = tpl_alloc(d->r, dict->n, sizeof *order);
    if (!order || tpl_step(d->r, dict->n))
        return NULL;
    for (size_t i = 0; i < dict->n; i++) {
        size_t k = i;
        /* Insertion: keys are few, and every comparison counts as a step. */
        for (; d->sorted && k > 0; k--) {
            int less = tpl_compare(d->r, TPL_LT, dict->keys[i], dict->keys[order[k - 1]]);
            if (less < 0)
                return NULL;
            if (!less)
                break;
            order[k] = order[k - 1];
        }
        order[k] = i;
    }
    return order;
}

static int dump_dict(struct dump *d, const struct tpl_dict *dict, int level)
{
    const size_t *order = key_order(d, dict);
    if (!order)
        return -1;
    if (!dict->n)
        return put_literal(d->r, d->b, "{}");
    if (put_literal(d->r, d->b, "{"))
        return -1;
    for (size_t i = 0; i < dict->n; i++)
        if ((i && tpl_put_str(d->r, d->b, d->between)) || new_line(d, level + 1) ||
            dump_key(d, dict->keys[order[i]]) || tpl_put_str(d->r, d->b, d->colon) ||
            dump_value(d, dict->values[order[i]], level + 1))
            return -1;
    return new_line(d, level) || put_literal(d->r, d->b, "}") ? -1 : 0;
}

static int dump_list(struct dump *d, const struct tpl_list *l, int level)
{
    if (!l->n)
        return put_literal(d->r, d->b, "[]");
    if (put_literal(d->r, d->b, "["))
        return -1;
    for (size_t i = 0; i < l->n; i++)
        if ((i && tpl_put_str(d->r, d->b, d->between)) || new_line(d, level + 1) ||
            dump_value(d, l->items[i], level + 1))
            return -1;
    return new_line(d, level) || put_literal(d->r, d->b, "]") ? -1 : 0;
}

static int dump_nested(struct dump *d, struct tpl_value v, int level)
{
    if (++d->r->depth > TPL_MAX_RECURSION)
        return tpl_fail(d->r, PREP_EDATA, "TPL_LIMIT", "values are nested too deep");
    int rc = v.kind == TPL_DICT ? dump_dict(d, v.u.d, level) : dump_list(d, v.u.l, level);
    d->r->depth--;
    return rc;
}

static int dump_value(struct dump *d, struct tpl_value v, int level)
{
    if (tpl_step(d->r, 1))
        return -1;
    switch (v.kind) {
    case TPL_NONE:
        return put_literal(d->r, d->b, "null");
    case TPL_BOOL:
        return put_literal(d->r, d->b, v.u.i ? "true" : "false");
    case TPL_INT:
        return put_int(d->r, d->b, v.u.i);
    case TPL_BIG:
        return tpl_put_str(d->r, d->b, v.u.s);
    case TPL_FLOAT:
        return put_float(d->r, d->b, v.u.f, 1);
    case TPL_STRING:
        return dump_string(d, v.u.s);
    case TPL_MARKUP:
        return tpl_unsupported(d->r, "an escaped string inside an expression");
    case TPL_LIST:
    case TPL_DICT:
        if (v.kind == TPL_DICT || tpl_is_list(v))
            return dump_nested(d, v, level);
        break;
    default:
        break;
    }
    return tpl_type(d->r, "a %s has no JSON", tpl_kind_name(v));
}

/* indent: a number of blanks or the text itself; none: one line. */
static int read_indent(struct dump *d, struct tpl_value v)
{
    struct tpl_buf blanks = {NULL, NULL, 0, 0};
    if (v.kind == TPL_NONE)
        return 0;
    d->indented = 1;
    if (v.kind == TPL_STRING) {
        d->indent = v.u.s;
        return 0;
    }
    if (v.kind != TPL_INT && v.kind != TPL_BOOL)
        return tpl_type(d->r, "the indent of tojson is a %s", tpl_kind_name(v));
    for (int64_t i = 0; i < v.u.i; i++)
        if (tpl_step(d->r, 1) || put_literal(d->r, &blanks, " "))
            return -1;
    d->indent = tpl_str_from_buf(d->r, &blanks);
    return d->indent ? 0 : -1;
}

static int read_separators(struct dump *d, struct tpl_value v)
{
    d->between = tpl_str_new(d->r, ", ", d->indented ? 1 : 2, 0);
    d->colon = tpl_str_new(d->r, ": ", 2, 0);
    if (!d->between || !d->colon)
        return -1;
    if (v.kind == TPL_NONE)
        return 0;
    if (!tpl_is_list(v) || v.u.l->n != 2 || v.u.l->items[0].kind != TPL_STRING ||
        v.u.l->items[1].kind != TPL_STRING)
        return tpl_type(d->r, "the separators of tojson are not two strings");
    d->between = v.u.l->items[0].u.s;
    d->colon = v.u.l->items[1].u.s;
    return 0;
}

int tpl_to_json(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                const struct tpl_args *args)
{
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys", NULL};
    struct tpl_buf b = {NULL, NULL, 0, 0};
    struct dump d = {.r = r, .b = &b};
    struct tpl_value given[4] = {tpl_bool(0), tpl_none(), tpl_none(), tpl_bool(0)};
    if (tpl_check_args(r, args, 4, names, "tojson"))
        return -1;
    for (size_t i = 0; i < 4; i++)
        (void)tpl_argument(&given[i], args, i, names[i]);
    d.ascii = tpl_truth(given[0]);
    d.sorted = tpl_truth(given[3]);
    if (read_indent(&d, given[1]) || read_separators(&d, given[2]) || dump_value(&d, v, 0))
        return -1;
    return tpl_wrap(out, tpl_str_from_buf(r, &b));
}

/* ---- '...' % values ---- */

static int format_one(struct tpl_run *r, struct tpl_buf *b, char conversion, struct tpl_value v)
{
    if (v.kind == TPL_MARKUP)
        return tpl_unsupported(r, "an escaped string inside an expression");
    if (conversion == 's')
        return tpl_print(r, b, v);
    if (conversion == 'r')
        return tpl_repr(r, b, v);
    if (v.kind == TPL_INT || v.kind == TPL_BOOL)
        return put_int(r, b, v.u.i);
    if (v.kind == TPL_BIG)
        return tpl_put_str(r, b, v.u.s);
    if (v.kind == TPL_FLOAT)
        return tpl_unsupported(r, "%%d of a number that is not whole");
    return tpl_type(r, "%%d of a %s", tpl_kind_name(v));
}

int tpl_format(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *fmt,
               struct tpl_value v)
{
    struct tpl_buf b = {NULL, NULL, 0, 0};
    int is_tuple = v.kind == TPL_LIST && v.u.l->flavor == TPL_A_TUPLE;
    const struct tpl_value *values = is_tuple ? v.u.l->items : &v;
    size_t n = is_tuple ? v.u.l->n : 1, used = 0;
    for (size_t at = 0; at < fmt->n;) {
        const char *percent = memchr(fmt->p + at, '%', fmt->n - at);
        size_t stop = percent ? (size_t)(percent - fmt->p) : fmt->n;
        if (tpl_put_part(r, &b, fmt, at, stop - at))
            return -1;
        at = stop;
        if (!percent)
            break;
        char c = at + 1 < fmt->n ? fmt->p[at + 1] : 0;
        at += 2;
        if (c == '%') {
            if (put_literal(r, &b, "%"))
                return -1;
        } else if (!c || !strchr("srdi", c)) {
            return tpl_unsupported(r, "a format other than %%s, %%r, %%d and %%%%");
        } else if (used == n) {
            return tpl_type(r, "a format wants more than %zu values", n);
        } else if (format_one(r, &b, c, values[used++])) {
            return -1;
        }
    }
    /* Python overlooks a value that could be a mapping, and takes lists for one. */
    int overlooked =
        v.kind == TPL_DICT || v.kind == TPL_UNDEFINED ||
        (v.kind == TPL_LIST && v.u.l->flavor != TPL_A_TUPLE && v.u.l->flavor <= TPL_A_RANGE);
    if (used < n && !overlooked)
        return tpl_type(r, "a format takes %zu of %zu values", used, n);
    return tpl_wrap(out, tpl_str_from_buf(r, &b));
}

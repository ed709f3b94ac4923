/* SPDX-License-Identifier: MIT */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/base/json_text.h"
#include "libprep/base/utf8.h"

/* Splices */

/* By place; what is inserted at a place stands before what is replaced there, else as given. */
static int by_place(const void *a, const void *b)
{
    const struct json_edit *x = *(const struct json_edit *const *)a;
    const struct json_edit *y = *(const struct json_edit *const *)b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x < y ? -1 : 1;
}

int json_splice(struct span *out, const char *text, size_t n, struct json_edit *edits,
                size_t n_edits, struct arena *arena, struct prep_error *err)
{
    const struct json_edit **order = arena_calloc(arena, n_edits, sizeof *order, err);
    if (!order)
        return -1;
    uint64_t total = n;
    for (size_t i = 0; i < n_edits; i++) {
        order[i] = &edits[i];
        if (prep_add(&total, total, edits[i].n))
            return prep_fail(err, PREP_ENOMEM, "out of memory for an edited text");
    }
    if (n_edits)
        qsort(order, n_edits, sizeof *order, by_place);

    char *copy = arena_alloc(arena, (size_t)total + 1, err), *o = copy;
    if (!copy)
        return -1;
    size_t at = 0;
    for (size_t i = 0; i < n_edits; i++) {
        const struct json_edit *e = order[i];
        if (e->start < at || e->end < e->start || e->end > n)
            return prep_fail(err, PREP_EBUG, "edit of bytes %zu to %zu overlaps or leaves the text",
                             e->start, e->end);
        o = mempcpy(o, text + at, e->start - at);
        if (e->n)
            o = mempcpy(o, e->text, e->n);
        at = e->end;
    }
    o = mempcpy(o, text + at, n - at);
    *o = 0;
    *out = (struct span){(unsigned char *)copy, (size_t)(o - copy)};
    return 0;
}

/* Numbers */

/*
 * Exactly n significant digits of v, correctly rounded: v = 0.d1d2d3... x 10^point. printf and
 * strtod spell the decimal point as the locale does, so it is skipped here and never written.
 */
static void digits_of(double v, int n, char digits[24], int *point)
{
    char text[48];
    snprintf(text, sizeof text, "%.*e", n - 1, fabs(v));
    int k = 0;
    const char *s = text;
    for (; *s && *s != 'e'; s++)
        if (*s >= '0' && *s <= '9')
            digits[k++] = *s;
    digits[k] = 0;
    *point = *s ? atoi(s + 1) + 1 : 1;
}

static int reads_back(double v, const char *digits, int point)
{
    char text[48];
    snprintf(text, sizeof text, "%se%d", digits, point - (int)strlen(digits));
    return strtod(text, NULL) == fabs(v);
}

/* One more in the last digit. */
static void step_up(char *digits, int *point)
{
    size_t i = strlen(digits);
    while (i && digits[i - 1] == '9')
        digits[--i] = '0';
    if (i) {
        digits[i - 1]++;
        return;
    }
    digits[0] = '1'; /* 999 became 000, and is 100 one place further up */
    ++*point;
}

/*
 * The fewest digits that read back to v; trailing zeros are dropped. 15 digits survive a round
 * trip, so a shorter answer is those 15 without their zeros; only below the normal range are
 * there fewer. 17 always read back. Above a power of two the doubles lie twice as far apart as
 * below it, so that the nearest 16 digits, below it, may fail where the next ones up do not.
 */
static void shortest_digits(double v, char digits[24], int *point)
{
    int n = fabs(v) < DBL_MIN ? 1 : 15;
    for (; n <= 17; n++) {
        digits_of(v, n, digits, point);
        if (reads_back(v, digits, *point))
            break;
        step_up(digits, point);
        if (n == 16 && reads_back(v, digits, *point))
            break;
    }
    size_t k = strlen(digits);
    while (k > 1 && digits[k - 1] == '0')
        digits[--k] = 0;
}

void json_format_f64(double v, char buf[32])
{
    char digits[24], *o = buf;
    int point, n;
    if (signbit(v))
        *o++ = '-';
    if (v == 0) {
        memcpy(o, "0.0", 4);
        return;
    }
    shortest_digits(v, digits, &point);
    n = (int)strlen(digits);
    char text[64];
    if (point > 16 || point < -3)
        snprintf(text, sizeof text, "%c%s%se%+03d", digits[0], n > 1 ? "." : "", digits + 1,
                 point - 1);
    else if (point <= 0)
        snprintf(text, sizeof text, "0.%.*s%s", -point, "000", digits);
    else if (point >= n)
        snprintf(text, sizeof text, "%s%.*s.0", digits, point - n, "0000000000000000");
    else
        snprintf(text, sizeof text, "%.*s.%s", point, digits, digits + point);
    memcpy(o, text, strlen(text) + 1);
}

/* The writer */

void json_out_init(struct json_out *o, int indent)
{
    *o = (struct json_out){.indent = indent};
}

void json_out_free(struct json_out *o)
{
    free(o->text);
    *o = (struct json_out){0};
}

static void put(struct json_out *o, const char *s, size_t n)
{
    if (o->failed)
        return;
    if (n > o->cap - o->n) {
        size_t cap = o->cap ? o->cap : 4096;
        while (cap - o->n < n && cap <= SIZE_MAX / 4)
            cap *= 2;
        char *text = cap - o->n < n ? NULL : realloc(o->text, cap);
        if (!text) {
            o->failed = 1;
            return;
        }
        o->text = text;
        o->cap = cap;
    }
    if (n)
        memcpy(o->text + o->n, s, n);
    o->n += n;
}

static void new_line(struct json_out *o)
{
    static const char spaces[] = "                ";
    if (o->indent <= 0)
        return;
    put(o, "\n", 1);
    for (size_t left = (size_t)o->depth * (size_t)o->indent; left;) {
        size_t n = left < sizeof spaces - 1 ? left : sizeof spaces - 1;
        put(o, spaces, n);
        left -= n;
    }
}

/* What stands between this value or key and the one before. */
static void separate(struct json_out *o)
{
    if (o->after_key) {
        o->after_key = 0;
        return;
    }
    if (o->depth == 0)
        return;
    if (!o->first[o->depth])
        put(o, ", ", o->indent == JSON_ONE_LINE ? 2 : 1);
    o->first[o->depth] = 0;
    new_line(o);
}

void json_out_open(struct json_out *o, char bracket)
{
    separate(o);
    put(o, &bracket, 1);
    if (o->depth == JSON_MAX_DEPTH) {
        o->failed = 1;
        return;
    }
    o->depth++;
    o->first[o->depth] = 1;
    o->closing[o->depth] = bracket == '{' ? '}' : ']';
}

void json_out_close(struct json_out *o)
{
    if (o->depth == 0 || o->after_key) {
        o->failed = 1;
        return;
    }
    char bracket = o->closing[o->depth];
    int empty = o->first[o->depth];
    o->depth--;
    if (!empty)
        new_line(o);
    put(o, &bracket, 1);
}

/* Puts one character, escaped where it must be; returns the bytes of s it stood for. */
static size_t put_char(struct json_out *o, const char *s, const char *end)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    char text[8];
    if ((unsigned char)s[0] >= 0x80) {
        size_t len = utf8_length(s, end);
        /* A path need not be UTF-8, our output must. */
        put(o, len ? s : "\\ufffd", len ? len : 6);
        return len ? len : 1;
    }
    const char *k = s[0] ? strchr(from, s[0]) : NULL;
    if (k)
        snprintf(text, sizeof text, "\\%c", to[k - from]);
    else
        snprintf(text, sizeof text, "\\u%04x", (unsigned)s[0]);
    put(o, text, strlen(text));
    return 1;
}

static void put_quoted(struct json_out *o, const char *s, size_t n)
{
    const char *end = s + n;
    put(o, "\"", 1);
    while (s < end) {
        const char *plain = s;
        while (s < end && *s >= 0x20 && (unsigned char)*s < 0x80 && *s != '"' && *s != '\\')
            s++;
        put(o, plain, (size_t)(s - plain));
        if (s < end)
            s += put_char(o, s, end);
    }
    put(o, "\"", 1);
}

void json_out_key_n(struct json_out *o, const char *key, size_t n)
{
    separate(o);
    put_quoted(o, key, n);
    put(o, ": ", o->indent == JSON_COMPACT ? 1 : 2);
    o->after_key = 1;
}

void json_out_key(struct json_out *o, const char *key)
{
    json_out_key_n(o, key, strlen(key));
}

void json_out_string_n(struct json_out *o, const char *s, size_t n)
{
    separate(o);
    put_quoted(o, s, n);
}

void json_out_string(struct json_out *o, const char *s)
{
    json_out_string_n(o, s, strlen(s));
}

void json_out_raw(struct json_out *o, const char *json, size_t n)
{
    separate(o);
    put(o, json, n);
}

void json_out_i64(struct json_out *o, int64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRId64, v);
    json_out_raw(o, text, (size_t)n);
}

void json_out_u64(struct json_out *o, uint64_t v)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRIu64, v);
    json_out_raw(o, text, (size_t)n);
}

void json_out_f64(struct json_out *o, double v)
{
    char text[32] = "null";
    if (isfinite(v))
        json_format_f64(v, text);
    json_out_raw(o, text, strlen(text));
}

void json_out_bool(struct json_out *o, int v)
{
    json_out_raw(o, v ? "true" : "false", v ? 4 : 5);
}

void json_out_null(struct json_out *o)
{
    json_out_raw(o, "null", 4);
}

int json_out_finish(struct json_out *o, struct span *out, struct prep_error *err)
{
    if (!o->failed && (o->depth || o->after_key))
        return prep_fail(err, PREP_EBUG, "JSON writer finished %d levels deep", o->depth);
    put(o, "\n", 1);
    if (o->failed)
        return prep_fail(err, PREP_ENOMEM, "out of memory writing JSON");
    *out = (struct span){(unsigned char *)o->text, o->n};
    return 0;
}

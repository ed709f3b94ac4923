/* SPDX-License-Identifier: MIT */
#include "libprep/base/html.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"

void html_init(struct html *h)
{
    *h = (struct html){0};
}

void html_free(struct html *h)
{
    free(h->text);
    *h = (struct html){0};
}

static void fail(struct html *h, enum prep_code code)
{
    if (h->failed == PREP_OK)
        h->failed = code;
}

static void put(struct html *h, const char *s, size_t n)
{
    if (h->failed != PREP_OK)
        return;
    if (n > h->cap - h->n) {
        size_t cap = h->cap ? h->cap : 1 << 14;
        while (cap - h->n < n && cap <= SIZE_MAX / 4)
            cap *= 2;
        char *text = cap - h->n < n ? NULL : realloc(h->text, cap);
        if (!text) {
            fail(h, PREP_ENOMEM);
            return;
        }
        h->text = text;
        h->cap = cap;
    }
    if (n)
        memcpy(h->text + h->n, s, n);
    h->n += n;
}

static void puts_of(struct html *h, const char *s)
{
    put(h, s, strlen(s));
}

/* Content begins: the start tag is complete. */
static void end_tag(struct html *h)
{
    if (h->in_tag && !h->in_value) {
        puts_of(h, ">");
        h->in_tag = 0;
    }
}

/* ---- characters ---- */

static const char *reference(char c)
{
    switch (c) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

/*
 * Controls, marks of direction and order, characters without a glyph, noncharacters. Joiners
 * (U+200C, U+200D) stay: scripts and emoji need them.
 */
static int is_unseen(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] =
        {
            {0x00, 0x08},       {0x0b, 0x1f},     {0x7f, 0x9f},     {0xad, 0xad},
            {0x61c, 0x61c},     {0x180e, 0x180e}, {0x200b, 0x200b}, {0x200e, 0x200f},
            {0x2028, 0x202e},   {0x2060, 0x206f}, {0xfdd0, 0xfdef}, {0xfeff, 0xfeff},
            {0xfff9, 0xfffb},   {0xfffe, 0xffff}, /* and so in every plane */
            {0xe0000, 0xe007f},
        };
    if (c > 0xffff && (c & 0xfffe) == 0xfffe)
        return 1;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return 1;
    return 0;
}

static void put_character(struct html *h, const char *s, size_t n, uint32_t c)
{
    char text[16];
    const char *r = n == 1 ? reference(*s) : NULL;
    if (is_unseen(c)) {
        snprintf(text, sizeof text, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
        puts_of(h, text);
    } else if (r) {
        puts_of(h, r);
    } else if (h->in_value && (c == '\n' || c == '\t')) {
        puts_of(h, c == '\n' ? "&#10;" : "&#9;"); /* as they are they would become blanks */
    } else {
        put(h, s, n);
    }
}

/* Bytes from s on that need no thought. */
static size_t plain(const char *s, const char *end)
{
    const char *at = s;
    while (at < end && *at >= 0x20 && *at < 0x7f && !reference(*at))
        at++;
    return (size_t)(at - s);
}

void html_text_n(struct html *h, const char *text, size_t n)
{
    const char *s = text, *end = text + n;
    end_tag(h);
    while (s < end) {
        size_t k = plain(s, end);
        if (k) {
            put(h, s, k);
            s += k;
            continue;
        }
        const int ascii = (unsigned char)*s < 0x80;
        k = ascii ? 1 : utf8_length(s, end);
        if (k) {
            size_t same;
            put_character(h, s, k, utf8_decode(s, &same));
        } else {
            int cut;
            puts_of(h, UTF8_REPLACEMENT);
            k = utf8_subpart(s, end, &cut);
        }
        s += k;
    }
}

void html_text(struct html *h, const char *text)
{
    html_text_n(h, text, strlen(text));
}

PREP_PRINTF(2, 0) static void text_of(struct html *h, const char *fmt, va_list args)
{
    char *text;
    const int n = vasprintf(&text, fmt, args);
    if (n < 0) {
        fail(h, PREP_ENOMEM);
        return;
    }
    html_text_n(h, text, (size_t)n);
    free(text);
}

void html_textf(struct html *h, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    text_of(h, fmt, args);
    va_end(args);
}

/* ---- elements ---- */

/* HTML's void elements and SVG's shapes that we use. */
static int is_empty(const char *name)
{
    static const char *const names[] = {"br",      "col",  "hr",   "link",     "meta", "circle",
                                        "ellipse", "line", "path", "polyline", "rect", "use"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return 1;
    return 0;
}

void html_open(struct html *h, const char *name)
{
    if (h->depth == HTML_MAX_DEPTH || h->in_value) {
        fail(h, PREP_EBUG);
        return;
    }
    end_tag(h);
    puts_of(h, "<");
    puts_of(h, name);
    h->in_tag = 1;
    h->open[h->depth++] = name;
}

void html_close(struct html *h)
{
    if (h->depth == 0 || h->in_value) {
        fail(h, PREP_EBUG);
        return;
    }
    const char *name = h->open[--h->depth];
    if (h->in_tag && is_empty(name)) {
        puts_of(h, "/>");
        h->in_tag = 0;
        return;
    }
    end_tag(h);
    puts_of(h, "</");
    puts_of(h, name);
    puts_of(h, ">");
}

void html_leaf(struct html *h, const char *name, const char *text)
{
    html_open(h, name);
    html_text(h, text);
    html_close(h);
}

void html_attr_begin(struct html *h, const char *name)
{
    if (!h->in_tag || h->in_value)
        fail(h, PREP_EBUG);
    puts_of(h, " ");
    puts_of(h, name);
    puts_of(h, "=\"");
    h->in_value = 1;
}

void html_attr_end(struct html *h)
{
    if (!h->in_value)
        fail(h, PREP_EBUG);
    puts_of(h, "\"");
    h->in_value = 0;
}

void html_attr(struct html *h, const char *name, const char *value)
{
    html_attr_begin(h, name);
    html_text(h, value);
    html_attr_end(h);
}

void html_attrf(struct html *h, const char *name, const char *fmt, ...)
{
    va_list args;
    html_attr_begin(h, name);
    va_start(args, fmt);
    text_of(h, fmt, args);
    va_end(args);
    html_attr_end(h);
}

void html_raw(struct html *h, const char *text, size_t n)
{
    end_tag(h);
    put(h, text, n);
}

int html_finish(struct html *h, struct span *out, struct prep_error *err)
{
    if (h->failed == PREP_OK && (h->depth || h->in_value))
        fail(h, PREP_EBUG);
    if (h->failed == PREP_ENOMEM)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a page of %zu bytes", h->n);
    if (h->failed != PREP_OK)
        return prep_fail(err, PREP_EBUG, "elements of a page do not match");
    *out = (struct span){(const unsigned char *)h->text, h->n};
    return 0;
}

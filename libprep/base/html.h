/* SPDX-License-Identifier: MIT */
/*
 * html.h - a page that is HTML and well-formed XML at once, whatever text goes into it.
 *
 * Elements are opened, given attributes and text, and closed in order; the writer keeps the names.
 * All text and every attribute value is escaped here, so that what a model or a path says is shown
 * and never obeyed: <, >, &, " and ' as references; control characters (but tab and line feed),
 * characters that turn the direction of text, invisible marks and what XML forbids as "\x1b" or
 * "\u202e"; bytes that are not UTF-8 as U+FFFD. Names of elements and attributes are the caller's
 * own literals. Elements that have no end tag in HTML, and the shapes of SVG, close themselves.
 *
 * Ownership  html_init / html_free; texts are copied, names are borrowed until closed
 * Errors     PREP_ENOMEM, and PREP_EBUG where elements do not match or an attribute comes too
 *            late; kept and told by html_finish()
 * Threads    one at a time
 */
#ifndef PREP_BASE_HTML_H
#define PREP_BASE_HTML_H

#include <stddef.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HTML_MAX_DEPTH = 32 };

struct html {
    char *text;
    size_t n, cap;
    const char *open[HTML_MAX_DEPTH];
    int depth;
    unsigned char in_tag, in_value; /* attributes may still be given; one is being written */
    enum prep_code failed;
};

void html_init(struct html *h);
void html_free(struct html *h); /* accepts a zeroed struct */

void html_open(struct html *h, const char *name);
void html_close(struct html *h);
/* The element with this text in it, and nothing else. */
void html_leaf(struct html *h, const char *name, const char *text);

void html_attr(struct html *h, const char *name, const char *value);
/* No floating point in fmt: printf spells it as the locale does. */
void html_attrf(struct html *h, const char *name, const char *fmt, ...) PREP_PRINTF(3, 4);
/* A value in pieces: html_text() and its kin write into it until it ends. */
void html_attr_begin(struct html *h, const char *name);
void html_attr_end(struct html *h);

void html_text(struct html *h, const char *text);
void html_text_n(struct html *h, const char *text, size_t n);
void html_textf(struct html *h, const char *fmt, ...) PREP_PRINTF(2, 3); /* as html_attrf() */

/* As it is: a document type, a style sheet, pieces this writer made. */
void html_raw(struct html *h, const char *text, size_t n);

/* Nothing is left open; the text stays owned by h. */
PREP_MUST_CHECK int html_finish(struct html *h, struct span *out, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

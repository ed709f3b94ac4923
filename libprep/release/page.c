/* SPDX-License-Identifier: MIT */
#include "libprep/release/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void page_init(struct page *p)
{
    *p = (struct page){.failed = PREP_ERROR_INIT};
    html_init(&p->head);
    html_init(&p->body);
    html_init(&p->made);
    arena_init(&p->arena, 0);
}

void page_free(struct page *p)
{
    html_free(&p->head);
    html_free(&p->body);
    html_free(&p->made);
    arena_fini(&p->arena);
    *p = (struct page){0};
}

static const char *keep(struct page *p, const char *text)
{
    const char *copy = arena_strndup(&p->arena, text, strlen(text), &p->failed);
    return copy ? copy : "";
}

/* One element with a formatted text; class_name may be NULL. */
PREP_PRINTF(4, 0)
static void formatted(struct html *h, const char *element, const char *class_name, const char *fmt,
                      va_list args)
{
    char *text;
    html_open(h, element);
    if (class_name)
        html_attr(h, "class", class_name);
    if (vasprintf(&text, fmt, args) < 0) {
        h->failed = PREP_ENOMEM;
        return;
    }
    html_text(h, text);
    free(text);
    html_close(h);
}

/* ---- the head ---- */

void page_title(struct page *p, const char *fmt, ...)
{
    char *text;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0) {
        p->head.failed = PREP_ENOMEM;
    } else {
        p->title = keep(p, text);
        html_leaf(&p->head, "h1", text);
        free(text);
    }
    va_end(args);
}

void page_verdict(struct page *p, enum page_verdict verdict, const char *fmt, ...)
{
    static const char *const classes[] = {"verdict good", "verdict bad", "verdict open"};
    va_list args;
    va_start(args, fmt);
    formatted(&p->head, "p", classes[verdict], fmt, args);
    va_end(args);
}

void page_remark(struct page *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    formatted(&p->head, "p", "remark", fmt, args);
    va_end(args);
}

/* ---- sections ---- */

static void end_section(struct page *p)
{
    if (p->in_section)
        html_close(&p->body);
    p->in_section = 0;
}

void page_section(struct page *p, const char *id, const char *title)
{
    struct html *h = &p->body;
    end_section(p);
    html_open(h, "section");
    html_attr(h, "id", id);
    html_attrf(h, "aria-labelledby", "%s-title", id);
    html_open(h, "h2");
    html_attrf(h, "id", "%s-title", id);
    html_text(h, title);
    html_close(h);
    p->in_section = 1;
    if (p->n_sections == PAGE_MAX_SECTIONS) {
        h->failed = PREP_EBUG;
        return;
    }
    p->ids[p->n_sections] = id;
    p->titles[p->n_sections++] = keep(p, title);
}

void page_heading(struct page *p, const char *text)
{
    html_leaf(&p->body, "h3", text);
}

void page_say(struct page *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    formatted(&p->body, "p", NULL, fmt, args);
    va_end(args);
}

void page_grid(struct page *p)
{
    html_open(&p->body, "div");
    html_attr(&p->body, "class", "grid");
}

void page_grid_of_lists(struct page *p)
{
    html_open(&p->body, "div");
    html_attr(&p->body, "class", "grid lists");
}

void page_grid_end(struct page *p)
{
    html_close(&p->body);
}

void page_figure(struct page *p, const char *title, const char *caption)
{
    struct html *h = &p->body;
    html_open(h, "figure");
    html_open(h, "figcaption");
    html_leaf(h, "strong", title);
    if (caption) {
        html_text(h, " ");
        html_leaf(h, "span", caption);
    }
    html_close(h);
}

void page_figure_end(struct page *p)
{
    html_close(&p->body);
}

const char *page_plot_id(struct page *p)
{
    char text[24];
    snprintf(text, sizeof text, "plot%d", ++p->n_plots);
    return keep(p, text);
}

void page_fold(struct page *p, const char *title)
{
    html_open(&p->body, "details");
    html_leaf(&p->body, "summary", title);
}

void page_fold_end(struct page *p)
{
    html_close(&p->body);
}

/* ---- tables ---- */

void page_table(struct page *p, const char *caption, const char *const *columns, size_t n)
{
    struct html *h = &p->body;
    html_open(h, "div");
    html_attr(h, "class", "scroll");
    html_attr(h, "role", "region");
    html_attr(h, "tabindex", "0");
    html_attr(h, "aria-label", caption);
    html_open(h, "table");
    html_leaf(h, "caption", caption);
    html_open(h, "thead");
    html_open(h, "tr");
    for (size_t i = 0; i < n; i++) {
        html_open(h, "th");
        html_attr(h, "scope", "col");
        html_text(h, columns[i]);
        html_close(h);
    }
    html_close(h);
    html_close(h);
    html_open(h, "tbody");
    p->in_row = 0;
}

static void end_row(struct page *p)
{
    if (p->in_row)
        html_close(&p->body);
    p->in_row = 0;
}

void page_row(struct page *p, const char *name)
{
    struct html *h = &p->body;
    end_row(p);
    html_open(h, "tr");
    p->in_row = 1;
    html_open(h, "th");
    html_attr(h, "scope", "row");
    html_text(h, name);
    html_close(h);
}

void page_table_end(struct page *p)
{
    struct html *h = &p->body;
    end_row(p);
    html_close(h);
    html_close(h);
    html_close(h);
}

void page_cell_open(struct page *p, const char *class_name)
{
    html_open(&p->body, "td");
    if (class_name)
        html_attr(&p->body, "class", class_name);
}

void page_cell_close(struct page *p)
{
    html_close(&p->body);
}

void page_cell(struct page *p, const char *text)
{
    html_leaf(&p->body, "td", text);
}

void page_count(struct page *p, uint64_t n)
{
    char text[NUMBER_TEXT];
    page_cell_open(p, "number");
    html_text(&p->body, number_count(text, n));
    page_cell_close(p);
}

void page_value(struct page *p, double v, const struct page_form *form)
{
    char text[NUMBER_TEXT];
    page_cell_open(p, "number");
    html_text(&p->body, number_fixed(text, v * form->factor, form->digits, form->sign));
    page_cell_close(p);
}

void page_interval(struct page *p, const struct bootstrap_interval *i, const struct page_form *form)
{
    char text[NUMBER_TEXT];
    struct html *h = &p->body;
    page_cell_open(p, "number");
    html_text(h, number_fixed(text, i->mean * form->factor, form->digits, form->sign));
    if (isfinite(i->low) && isfinite(i->high)) {
        html_open(h, "small");
        html_text(h, number_fixed(text, i->low * form->factor, form->digits, form->sign));
        html_text(h, " to ");
        html_text(h, number_fixed(text, i->high * form->factor, form->digits, form->sign));
        html_close(h);
    }
    page_cell_close(p);
}

/* ---- the last section ---- */

static void fact(struct page *p, const char *name, const char *element, const char *text)
{
    struct html *h = &p->made;
    html_open(h, "tr");
    html_open(h, "th");
    html_attr(h, "scope", "row");
    html_text(h, name);
    html_close(h);
    html_open(h, "td");
    html_leaf(h, element, text);
    html_close(h);
    html_close(h);
}

void page_fact(struct page *p, const char *name, const char *text)
{
    fact(p, name, "span", text);
}

void page_fact_code(struct page *p, const char *name, const char *text)
{
    fact(p, name, "code", text);
}

static void write_made(struct page *p)
{
    static const char *const columns[] = {"what", "is"};
    struct html *h = &p->body;
    if (!p->made.n)
        return;
    page_section(p, "made", "How it was made");
    page_table(p, "What this page was made from, and with what", columns, 2);
    html_raw(h, p->made.text, p->made.n);
    page_table_end(p);
}

/* ---- names ---- */

/* The last `parts` components of a path without slashes at its end. */
static const char *end_of(const char *path, size_t parts)
{
    for (size_t n = strlen(path); n > 0; n--)
        if (path[n - 1] == '/' && path[n] && --parts == 0)
            return path + n;
    return path;
}

static int all_differ(const char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[i], names[k]) == 0)
                return 0;
    return 1;
}

static size_t count_parts(const char *path)
{
    size_t n = 1;
    for (; *path; path++)
        n += *path == '/';
    return n;
}

const char **page_names(struct page *p, const char *const *paths, size_t n)
{
    const char **whole = arena_calloc(&p->arena, n, sizeof *whole, &p->failed);
    const char **names = arena_calloc(&p->arena, n, sizeof *names, &p->failed);
    size_t most = 1;
    if (!whole || !names)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(paths[i]);
        while (k > 1 && paths[i][k - 1] == '/')
            k--;
        whole[i] = arena_strndup(&p->arena, paths[i], k, &p->failed);
        if (!whole[i])
            return NULL;
        k = count_parts(whole[i]);
        most = k > most ? k : most;
    }
    for (size_t parts = 1; parts <= most; parts++) {
        for (size_t i = 0; i < n; i++)
            names[i] = end_of(whole[i], parts);
        if (all_differ(names, n))
            break;
    }
    return names;
}

/* ---- the whole ---- */

static void raw(struct html *h, const char *text)
{
    html_raw(h, text, strlen(text));
}

static void write_head(const struct page *p, struct html *h)
{
    /* The policy makes browsers refuse scripts and anything from elsewhere. */
    static const char *const meta[][2] = {
        {"viewport", "width=device-width, initial-scale=1"},
        {"color-scheme", "light dark"},
        {"generator", "verify-run"},
    };
    raw(h, "<!DOCTYPE html>\n");
    html_open(h, "html");
    html_attr(h, "lang", "en");
    html_open(h, "head");
    html_open(h, "meta");
    html_attr(h, "charset", "utf-8");
    html_close(h);
    html_open(h, "meta");
    html_attr(h, "http-equiv", "Content-Security-Policy");
    html_attr(h, "content", "default-src 'none'; style-src 'unsafe-inline'");
    html_close(h);
    for (size_t i = 0; i < sizeof meta / sizeof *meta; i++) {
        html_open(h, "meta");
        html_attr(h, "name", meta[i][0]);
        html_attr(h, "content", meta[i][1]);
        html_close(h);
    }
    html_leaf(h, "title", p->title ? p->title : "Report");
    html_open(h, "style");
    for (const char *const *piece = page_style; *piece; piece++)
        raw(h, *piece);
    html_close(h);
    html_close(h);
}

static void write_contents(const struct page *p, struct html *h)
{
    html_open(h, "nav");
    html_attr(h, "aria-label", "Contents");
    html_open(h, "ul");
    for (size_t i = 0; i < p->n_sections; i++) {
        html_open(h, "li");
        html_open(h, "a");
        html_attrf(h, "href", "#%s", p->ids[i]);
        html_text(h, p->titles[i]);
        html_close(h);
        html_close(h);
    }
    html_close(h);
    html_close(h);
}

int page_finish(struct page *p, struct html *out, struct span *bytes, struct prep_error *err)
{
    struct span head, body, made;
    html_init(out);
    if (p->failed.code != PREP_OK) {
        *err = p->failed;
        return -1;
    }
    if (html_finish(&p->made, &made, err))
        return -1;
    write_made(p);
    end_section(p);
    if (html_finish(&p->head, &head, err) || html_finish(&p->body, &body, err))
        return -1;
    write_head(p, out);
    html_open(out, "body");
    html_open(out, "header");
    html_raw(out, (const char *)head.p, head.n);
    html_close(out);
    write_contents(p, out);
    html_open(out, "main");
    html_raw(out, (const char *)body.p, body.n);
    html_close(out);
    html_close(out);
    html_close(out);
    raw(out, "\n");
    return html_finish(out, bytes, err);
}

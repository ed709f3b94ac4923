/* SPDX-License-Identifier: MIT */
/*
 * page.h - a report as one page for people: sections of tables, figures and words.
 *
 * The page is complete in itself (no script, nothing fetched), readable on a wide screen, on a
 * phone and in print, light and dark, and well-formed XML. Sections are written in the order in
 * which they are to be read; one file each: a function that takes a struct page and what it shows.
 *
 *     page_section(p, "probes", "Probes");
 *     page_say(p, "%zu prompts each.", n);
 *     page_table(p, "Right answers", columns, 3);
 *     for (...) {
 *         page_row(p, name);
 *         page_count(p, right);
 *         page_interval(p, &share, &percent);
 *     }
 *     page_table_end(p);
 *
 * page_fact() adds a line to the last section, "How it was made". The same calls give the same
 * bytes.
 *
 * Ownership  page_init / page_free; texts are copied, ids are literals
 * Errors     kept, told by page_finish(): those of html.h
 * Threads    one at a time
 */
#ifndef PREP_RELEASE_PAGE_H
#define PREP_RELEASE_PAGE_H

#include "libprep/base/html.h"
#include "libprep/numeric/bootstrap.h"
#include "libprep/release/svg_plot.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PAGE_MAX_SECTIONS = 32 };

struct page {
    struct html head, body, made; /* title and verdict; sections; lines of the last section */
    const char *ids[PAGE_MAX_SECTIONS];
    const char *titles[PAGE_MAX_SECTIONS]; /* in the arena */
    size_t n_sections;
    int in_section, in_row, n_plots;
    const char *title; /* of the window; in the arena */
    struct arena arena;
    struct prep_error failed;
};

void page_init(struct page *p);
void page_free(struct page *p); /* accepts a zeroed struct */
/* The whole page, owned by out, which the caller frees with html_free(). */
PREP_MUST_CHECK int page_finish(struct page *p, struct html *out, struct span *bytes,
                                struct prep_error *err);

/* What stands on top, and in the window's title. No floating point in any fmt of this file. */
void page_title(struct page *p, const char *fmt, ...) PREP_PRINTF(2, 3);
enum page_verdict { PAGE_GOOD, PAGE_BAD, PAGE_OPEN };
void page_verdict(struct page *p, enum page_verdict verdict, const char *fmt, ...)
    PREP_PRINTF(3, 4);
/* A line below it. */
void page_remark(struct page *p, const char *fmt, ...) PREP_PRINTF(2, 3);

/* Ends the one before. id: a literal, a word of small letters. */
void page_section(struct page *p, const char *id, const char *title);
void page_heading(struct page *p, const char *text); /* inside a section */
void page_say(struct page *p, const char *fmt, ...) PREP_PRINTF(2, 3);

/* A figure with its caption around one plot; figures that follow each other share a grid. */
void page_grid(struct page *p);
void page_grid_of_lists(struct page *p); /* of <div>s with tables: below each other in print */
void page_grid_end(struct page *p);
void page_figure(struct page *p, const char *title, const char *caption);
void page_figure_end(struct page *p);
/* An id for the next plot, in the arena. */
const char *page_plot_id(struct page *p);

/* What need not be seen at once. */
void page_fold(struct page *p, const char *title);
void page_fold_end(struct page *p);

/* A table scrolls in a box of its own. The first column names the rows. */
void page_table(struct page *p, const char *caption, const char *const *columns, size_t n);
void page_table_end(struct page *p);
void page_row(struct page *p, const char *name);
void page_cell(struct page *p, const char *text);
void page_count(struct page *p, uint64_t n);
struct page_form {
    int digits, sign; /* after the point; a sign before all */
    double factor;    /* 100: in percent */
};
void page_value(struct page *p, double v, const struct page_form *form);
void page_interval(struct page *p, const struct bootstrap_interval *i,
                   const struct page_form *form);
/* The rest of a cell that is written by hand: page_cell_open(p, "number"). */
void page_cell_open(struct page *p, const char *class_name);
void page_cell_close(struct page *p);

/* A line of the last section; code: as typed. */
void page_fact(struct page *p, const char *name, const char *text);
void page_fact_code(struct page *p, const char *name, const char *text);

/* Shortest ends of the paths that tell them apart: "max", or "a/max" beside "b/max". In the
 * arena; NULL when out of memory. */
const char **page_names(struct page *p, const char *const *paths, size_t n);

/* The style sheet, in pieces, NULL at the end. */
extern const char *const page_style[];

#ifdef __cplusplus
}
#endif
#endif

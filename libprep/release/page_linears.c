/* SPDX-License-Identifier: MIT */
/* Errors of single linears; what experts get to do. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/release/page_judge.h"

enum { WORST_SHOWN = 10, WORST_LISTED = 50, MOST_CELLS = 60000 };

static const struct page_form errors = {5, 0, 1}, shares = {2, 0, 100}, times = {2, 0, 1};

/* ---- linears ---- */

/* Least and worst of all models, so that their plots have one scale; 0 where nothing is known. */
struct span_of_errors {
    double least, worst;
};

static struct span_of_errors span_errors(const struct judgement *j)
{
    struct span_of_errors all = {0, 0};
    for (size_t m = 0; m < j->n_results; m++)
        for (int i = 0; j->results[m].by_layer && i < j->results[m].layers.n_layers; i++) {
            const struct judge_linears_layer *l = &j->results[m].by_layer[i];
            if (l->n && l->least > 0 && (all.least == 0 || l->least < all.least))
                all.least = l->least;
            if (l->n && l->worst > all.worst)
                all.worst = l->worst;
        }
    return all;
}

static void plot_linears(const struct page_view *v, size_t m, const struct span_of_errors *all)
{
    const struct judge_result *r = &v->j->results[m];
    const size_t n = (size_t)r->layers.n_layers;
    struct svg_range *ranges = arena_calloc(&v->p->arena, n, sizeof *ranges, &v->p->failed);
    double *at = arena_calloc(&v->p->arena, n, sizeof *at, &v->p->failed);
    const double ends[2] = {all->least, all->worst};
    if (!ranges || !at)
        return;
    for (size_t i = 0; i < n; i++) {
        const struct judge_linears_layer *l = &r->by_layer[i];
        at[i] = (double)i;
        ranges[i] = (struct svg_range){l->least, l->p25, l->median, l->p75, l->worst};
    }
    const struct svg_ranges plot = {
        .id = page_plot_id(v->p),
        .title = "Errors of linears by layer",
        .x = {.title = "layer", .whole = 1, .low = 0, .high = n > 1 ? (double)n - 1 : 1},
        .y = {.title = "NMSE",
              .log = page_spans_decades(ends, 2),
              .from_zero = 1,
              .low = all->least,
              .high = all->worst},
        .at = at,
        .ranges = ranges,
        .n = n,
        .colour = (int)m + 1};
    page_figure(v->p, v->names[m],
                "NMSE of the changed linears of each layer: all lie on the thin line, half of them "
                "in the thick part, the bar is the middle one.");
    svg_ranges(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void scope_row(const struct page_view *v, size_t m, const char *what,
                      const struct judge_scope *s)
{
    char name[300];
    if (!s->n)
        return;
    snprintf(name, sizeof name, "%.250s, %s", v->names[m], what);
    page_row(v->p, name);
    page_count(v->p, s->n);
    page_value(v->p, s->geometric, &errors);
    page_value(v->p, s->p95, &errors);
    page_value(v->p, s->worst, &errors);
    page_cell(v->p, s->worst_linear ? s->worst_linear->other->name : "");
}

static int by_error(const void *a, const void *b)
{
    const struct judge_linear *const *x = a, *const *y = b;
    if ((*x)->nmse != (*y)->nmse)
        return (*x)->nmse < (*y)->nmse ? 1 : -1;
    return (*x > *y) - (*x < *y);
}

static void list_worst(const struct page_view *v, const struct judge_linear *const *list, size_t n,
                       const char *caption)
{
    static const char *const columns[] = {"Linear", "NMSE", "Tokens", "Form"};
    page_table(v->p, caption, columns, 4);
    for (size_t i = 0; i < n; i++) {
        page_row(v->p, list[i]->other->name);
        page_value(v->p, list[i]->nmse, &errors);
        page_count(v->p, list[i]->tokens);
        page_cell(v->p, linear_form_name(list[i]->other->form));
    }
    page_table_end(v->p);
}

static void worst_linears(const struct page_view *v, size_t m)
{
    const struct judge_linears *l = &v->j->results[m].linears;
    const struct judge_linear **list =
        arena_calloc(&v->p->arena, l->n + 1, sizeof *list, &v->p->failed);
    char text[400];
    size_t n = 0;
    if (!list)
        return;
    for (size_t i = 0; i < l->n; i++)
        if (!isnan(l->items[i].nmse))
            list[n++] = &l->items[i];
    if (!n)
        return;
    qsort(list, n, sizeof *list, by_error);
    const size_t shown = n < WORST_SHOWN ? n : WORST_SHOWN;
    snprintf(text, sizeof text, "%.250s: the %zu worst of %zu changed linears", v->names[m], shown,
             n);
    html_open(&v->p->body, "div"); /* one place in the grid */
    list_worst(v, list, shown, text);
    const size_t listed = n < WORST_LISTED ? n : WORST_LISTED;
    if (listed > shown) {
        snprintf(text, sizeof text, "%.250s: number %zu to %zu", v->names[m], shown + 1, listed);
        page_fold(v->p, text);
        list_worst(v, list + shown, listed - shown, text);
        page_fold_end(v->p);
    }
    html_close(&v->p->body);
}

void page_linears(const struct page_view *v)
{
    static const char *const columns[] = {"Linears",    "Changed", "Geometric mean",
                                          "95 % point", "Worst",   "which"};
    const struct judgement *j = v->j;
    size_t changed = 0;
    for (size_t m = 0; m < j->n_results; m++)
        changed += j->results[m].has_linears ? j->results[m].all.n : 0;
    if (!changed)
        return;
    page_section(v->p, "linears", "Single linears");
    page_say(v->p, "NMSE: the squared error of a linear\xe2\x80\x99s output over its squared "
                   "output, on the original\xe2\x80\x99s inputs. Linears with equal values are "
                   "left out.");
    page_table(v->p, "NMSE over linears", columns, 6);
    for (size_t m = 0; m < j->n_results; m++) {
        if (!j->results[m].has_linears)
            continue;
        scope_row(v, m, "routed experts", &j->results[m].experts);
        scope_row(v, m, "all", &j->results[m].all);
    }
    page_table_end(v->p);
    page_grid(v->p);
    const struct span_of_errors all = span_errors(j);
    for (size_t m = 0; m < j->n_results; m++)
        if (j->results[m].has_linears && j->results[m].all.n)
            plot_linears(v, m, &all);
    page_grid_end(v->p);
    page_grid_of_lists(v->p);
    for (size_t m = 0; m < j->n_results; m++)
        if (j->results[m].has_linears && j->results[m].all.n)
            worst_linears(v, m);
    page_grid_end(v->p);
}

/* ---- load ---- */

/* A model's experts, where the plot has them. */
struct load_of {
    const struct judge_load *load;
    int *const *experts; /* [layer][e]: the column; NULL: e */
    const char *name;
    size_t n_cols, n_rows;
};

static size_t columns_of(const struct judge_load *l)
{
    int n = 0;
    for (int i = 0; i < l->n_layers; i++)
        n = l->n_experts[i] > n ? l->n_experts[i] : n;
    return (size_t)n;
}

static size_t rows_of(const struct judge_load *l)
{
    struct load_figures f;
    size_t n = 0;
    for (int i = 0; i < l->n_layers; i++) {
        judge_load_figures(&f, l, i);
        n += f.choices != 0;
    }
    return n;
}

/* Of the even share: none, up to 1/4, 1/2, 1, 2, 4 times, above. */
static unsigned char load_class(uint64_t tokens, const struct load_figures *f)
{
    static const double limits[] = {0.25, 0.5, 1, 2, 4};
    const double ratio = (double)tokens / (double)f->choices / f->even;
    unsigned char c = 1;
    if (!tokens)
        return 0;
    while (c <= 5 && ratio > limits[c - 1])
        c++;
    return c;
}

static void fill_row(unsigned char *row, const struct load_of *o, int layer,
                     const struct load_figures *f)
{
    memset(row, SVG_NO_CELL, o->n_cols);
    for (int e = 0; e < f->n_experts; e++) {
        const int at = o->experts ? o->experts[layer][e] : e;
        if (at >= 0 && (size_t)at < o->n_cols)
            row[at] = load_class(o->load->tokens[layer][e], f);
    }
}

static void describe_load(char *out, size_t size, const struct load_of *o)
{
    struct load_figures f, most = {0};
    int layer = 0, unused = 0;
    char text[NUMBER_TEXT];
    for (int i = 0; i < o->load->n_layers; i++) {
        judge_load_figures(&f, o->load, i);
        unused += f.n_unused;
        if (f.choices && f.most * f.n_experts > most.most * most.n_experts) {
            most = f;
            layer = i;
        }
    }
    snprintf(
        out, size,
        "Rows are layers, columns experts. The busiest of all is expert %d of layer %d with %s "
        "%% of its layer; %d got no token.",
        most.busiest, layer, number_fixed(text, 100 * most.most, 1, 0), unused);
}

static void plot_load(const struct page_view *v, const struct load_of *o)
{
    static const char *const classes[] = {
        "none",           "\xe2\x89\xa4 \xc2\xbc", "\xe2\x89\xa4 \xc2\xbd", "\xe2\x89\xa4 1",
        "\xe2\x89\xa4 2", "\xe2\x89\xa4 4",        "> 4 \xc3\x97"};
    unsigned char *cells = arena_calloc(&v->p->arena, o->n_rows, o->n_cols, &v->p->failed);
    int *rows = arena_calloc(&v->p->arena, o->n_rows, sizeof *rows, &v->p->failed);
    char words[256];
    size_t n = 0;
    if (!cells || !rows)
        return;
    for (int i = 0; i < o->load->n_layers && n < o->n_rows; i++) {
        struct load_figures f;
        judge_load_figures(&f, o->load, i);
        if (!f.choices)
            continue;
        fill_row(cells + n * o->n_cols, o, i, &f);
        rows[n++] = i;
    }
    describe_load(words, sizeof words, o);
    const struct svg_heat plot = {.id = page_plot_id(v->p),
                                  .title = "Share of tokens by expert and layer",
                                  .words = words,
                                  .x_title =
                                      o->experts ? "expert, numbered as in the original" : "expert",
                                  .y_title = "layer",
                                  .cells = cells,
                                  .rows = rows,
                                  .n_rows = n,
                                  .n_cols = o->n_cols,
                                  .classes = classes,
                                  .n_classes = SVG_HEAT_CLASSES};
    page_figure(v->p, o->name,
                o->experts
                    ? "Tokens of each expert, as a multiple of the even share of its layer; "
                      "blank: removed."
                    : "Tokens of each expert, as a multiple of the even share of its layer.");
    svg_heat(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void table_load(const struct page_view *v, const struct load_of *o)
{
    static const char *const columns[] = {"Layer",  "Choices",    "Busiest expert",
                                          "has, %", "times even", "Experts without a token"};
    char text[300];
    snprintf(text, sizeof text, "%.250s: load of experts by layer", o->name);
    page_table(v->p, text, columns, 6);
    for (int i = 0; i < o->load->n_layers; i++) {
        struct load_figures f;
        judge_load_figures(&f, o->load, i);
        if (!f.choices)
            continue;
        snprintf(text, sizeof text, "%d", i);
        page_row(v->p, text);
        page_count(v->p, f.choices);
        page_count(v->p, (uint64_t)f.busiest);
        page_value(v->p, f.most, &shares);
        page_value(v->p, f.most / f.even, &times);
        page_count(v->p, (uint64_t)f.n_unused);
    }
    page_table_end(v->p);
}

void page_load(const struct page_view *v)
{
    const struct judgement *j = v->j;
    struct load_of all[JUDGE_MAX_MODELS + 1];
    size_t n = 0, cells = 0, left_out = 0;
    if (j->has_original)
        all[n++] = (struct load_of){.load = &j->original_load, .name = v->original};
    for (size_t m = 0; m < j->n_results; m++) {
        const struct judge_result *r = &j->results[m];
        const int mapped = r->model.matrices.experts && r->knows_experts;
        all[n++] = (struct load_of){.load = &r->load,
                                    .experts = mapped ? r->model.matrices.experts : NULL,
                                    .name = v->names[m]};
    }
    for (size_t i = 0; i < n; i++) {
        all[i].n_rows = rows_of(all[i].load);
        all[i].n_cols = all[i].experts ? columns_of(&j->original_load) : columns_of(all[i].load);
        cells += all[i].n_rows * all[i].n_cols;
    }
    if (!cells)
        return;
    page_section(v->p, "load", "What experts get to do");
    page_say(v->p, "How many of the text\xe2\x80\x99s tokens go to which expert. Even is the same "
                   "number for all experts of a layer.");
    page_grid(v->p);
    cells = 0;
    for (size_t i = 0; i < n; i++) {
        cells += all[i].n_rows * all[i].n_cols;
        if (i && cells > MOST_CELLS)
            left_out++;
        else if (all[i].n_rows)
            plot_load(v, &all[i]);
    }
    page_grid_end(v->p);
    if (left_out)
        page_say(v->p,
                 "%zu maps are left out, so that the page stays small; --json has all counts.",
                 left_out);
    page_fold(v->p, "The same as tables");
    for (size_t i = 0; i < n; i++)
        if (all[i].n_rows)
            table_load(v, &all[i]);
    page_fold_end(v->p);
}

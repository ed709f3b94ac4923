/* SPDX-License-Identifier: MIT */
/* Which experts went, and how much of the original's saliency stayed; texts side by side. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libprep/release/page_judge.h"

static const struct page_form shares = {2, 0, 100}, ratios = {3, 0, 1};

static const char *const share_names[JUDGE_CUT_SHARES] = {"saliency", "tokens routed",
                                                          "gate weight", "mean saliency"};

/* ---- the cut ---- */

static int columns_of(const struct judge_cut *c)
{
    int n = 0;
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct judge_cut_layer *l = &c->layers[i];
        const int last = l->n_kept ? l->kept[l->n_kept - 1] + 1 : 0;
        n = l->n_before > n ? l->n_before : n;
        n = last > n ? last : n;
    }
    return n;
}

static void plot_map(const struct page_view *v, const struct judge_cut *c)
{
    static const char *const classes[] = {"removed", NULL, NULL, NULL, "kept"};
    const size_t n_cols = (size_t)columns_of(c);
    unsigned char *cells = arena_calloc(&v->p->arena, c->n_layers, n_cols, &v->p->failed);
    int *rows = arena_calloc(&v->p->arena, c->n_layers, sizeof *rows, &v->p->failed);
    uint64_t kept = 0, before = 0;
    char words[160];
    if (!cells || !rows)
        return;
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct judge_cut_layer *l = &c->layers[i];
        const size_t n = l->n_before ? (size_t)l->n_before : n_cols;
        rows[i] = l->layer;
        memset(cells + i * n_cols + n, SVG_NO_CELL, n_cols - n);
        for (int k = 0; k < l->n_kept; k++)
            cells[i * n_cols + (size_t)l->kept[k]] = 4;
        kept += (uint64_t)l->n_kept;
        before += n;
    }
    snprintf(words, sizeof words,
             "Rows are layers, columns experts of the unpruned model. Of %" PRIu64
             " experts %" PRIu64 " stay.",
             before, kept);
    const struct svg_heat plot = {.id = page_plot_id(v->p),
                                  .title = "Experts kept and removed",
                                  .words = words,
                                  .x_title = "expert of the unpruned model",
                                  .y_title = "layer",
                                  .cells = cells,
                                  .rows = rows,
                                  .n_rows = c->n_layers,
                                  .n_cols = n_cols,
                                  .classes = classes,
                                  .n_classes = sizeof classes / sizeof *classes};
    page_figure(v->p, "Experts kept and removed", "Layer by layer.");
    svg_heat(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void plot_shares(const struct page_view *v, const struct judge_cut *c, int colour)
{
    struct svg_series series[JUDGE_CUT_SHARES];
    const size_t n = c->n_layers;
    size_t n_series = 0;
    double *at = arena_calloc(&v->p->arena, n, sizeof *at, &v->p->failed);
    if (!at)
        return;
    for (size_t i = 0; i < n; i++)
        at[i] = c->layers[i].layer;
    for (int k = 0; k < JUDGE_CUT_SHARES; k++) {
        double *y = arena_calloc(&v->p->arena, n, sizeof *y, &v->p->failed);
        int any = 0;
        if (!y)
            return;
        for (size_t i = 0; i < n; i++) {
            y[i] = 100 * c->layers[i].share[k];
            any |= isfinite(y[i]);
        }
        if (any)
            series[n_series++] = (struct svg_series){share_names[k], colour, k, y, NULL, NULL};
    }
    const struct svg_lines plot = {.id = page_plot_id(v->p),
                                   .title = "What the kept experts hold",
                                   .x = {.title = "layer", .whole = 1},
                                   .y = {.title = "kept, %", .low = 100, .high = 100},
                                   .at = at,
                                   .n = n,
                                   .series = series,
                                   .n_series = n_series};
    page_figure(v->p, "What the kept experts hold, %",
                "Their share of what all experts of the layer had on the observed text.");
    svg_lines(&v->p->body, &plot);
    page_figure_end(v->p);
}

/* "0, 3, 7": those not kept. */
static void removed_cell(struct page *p, const struct judge_cut_layer *l)
{
    int k = 0, any = 0;
    page_cell_open(p, "ids");
    for (int e = 0; e < l->n_before; e++) {
        if (k < l->n_kept && l->kept[k] == e) {
            k++;
            continue;
        }
        html_textf(&p->body, any ? ", %d" : "%d", e);
        any = 1;
    }
    if (!any)
        html_text(&p->body, l->n_before ? "none" : "not known");
    page_cell_close(p);
}

static void scores_of(struct page *p, const struct judge_cut_layer *l)
{
    page_value(p, l->share[0], &shares);
    page_value(p, l->ratio, &ratios);
    page_value(p, l->jaccard, &ratios);
    if (l->n_never_routed < 0)
        page_value(p, (double)NAN, &ratios);
    else
        page_count(p, (uint64_t)l->n_never_routed);
}

static void table_layers(const struct page_view *v, const struct judge_cut *c)
{
    static const char *const columns[] = {
        "Layer",      "Kept",         "of",         "Saliency kept, %", "Last kept / first removed",
        "Runs agree", "Never routed", "Decided by", "Removed"};
    static const char *const without[] = {"Layer", "Kept", "of", "Decided by", "Removed"};
    page_table(v->p,
               "The cut, layer by layer; experts under the unpruned model\xe2\x80\x99s numbers",
               c->has_scores ? columns : without, c->has_scores ? 9 : 5);
    for (size_t i = 0; i < c->n_layers; i++) {
        const struct judge_cut_layer *l = &c->layers[i];
        char text[16];
        snprintf(text, sizeof text, "%d", l->layer);
        page_row(v->p, text);
        page_count(v->p, (uint64_t)l->n_kept);
        page_count(v->p, (uint64_t)l->n_before);
        if (c->has_scores)
            scores_of(v->p, l);
        page_cell(v->p, l->origin);
        removed_cell(v->p, l);
    }
    page_table_end(v->p);
}

static void say_passes(const struct page_view *v, const struct judge_cut *c)
{
    char text[NUMBER_TEXT];
    for (size_t i = 0; i < c->map->n_passes; i++) {
        const struct keep_pass *x = &c->map->passes[i];
        uint64_t tokens = 0;
        for (size_t k = 0; k < x->n_runs; k++)
            tokens += x->runs[k].tokens;
        if (x->n_runs)
            page_say(v->p,
                     "%d to %d experts by %s, pooled by %s over %zu observation run%s with %s "
                     "tokens.",
                     x->from, x->to, x->metric ? x->metric : "an unnamed metric",
                     x->pool ? x->pool : "no rule", x->n_runs, x->n_runs == 1 ? "" : "s",
                     number_count(text, tokens));
        else
            page_say(v->p, "%d to %d experts by an explicit list.", x->from, x->to);
    }
    if (isfinite(c->mean_dropped_share))
        page_say(v->p, "The removed experts held %s %% of the saliency, in the mean over layers.",
                 number_fixed(text, 100 * c->mean_dropped_share, 2, 0));
}

void page_cut(const struct page_view *v)
{
    size_t any = 0;
    for (size_t m = 0; m < v->j->n_results; m++)
        any += v->j->results[m].cut.n_layers;
    if (!any)
        return;
    page_section(v->p, "cut", "Which experts went");
    for (size_t m = 0; m < v->j->n_results; m++) {
        const struct judge_cut *c = &v->j->results[m].cut;
        if (!c->n_layers)
            continue;
        page_heading(v->p, v->names[m]);
        say_passes(v, c);
        page_grid(v->p);
        plot_map(v, c);
        if (c->has_scores)
            plot_shares(v, c, (int)m + 1);
        page_grid_end(v->p);
        table_layers(v, c);
    }
}

/* ---- texts ---- */

/* Bytes that a text has in common with the first, whole characters. */
static size_t common(const struct judge_text_made *a, const struct judge_text_made *b)
{
    size_t n = 0;
    while (n < a->n_text && n < b->n_text && a->text[n] == b->text[n])
        n++;
    while (n > 0 && n < a->n_text && (a->text[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static void one_text(struct page *p, const char *name, const struct judge_text_made *made, size_t i)
{
    struct html *h = &p->body;
    const size_t same = i ? common(&made[i], &made[0]) : made[i].n_text;
    html_open(h, "article");
    html_leaf(h, "h3", name);
    html_open(h, "p");
    html_textf(h, "%zu tokens", made[i].n);
    if (i && made[i].same == made[0].n && made[i].same == made[i].n)
        html_text(h, ", all as the first");
    else if (i)
        html_textf(h, ", the first %zu as the first text; marked from where it departs",
                   made[i].same);
    html_close(h);
    html_open(h, "pre");
    html_attr(h, "dir", "auto");
    html_text_n(h, made[i].text, same);
    if (same < made[i].n_text) {
        html_open(h, "span");
        html_attr(h, "class", "departs");
        html_text_n(h, made[i].text + same, made[i].n_text - same);
        html_close(h);
    }
    html_close(h);
    html_close(h);
}

void page_texts(struct page *p, const char *prompt, const struct judge_text_made *made, size_t n)
{
    const char *paths[JUDGE_MAX_MODELS + 1];
    if (n == 0 || n > JUDGE_MAX_MODELS + 1)
        return;
    for (size_t i = 0; i < n; i++)
        paths[i] = made[i].path;
    const char **names = page_names(p, paths, n);
    if (!names)
        return;
    if (!p->title)
        page_title(p, n == 1 ? "Text from %s" : "Texts from %s and others", names[0]);
    page_section(p, "texts", "What the models write");
    page_say(p, "The most likely token, one after the other, after this prompt:");
    html_open(&p->body, "pre");
    html_attr(&p->body, "dir", "auto");
    html_text(&p->body, prompt);
    html_close(&p->body);
    html_open(&p->body, "div");
    html_attr(&p->body, "class", "texts");
    for (size_t i = 0; i < n; i++)
        one_text(p, names[i], made, i);
    html_close(&p->body);
}

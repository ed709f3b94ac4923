/* SPDX-License-Identifier: MIT */
/* KL over positions and sizes, errors over layers, differences of pairs. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libprep/release/page_judge.h"

static const struct page_form errors = {6, 0, 1}, shares = {2, 0, 100}, differences = {6, 1, 1};

/* ---- KL ---- */

struct curve {
    double *y, *low, *high;
};

static int alloc_curve(struct page *p, struct curve *c, size_t n)
{
    c->y = arena_calloc(&p->arena, 3 * n, sizeof *c->y, &p->failed);
    if (!c->y)
        return -1;
    c->low = c->y + n;
    c->high = c->low + n;
    return 0;
}

static void plot_positions(const struct page_view *v)
{
    struct svg_series series[JUDGE_MAX_MODELS];
    const struct judgement *j = v->j;
    const size_t n = j->results[0].spread.n_positions;
    double *at = arena_calloc(&v->p->arena, n, sizeof *at, &v->p->failed);
    double *all = arena_calloc(&v->p->arena, n * j->n_results, sizeof *all, &v->p->failed);
    if (!at || !all)
        return;
    for (size_t m = 0; m < j->n_results; m++) {
        struct curve c;
        if (alloc_curve(v->p, &c, n))
            return;
        for (size_t i = 0; i < n; i++) {
            const struct spread_position *p = &j->results[m].spread.positions[i];
            at[i] = ((double)p->first + (double)p->last) / 2;
            all[m * n + i] = c.y[i] = p->kl.mean;
            c.low[i] = p->kl.low;
            c.high[i] = p->kl.high;
        }
        series[m] = (struct svg_series){v->names[m], (int)m + 1, (int)m, c.y, c.low, c.high};
    }
    const int log = page_spans_decades(all, n * j->n_results);
    const struct svg_lines plot = {.id = page_plot_id(v->p),
                                   .title = "KL by position in the window",
                                   .x = {.title = "position in the window, tokens",
                                         .whole = 1,
                                         .low = 0,
                                         .high = (double)j->text.window},
                                   .y = {.title = "KL, nats", .log = log, .from_zero = 1},
                                   .at = at,
                                   .n = n,
                                   .series = series,
                                   .n_series = j->n_results};
    page_figure(v->p, "KL by position, nats",
                "Mean over stretches of the windows; the band is the 95 % interval over windows.");
    svg_lines(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void plot_sizes(const struct page_view *v)
{
    struct svg_series series[JUDGE_MAX_MODELS];
    const struct judgement *j = v->j;
    int first = SPREAD_SIZES, last = 0;
    for (size_t m = 0; m < j->n_results; m++)
        for (int i = 0; i < SPREAD_SIZES; i++)
            if (j->results[m].spread.sizes[i]) {
                first = i < first ? i : first;
                last = i > last ? i : last;
            }
    const size_t n = first > last ? 0 : (size_t)(last - first) + 1;
    double *at = arena_calloc(&v->p->arena, n + 1, sizeof *at, &v->p->failed);
    if (!at || !n)
        return;
    for (size_t i = 0; i <= n; i++)
        at[i] = spread_edge(first + (int)i);
    for (size_t m = 0; m < j->n_results; m++) {
        const struct judge_spread *s = &j->results[m].spread;
        double *y = arena_calloc(&v->p->arena, n, sizeof *y, &v->p->failed);
        if (!y)
            return;
        for (size_t i = 0; i < n; i++)
            y[i] = 100 * (double)s->sizes[(size_t)first + i] / (double)s->n_rows;
        series[m] = (struct svg_series){v->names[m], (int)m + 1, (int)m, y, NULL, NULL};
    }
    const struct svg_lines plot = {.id = page_plot_id(v->p),
                                   .title = "How KL is spread over tokens",
                                   .x = {.title = "KL of a token, nats", .log = 1},
                                   .y = {.title = "share of tokens, %", .from_zero = 1},
                                   .at = at,
                                   .n = n,
                                   .steps = 1,
                                   .series = series,
                                   .n_series = j->n_results};
    page_figure(v->p, "KL of single tokens, % of them",
                first ? "Four steps to a power of ten."
                      : "Four steps to a power of ten; the first holds all below, 0 as well.");
    svg_lines(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void table_sizes(const struct page_view *v)
{
    static const char *const columns[] = {"Model", "Mean",    "50 %",     "90 %",
                                          "99 %",  "Largest", "Exactly 0"};
    const struct judgement *j = v->j;
    page_table(v->p, "KL of single tokens, nats: so many are below", columns, 7);
    for (size_t i = 0; i < j->n_results; i++) {
        const struct judge_series *s = &j->results[i].free;
        const double points[] = {s->kl.mean, s->kl_p50, s->kl_p90, s->kl_p99, s->kl_max};
        page_row(v->p, v->names[i]);
        for (size_t k = 0; k < sizeof points / sizeof *points; k++)
            page_value(v->p, points[k], &errors);
        page_count(v->p, j->results[i].spread.n_zero);
    }
    page_table_end(v->p);
}

void page_spread(const struct page_view *v)
{
    page_section(v->p, "kl", "Where KL comes from");
    page_say(v->p, "KL divergence says how far the next token\xe2\x80\x99s probabilities are from "
                   "the original\xe2\x80\x99s; 0 is no difference.");
    if (v->j->has_reference)
        page_say(v->p, "Judged by a saved reference: figures of KL are lower bounds.");
    page_key(v, 0);
    page_grid(v->p);
    plot_positions(v);
    plot_sizes(v);
    page_grid_end(v->p);
    table_sizes(v);
}

/* ---- layers ---- */

enum layer_figure { BLOCK, HIDDEN, FORCED, EXPERTS, POSITIONS, N_FIGURES };

static const struct {
    const char *title, *caption, *axis;
    int share;
} layer_figures[N_FIGURES] = {
    {"Error of each layer by itself",
     "From the original\xe2\x80\x99s input and with its choices, relative to what the layer adds.",
     "block error, share", 0},
    {"Hidden states, each model on its own way",
     "Squared distance from the original\xe2\x80\x99s, relative to their square, after the layer.",
     "hidden-state error, share", 0},
    {"Hidden states with the original\xe2\x80\x99s choices",
     "The same, experts and positions as the original takes them: the weights alone.",
     "hidden-state error, share", 0},
    {"Experts shared with the original",
     "How much of the router\xe2\x80\x99s choices agrees; a removed expert cannot.",
     "same experts, %", 1},
    {"Positions shared with the original", "How much of the indexer\xe2\x80\x99s choices agrees.",
     "same positions, %", 1},
};

static double layer_value(const struct judge_layer *l, enum layer_figure figure)
{
    switch (figure) {
    case BLOCK:
        return l->block_error;
    case HIDDEN:
        return l->hidden_error;
    case FORCED:
        return l->forced_error;
    case EXPERTS:
        return l->expert_share;
    default:
        return l->position_share;
    }
}

static void plot_layers(const struct page_view *v, enum layer_figure figure)
{
    struct svg_series series[JUDGE_MAX_MODELS];
    const struct judgement *j = v->j;
    const size_t n = (size_t)j->results[0].layers.n_layers;
    const int share = layer_figures[figure].share;
    size_t n_series = 0, zeros = 0;
    double *at = arena_calloc(&v->p->arena, n, sizeof *at, &v->p->failed);
    double *all = arena_calloc(&v->p->arena, n * j->n_results, sizeof *all, &v->p->failed);
    if (!at || !all)
        return;
    for (size_t m = 0; m < j->n_results; m++) {
        double *y = all + n * n_series;
        int any = 0;
        for (size_t i = 0; i < n; i++) {
            at[i] = (double)i;
            y[i] = layer_value(&j->results[m].at[i], figure) * (share ? 100 : 1);
            any |= isfinite(y[i]);
            zeros += y[i] == 0;
        }
        if (any)
            series[n_series++] =
                (struct svg_series){v->names[m], (int)m + 1, (int)m, y, NULL, NULL};
    }
    if (!n_series)
        return;
    const int log = !share && page_spans_decades(all, n * n_series);
    const struct svg_lines plot = {
        .id = page_plot_id(v->p),
        .title = layer_figures[figure].title,
        .x = {.title = "layer", .whole = 1, .low = 0, .high = (double)n - 1},
        .y = {.title = layer_figures[figure].axis,
              .log = log,
              .from_zero = !share,
              .low = share ? 100 : 0,
              .high = share ? 100 : 0},
        .at = at,
        .n = n,
        .series = series,
        .n_series = n_series};
    char caption[256];
    snprintf(caption, sizeof caption, "%s%s", layer_figures[figure].caption,
             log && zeros ? " Hollow marks on the lower edge: 0." : "");
    page_figure(v->p, layer_figures[figure].title, caption);
    svg_lines(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void plot_layers_kl(const struct page_view *v)
{
    struct svg_series series[JUDGE_MAX_MODELS];
    const struct judgement *j = v->j;
    const size_t n = (size_t)j->results[0].layers.n_layers;
    size_t zeros = 0;
    double *at = arena_calloc(&v->p->arena, n, sizeof *at, &v->p->failed);
    double *all = arena_calloc(&v->p->arena, n * j->n_results, sizeof *all, &v->p->failed);
    if (!at || !all || !j->results[0].layers.has_kl)
        return;
    for (size_t m = 0; m < j->n_results; m++) {
        struct curve c;
        if (alloc_curve(v->p, &c, n))
            return;
        for (size_t i = 0; i < n; i++) {
            const struct bootstrap_interval *kl = &j->results[m].at[i].kl;
            at[i] = (double)i;
            all[m * n + i] = c.y[i] = kl->mean;
            c.low[i] = kl->low;
            c.high[i] = kl->high;
            zeros += kl->mean == 0;
        }
        series[m] = (struct svg_series){v->names[m], (int)m + 1, (int)m, c.y, c.low, c.high};
    }
    const int log = page_spans_decades(all, n * j->n_results);
    const struct svg_lines plot = {
        .id = page_plot_id(v->p),
        .title = "KL by layer",
        .x = {.title = "layer", .whole = 1, .low = 0, .high = (double)n - 1},
        .y = {.title = "KL, nats", .log = log, .from_zero = 1},
        .at = at,
        .n = n,
        .series = series,
        .n_series = j->n_results};
    char caption[256];
    snprintf(
        caption, sizeof caption,
        "After the layer, through each model\xe2\x80\x99s own final norm and lm_head; the band "
        "is the 95 %% interval over windows. The last layer is the KL of the model.%s",
        log && zeros ? " Hollow marks on the lower edge: 0." : "");
    page_figure(v->p, "KL by layer, nats", caption);
    svg_lines(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void table_layers(const struct page_view *v, size_t m)
{
    static const char *const columns[] = {"Layer",
                                          "Block error",
                                          "Hidden error",
                                          "With original\xe2\x80\x99s choices",
                                          "Experts shared, %",
                                          "Positions shared, %",
                                          "KL, nats"};
    const struct judge_result *r = &v->j->results[m];
    const int has_kl = r->layers.has_kl;
    char text[300];
    snprintf(text, sizeof text, "%.250s, layer by layer", v->names[m]);
    page_table(v->p, text, columns, has_kl ? 7 : 6);
    for (int i = 0; i < r->layers.n_layers; i++) {
        snprintf(text, sizeof text, "%d", i);
        page_row(v->p, text);
        for (int k = 0; k < N_FIGURES; k++)
            page_value(v->p, layer_value(&r->at[i], (enum layer_figure)k),
                       layer_figures[k].share ? &shares : &errors);
        if (has_kl)
            page_value(v->p, r->at[i].kl.mean, &errors);
    }
    page_table_end(v->p);
}

void page_layers(const struct page_view *v)
{
    page_section(v->p, "layers", "Layer by layer");
    page_say(v->p, "Where the models leave the original, and by how much.");
    page_key(v, 0);
    page_grid(v->p);
    for (int k = 0; k < N_FIGURES; k++)
        plot_layers(v, (enum layer_figure)k);
    plot_layers_kl(v);
    page_grid_end(v->p);
    page_fold(v->p, "The same as tables");
    for (size_t m = 0; m < v->j->n_results; m++)
        table_layers(v, m);
    page_fold_end(v->p);
}

/* ---- pairs ---- */

static void plot_pairs(const struct page_view *v)
{
    enum { MOST = JUDGE_MAX_MODELS * (JUDGE_MAX_MODELS - 1) / 2 };
    const struct judgement *j = v->j;
    struct svg_row rows[MOST];
    char names[MOST][256], texts[MOST][NUMBER_TEXT];
    size_t n = 0;
    for (size_t i = 0; i < j->n_pairs && n < MOST; i++) {
        const struct judge_pair *p = &j->pairs[i];
        const int forced = !isnan(p->forced_kl.mean);
        const struct bootstrap_interval *x = forced ? &p->forced_kl : &p->kl;
        char a[NUMBER_TEXT * 4], b[NUMBER_TEXT * 4];
        snprintf(names[n], sizeof names[n], "%.100s \xe2\x88\x92 %.100s%s",
                 svg_short_name(a, v->names[p->a], 18), svg_short_name(b, v->names[p->b], 18),
                 forced ? "" : " (free)");
        number_fixed(texts[n], x->mean, 5, 1);
        rows[n] = (struct svg_row){names[n], texts[n], 0, x->mean, x->low, x->high};
        n++;
    }
    const struct svg_rows plot = {.id = page_plot_id(v->p),
                                  .title = "Differences of KL between pairs of models",
                                  .x = {.title = "difference of KL, nats"},
                                  .zero = 1,
                                  .rows = rows,
                                  .n = n};
    page_grid(v->p);
    page_figure(v->p, "Difference of KL, first minus second, nats",
                "Left of 0 the first is nearer to the original, right of it the second. With the "
                "original\xe2\x80\x99s choices where both models can take them.");
    svg_rows(&v->p->body, &plot);
    page_figure_end(v->p);
    page_grid_end(v->p);
}

static const char *pair_words(const struct judge_pair *p)
{
    if (!p->better)
        return "no claim that one is better";
    if (p->better < 0)
        return p->end_to_end ? "the first is better, end to end too" : "the first is better";
    return p->end_to_end ? "the second is better, end to end too" : "the second is better";
}

static void pair_cell(struct page *p, const struct judge_series *s,
                      const struct bootstrap_interval *x)
{
    static const char *const words[] = {"the second is lower", "the first is lower",
                                        "not distinguishable"};
    char text[NUMBER_TEXT];
    if (isnan(x->mean)) {
        page_cell(p, "not measured");
        return;
    }
    struct html *h = &p->body;
    page_cell_open(p, "number");
    html_text(h, number_fixed(text, x->mean, differences.digits, 1));
    html_open(h, "small");
    html_text(h, number_fixed(text, x->low, differences.digits, 1));
    html_text(h, " to ");
    html_text(h, number_fixed(text, x->high, differences.digits, 1));
    html_close(h);
    html_leaf(h, "small", page_claim(s, x, words));
    page_cell_close(p);
}

void page_pairs(const struct page_view *v)
{
    static const char *const judged[] = {"Pair, first minus second",
                                         "KL, original\xe2\x80\x99s choices",
                                         "KL",
                                         "Nats per token",
                                         "NMSE, ratio",
                                         "Verdict"};
    static const char *const alone[] = {"Pair, first minus second", "Nats per token"};
    const struct judgement *j = v->j;
    const int is_judged = j->has_original || j->has_reference;
    const struct page_form ratio = {4, 0, 1};
    page_section(v->p, "pairs", "Models in pairs");
    page_say(v->p, "Compared on the same windows. Two figures differ when the interval of their "
                   "difference does not hold 0.");
    if (is_judged)
        plot_pairs(v);
    page_table(v->p, "Differences with their 95 % intervals", is_judged ? judged : alone,
               is_judged ? 6 : 2);
    for (size_t i = 0; i < j->n_pairs; i++) {
        const struct judge_pair *p = &j->pairs[i];
        const struct judge_series *s = &j->results[p->a].free;
        char name[512];
        snprintf(name, sizeof name, "%.240s, %.240s", v->names[p->a], v->names[p->b]);
        page_row(v->p, name);
        if (is_judged) {
            pair_cell(v->p, s, &p->forced_kl);
            pair_cell(v->p, s, &p->kl);
        }
        pair_cell(v->p, s, &p->nll);
        if (is_judged) {
            page_value(v->p, p->geometric_ratio, &ratio);
            page_cell(v->p, pair_words(p));
        }
    }
    page_table_end(v->p);
}

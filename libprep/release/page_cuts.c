/* SPDX-License-Identifier: MIT */
/* Cuts beside random ones of their size, as sections of a page. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "libprep/release/page_probe.h"

static const struct page_form nats = {5, 0, 1}, differences = {5, 1, 1}, chances = {3, 0, 1};

struct shown {
    struct page *p;
    const struct cuts *c;
    const char **names; /* of cuts */
};

static const char *size_name(const struct shown *v, const struct cuts_size *s)
{
    return s->least == s->most
               ? arena_printf(&v->p->arena, &v->p->failed, "%d experts", s->most)
               : arena_printf(&v->p->arena, &v->p->failed, "%d to %d experts", s->least, s->most);
}

static const char *claim(const struct cuts *c, const struct judged_cut *cut)
{
    if (c->n_draws == 0)
        return "";
    if (c->text.n_windows < JUDGE_LEAST_WINDOWS)
        return "too few windows to tell";
    return cut->better_than_random ? "better than random" : "not shown to be better than random";
}

static void plot(const struct shown *v, size_t size, const char *name)
{
    const struct cuts *c = v->c;
    const struct cuts_size *s = &c->sizes[size];
    struct svg_row *rows = arena_calloc(&v->p->arena, c->n_cuts + 1, sizeof *rows, &v->p->failed);
    size_t n = 0;
    for (size_t i = 0; rows && i < c->n_cuts; i++) {
        const struct bootstrap_interval *x = &c->cuts[i].line.series.more_nll;
        if (c->cuts[i].size == size)
            rows[n++] = (struct svg_row){.name = v->names[i],
                                         .text = "",
                                         .colour = 1 + (int)(i % (SVG_COLOURS - 1)),
                                         .value = x->mean,
                                         .low = x->low,
                                         .high = x->high};
    }
    if (!rows)
        return;
    if (c->n_draws)
        rows[n++] = (struct svg_row){.name = "random: lowest, mean, highest",
                                     .text = "",
                                     .value = s->mean,
                                     .low = s->lowest,
                                     .high = s->highest};
    const struct svg_rows p = {.id = page_plot_id(v->p),
                               .title = name,
                               .x = {.title = "more nats per token than the original"},
                               .zero = 1,
                               .rows = rows,
                               .n = n};
    page_figure(v->p, "Loss",
                "Cuts with the 95 % interval of their increase; draws with their range.");
    svg_rows(&v->p->body, &p);
    page_figure_end(v->p);
}

static void table(const struct shown *v, size_t size)
{
    static const char *const columns[] = {"cut", "nats per token", "increase [95 %]", "KL", "rank",
                                          "p",   "claim"};
    const struct cuts *c = v->c;
    page_table(v->p, "Cuts", columns, c->n_draws ? 7 : 4);
    for (size_t i = 0; i < c->n_cuts; i++) {
        const struct judged_cut *cut = &c->cuts[i];
        const struct judge_series *s = &cut->line.series;
        if (cut->size != size)
            continue;
        page_row(v->p, v->names[i]);
        page_value(v->p, s->nll.mean, &nats);
        page_interval(v->p, &s->more_nll, &differences);
        page_value(v->p, s->kl.mean, &nats);
        if (c->n_draws) {
            page_count(v->p, cut->rank);
            page_value(v->p, cut->p, &chances);
            page_cell(v->p, claim(c, cut));
        }
    }
    page_table_end(v->p);
}

static void draws(const struct shown *v, const struct cuts_size *s)
{
    static const char *const columns[] = {"random cuts", "mean", "deviation", "lowest", "highest"};
    char name[32];
    snprintf(name, sizeof name, "%zu", v->c->n_draws);
    page_table(v->p, "Increase of the draws", columns, 5);
    page_row(v->p, name);
    page_value(v->p, s->mean, &differences);
    page_value(v->p, s->deviation, &nats);
    page_value(v->p, s->lowest, &differences);
    page_value(v->p, s->highest, &differences);
    page_table_end(v->p);
}

static void pairs(const struct shown *v)
{
    static const char *const columns[] = {"first, second", "nats, first - second [95 %]",
                                          "KL, first - second [95 %]"};
    page_section(v->p, "pairs", "In pairs");
    page_say(v->p, "%s", "Cuts of one size on the same windows.");
    page_table(v->p, "Differences", columns, 3);
    for (size_t i = 0; i < v->c->n_pairs; i++) {
        const struct cuts_pair *x = &v->c->pairs[i];
        const char *name =
            arena_printf(&v->p->arena, &v->p->failed, "%s, %s", v->names[x->a], v->names[x->b]);
        if (!name)
            return;
        page_row(v->p, name);
        page_interval(v->p, &x->nll, &differences);
        page_interval(v->p, &x->kl, &differences);
    }
    page_table_end(v->p);
}

static void head(const struct shown *v)
{
    const struct cuts *c = v->c;
    size_t better = 0;
    for (size_t i = 0; i < c->n_cuts; i++)
        better += (size_t)(c->cuts[i].better_than_random != 0);
    page_title(v->p, c->n_cuts == 1 ? "A cut of %s" : "Cuts of %s", c->original.path);
    if (c->n_draws)
        page_verdict(v->p, better == c->n_cuts ? PAGE_GOOD : PAGE_OPEN,
                     "%zu of %zu shown to be better than random", better, c->n_cuts);
    page_remark(v->p,
                "%" PRIu64 " windows of %" PRIu64 " tokens; %zu random cuts of each size, seeds 1 "
                "to %zu",
                c->text.n_windows, c->text.window, c->n_draws, c->n_draws);
}

void page_cuts(struct page *p, const struct cuts *c)
{
    static const char *const ids[] = {"size", "sizeb", "sizec", "sized", "sizee", "sizef"};
    const char *paths[CUTS_MOST];
    for (size_t i = 0; i < c->n_cuts; i++)
        paths[i] = c->cuts[i].path;
    const struct shown v = {p, c, page_names(p, paths, c->n_cuts)};
    if (!v.names)
        return;
    head(&v);
    for (size_t i = 0; i < c->n_sizes; i++) {
        const char *name = size_name(&v, &c->sizes[i]);
        if (!name)
            return;
        if (i < sizeof ids / sizeof *ids)
            page_section(p, ids[i], name);
        else
            page_heading(p, name);
        plot(&v, i, name);
        table(&v, i);
        if (c->n_draws)
            draws(&v, &c->sizes[i]);
    }
    if (c->n_pairs)
        pairs(&v);
    page_fact(p, "Original", c->original.path);
    page_fact(p, "Text, SHA-256", c->text.sha256);
    page_fact(p, "Settings", c->settings);
}

/* SPDX-License-Identifier: MIT */
#include "libprep/release/page_probe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const struct page_form percent = {1, 0, 100}, chance = {4, 0, 1};

/* What a share is of. */
static const char *hit_word(enum probe_kind kind)
{
    return probe_wants_hits(kind) ? "right" : "looping";
}

static void share_cell(struct page *p, const struct probe_tally *t)
{
    const struct bootstrap_interval i = {t->rate.rate, t->rate.low, t->rate.high};
    if (t->n)
        page_interval(p, &i, &percent);
    else
        page_value(p, (double)NAN, &percent);
}

static const char *claim_of(const struct probe_tally *t)
{
    return isnan(t->p)    ? "nothing to compare with"
           : t->claim > 0 ? "better than the original"
           : t->claim < 0 ? "worse than the original"
                          : "not distinguishable";
}

/* ---- probes ---- */

static void probe_row(struct page *p, const struct probe_results *r, size_t m, enum probe_kind kind,
                      const char *const *names)
{
    const struct probe_tally *t = &r->models[m].kinds[kind];
    char text[400];
    snprintf(text, sizeof text, "%s, %.300s", probe_name(kind), names[m]);
    page_row(p, text);
    share_cell(p, t);
    snprintf(text, sizeof text, "%" PRIu64 " of %" PRIu64 " %s", t->hits, t->n, hit_word(kind));
    page_cell(p, text);
    if (r->has_original && m == 0) {
        page_cell(p, "the original");
        page_value(p, (double)NAN, &chance);
    } else {
        page_cell(p, claim_of(t));
        page_value(p, t->p, &chance);
    }
}

static void probe_table(struct page *p, const struct probe_results *r, const char *const *names)
{
    static const char *const columns[] = {"Probe, model", "%", "Answers", "Beside the original",
                                          "p"};
    page_table(p, "All answers of a probe, with Wilson\xe2\x80\x99s 95 % interval", columns, 5);
    for (int k = 0; k < PROBE_N_KINDS; k++)
        for (size_t m = 0; m < r->n_models; m++)
            if (r->models[m].kinds[k].n)
                probe_row(p, r, m, (enum probe_kind)k, names);
    page_table_end(p);
}

static void probe_plot(struct page *p, const struct probe_results *r, enum probe_kind kind,
                       const char *const *names)
{
    struct svg_row rows[PROBE_MOST_MODELS + 1];
    char texts[PROBE_MOST_MODELS + 1][NUMBER_TEXT], title[64];
    size_t n = 0;
    for (size_t m = 0; m < r->n_models && n <= PROBE_MOST_MODELS; m++) {
        const struct probe_tally *t = &r->models[m].kinds[kind];
        if (!t->n)
            continue;
        number_fixed(texts[n], 100 * t->rate.rate, 1, 0);
        rows[n] = (struct svg_row){.name = names[m],
                                   .text = texts[n],
                                   .colour = (int)(m + !r->has_original) % SVG_COLOURS,
                                   .value = 100 * t->rate.rate,
                                   .low = 100 * t->rate.low,
                                   .high = 100 * t->rate.high};
        n++;
    }
    if (!n)
        return;
    snprintf(title, sizeof title, "%s: %s, %%", probe_name(kind), hit_word(kind));
    const struct svg_rows plot = {
        .id = page_plot_id(p),
        .title = title,
        .x = {.title = probe_wants_hits(kind) ? "right answers, %" : "looping outputs, %",
              .low = 0,
              .high = 100},
        .rows = rows,
        .n = n};
    page_figure(p, title, "Share with its 95 % interval.");
    svg_rows(&p->body, &plot);
    page_figure_end(p);
}

static void group_table(struct page *p, const struct probe_results *r, const char *const *names)
{
    const char *columns[PROBE_MOST_MODELS + 3] = {"Group", "Cases"};
    size_t n = 2;
    for (size_t m = 0; m < r->n_models && m <= PROBE_MOST_MODELS; m++)
        columns[n++] = names[m];
    page_table(p, "Groups of cases, %", columns, n);
    for (size_t g = 0; g < r->suite.n_groups; g++) {
        const struct probe_group *group = &r->suite.groups[g];
        char text[128];
        snprintf(text, sizeof text, "%s: %s", probe_name(group->kind), group->name);
        page_row(p, text);
        page_count(p, group->n);
        for (size_t m = 0; m + 2 < n; m++)
            share_cell(p, &r->models[m].groups[g]);
    }
    page_table_end(p);
}

void page_probes(struct page *p, const struct probe_results *r)
{
    const char *paths[PROBE_MOST_MODELS + 1];
    if (r->n_models == 0 || r->n_models > PROBE_MOST_MODELS + 1)
        return;
    for (size_t m = 0; m < r->n_models; m++)
        paths[m] = r->models[m].path;
    const char **names = page_names(p, paths, r->n_models);
    if (!names)
        return;
    if (!p->title)
        page_title(p, "Probes of %s%s", names[r->has_original && r->n_models > 1],
                   r->n_models > 1 + (size_t)r->has_original ? " and others" : "");
    page_section(p, "probes", "Probes");
    page_say(p,
             "Each model answers the same cases. A difference from the original is claimed only by "
             "McNemar\xe2\x80\x99s exact test, p < 0.05.");
    probe_table(p, r, names);
    page_grid(p);
    for (int k = 0; k < PROBE_N_KINDS; k++)
        probe_plot(p, r, (enum probe_kind)k, names);
    page_grid_end(p);
    page_fold(p, "By group of cases");
    group_table(p, r, names);
    page_fold_end(p);
    page_fact_code(p, "Chat template", *r->chat_sha256 ? r->chat_sha256 : "none");
    for (size_t m = 0; m < r->n_models; m++)
        page_fact(p, r->has_original && m == 0 ? "Original" : "Model", paths[m]);
}

/* ---- cuts ---- */

static void cut_row(struct page *p, const struct cuts *c, size_t i, const char *name)
{
    const struct page_form nats = {5, 0, 1}, more = {5, 1, 1};
    const struct judged_cut *x = &c->cuts[i];
    const struct cuts_size *size = &c->sizes[x->size];
    char text[64];
    page_row(p, name);
    if (size->least == size->most)
        snprintf(text, sizeof text, "%d", size->least);
    else
        snprintf(text, sizeof text, "%d to %d", size->least, size->most);
    page_cell(p, text);
    page_interval(p, &x->line.series.more_nll, &more);
    page_interval(p, &x->line.series.kl, &nats);
    if (!c->n_draws)
        return;
    snprintf(text, sizeof text, "%zu of %zu draws as low or lower", x->rank, c->n_draws);
    page_cell(p, text);
    page_value(p, x->p, &chance);
    page_cell(p, x->better_than_random ? "better than random" : "not shown");
}

static void size_plot(struct page *p, const struct cuts *c, size_t size, const char *const *names)
{
    struct svg_row rows[CUTS_MOST + 1];
    char texts[CUTS_MOST + 1][NUMBER_TEXT], draws[64];
    const struct cuts_size *s = &c->sizes[size];
    size_t n = 0;
    for (size_t i = 0; i < c->n_cuts; i++) {
        const struct bootstrap_interval *x = &c->cuts[i].line.series.more_nll;
        if (c->cuts[i].size != size)
            continue;
        number_fixed(texts[n], x->mean, 5, 1);
        rows[n] = (struct svg_row){names[i], texts[n], 1 + (int)(n % (SVG_COLOURS - 1)),
                                   x->mean,  x->low,   x->high};
        n++;
    }
    if (c->n_draws) {
        snprintf(draws, sizeof draws, "%zu random draws: mean, lowest, highest", c->n_draws);
        number_fixed(texts[n], s->mean, 5, 1);
        rows[n] = (struct svg_row){draws, texts[n], 0, s->mean, s->lowest, s->highest};
        n++;
    }
    char title[64];
    if (s->least == s->most)
        snprintf(title, sizeof title, "%d experts of a layer", s->least);
    else
        snprintf(title, sizeof title, "%d to %d experts of a layer", s->least, s->most);
    const struct svg_rows plot = {.id = page_plot_id(p),
                                  .title = title,
                                  .x = {.title = "increase, nats per token"},
                                  .zero = 1,
                                  .rows = rows,
                                  .n = n};
    page_figure(p, title, "Increase over the unpruned model: cuts with their 95 % interval.");
    svg_rows(&p->body, &plot);
    page_figure_end(p);
}

static void pair_table(struct page *p, const struct cuts *c, const char *const *names)
{
    static const char *const columns[] = {"Pair, first minus second", "Nats per token", "KL"};
    const struct page_form more = {5, 1, 1};
    page_table(p, "Cuts of one size, in pairs", columns, 3);
    for (size_t i = 0; i < c->n_pairs; i++) {
        char text[512];
        snprintf(text, sizeof text, "%.240s, %.240s", names[c->pairs[i].a], names[c->pairs[i].b]);
        page_row(p, text);
        page_interval(p, &c->pairs[i].nll, &more);
        page_interval(p, &c->pairs[i].kl, &more);
    }
    page_table_end(p);
}

void page_cuts(struct page *p, const struct cuts *c)
{
    static const char *const columns[] = {
        "Cut", "Experts of a layer", "Increase, nats", "KL, nats", "Rank", "p", "Verdict"};
    const char *paths[CUTS_MOST];
    char text[512];
    if (c->n_cuts == 0 || c->n_cuts > CUTS_MOST)
        return;
    for (size_t i = 0; i < c->n_cuts; i++)
        paths[i] = c->cuts[i].path;
    const char **names = page_names(p, paths, c->n_cuts);
    if (!names)
        return;
    if (!p->title)
        page_title(p, "Cuts of %s", c->original.path);
    page_section(p, "cuts", "Cuts beside random ones");
    page_say(p, "A choice of experts is worth something when its loss is below that of nearly all "
                "random choices of as many: p < 0.05.");
    page_table(p, "Cuts, with 95 % intervals", columns, c->n_draws ? 7 : 4);
    for (size_t i = 0; i < c->n_cuts; i++)
        cut_row(p, c, i, names[i]);
    page_table_end(p);
    page_grid(p);
    for (size_t s = 0; s < c->n_sizes; s++)
        size_plot(p, c, s, names);
    page_grid_end(p);
    if (c->n_pairs)
        pair_table(p, c, names);
    page_fact(p, "Original", c->original.path);
    page_fact(p, "Settings", c->settings);
    snprintf(text, sizeof text,
             "%" PRIu64 " windows of %" PRIu64 " tokens; SHA-256 of the tokens %s",
             c->text.n_windows, c->text.window, c->text.sha256);
    page_fact(p, "Text", text);
    for (size_t i = 0; i < c->n_cuts; i++)
        page_fact(p, "Cut", paths[i]);
}

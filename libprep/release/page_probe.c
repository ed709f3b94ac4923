/* SPDX-License-Identifier: MIT */
#include "libprep/release/page_probe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const struct page_form shares = {2, 0, 100}, chances = {3, 0, 1};

static const char *title_of(enum probe_kind kind)
{
    static const char *const titles[] = {"Loops", "Needles", "Arithmetic", "Tool calls", "Facts"};
    return titles[kind];
}

static const char *words_of(enum probe_kind kind)
{
    static const char *const words[] = {
        "Texts that end in a cycle: fewer are better.",
        "A number hidden in a long text, asked for behind it.",
        "Sums that are right.",
        "Answers with the calls that were wanted, in a sound format, turn by turn.",
        "Questions with one word or number for an answer.",
    };
    return words[kind];
}

struct shown {
    struct page *p;
    const struct probe_results *r;
    const char **names; /* of models */
};

/* ---- rates ---- */

static const char *claim(const struct probe_tally *t)
{
    return t->claim > 0 ? "better" : t->claim < 0 ? "worse" : "no difference is shown";
}

static void tally_row(const struct shown *v, const char *name, const struct probe_tally *t)
{
    const struct bootstrap_interval rate = {t->rate.rate, t->rate.low, t->rate.high};
    page_row(v->p, name);
    page_count(v->p, t->hits);
    page_count(v->p, t->n);
    page_interval(v->p, &rate, &shares);
    for (int k = 0; k < 4 && v->r->has_original && isnan(t->p); k++)
        page_cell(v->p, "");
    if (isnan(t->p))
        return;
    page_count(v->p, t->pairs.only_second);
    page_count(v->p, t->pairs.only_first);
    page_value(v->p, t->p, &chances);
    page_cell(v->p, claim(t));
}

static void rates_table(const struct shown *v, const char *caption, size_t g, int whole)
{
    static const char *const columns[] = {"model",     "hits",
                                          "of",        "rate, % [95 %]",
                                          "only here", "only in the original",
                                          "p",         "beside the original"};
    page_table(v->p, caption, columns, v->r->has_original ? 8 : 4);
    for (size_t i = 0; i < v->r->n_models; i++) {
        const struct probe_model *m = &v->r->models[i];
        tally_row(v, v->names[i], whole ? &m->kinds[g] : &m->groups[g]);
    }
    page_table_end(v->p);
}

/* A line for every model in every group. */
static void plot_rates(const struct shown *v, enum probe_kind kind)
{
    const struct probe_results *r = v->r;
    struct svg_row *rows =
        arena_calloc(&v->p->arena, r->suite.n_groups * r->n_models, sizeof *rows, &v->p->failed);
    size_t n = 0;
    for (size_t g = 0; rows && g < r->suite.n_groups; g++)
        for (size_t i = 0; i < r->n_models && r->suite.groups[g].kind == kind; i++) {
            const struct probe_tally *t = &r->models[i].groups[g];
            struct svg_row *row = &rows[n++];
            *row = (struct svg_row){.colour = (int)((i + !r->has_original) % SVG_COLOURS),
                                    .value = 100 * t->rate.rate,
                                    .low = 100 * t->rate.low,
                                    .high = 100 * t->rate.high};
            row->name = arena_printf(&v->p->arena, &v->p->failed, "%s, %s", r->suite.groups[g].name,
                                     v->names[i]);
            row->text =
                arena_printf(&v->p->arena, &v->p->failed, "%" PRIu64 " of %" PRIu64, t->hits, t->n);
            if (!row->name || !row->text)
                return;
        }
    if (!rows)
        return;
    const struct svg_rows plot = {.id = page_plot_id(v->p),
                                  .title = title_of(kind),
                                  .x = {.title = "rate, %", .from_zero = 1, .low = 0, .high = 100},
                                  .rows = rows,
                                  .n = n};
    page_figure(v->p, "Rates", "With Wilson's 95 % intervals.");
    svg_rows(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void rates(const struct shown *v, enum probe_kind kind)
{
    plot_rates(v, kind);
    for (size_t g = 0; g < v->r->suite.n_groups; g++)
        if (v->r->suite.groups[g].kind == kind)
            rates_table(v, v->r->suite.groups[g].name, g, 0);
}

/* ---- needles ---- */

/* A row for each length, a column for each depth. */
static void grid(const struct shown *v, size_t model)
{
    const struct probe_group *groups = v->r->suite.groups;
    const char *columns[17] = {"tokens, by depth"};
    size_t first = 0, n = 1;
    while (groups[first].kind != PROBE_NEEDLE)
        first++;
    for (size_t g = first; g < v->r->suite.n_groups && groups[g].kind == PROBE_NEEDLE &&
                           groups[g].length == groups[first].length && n < 17;
         g++) {
        columns[n] =
            arena_printf(&v->p->arena, &v->p->failed, "%d %%", (int)lround(100 * groups[g].depth));
        if (!columns[n++])
            return;
    }
    page_table(v->p, v->names[model], columns, n);
    for (size_t g = first; g < v->r->suite.n_groups && groups[g].kind == PROBE_NEEDLE; g++) {
        const struct probe_tally *t = &v->r->models[model].groups[g];
        char text[64];
        if (g == first || groups[g].length != groups[g - 1].length) {
            snprintf(text, sizeof text, "%zu", groups[g].length);
            page_row(v->p, text);
        }
        snprintf(text, sizeof text, "%" PRIu64 " of %" PRIu64, t->hits, t->n);
        page_cell(v->p, text);
    }
    page_table_end(v->p);
}

static void needles(const struct shown *v)
{
    rates_table(v, "All lengths and depths", PROBE_NEEDLE, 1);
    for (size_t i = 0; i < v->r->n_models; i++)
        grid(v, i);
}

/* ---- */

static void one_kind(const struct shown *v, enum probe_kind kind)
{
    const struct probe_results *r = v->r;
    page_section(v->p, probe_name(kind), title_of(kind));
    page_say(v->p, "%s %" PRIu64 " cases, the same for every model.", words_of(kind),
             r->models[0].kinds[kind].n);
    if (kind == PROBE_NEEDLE)
        needles(v);
    else
        rates(v, kind);
    for (size_t i = 0; i < r->n_models && kind == PROBE_TOOLS; i++)
        page_say(v->p, "%s: %" PRIu64 " answers hold calls or try to, %" PRIu64 " are sound.",
                 v->names[i], r->models[i].calls, r->models[i].sound_calls);
}

static void verdict(const struct shown *v)
{
    size_t better = 0, worse = 0;
    for (size_t i = 1; i < v->r->n_models; i++)
        for (int k = 0; k < PROBE_N_KINDS; k++) {
            better += v->r->models[i].kinds[k].claim > 0;
            worse += v->r->models[i].kinds[k].claim < 0;
        }
    if (worse)
        page_verdict(v->p, PAGE_BAD, "%zu probe%s worse than the original", worse,
                     worse == 1 ? " is" : "s are");
    else
        page_verdict(v->p, PAGE_OPEN, "%s",
                     better ? "not worse than the original, better by some probes"
                            : "no difference to the original is shown");
}

void page_probes(struct page *p, const struct probe_results *r)
{
    const char *paths[PROBE_MOST_MODELS];
    for (size_t i = 0; i < r->n_models; i++)
        paths[i] = r->models[i].path;
    const char **names = page_names(p, paths, r->n_models);
    if (!names || r->n_models == 0)
        return;
    const struct shown v = {p, r, names};
    if (r->n_models == 1)
        page_title(p, "Answers of %s", names[0]);
    else if (r->has_original)
        page_title(p, "Answers beside %s", names[0]);
    else
        page_title(p, "Answers of %zu models", r->n_models);
    if (r->has_original && r->n_models > 1)
        verdict(&v);
    page_remark(p, "%zu cases; a difference is claimed where McNemar's test has p < 0.05.",
                r->suite.n_cases);
    for (int k = 0; k < PROBE_N_KINDS; k++)
        if (r->models[0].kinds[k].n)
            one_kind(&v, (enum probe_kind)k);
    page_fact(p, "Chat template", r->has_chat ? r->chat_sha256 : "none");
    for (size_t i = 0; i < r->n_models; i++)
        page_fact(p, i == 0 && r->has_original ? "Original" : "Model", r->models[i].path);
}

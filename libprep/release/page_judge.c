/* SPDX-License-Identifier: MIT */
/* Title, verdict and summary of a judgement; how it was made. */
#include "libprep/release/page_judge.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct page_form nats = {5, 0, 1}, more_nats = {5, 1, 1}, small_nats = {6, 0, 1},
                              percent = {2, 0, 100}, plain4 = {4, 0, 1};

static int is_judged(const struct judgement *j)
{
    return j->has_original || j->has_reference;
}

const char *page_claim(const struct judge_series *s, const struct bootstrap_interval *i,
                       const char *const words[3])
{
    const int sign = judge_sign(i);
    if (s->n_windows < JUDGE_LEAST_WINDOWS)
        return "too few windows to tell";
    return sign > 0 ? words[0] : sign < 0 ? words[1] : words[2];
}

int page_spans_decades(const double *values, size_t n)
{
    double low = INFINITY, high = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]) || values[i] <= 0)
            continue;
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
    }
    return high > 30 * low;
}

static void key_item(struct html *h, const char *name, int colour)
{
    static const char *const words[SVG_COLOURS] = {"circle",  "square",          "triangle",
                                                   "diamond", "turned triangle", "cross"};
    html_open(h, "li");
    html_open(h, "svg");
    html_attr(h, "viewBox", "-6 -6 12 12");
    html_attr(h, "role", "img");
    html_attr(h, "aria-label", words[colour % SVG_COLOURS]);
    svg_point(h, colour, 0, 0);
    html_close(h);
    html_text(h, name);
    html_close(h);
}

void page_key(const struct page_view *v, int with_original)
{
    struct html *h = &v->p->body;
    html_open(h, "ul");
    html_attr(h, "class", "key");
    if (with_original && v->original)
        key_item(h, v->original, 0);
    for (size_t i = 0; i < v->j->n_results; i++)
        key_item(h, v->names[i], (int)i + 1);
    html_close(h);
}

/* ---- the verdict ---- */

static void title(const struct page_view *v)
{
    const size_t n = v->j->n_results;
    char who[48];
    snprintf(who, sizeof who, "%zu models", n);
    if (v->original)
        page_title(v->p, "%s beside %s", n == 1 ? v->names[0] : who, v->original);
    else
        page_title(v->p, "%s", n == 1 ? v->names[0] : who);
}

static void verdict_of_limits(struct page *p, const struct judge_verdict *v, size_t n)
{
    size_t broken = 0;
    for (size_t i = 0; i < n; i++)
        broken += !v[i].holds;
    if (broken)
        page_verdict(p, PAGE_BAD, "%zu of %zu limits %s not hold", broken, n,
                     broken == 1 ? "does" : "do");
    else if (n == 1)
        page_verdict(p, PAGE_GOOD, "The limit holds");
    else
        page_verdict(p, PAGE_GOOD, "All %zu limits hold", n);
}

/* "0.00201 [0.00112 to 0.00300]" */
static void spell_interval(char *out, size_t size, const struct bootstrap_interval *i, int sign)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT], c[NUMBER_TEXT];
    snprintf(out, size, "%s [%s to %s]", number_fixed(a, i->mean, 5, sign),
             number_fixed(b, i->low, 5, sign), number_fixed(c, i->high, 5, sign));
}

static void in_words(const struct page_view *v, size_t i)
{
    static const char *const words[] = {"worse than the original", "better than the original",
                                        "not distinguishable from the original"};
    const struct judge_series *s = &v->j->results[i].free;
    char more[4 * NUMBER_TEXT], kl[NUMBER_TEXT], top[NUMBER_TEXT];
    spell_interval(more, sizeof more, &s->more_nll, 1);
    page_remark(v->p,
                "%s: %s nats per token, %s. The same most likely token in %s %% of places; KL %s%s "
                "nats.",
                v->names[i], more, page_claim(s, &s->more_nll, words),
                number_fixed(top, 100 * s->first.mean, 1, 0),
                v->j->has_reference ? "at least " : "", number_short(kl, s->kl.mean, 3));
}

static void head(const struct page_view *v, const struct judge_verdict *verdicts, size_t n)
{
    const struct judgement *j = v->j;
    char windows[NUMBER_TEXT], window[NUMBER_TEXT];
    title(v);
    if (n)
        verdict_of_limits(v->p, verdicts, n);
    else
        page_verdict(v->p, PAGE_OPEN, "No limits were set");
    for (size_t i = 0; i < j->n_results; i++) {
        char a[NUMBER_TEXT];
        if (is_judged(j))
            in_words(v, i);
        else
            page_remark(v->p, "%s: perplexity %s. Nothing to judge it by was given.", v->names[i],
                        number_fixed(a, j->results[i].free.perplexity, 4, 0));
    }
    page_remark(v->p, "Measured on %s windows of %s tokens; %s.",
                number_count(windows, j->text.n_windows), number_count(window, j->text.window),
                j->settings);
    if (is_judged(j) && j->text.n_windows < JUDGE_LEAST_WINDOWS)
        page_remark(v->p,
                    "Of fewer than %d windows nothing is claimed, whatever the intervals say.",
                    (int)JUDGE_LEAST_WINDOWS);
}

static void limits(const struct page_view *v, const struct judge_verdict *verdicts, size_t n)
{
    static const char *const columns[] = {"Limit", "Verdict", "Found", "Wanted", "Model"};
    const struct page_form form = {6, 0, 1};
    if (!n)
        return;
    page_section(v->p, "limits", "Limits");
    page_table(v->p, "What was asked for, and what was found", columns, 5);
    for (size_t i = 0; i < n; i++) {
        const struct judge_verdict *x = &verdicts[i];
        page_row(v->p, x->name);
        page_cell_open(v->p, x->holds ? "good" : "bad");
        html_text(&v->p->body, x->holds          ? "holds"
                               : isnan(x->found) ? "not measured"
                                                 : "does not hold");
        page_cell_close(v->p);
        page_value(v->p, x->found, &form);
        page_value(v->p, x->limit, &form);
        page_cell(v->p, v->names[x->result]);
    }
    page_table_end(v->p);
}

/* ---- the summary ---- */

enum row_kind {
    ROW_SIZE,
    ROW_EXPERTS,
    ROW_FORMS,
    ROW_PERPLEXITY,
    ROW_NLL,
    ROW_MORE,
    ROW_CLAIM,
    ROW_KL,
    ROW_KL_POINTS,
    ROW_KL_MAX,
    ROW_FORCED,
    ROW_TOP1,
    ROW_TOP5,
    ROW_NMSE,
    ROW_MTP,
    ROW_MTP_KL,
    N_ROWS
};

static const char *const row_names[N_ROWS] = {
    "Size",
    "Experts of a layer",
    "Linears by form",
    "Perplexity",
    "Nats per token",
    "Increase, nats",
    "Beside the original",
    "KL, nats",
    "KL: 50, 90, 99 % of tokens below",
    "KL of the worst token",
    "KL with the original\xe2\x80\x99s choices",
    "Same most likely token, %",
    "Five most likely shared, %",
    "NMSE of changed linears",
    "MTP drafts accepted, %",
    "KL of the MTP head, nats",
};

static int is_needed(const struct judgement *j, enum row_kind row)
{
    int forced = 0, linears = 0, mtp = 0, mtp_kl = 0;
    for (size_t i = 0; i < j->n_results; i++) {
        const struct judge_result *r = &j->results[i];
        forced |= r->has_forced;
        linears |= r->has_linears && r->all.n;
        mtp |= r->has_mtp;
        mtp_kl |= r->has_mtp && r->mtp.compared;
    }
    if (row < ROW_MORE)
        return 1;
    return row == ROW_FORCED   ? forced
           : row == ROW_NMSE   ? linears
           : row == ROW_MTP    ? mtp
           : row == ROW_MTP_KL ? mtp_kl
                               : is_judged(j);
}

static void dash(struct page *p)
{
    const struct page_form any = {0, 0, 1};
    page_value(p, (double)NAN, &any);
}

static void model_cell(struct page *p, const struct judge_model *m, enum row_kind row)
{
    char text[NUMBER_TEXT];
    if (row == ROW_FORMS) {
        page_cell(p, m->forms);
    } else if (row == ROW_EXPERTS) {
        page_count(p, (uint64_t)m->config->n_routed_experts);
    } else {
        page_cell_open(p, "number");
        html_text(&p->body, number_bytes(text, m->tensor_bytes));
        page_cell_close(p);
    }
}

static void original_cell(struct page *p, const struct judgement *j, enum row_kind row)
{
    if (row <= ROW_FORMS && j->has_original)
        model_cell(p, &j->original, row);
    else if (row == ROW_PERPLEXITY)
        page_value(p, j->original_free.perplexity, &plain4);
    else if (row == ROW_NLL)
        page_interval(p, &j->original_free.nll, &nats);
    else if (row == ROW_MTP && j->original_mtp.rows)
        page_interval(p, &j->original_draft.accepted, &percent);
    else
        dash(p);
}

static void kl_points(struct page *p, const struct judge_series *s)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT], c[NUMBER_TEXT];
    page_cell_open(p, "number");
    html_textf(&p->body, "%s, %s, %s", number_short(a, s->kl_p50, 3), number_short(b, s->kl_p90, 3),
               number_short(c, s->kl_p99, 3));
    page_cell_close(p);
}

static void kl_max(struct page *p, const struct judge_series *s)
{
    char text[NUMBER_TEXT];
    page_cell_open(p, "number");
    html_text(&p->body, number_fixed(text, s->kl_max, 5, 0));
    html_open(&p->body, "small");
    html_textf(&p->body, "window %" PRIu64 ", position %" PRIu64, s->max_window, s->max_row);
    html_close(&p->body);
    page_cell_close(p);
}

static void result_cell(struct page *p, const struct judge_result *r, enum row_kind row)
{
    static const char *const words[] = {"worse", "better", "not distinguishable"};
    const struct judge_series *s = &r->free;
    switch (row) {
    case ROW_PERPLEXITY:
        page_value(p, s->perplexity, &plain4);
        return;
    case ROW_NLL:
        page_interval(p, &s->nll, &nats);
        return;
    case ROW_MORE:
        page_interval(p, &s->more_nll, &more_nats);
        return;
    case ROW_CLAIM:
        page_cell(p, page_claim(s, &s->more_nll, words));
        return;
    case ROW_KL:
        page_interval(p, &s->kl, &small_nats);
        return;
    case ROW_KL_POINTS:
        kl_points(p, s);
        return;
    case ROW_KL_MAX:
        kl_max(p, s);
        return;
    case ROW_TOP1:
        page_interval(p, &s->first, &percent);
        return;
    case ROW_TOP5:
        page_interval(p, &s->five, &percent);
        return;
    default:
        break;
    }
    if (row == ROW_FORCED && r->has_forced)
        page_interval(p, &r->forced.kl, &small_nats);
    else if (row == ROW_NMSE && r->has_linears && r->all.n)
        page_value(p, r->all.geometric, &nats);
    else if (row == ROW_MTP && r->has_mtp)
        page_interval(p, &r->draft.accepted, &percent);
    else if (row == ROW_MTP_KL && r->has_mtp && r->mtp.compared)
        page_interval(p, &r->mtp.kl, &small_nats);
    else if (row <= ROW_FORMS)
        model_cell(p, &r->model, row);
    else
        dash(p);
}

static void summary_table(const struct page_view *v)
{
    const char *columns[JUDGE_MAX_MODELS + 2] = {"Figure"};
    size_t n = 1;
    if (v->original)
        columns[n++] = v->original;
    for (size_t i = 0; i < v->j->n_results; i++)
        columns[n++] = v->names[i];
    page_table(v->p, "Means over windows; below them the 95 % interval", columns, n);
    for (int row = 0; row < N_ROWS; row++) {
        if (!is_needed(v->j, (enum row_kind)row))
            continue;
        page_row(v->p, row_names[row]);
        if (v->original)
            original_cell(v->p, v->j, (enum row_kind)row);
        for (size_t i = 0; i < v->j->n_results; i++)
            result_cell(v->p, &v->j->results[i], (enum row_kind)row);
    }
    page_table_end(v->p);
}

static void size_plot(const struct page_view *v)
{
    struct svg_row rows[JUDGE_MAX_MODELS + 1];
    char texts[JUDGE_MAX_MODELS + 1][NUMBER_TEXT];
    const struct judgement *j = v->j;
    uint64_t most = 0;
    size_t n = 0;
    for (size_t i = 0; i <= j->n_results; i++) {
        const struct judge_model *m = i ? &j->results[i - 1].model : &j->original;
        if (!i && !j->has_original)
            continue;
        most = m->tensor_bytes > most ? m->tensor_bytes : most;
        number_bytes(texts[n], m->tensor_bytes);
        rows[n] = (struct svg_row){.name = i ? v->names[i - 1] : v->original,
                                   .text = texts[n],
                                   .colour = (int)i,
                                   .value = (double)m->tensor_bytes,
                                   .low = NAN,
                                   .high = NAN};
        n++;
    }
    const int power = most >= 1000000000000 ? 12 : most >= 1000000000 ? 9 : 6;
    for (size_t i = 0; i < n; i++)
        rows[i].value /= power == 12 ? 1e12 : power == 9 ? 1e9 : 1e6;
    const struct svg_rows plot = {.id = page_plot_id(v->p),
                                  .title = "Size of the models",
                                  .x = {.title = power == 12  ? "size, TB"
                                                 : power == 9 ? "size, GB"
                                                              : "size, MB"},
                                  .bars = 1,
                                  .rows = rows,
                                  .n = n};
    page_figure(v->p, "Size", "Bytes of all tensors.");
    svg_rows(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void kl_plot(const struct page_view *v)
{
    struct svg_row rows[2 * JUDGE_MAX_MODELS];
    char texts[2 * JUDGE_MAX_MODELS][4 * NUMBER_TEXT], names[2 * JUDGE_MAX_MODELS][256];
    double values[2 * JUDGE_MAX_MODELS];
    size_t n = 0;
    for (size_t i = 0; i < v->j->n_results; i++) {
        const struct judge_result *r = &v->j->results[i];
        for (int forced = 0; forced <= r->has_forced; forced++) {
            const struct bootstrap_interval *x = forced ? &r->forced.kl : &r->free.kl;
            char a[NUMBER_TEXT];
            snprintf(names[n], sizeof names[n], "%.200s%s", v->names[i],
                     forced ? ", original\xe2\x80\x99s choices" : "");
            snprintf(texts[n], sizeof texts[n], "%s", number_short(a, x->mean, 3));
            values[n] = x->mean;
            rows[n] = (struct svg_row){names[n], texts[n], (int)i + 1, x->mean, x->low, x->high};
            n++;
        }
    }
    const struct svg_rows plot = {
        .id = page_plot_id(v->p),
        .title = "KL divergence of the models",
        .x = {.title = "KL, nats", .log = page_spans_decades(values, n), .from_zero = 1},
        .rows = rows,
        .n = n};
    page_figure(v->p, "KL divergence, nats",
                "Mean and 95 % interval; 0 is the original. With the original\xe2\x80\x99s choices "
                "of experts and positions: what the weights alone do.");
    svg_rows(&v->p->body, &plot);
    page_figure_end(v->p);
}

static void summary(const struct page_view *v)
{
    page_section(v->p, "summary", "Summary");
    page_key(v, 1);
    summary_table(v);
    page_grid(v->p);
    if (is_judged(v->j))
        kl_plot(v);
    if (v->j->n_results + (size_t)v->j->has_original > 1)
        size_plot(v);
    page_grid_end(v->p);
}

/* ---- how it was made ---- */

static void model_facts(struct page *p, const struct judge_model *m, const char *name)
{
    const struct source *s = &m->pruned.source;
    char text[1024], size[NUMBER_TEXT], count[NUMBER_TEXT];
    snprintf(text, sizeof text, "%.500s: %s bytes in %s tensors", m->path,
             number_count(size, m->tensor_bytes), number_count(count, m->n_tensors));
    page_fact(p, name, text);
    snprintf(text, sizeof text, "config.json %s\nindex %s\ntokenizer.json %s\nfinal norm %s",
             s->config_sha256, s->index_sha256, m->identity.tokenizer_sha256,
             m->identity.final_norm_sha256);
    page_fact_code(p, "SHA-256", text);
}

static void facts(const struct page_view *v)
{
    const struct judgement *j = v->j;
    char text[512];
    page_fact(v->p, "Settings", j->settings);
    snprintf(text, sizeof text,
             "%" PRIu64 " windows of %" PRIu64 " tokens, of %" PRIu64
             " there were; SHA-256 of the tokens %s",
             j->text.n_windows, j->text.window, j->text.n_available, j->text.sha256);
    page_fact(v->p, "Text", text);
    snprintf(text, sizeof text,
             "2.5 %% and 97.5 %% points of %d bootstrap resamples of the window means, seed %d",
             (int)BOOTSTRAP_RESAMPLES, (int)BOOTSTRAP_SEED);
    page_fact(v->p, "Intervals", text);
    if (j->has_original)
        model_facts(v->p, &j->original, "Original");
    if (j->has_reference) {
        const char *model = reference_metadata(&j->reference, "model");
        page_fact(v->p, "Reference", j->reference_path);
        page_fact(v->p, "made from", model ? model : "not said");
    }
    for (size_t i = 0; i < j->n_results; i++)
        model_facts(v->p, &j->results[i].model, "Model");
}

void page_judgement(struct page *p, const struct judgement *j, const struct judge_verdict *verdicts,
                    size_t n_verdicts)
{
    const char *paths[JUDGE_MAX_MODELS + 1] = {j->has_original    ? j->original.path
                                               : j->has_reference ? j->reference_path
                                                                  : ""};
    for (size_t i = 0; i < j->n_results; i++)
        paths[i + 1] = j->results[i].model.path;
    const char **names = page_names(p, paths, j->n_results + 1);
    if (!names)
        return;
    const struct page_view v = {
        .p = p, .j = j, .original = is_judged(j) ? names[0] : NULL, .names = names + 1};
    head(&v, verdicts, n_verdicts);
    limits(&v, verdicts, n_verdicts);
    summary(&v);
    if (j->n_pairs)
        page_pairs(&v);
    if (is_judged(j))
        page_spread(&v);
    if (j->has_original) {
        page_layers(&v);
        page_linears(&v);
    }
    page_load(&v);
    page_cut(&v);
    facts(&v);
}

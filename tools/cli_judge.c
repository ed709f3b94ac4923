/* SPDX-License-Identifier: MIT */
#include "tools/cli_judge.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_judged(const struct judgement *j)
{
    return j->has_original || j->has_reference;
}

/* A fixed-point number, or "-" where nothing was measured. */
static void number(FILE *f, int width, int digits, int sign, double v)
{
    if (isnan(v))
        fprintf(f, "%*s", width, "-");
    else
        fprintf(f, sign ? "%+*.*f" : "%*.*f", width, digits, v);
}

static void head(FILE *f, const struct judgement *j)
{
    const char *by = j->has_original    ? j->original.path
                     : j->has_reference ? j->reference_path
                                        : NULL;
    if (j->n_results == 1)
        fprintf(f, "%s", j->results[0].model.path);
    else
        fprintf(f, "%zu models", j->n_results);
    fprintf(f, "%s%s\n%" PRIu64 " windows of %" PRIu64 " tokens; %s\n", by ? " against " : "",
            by ? by : "", j->text.n_windows, j->text.window, j->settings);
}

/* ---- one model ---- */

static void model_line(FILE *f, const char *what, const struct judge_model *m)
{
    char size[CLI_BYTES_TEXT];
    fprintf(f, "  %-9s %9s  %3d experts  %s\n", what, cli_format_bytes(m->tensor_bytes, size),
            m->config->n_routed_experts, m->forms);
}

static void interval_line(FILE *f, const char *what, const struct bootstrap_interval *i, int digits,
                          int sign, double factor)
{
    fprintf(f, "  %-27s", what);
    number(f, 12, digits, sign, i->mean * factor);
    number(f, 12, digits, sign, i->low * factor);
    number(f, 12, digits, sign, i->high * factor);
}

static void likelihood_lines(FILE *f, const char *who, const struct judge_series *s)
{
    char what[40];
    snprintf(what, sizeof what, "%s nats per token", who);
    interval_line(f, what, &s->nll, 5, 0, 1);
    fprintf(f, "\n  %-27s%12.4f\n", "  perplexity", s->perplexity);
}

/* words: of a difference above 0, below 0, and of one that may be 0. */
static const char *claim(const struct judge_series *s, const struct bootstrap_interval *i,
                         const char *const words[3])
{
    const int sign = judge_sign(i);
    if (s->n_windows < JUDGE_LEAST_WINDOWS)
        return "too few windows to tell";
    return sign > 0 ? words[0] : sign < 0 ? words[1] : words[2];
}

static void increase_line(FILE *f, const struct judge_series *s)
{
    static const char *const words[] = {"worse than the original", "better than the original",
                                        "not distinguishable from the original"};
    interval_line(f, "  increase", &s->more_nll, 5, 1, 1);
    fprintf(f, "  %s\n", claim(s, &s->more_nll, words));
}

static void kl_lines(FILE *f, const char *what, const struct judge_series *s)
{
    interval_line(f, what, &s->kl, 6, 0, 1);
    fprintf(f, "\n  %-27s%12.6f%12.6f%12.6f%12.6f  window %" PRIu64 ", position %" PRIu64 "\n",
            "  p50, p90, p99, largest", s->kl_p50, s->kl_p90, s->kl_p99, s->kl_max, s->max_window,
            s->max_row);
}

static void agreement_lines(FILE *f, const struct judge_series *s)
{
    interval_line(f, "same most likely token, %", &s->first, 3, 0, 100);
    fputc('\n', f);
    interval_line(f, "five most likely shared, %", &s->five, 3, 0, 100);
    fputc('\n', f);
}

static void mtp_lines(FILE *f, const struct judgement *j, const struct judge_result *r)
{
    if (j->has_original) {
        likelihood_lines(f, "MTP, original:", &j->original_mtp);
        interval_line(f, "  drafts accepted, %", &j->original_draft.accepted, 3, 0, 100);
        fputc('\n', f);
    }
    likelihood_lines(f, "MTP, model:", &r->mtp);
    if (j->has_original)
        increase_line(f, &r->mtp);
    interval_line(f, "  drafts accepted, %", &r->draft.accepted, 3, 0, 100);
    fputc('\n', f);
    if (r->mtp.compared)
        kl_lines(f, "MTP, KL", &r->mtp);
}

static void figures(FILE *f, const struct judgement *j, const struct judge_result *r)
{
    fprintf(f, "\n  %-27s%12s%24s\n", "figure", "mean", "95 % interval");
    if (is_judged(j))
        likelihood_lines(f, "original:", &j->original_free);
    likelihood_lines(f, "model:", &r->free);
    if (!is_judged(j)) {
        if (r->has_mtp)
            mtp_lines(f, j, r);
        return;
    }
    increase_line(f, &r->free);
    kl_lines(f, j->has_reference ? "KL, at least" : "KL", &r->free);
    if (r->has_forced)
        kl_lines(f, "KL, original's choices", &r->forced);
    else if (j->has_original)
        fputs("  KL, original's choices       not measured: experts were removed\n", f);
    agreement_lines(f, &r->free);
    if (r->has_mtp)
        mtp_lines(f, j, r);
}

static void layers(FILE *f, const struct judge_result *r)
{
    fprintf(f,
            "\n  layer  block error  hidden error  original's choices  experts shared  positions "
            "shared%s\n",
            r->layers.has_kl ? "          KL" : "");
    for (int i = 0; i < r->layers.n_layers; i++) {
        const struct judge_layer *x = &r->at[i];
        fprintf(f, "  %5d", i);
        number(f, 13, 6, 0, x->block_error);
        number(f, 14, 6, 0, x->hidden_error);
        number(f, 20, 6, 0, x->forced_error);
        number(f, 16, 4, 0, x->expert_share);
        number(f, 18, 4, 0, x->position_share);
        if (r->layers.has_kl)
            number(f, 12, 6, 0, x->kl.mean);
        fputc('\n', f);
    }
}

static void scope(FILE *f, const char *what, const struct judge_scope *s)
{
    if (s->n)
        fprintf(f, "  %-20s%8zu%12.5f%12.5f%12.5f\n", what, s->n, s->geometric, s->p95, s->worst);
}

static int by_error(const void *a, const void *b)
{
    const struct judge_linear *const *x = a, *const *y = b;
    if ((*x)->nmse != (*y)->nmse)
        return (*x)->nmse < (*y)->nmse ? 1 : -1;
    return (*x > *y) - (*x < *y);
}

static void worst_linears(FILE *f, const struct judge_result *r, size_t n_worst)
{
    const struct judge_linear **list = malloc((r->linears.n + 1) * sizeof *list);
    size_t n = 0;
    for (size_t i = 0; list && i < r->linears.n; i++)
        if (!isnan(r->linears.items[i].nmse))
            list[n++] = &r->linears.items[i];
    if (n)
        qsort(list, n, sizeof *list, by_error);
    if (n && n_worst)
        fprintf(f, "  %-20s%8s%12s\n", "worst", "tokens", "NMSE");
    for (size_t i = 0; i < n && i < n_worst; i++)
        fprintf(f, "  %28" PRIu64 "%12.5f  %s\n", list[i]->tokens, list[i]->nmse,
                list[i]->other->name);
    free(list);
}

static void linears(FILE *f, const struct judge_result *r, size_t n_worst)
{
    size_t unseen = 0;
    for (size_t i = 0; i < r->linears.n; i++)
        unseen += r->linears.items[i].changed && isnan(r->linears.items[i].nmse);
    if (!r->all.n) {
        fputs("\n  no linear is changed\n", f);
        return;
    }
    fprintf(f, "\n  %-20s%8s%12s%12s%12s\n", "NMSE of linears", "changed", "geometric", "p95",
            "worst");
    scope(f, "routed experts", &r->experts);
    scope(f, "all", &r->all);
    if (unseen)
        fprintf(f, "  %-20s%8zu\n", "fed zeros only", unseen);
    worst_linears(f, r, n_worst);
}

static void details_of(FILE *f, const struct judgement *j, const struct judge_result *r,
                       size_t n_worst)
{
    if (j->has_original)
        model_line(f, "original", &j->original);
    model_line(f, "model", &r->model);
    figures(f, j, r);
    if (r->has_layers)
        layers(f, r);
    if (r->has_linears)
        linears(f, r, n_worst);
}

/* ---- several ---- */

static int path_width(const struct judgement *j)
{
    size_t n = strlen("original");
    for (size_t i = 0; i < j->n_results; i++) {
        const size_t k = strlen(j->results[i].model.path);
        n = k > n ? k : n;
    }
    return (int)(n < 60 ? n : 60);
}

static void summary_line(FILE *f, const struct judgement *j, const struct judge_result *r,
                         int width)
{
    char size[CLI_BYTES_TEXT];
    const int judged = is_judged(j);
    fprintf(f, "  %-*s %9s%11.4f%10.5f", width, r->model.path,
            cli_format_bytes(r->model.tensor_bytes, size), r->free.perplexity, r->free.nll.mean);
    number(f, 10, 5, 1, judged ? r->free.more_nll.mean : NAN);
    number(f, 10, 5, 0, judged ? r->free.kl.mean : NAN);
    number(f, 10, 5, 0, r->has_forced ? r->forced.kl.mean : NAN);
    number(f, 9, 2, 0, judged ? 100 * r->free.first.mean : NAN);
    number(f, 9, 5, 0, r->has_linears ? r->all.geometric : NAN);
    if (judged && r->free.n_windows >= JUDGE_LEAST_WINDOWS && !judge_sign(&r->free.more_nll))
        fputs("  increase not distinguishable from 0", f);
    fputc('\n', f);
}

static void summary(FILE *f, const struct judgement *j)
{
    const int width = path_width(j);
    char size[CLI_BYTES_TEXT];
    fprintf(f, "\n  %-*s %9s%11s%10s%10s%10s%10s%9s%9s\n", width, "model", "size", "perplexity",
            "nats", "increase", "KL", "forced KL", "top-1 %", "NMSE");
    if (is_judged(j))
        fprintf(f, "  %-*s %9s%11.4f%10.5f\n", width, "original",
                j->has_original ? cli_format_bytes(j->original.tensor_bytes, size) : "",
                j->original_free.perplexity, j->original_free.nll.mean);
    for (size_t i = 0; i < j->n_results; i++)
        summary_line(f, j, &j->results[i], width);
}

static void pair_line(FILE *f, const char *what, const struct judge_series *s,
                      const struct bootstrap_interval *i)
{
    static const char *const words[] = {"the second is lower", "the first is lower",
                                        "not distinguishable"};
    if (!isnan(i->mean))
        fprintf(f, "    %-12s%+11.6f  [%+.6f %+.6f]  %s\n", what, i->mean, i->low, i->high,
                claim(s, i, words));
}

static void rule_line(FILE *f, const struct judge_pair *p)
{
    if (isnan(p->geometric_ratio))
        return;
    fprintf(f, "    %-12s%11.4f x, 95 %% point %.4f x\n", "NMSE", p->geometric_ratio, p->p95_ratio);
    if (p->better)
        fprintf(f, "    the %s is better%s\n", p->better < 0 ? "first" : "second",
                p->end_to_end ? ", end to end too" : "; end to end nothing is sure");
    else
        fputs("    no claim that one is better\n", f);
}

static void pairs(FILE *f, const struct judgement *j)
{
    fputs("\n  in pairs, first minus second, on the same windows\n", f);
    for (size_t i = 0; i < j->n_pairs; i++) {
        const struct judge_pair *p = &j->pairs[i];
        const struct judge_series *s = &j->results[p->a].free;
        fprintf(f, "  %s, %s\n", j->results[p->a].model.path, j->results[p->b].model.path);
        if (is_judged(j)) {
            pair_line(f, "forced KL", s, &p->forced_kl);
            pair_line(f, "KL", s, &p->kl);
        }
        pair_line(f, "nats", s, &p->nll);
        rule_line(f, p);
    }
}

void cli_judge_print(FILE *f, const struct judgement *j, enum cli_judge_amount amount,
                     size_t n_worst)
{
    const int one = j->n_results == 1;
    head(f, j);
    if (amount == JUDGE_BRIEF || !one)
        summary(f, j);
    if (amount != JUDGE_BRIEF && !one)
        pairs(f, j);
    if (amount == JUDGE_BRIEF || (amount == JUDGE_NORMAL && !one))
        return;
    for (size_t i = 0; i < j->n_results; i++) {
        if (!one)
            fprintf(f, "\n%s\n", j->results[i].model.path);
        details_of(f, j, &j->results[i], n_worst);
    }
}

void cli_judge_verdicts(FILE *f, const struct judgement *j, const struct judge_verdict *v, size_t n)
{
    if (n)
        fputc('\n', f);
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "  %-17s%12.6f  found", v[i].name, v[i].limit);
        number(f, 12, 6, 0, v[i].found);
        fprintf(f, "  %s", v[i].holds ? "holds" : "does not hold");
        if (j->n_results > 1)
            fprintf(f, "  %s", j->results[v[i].result].model.path);
        fputc('\n', f);
    }
}

/* Control characters as escapes: a terminal must not obey what a model says. */
static void print_escaped(FILE *f, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            fputs("\\n", f);
        else if (c < 0x20 || c == 0x7F || (c == 0xC2 && i + 1 < n && (text[i + 1] & 0xE0) == 0x80))
            fprintf(f, "\\x%02x", c);
        else
            fputc(c, f);
    }
}

void cli_judge_texts(FILE *f, const struct judge_text_made *made, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fprintf(f, "%s%s: %zu tokens", i ? "" : "\n", made[i].path, made[i].n);
        if (i)
            fprintf(f, ", the first %zu as %s", made[i].same, made[0].path);
        fputs("\n  ", f);
        print_escaped(f, made[i].text, made[i].n_text);
        fputc('\n', f);
    }
}

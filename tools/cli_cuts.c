/* SPDX-License-Identifier: MIT */
#include "tools/cli_cuts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { WIDEST_PATH = 60 };

static void number(FILE *f, int width, double v)
{
    if (isnan(v))
        fprintf(f, "%*s", width, "-");
    else
        fprintf(f, "%+*.5f", width, v);
}

static void size_text(char *text, size_t n, const struct cuts_size *s)
{
    if (s->least == s->most)
        snprintf(text, n, "%d", s->most);
    else
        snprintf(text, n, "%d..%d", s->least, s->most);
}

static int path_width(const struct cuts *c)
{
    size_t n = strlen("cut");
    for (size_t i = 0; i < c->n_cuts; i++) {
        const size_t k = strlen(c->cuts[i].path);
        n = k > n ? k : n;
    }
    return (int)(n < WIDEST_PATH ? n : WIDEST_PATH);
}

static const char *claim(const struct cuts *c, const struct judged_cut *cut)
{
    if (c->text.n_windows < JUDGE_LEAST_WINDOWS)
        return "too few windows to tell";
    return cut->better_than_random ? "better than random" : "not shown to be better than random";
}

static void cut_line(FILE *f, const struct cuts *c, const struct judged_cut *cut, int width)
{
    const struct judge_series *s = &cut->line.series;
    char size[32];
    size_text(size, sizeof size, &c->sizes[cut->size]);
    fprintf(f, "  %-*s %8s%10.5f", width, cut->path, size, s->nll.mean);
    number(f, 10, s->more_nll.mean);
    number(f, 10, s->more_nll.low);
    number(f, 10, s->more_nll.high);
    fprintf(f, "%10.5f", s->kl.mean);
    if (c->n_draws)
        fprintf(f, "%5zu of %-3zu %s", cut->rank, c->n_draws, claim(c, cut));
    fputc('\n', f);
}

static void draws(FILE *f, const struct cuts *c)
{
    char size[32];
    fprintf(f, "\n  increase of %zu random cuts (seeds 1 to %zu)\n  %8s%10s%10s%10s%10s\n",
            c->n_draws, c->n_draws, "experts", "mean", "deviation", "lowest", "highest");
    for (size_t i = 0; i < c->n_sizes; i++) {
        const struct cuts_size *s = &c->sizes[i];
        size_text(size, sizeof size, s);
        fprintf(f, "  %8s", size);
        number(f, 10, s->mean);
        if (isnan(s->deviation))
            fprintf(f, "%10s", "-");
        else
            fprintf(f, "%10.5f", s->deviation);
        number(f, 10, s->lowest);
        number(f, 10, s->highest);
        fputc('\n', f);
    }
}

static void pair_line(FILE *f, const struct cuts *c, const char *what,
                      const struct bootstrap_interval *i)
{
    const int sign = judge_sign(i);
    fprintf(f, "    %-6s%+11.6f  [%+.6f %+.6f]  %s\n", what, i->mean, i->low, i->high,
            c->text.n_windows < JUDGE_LEAST_WINDOWS ? "too few windows to tell"
            : sign > 0                              ? "the second is lower"
            : sign < 0                              ? "the first is lower"
                                                    : "not distinguishable");
}

static void pairs(FILE *f, const struct cuts *c)
{
    fputs("\n  cuts of one size in pairs, first minus second, on the same windows\n", f);
    for (size_t i = 0; i < c->n_pairs; i++) {
        const struct cuts_pair *p = &c->pairs[i];
        fprintf(f, "  %s, %s\n", c->cuts[p->a].path, c->cuts[p->b].path);
        pair_line(f, c, "nats", &p->nll);
        pair_line(f, c, "KL", &p->kl);
    }
}

static void print(FILE *f, const struct cuts *c)
{
    const int width = path_width(c);
    fprintf(f, "%zu cut%s of %s\n%" PRIu64 " windows of %" PRIu64 " tokens; %s\n", c->n_cuts,
            c->n_cuts == 1 ? "" : "s", c->original.path, c->text.n_windows, c->text.window,
            c->settings);
    fprintf(f, "\n  %-*s %8s%10s%10s%20s%10s%s\n", width, "cut", "experts", "nats", "increase",
            "95 % interval", "KL", c->n_draws ? "  rank among random ones" : "");
    fprintf(f, "  %-*s %8d%10.5f\n", width, "original", c->original.config->n_routed_experts,
            c->unpruned.nll.mean);
    for (size_t i = 0; i < c->n_cuts; i++)
        cut_line(f, c, &c->cuts[i], width);
    if (c->n_draws)
        draws(f, c);
    if (c->n_pairs)
        pairs(f, c);
}

/* ---- */

static int fill(struct cuts_job *job, const struct cli_cuts *asked, const char **models,
                struct prep_error *err)
{
    const struct judge_job *j = asked->job;
    *job = (struct cuts_job){.io = j->io,
                             .original = j->original ? j->original : j->models[0],
                             .models = models,
                             .keep_maps = asked->keep_maps->items,
                             .n_keep_maps = asked->keep_maps->n,
                             .n_draws = (size_t)asked->draws,
                             .tokenizer = j->tokenizer,
                             .text = j->text,
                             .run = j->run,
                             .progress = j->progress,
                             .progress_arg = j->progress_arg};
    if (j->reference || j->save || j->with_mtp || j->original_as_is)
        return prep_fail(err, PREP_EUSAGE,
                         "--random-draws compares losses of main models: it goes without a "
                         "reference, --mtp and --original-as-is");
    if (!j->original && j->n_models > 1)
        return prep_fail(err, PREP_EUSAGE,
                         "--random-draws with several MODELs: --against says which is the "
                         "original");
    for (size_t i = 0; i < j->n_models; i++)
        if (strcmp(j->models[i], job->original) != 0)
            models[job->n_models++] = j->models[i];
    return 0;
}

int cli_cuts_run(struct cli *cli, const struct cli_cuts *asked, struct report *report,
                 struct page *page, struct prep_error *err)
{
    const char *models[JUDGE_MAX_MODELS];
    struct cuts_job job;
    struct cuts c = {0};
    int rc = -1;
    if (fill(&job, asked, models, err) || cuts_run(&c, &job, report, err))
        goto out;
    if (!cli->common.json)
        print(cli->host.out, &c);
    if (page)
        page_cuts(page, &c);
    rc = cli->common.json ? cuts_facts(report->facts, &c, err) : 0;
out:
    cuts_free(&c);
    return rc;
}

/* SPDX-License-Identifier: MIT */
#include "tools/cli_probe.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { WIDEST_PATH = 40, LONGEST_ITEM = 32, MOST_ARGS = 16 };

/* ---- what is asked ---- */

/* The next item of a comma-separated list; NULL at the end. */
static const char *next_item(const char **list, char item[LONGEST_ITEM])
{
    if (!*list)
        return NULL;
    const char *comma = strchr(*list, ',');
    const size_t n = comma ? (size_t)(comma - *list) : strlen(*list);
    snprintf(item, LONGEST_ITEM, "%.*s", n < LONGEST_ITEM ? (int)n : LONGEST_ITEM - 1, *list);
    *list = comma ? comma + 1 : NULL;
    return item;
}

static int parse_kinds(unsigned *kinds, const char *list, struct prep_error *err)
{
    char item[LONGEST_ITEM];
    *kinds = 0;
    while (list && next_item(&list, item)) {
        int k = 0;
        while (k < PROBE_N_KINDS && strcmp(item, probe_name((enum probe_kind)k)) != 0)
            k++;
        if (k < PROBE_N_KINDS)
            *kinds |= 1U << k;
        else if (strcmp(item, "all") == 0)
            *kinds = (1U << PROBE_N_KINDS) - 1;
        else
            return prep_fail(err, PREP_EUSAGE,
                             "--probe %s: want loops, needle, arithmetic, tools, facts or all",
                             item);
    }
    return 0;
}

static int parse_lengths(struct probe_sizes *s, const char *list, struct prep_error *err)
{
    char item[LONGEST_ITEM];
    int64_t v;
    if (!list)
        return 0;
    for (s->n_lengths = 0; next_item(&list, item); s->lengths[s->n_lengths++] = (size_t)v)
        if (s->n_lengths == 16)
            return prep_fail(err, PREP_EUSAGE, "--probe-lengths: want at most 16");
        else if (cli_parse_int(&v, item, 1, 1 << 24, "--probe-lengths", err))
            return -1;
    return 0;
}

static int parse_depths(struct probe_sizes *s, const char *list, struct prep_error *err)
{
    char item[LONGEST_ITEM];
    if (!list)
        return 0;
    for (s->n_depths = 0; next_item(&list, item); s->n_depths++)
        if (s->n_depths == 16)
            return prep_fail(err, PREP_EUSAGE, "--probe-depths: want at most 16");
        else if (cli_parse_real(&s->depths[s->n_depths], item, "--probe-depths", err))
            return -1;
    return 0;
}

/* Variables of the chat template: KEY=JSON. */
struct template_args {
    struct json docs[MOST_ARGS];
    struct chat_var vars[MOST_ARGS];
    size_t n;
};

static int parse_args(struct template_args *to, const struct cli_list *list, struct arena *arena,
                      struct prep_error *err)
{
    if (list->n > MOST_ARGS)
        return prep_fail(err, PREP_EUSAGE, "--template-arg: want at most %d", (int)MOST_ARGS);
    for (size_t i = 0; i < list->n; i++) {
        const char *text = list->items[i], *is = strchr(text, '=');
        if (!is || is == text)
            return prep_fail(err, PREP_EUSAGE, "--template-arg %s: want KEY=JSON", text);
        const char *name = arena_strndup(arena, text, (size_t)(is - text), err);
        if (!name || json_parse(&to->docs[i], is + 1, strlen(is + 1), "--template-arg", err))
            return -1;
        to->n = i + 1;
        to->vars[i] = (struct chat_var){name, &to->docs[i], 0, CHAT_TRUSTED};
    }
    return 0;
}

static void free_args(struct template_args *args)
{
    for (size_t i = 0; i < args->n; i++)
        json_free(&args->docs[i]);
}

static int fill(struct probe_job *to, const struct cli_probe_options *o,
                const struct judge_job *job, struct prep_error *err)
{
    struct probe_sizes *s = &to->sizes;
    *to = (struct probe_job){.io = job->io,
                             .models = job->models,
                             .n_models = job->n_models,
                             .original = job->original,
                             .keep_map = job->keep_map,
                             .tokenizer = job->tokenizer,
                             .text = job->text,
                             .prompts = o->prompts.items,
                             .n_prompts = o->prompts.n,
                             .run = job->run,
                             .progress = job->progress,
                             .progress_arg = job->progress_arg};
    probe_sizes_default(s);
    s->needles = o->cases < 0 ? s->needles : (uint64_t)o->cases;
    s->problems = o->cases < 0 ? s->problems : (size_t)o->cases;
    s->answer_tokens = o->answer_tokens < 0 ? s->answer_tokens : (size_t)o->answer_tokens;
    s->loop_prompts = o->loop_prompts < 0 ? s->loop_prompts : (size_t)o->loop_prompts;
    s->loop_seeds = o->loop_seeds < 0 ? s->loop_seeds : (uint64_t)o->loop_seeds;
    s->loop_tokens = o->loop_tokens < 0 ? s->loop_tokens : (size_t)o->loop_tokens;
    return parse_kinds(&to->kinds, o->kinds, err) || parse_lengths(s, o->lengths, err) ||
                   parse_depths(s, o->depths, err)
               ? -1
               : 0;
}

/* ---- what came of it ---- */

static const char *what_counts(enum probe_kind kind)
{
    static const char *const texts[] = {
        "texts that end in a cycle",      "needles found", "sums right",
        "tool calls right, turn by turn", "facts right",
    };
    return texts[kind];
}

static int path_width(const struct probe_results *r)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_models; i++) {
        const size_t k = strlen(r->models[i].path);
        n = k > n ? k : n;
    }
    return (int)(n < WIDEST_PATH ? n : WIDEST_PATH);
}

static void tally_line(FILE *f, const char *path, int width, const struct probe_tally *t)
{
    fprintf(f, "    %-*s  %5" PRIu64 " of %-5" PRIu64 "%8.2f %%  [%6.2f %6.2f]", width, path,
            t->hits, t->n, 100 * t->rate.rate, 100 * t->rate.low, 100 * t->rate.high);
    if (!isnan(t->p))
        fprintf(f, "  %" PRIu64 " only here, %" PRIu64 " only in the original, p %.3g: %s",
                t->pairs.only_second, t->pairs.only_first, t->p,
                t->claim > 0   ? "better"
                : t->claim < 0 ? "worse"
                               : "no difference is shown");
    fputc('\n', f);
}

static void group_lines(FILE *f, const struct probe_results *r, size_t g, int width)
{
    fprintf(f, "  %s\n", r->suite.groups[g].name);
    for (size_t i = 0; i < r->n_models; i++)
        tally_line(f, r->models[i].path, width, &r->models[i].groups[g]);
}

/* Needles of one model: a row for each length, a column for each depth. */
static void grid(FILE *f, const struct probe_results *r, const struct probe_model *m)
{
    const struct probe_group *groups = r->suite.groups;
    size_t first = 0;
    while (groups[first].kind != PROBE_NEEDLE)
        first++;
    const size_t length = groups[first].length;
    fprintf(f, "    %-*s", WIDEST_PATH / 2, "tokens, by depth");
    for (size_t g = first; g < r->suite.n_groups && groups[g].length == length; g++)
        fprintf(f, "%9.2f", groups[g].depth);
    for (size_t g = first; g < r->suite.n_groups && groups[g].kind == PROBE_NEEDLE; g++) {
        if (g == first || groups[g].length != groups[g - 1].length)
            fprintf(f, "\n    %-*zu", WIDEST_PATH / 2, groups[g].length);
        fprintf(f, "%4" PRIu64 " of %" PRIu64, m->groups[g].hits, m->groups[g].n);
    }
    fputc('\n', f);
}

static void needle_lines(FILE *f, const struct probe_results *r, int width)
{
    for (size_t i = 0; i < r->n_models; i++) {
        tally_line(f, r->models[i].path, width, &r->models[i].kinds[PROBE_NEEDLE]);
        grid(f, r, &r->models[i]);
    }
}

static void print(FILE *f, const struct probe_results *r)
{
    const int width = path_width(r);
    fprintf(f, "%zu case%s, asked of %zu model%s; %s%.16s\n", r->suite.n_cases,
            r->suite.n_cases == 1 ? "" : "s", r->n_models, r->n_models == 1 ? "" : "s",
            r->has_chat ? "chat template " : "no chat template", r->chat_sha256);
    for (int k = 0; k < PROBE_N_KINDS; k++) {
        if (r->models[0].kinds[k].n == 0)
            continue;
        fprintf(f, "\n%s: %s\n", probe_name((enum probe_kind)k), what_counts((enum probe_kind)k));
        if (k == PROBE_NEEDLE)
            needle_lines(f, r, width);
        for (size_t g = 0; g < r->suite.n_groups && k != PROBE_NEEDLE; g++)
            if ((int)r->suite.groups[g].kind == k)
                group_lines(f, r, g, width);
    }
    if (r->models[0].kinds[PROBE_TOOLS].n)
        fputc('\n', f);
    for (size_t i = 0; i < r->n_models && r->models[i].kinds[PROBE_TOOLS].n; i++)
        fprintf(f, "  %s: %" PRIu64 " answers hold calls or try to, %" PRIu64 " are sound\n",
                r->models[i].path, r->models[i].calls, r->models[i].sound_calls);
}

int cli_probe_run(struct cli *cli, const struct cli_probe_options *o, const struct judge_job *job,
                  struct report *report, struct page *page, struct prep_error *err)
{
    struct probe_job asked;
    struct probe_results r = {0};
    struct template_args args = {.n = 0};
    int rc = -1;
    if (job->reference || job->save)
        return prep_fail(err, PREP_EUSAGE, "--probe compares answers: it goes without a reference");
    if (fill(&asked, o, job, err) || parse_args(&args, &o->template_args, &cli->arena, err))
        goto out;
    asked.args = args.vars;
    asked.n_args = args.n;
    if (probe_run(&r, &asked, report, err))
        goto out;
    if (!cli->common.json)
        print(cli->host.out, &r);
    if (page)
        page_probes(page, &r);
    rc = cli->common.json ? probe_facts(report->facts, &r, err) : 0;
out:
    probe_results_free(&r);
    free_args(&args);
    return rc;
}

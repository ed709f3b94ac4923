/* SPDX-License-Identifier: MIT */
#include "tools/cli_lint.h"

#include "libprep/release/lint.h"
#include "libprep/release/repair.h"

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static int parse_engines(unsigned *engines, const char *text, struct prep_error *err)
{
    *engines = 0;
    if (!text || lint_engines_parse(engines, text) == 0)
        return 0;
    return prep_fail(err, PREP_EUSAGE,
                     "--engine %s: want names of sglang, vllm, transformers, llama.cpp, separated "
                     "by commas",
                     text);
}

static cJSON *new_fact(cJSON *list, const char *path, struct prep_error *err)
{
    cJSON *o = cJSON_CreateObject();
    if (o && cJSON_AddItemToArray(list, o) && cJSON_AddStringToObject(o, "path", path))
        return o;
    prep_fail(err, PREP_ENOMEM, "out of memory while listing facts");
    return NULL;
}

static void print_finding(struct cli *cli, const struct lint_finding *f)
{
    char engines[LINT_ENGINE_TEXT];
    if (f->rule->note && !cli->common.verbose)
        return;
    fprintf(cli->host.out, "%s [%s] %s%s%s; %s; mend: %s%s\n", f->code,
            lint_engines_text(f->engines, engines), f->place, *f->place ? ": " : "", f->text,
            f->rule->will, f->rule->mend, f->rule->note ? " (note)" : "");
}

static void print_lint(struct cli *cli, const char *path, const struct lint *l)
{
    FILE *out = cli->host.out;
    char engines[LINT_ENGINE_TEXT];
    for (size_t i = 0; i < l->n; i++)
        print_finding(cli, &l->items[i]);
    for (size_t i = 0; i < l->n_counts; i++)
        if (l->counts[i].n > LINT_PER_CODE)
            fprintf(out, "%s: and %zu more\n", l->counts[i].code, l->counts[i].n - LINT_PER_CODE);
    fprintf(out, "%s: %s: ", path, lint_engines_text(l->engines, engines));
    if (l->n_faults)
        fprintf(out, "%zu finding%s", l->n_faults, plural(l->n_faults));
    else
        fputs("no finding", out);
    if (l->n_notes)
        fprintf(out, ", %zu note%s", l->n_notes, plural(l->n_notes));
    fputc('\n', out);
}

static int lint_one(struct cli *cli, const char *path, const struct lint_options *opt, cJSON *list,
                    size_t *n, struct prep_error *err)
{
    struct lint l = {0};
    int rc = lint_run(&l, &io_posix, path, opt, err);
    if (!rc && !cli->common.json) {
        print_lint(cli, path, &l);
    } else if (!rc) {
        cJSON *fact = new_fact(list, path, err);
        rc = !fact || lint_facts(fact, &l, err);
    }
    *n += l.n_faults;
    lint_fini(&l);
    return rc ? -1 : 0;
}

int cli_lint(struct cli *cli, const struct cli_lint_options *o, char **paths, int n, cJSON *list,
             struct prep_error *err)
{
    struct lint_options opt = {.tp = (int)o->tp,
                               .ep = (int)o->ep,
                               .source = o->source,
                               .n_threads = (int)cli->common.jobs};
    size_t found = 0;
    if (n < 1)
        return prep_fail(err, PREP_EUSAGE, "lint wants one PATH or more");
    if (parse_engines(&opt.engines, o->engines, err))
        return -1;
    for (int i = 0; i < n; i++)
        if (lint_one(cli, paths[i], &opt, list, &found, err))
            return -1;
    return found ? prep_fail(err, PREP_EVERIFY, "%zu finding%s", found, plural(found)) : 0;
}

/* ---- repair ---- */

static int show_mends(struct cli *cli, const char *source, const struct repair_result *r,
                      cJSON *list, struct prep_error *err)
{
    FILE *out = cli->host.out;
    if (cli->common.json) {
        cJSON *fact = new_fact(list, source, err);
        return !fact || repair_facts(fact, r, err) ? -1 : 0;
    }
    for (size_t i = 0; i < r->n_mends; i++)
        fprintf(out, "%s: %zu mended: %s\n", r->mends[i].code, r->mends[i].n, r->mends[i].text);
    return 0;
}

int cli_repair(struct cli *cli, const struct cli_lint_options *o, const char *source,
               const char *output, cJSON *list, struct report *report, struct prep_error *err)
{
    struct repair_job job = {.io = &io_posix,
                             .source = source,
                             .n_threads = (int)cli->common.jobs,
                             .shard_bytes = o->plan.shard_bytes};
    struct repair_result r = {0};
    size_t left = 0;
    int rc = -1;
    if (parse_engines(&job.engines, o->engines, err) || repair_job_run(&r, &job, report, err) ||
        show_mends(cli, source, &r, list, err))
        goto out;
    const struct lint_options again = {.engines = job.engines, .n_threads = job.n_threads};
    if (!r.plan) {
        if (!cli->common.json && r.found.n_faults)
            print_lint(cli, source, &r.found);
        left = r.found.n_faults;
        cli_say(cli, "%s: nothing %s mended, nothing is written", source,
                left ? "of this can be" : "is to be");
    } else if (cli_run_plan(cli, r.plan, &o->plan, output, report, err)) {
        goto out;
    } else if (!cli->common.dry_run && (!cli->common.part.n || cli->common.assemble)) {
        if (lint_one(cli, output, &again, list, &left, err))
            goto out;
    }
    rc = left ? prep_fail(err, PREP_EVERIFY, "%zu finding%s left", left, plural(left)) : 0;
out:
    repair_result_free(&r);
    return rc;
}

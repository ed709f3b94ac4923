/* SPDX-License-Identifier: MIT */
#include "tools/cli_quantize.h"

#include <inttypes.h>

/* --include and --exclude in the order of the command line. */
static int list_rules(struct cli *cli, const struct cli_quantize_options *o,
                      struct quantize_job *job, struct prep_error *err)
{
    const struct cli_list *in = &o->include, *out = &o->exclude;
    struct quant_rule *rules = arena_calloc(&cli->arena, in->n + out->n, sizeof *rules, err);
    if (!rules)
        return -1;
    for (size_t i = 0, k = 0; i < in->n || k < out->n;) {
        int take = k == out->n || (i < in->n && in->turns[i] < out->turns[k]);
        const char *pattern = take ? in->items[i++] : out->items[k++];
        rules[job->n_rules++] = (struct quant_rule){pattern, take};
    }
    job->rules = rules;
    return 0;
}

int cli_quantize_fill(struct cli *cli, const struct cli_quantize_options *o,
                      struct quantize_job *job, struct prep_error *err)
{
    job->io = &io_posix;
    job->tool = cli->program->name;
    job->source = cli->operands[0];
    job->keep_map = o->keep_map;
    job->modules = o->modules;
    job->mtp = (enum quant_mtp)o->mtp;
    job->repack = o->repack;
    if (isa_parse(&job->isa, o->isa))
        return prep_fail(err, PREP_EUSAGE, "--isa %s: want auto, scalar, avx2 or avx512", o->isa);
    if (job->isa > cpu_isa())
        return prep_fail(err, PREP_EUNSUP, "--isa %s: this machine has %s at most", o->isa,
                         isa_name(cpu_isa()));
    return list_rules(cli, o, job, err);
}

static int print_list(struct cli *cli, const struct quantize_result *r, struct prep_error *err)
{
    for (size_t i = 0; i < r->linears.n; i++) {
        const char *verdict = quantize_verdict(r, i, &cli->arena, err);
        if (!verdict)
            return -1;
        fprintf(cli->host.out, "%s  %s\n", r->linears.items[i].name, verdict);
    }
    return 0;
}

static void print_summary(struct cli *cli, const struct quantize_result *r)
{
    char bytes[CLI_BYTES_TEXT];
    fprintf(cli->host.out, "%s: %zu of %zu linears, %s scales, %s; %s in %zu tensors\n", r->layout,
            r->selection.n_taken, r->linears.n, r->scales,
            r->method.want.form == LINEAR_GPTQ ? "W4A16"
            : r->method.want.with_input        ? "W4A4"
                                               : "weights only",
            cli_format_bytes(r->tensor_bytes, bytes), r->built.n_tensors);
}

int cli_quantize_run(struct cli *cli, const struct quantize_job *job,
                     const struct cli_quantize_options *o, const struct cli_plan_options *plan,
                     struct report *report, struct prep_error *err)
{
    const char *output = cli->n_operands > 1 ? cli->operands[1] : NULL;
    if (!output && !cli->common.dry_run)
        return prep_fail(err, PREP_EUSAGE, "give an OUTPUT, or --dry-run");
    struct quantize_result result;
    int rc = quantize_job_run(&result, job, report, err);
    if (!rc && !cli->common.json && o->list)
        rc = print_list(cli, &result, err);
    if (!rc && !cli->common.json)
        print_summary(cli, &result);
    rc = rc || cli_run_plan(cli, result.plan, plan, output, report, err);
    quantize_result_free(&result);
    return rc ? -1 : 0;
}

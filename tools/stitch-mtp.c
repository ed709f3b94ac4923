/* SPDX-License-Identifier: MIT */
#include "libprep/prune/job.h"
#include "tools/cli.h"
#include "tools/cli_plan.h"

struct options {
    const char *keep_map;
    int64_t proxy;
    struct cli_plan_options plan;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"keep-map", 0, CLI_TEXT, "FILE", "keep-map of TARGET when its folder has none", AT(keep_map),
     0, 0},
    {"mtp-proxy", 0, CLI_INT, "L", "layer whose list the MTP layer takes; the last MoE layer",
     AT(proxy), 0, 1023},
    CLI_PLAN_OPTIONS(struct options, plan),
};

static const struct cli_program program = {
    .name = "stitch-mtp",
    .schema = "stitch-mtp/1",
    .purpose = "give a pruned checkpoint its MTP layer back, cut from the unpruned model",
    .synopsis = "TARGET SOURCE OUTPUT",
    .description =
        "Writes TARGET with the MTP layer of SOURCE, the unpruned model it was made from. The "
        "layer's experts are chosen by TARGET's keep-map: by its entry for the layer itself, else "
        "by that of the last MoE layer. TARGET may be quantized; the layer stays in BF16 and is "
        "listed as not quantized.\n\n"
        "A run that was stopped or killed goes on when the same command is given again.",
    .examples = "stitch-mtp GLM-5.1-160-NVFP4 GLM-5.1 GLM-5.1-160-NVFP4-MTP",
    .common = CLI_HAS_ALL,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 2,
    .max_operands = 3,
};

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    const char *output = cli->n_operands > 2 ? cli->operands[2] : NULL;
    if (!output && !cli->common.dry_run)
        return prep_fail(err, PREP_EUSAGE, "give an OUTPUT, or --dry-run");
    struct stitch_job job = {
        .io = &io_posix,
        .target = cli->operands[0],
        .source = cli->operands[1],
        .keep_map = o->keep_map,
        .options = {.has_proxy = o->proxy >= 0, .proxy = (int)o->proxy},
        .shard_bytes = o->plan.shard_bytes,
    };
    struct stitch_result result;
    int rc = stitch_job_run(&result, &job, report, err) ||
             cli_run_plan(cli, result.plan, &o->plan, output, report, err);
    stitch_result_free(&result);
    return rc ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.proxy = -1};
    return cli_main(&program, &o, run, argc, argv);
}

/* SPDX-License-Identifier: MIT */
#include "tools/cli_quantize.h"

struct options {
    struct cli_quantize_options quantize;
    int method, scales;
    int64_t group_size;
    struct cli_plan_options plan;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"method", 0, CLI_CHOICE, "rtn", "rtn rounds to nearest and needs no calibration", AT(method),
     0, 0},
    CLI_QUANTIZE_OPTIONS(
        struct options, quantize,
        "portable (default; what engines load), linears (as published cards), experts, llama, all",
        "SOURCE is pack-quantized W4A16: store its codes exactly"),
    {"group-size", 'g', CLI_INT, "N", "inputs per scale: 32, 64 or 128 (default)", AT(group_size),
     32, 128},
    {"scales", 0, CLI_CHOICE, "signed|classic",
     "signed uses all 16 codes; classic is the GPTQ rule", AT(scales), 0, 0},
    CLI_PLAN_OPTIONS(struct options, plan),
};

static const struct cli_program program = {
    .name = "quantize-gptq",
    .schema = "quantize-gptq/1",
    .purpose = "quantize a checkpoint to W4A16 in the GPTQ layout",
    .synopsis = "SOURCE OUTPUT",
    .description =
        "Writes SOURCE with its linears as symmetric 4-bit integers with an F16 scale per group of "
        "inputs (GPTQ v1). SOURCE may be BF16, FP8 blocks, or NVFP4; what is not quantized is BF16 "
        "in the output and excluded in the configs.\n\n"
        "A run that was stopped or killed goes on when the same command is given again.",
    .examples = "quantize-gptq GLM-5.1-192 GLM-5.1-192-W4A16\n"
                "quantize-gptq GLM-5.1 --keep-map keep_map.json --modules linears --mtp drop \\\n"
                "    GLM-5.1-192-W4A16",
    .common = CLI_HAS_ALL,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 1,
    .max_operands = 2,
};

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    struct quantize_job job = {
        .layout = QUANT_GPTQ,
        .scales = o->scales ? "classic" : "signed",
        .group_size = (uint64_t)o->group_size,
        .shard_bytes = o->plan.shard_bytes,
    };
    if (o->group_size != 32 && o->group_size != 64 && o->group_size != 128)
        return prep_fail(err, PREP_EUSAGE, "--group-size %d: want 32, 64 or 128",
                         (int)o->group_size);
    return cli_quantize_fill(cli, &o->quantize, &job, err) ||
                   cli_quantize_run(cli, &job, &o->quantize, &o->plan, report, err)
               ? -1
               : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.quantize = {.modules = "portable", .isa = "auto"}, .group_size = 128};
    return cli_main(&program, &o, run, argc, argv);
}

/* SPDX-License-Identifier: MIT */
#include "tools/cli_quantize.h"

struct options {
    struct cli_quantize_options quantize;
    struct cli_list amax;
    const char *importance;
    int layout, share, scales, per_expert, mix_semantics;
    int64_t min_tokens;
    double assume_amax;
    struct cli_plan_options plan;
};

#define AT(member) offsetof(struct options, member)

static const char *const scales[] = {"auto", "max", "minmax", "rtn", "sweep", "four-over-six"};

static const struct cli_option table[] = {
    {"layout", 0, CLI_CHOICE, "modelopt|compressed-tensors", "names and configs of the output",
     AT(layout), 0, 0},
    CLI_QUANTIZE_OPTIONS(struct options, quantize,
                         "experts (default), linears, portable, llama or all",
                         "SOURCE is NVFP4 in the other layout: store its codes exactly"),
    {"share", 0, CLI_CHOICE, "fused|same-input",
     "linears with one global scale: what engines fuse, or all that read one tensor", AT(share), 0,
     0},
    {"scales", 0, CLI_CHOICE, "auto|max|minmax|rtn|sweep|four-over-six",
     "how block scales are chosen; auto is the layout's own rule", AT(scales), 0, 0},
    {"importance", 0, CLI_TEXT, "FILE", "importance of inputs, weighs the errors of the sweep",
     AT(importance), 0, 0},
    {"amax", 'a', CLI_LIST, "FILE", "activation maxima, for input scales; repeatable", AT(amax), 0,
     0},
    {"per-expert-input-scale", 0, CLI_FLAG, NULL,
     "keep each expert's own maximum instead of its layer's", AT(per_expert), 0, 0},
    {"min-tokens", 0, CLI_INT, "N",
     "with per-expert scales: an expert of fewer tokens takes its layer's; 32", AT(min_tokens), 1,
     INT64_MAX},
    {"assume-amax", 0, CLI_REAL, "X", "activation maximum of linears that have none",
     AT(assume_amax), 0, 0},
    {"allow-mixed-gates", 0, CLI_FLAG, NULL, "merge maxima of runs that routed tokens differently",
     AT(mix_semantics), 0, 0},
    CLI_PLAN_OPTIONS(struct options, plan),
};

static const struct cli_program program = {
    .name = "quantize-nvfp4",
    .schema = "quantize-nvfp4/1",
    .purpose = "quantize a checkpoint to NVFP4, pruning it on the way if asked",
    .synopsis = "SOURCE OUTPUT",
    .description =
        "Writes SOURCE with its linears in NVFP4: 4-bit codes, a scale per 16 inputs and one per "
        "tensor. SOURCE may be BF16, FP8 blocks, or W4A16; what is not quantized is BF16 in the "
        "output. Gate and up projections share their global scale. The MTP layer stays BF16 and "
        "is listed as not quantized.\n\n"
        "Activation maxima give input scales (W4A4). Without them weights only are quantized, and "
        "configs say so. A run that was stopped or killed goes on when the same command is given "
        "again.",
    .examples = "quantize-nvfp4 GLM-5.1 --amax calib.amax.safetensors GLM-5.1-NVFP4\n"
                "quantize-nvfp4 GLM-5.1 --keep-map keep_map.json --modules linears \\\n"
                "    --layout compressed-tensors GLM-5.1-192-NVFP4\n"
                "quantize-nvfp4 GLM-5.1-NVFP4 --repack --layout compressed-tensors OUT",
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
        .layout = o->layout ? QUANT_COMPRESSED_TENSORS : QUANT_MODELOPT,
        .same_input = o->share,
        .scales = scales[o->scales],
        .group_size = 16,
        .amax = o->amax.items,
        .n_amax = o->amax.n,
        .mix_semantics = o->mix_semantics,
        .per_expert = o->per_expert,
        .min_tokens = o->min_tokens,
        .assume_amax = o->assume_amax,
        .importance = o->importance,
        .shard_bytes = o->plan.shard_bytes,
    };
    if (o->assume_amax < 0 || o->assume_amax > 3e38)
        return prep_fail(err, PREP_EUSAGE, "--assume-amax %g: want a number above 0",
                         o->assume_amax);
    return cli_quantize_fill(cli, &o->quantize, &job, err) ||
                   cli_quantize_run(cli, &job, &o->quantize, &o->plan, report, err)
               ? -1
               : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.quantize = {.modules = "experts", .isa = "auto"}, .min_tokens = 32};
    return cli_main(&program, &o, run, argc, argv);
}

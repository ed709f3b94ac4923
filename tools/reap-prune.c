/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/prune/job.h"
#include "tools/cli.h"
#include "tools/cli_plan.h"

struct options {
    struct cli_list obs, run_maps;
    const char *keep_map, *source_map, *recover, *protect, *drop, *keep_counts;
    const char *weights, *gates, *suffix, *compare, *model_name;
    int64_t keep, budget, block, floor, ceil, tp, mtp_proxy;
    double ratio;
    int pool, metric, stored, layer_norm, mtp;
    int mixed_gates, mixed_spaces, strict_coverage, lenient;
    int protect_super, protect_outliers, expand_patterns, fix_gate_up, center_bias;
    struct cli_plan_options plan;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"obs", 'o', CLI_LIST, "PATH", "observations of one run: file, folder or bundle; repeatable",
     AT(obs), 0, 0},
    {"keep", 'k', CLI_INT, "N", "keep N experts in every MoE layer", AT(keep), 1, 65536},
    {"ratio", 0, CLI_REAL, "X", "drop this share of the experts, truncated", AT(ratio), 0, 0},
    {"budget", 0, CLI_INT, "B", "keep B experts over all layers, more where they matter",
     AT(budget), 1, 1 << 30},
    {"block", 0, CLI_INT, "G", "with --budget: drop G experts at a time; 1 when not given",
     AT(block), 1, 65536},
    {"floor", 0, CLI_INT, "F", "with --budget: fewest experts of a layer; top-k when not given",
     AT(floor), 1, 65536},
    {"ceil", 0, CLI_INT, "C", "with --budget: most experts of a layer; all when not given",
     AT(ceil), 1, 65536},
    {"layer-norm", 0, CLI_CHOICE, "sum|none", "with --budget: compare shares or raw saliencies",
     AT(layer_norm), 0, 0},
    {"keep-counts", 0, CLI_TEXT, "FILE", "counts per layer as JSON, {\"3\":116, ...}",
     AT(keep_counts), 0, 0},
    {"keep-map", 0, CLI_TEXT, "FILE", "an explicit plan in place of observations", AT(keep_map), 0,
     0},
    {"compare", 0, CLI_TEXT, "N,N,...", "report these keep counts before anything is copied",
     AT(compare), 0, 0},
    {"pool", 0, CLI_CHOICE, "routed|total-tokens|equal|weights", "how runs are pooled", AT(pool), 0,
     0},
    {"weights", 0, CLI_TEXT, "W,W,...", "one weight per run, for --pool weights", AT(weights), 0,
     0},
    {"metric", 0, CLI_CHOICE,
     "reap|ean_mean|ean_sum|weighted_ean_sum|frequency|weighted_frequency_sum|max_activations|"
     "ean_ca",
     "saliency", AT(metric), 0, 0},
    {"saliency-source", 0, CLI_CHOICE, "sums|stored",
     "sums, or the stored float32 means of a single run", AT(stored), 0, 0},
    {"gate-semantics", 0, CLI_TEXT, "NAME",
     "of runs that do not say: logit-softmax, logit-softmax-renorm, routed, routed-unscaled",
     AT(gates), 0, 0},
    {"gate-rule", 0, CLI_TEXT, "NAME", "take the vectors of this rule from native files",
     AT(suffix), 0, 0},
    {"allow-mixed-gates", 0, CLI_FLAG, NULL, "pool different gate semantics, each run normalised",
     AT(mixed_gates), 0, 0},
    {"allow-mixed-spaces", 0, CLI_FLAG, NULL, "pool runs of differently pruned checkpoints",
     AT(mixed_spaces), 0, 0},
    {"run-map", 0, CLI_LIST, "FILE",
     "keep-map of a pruned checkpoint that was observed; repeatable", AT(run_maps), 0, 0},
    {"strict-coverage", 0, CLI_FLAG, NULL, "a layer that only some runs have is an error",
     AT(strict_coverage), 0, 0},
    {"lenient", 0, CLI_FLAG, NULL, "counts that do not add up are a warning", AT(lenient), 0, 0},
    {"protect", 0, CLI_TEXT, "FILE", "experts to keep in any case, {\"3\":[17,40], ...}",
     AT(protect), 0, 0},
    {"drop", 0, CLI_TEXT, "FILE", "experts to drop first, {\"3\":[17,40], ...}", AT(drop), 0, 0},
    {"protect-super", 0, CLI_FLAG, NULL, "keep outliers of the first three quarters of the layers",
     AT(protect_super), 0, 0},
    {"protect-outliers", 0, CLI_FLAG, NULL, "keep outliers of all layers", AT(protect_outliers), 0,
     0},
    {"mtp", 0, CLI_CHOICE, "proxy|own|first|full|drop", "what becomes of the MTP layers", AT(mtp),
     0, 0},
    {"mtp-proxy", 0, CLI_INT, "L", "layer whose list the MTP layers take; the last MoE layer",
     AT(mtp_proxy), 0, 1023},
    {"tp", 0, CLI_INT, "N", "warn when the count does not suit N tensor-parallel ranks", AT(tp), 1,
     4096},
    {"source-map", 0, CLI_TEXT, "FILE", "keep-map of SOURCE when its folder has none",
     AT(source_map), 0, 0},
    {"recover-keep-map", 0, CLI_TEXT, "BASE",
     "rebuild the lost keep-map of SOURCE from the model it was cut from", AT(recover), 0, 0},
    {"model-name", 0, CLI_TEXT, "NAME", "public id of the base model, for the keep-map",
     AT(model_name), 0, 0},
    {"expand-patterns", 0, CLI_FLAG, NULL,
     "replace patterns that name experts by the modules they match", AT(expand_patterns), 0, 0},
    {"fix-gate-up-scale", 0, CLI_FLAG, NULL,
     "NVFP4: give gate and up of an expert one global scale", AT(fix_gate_up), 0, 0},
    {"center-bias", 0, CLI_FLAG, NULL,
     "subtract the middle of each router's correction bias: the selection stays", AT(center_bias),
     0, 0},
    CLI_PLAN_OPTIONS(struct options, plan),
};

static const struct cli_program program = {
    .name = "reap-prune",
    .schema = "reap-prune/1",
    .purpose = "drop the least salient experts of a mixture-of-experts checkpoint",
    .synopsis = "SOURCE --obs PATH... --keep N OUTPUT\n"
                "SOURCE --keep-map FILE OUTPUT\n"
                "SOURCE --obs PATH... --keep N [--compare N,...]",
    .description =
        "Pools REAP observation runs, ranks the experts of each layer, and writes SOURCE without "
        "the ones that lose: routers, experts, configs and lists renumbered, the MTP layer cut by "
        "proxy, every kept byte copied as it is. SOURCE may hold any stored format.\n\n"
        "Without OUTPUT only the cut report is made. A run that was stopped or killed goes on when "
        "the same command is given again.",
    .examples = "reap-prune GLM-5.1 --obs run-a.pt --obs run-b.pt --keep 192 GLM-5.1-192\n"
                "reap-prune GLM-5.1-192 --obs run-a.pt --obs run-b.pt --keep 160 GLM-5.1-160\n"
                "reap-prune GLM-5.1 --obs run-a.pt --keep 192 --compare 192,160,154",
    .common = CLI_HAS_ALL,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 1,
    .max_operands = 2,
};

/* Exactly one of the ways to say how large the cut is. */
static int choose_size(struct prune_options *p, const struct options *o, struct prep_error *err)
{
    int n = (o->keep > 0) + (o->ratio >= 0) + (o->budget > 0) + (o->keep_counts != NULL);
    if (n > 1 || (n && o->keep_map))
        return prep_fail(err, PREP_EUSAGE,
                         "--keep, --ratio, --budget, --keep-counts and --keep-map exclude each "
                         "other");
    p->size = o->keep > 0      ? SIZE_KEEP
              : o->ratio >= 0  ? SIZE_RATIO
              : o->budget > 0  ? SIZE_BUDGET
              : o->keep_counts ? SIZE_COUNTS
                               : SIZE_NONE;
    if (o->protect_super && o->protect_outliers)
        return prep_fail(err, PREP_EUSAGE,
                         "--protect-super and --protect-outliers exclude each "
                         "other");
    return 0;
}

static int fill_options(struct prune_options *p, const struct options *o, struct arena *arena,
                        struct prep_error *err)
{
    double *weights = NULL;
    *p = (struct prune_options){
        .pool = (enum prune_pool)o->pool,
        .gate_semantics = o->gates,
        .allow_mixed_gates = o->mixed_gates,
        .allow_mixed_spaces = o->mixed_spaces,
        .strict_coverage = o->strict_coverage,
        .lenient = o->lenient,
        .metric = (enum prune_metric)o->metric,
        .stored = o->stored,
        .keep = o->keep,
        .ratio = o->ratio,
        .budget = o->budget,
        .block = o->block,
        .floor = o->floor,
        .ceil = o->ceil,
        .layer_norm = (enum prune_layer_norm)o->layer_norm,
        .tensor_parallel = (int)o->tp,
        .protect_auto = o->protect_super      ? PROTECT_SUPER
                        : o->protect_outliers ? PROTECT_OUTLIERS
                                              : PROTECT_NONE,
        .mtp = (enum prune_mtp)o->mtp,
        .has_mtp_proxy = o->mtp_proxy >= 0,
        .mtp_proxy = (int)o->mtp_proxy,
    };
    if (o->weights && prune_weights_parse(&weights, &p->n_weights, o->weights, arena, err))
        return -1;
    p->weights = weights;
    return choose_size(p, o, err);
}

/* "192,160,154" */
static int parse_counts(int64_t **counts, size_t *n, const char *text, struct arena *arena,
                        struct prep_error *err)
{
    *counts = arena_calloc(arena, strlen(text) + 1, sizeof **counts, err);
    char *copy = arena_strndup(arena, text, strlen(text), err);
    if (!*counts || !copy)
        return -1;
    *n = 0;
    for (char *save, *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save))
        if (cli_parse_int(&(*counts)[(*n)++], word, 1, 65536, "--compare", err))
            return -1;
    return 0;
}

static void print_share(FILE *f, double v)
{
    if (isnan(v))
        fputs("      -", f);
    else
        fprintf(f, " %5.1f%%", 100 * v);
}

static void print_number(FILE *f, int decimals, double v)
{
    if (isnan(v))
        fputs("        -", f);
    else
        fprintf(f, " %8.*f", decimals, v);
}

/* One line per layer and count: what is kept, and how close the last decision was. */
static void print_cut(FILE *f, const struct cut *cut, size_t n_layers)
{
    fprintf(f, "%5s %9s %6s %6s %6s %6s %19s %8s %8s %8s\n", "layer", "kept", "S", "n", "G", "reap",
            "last kept / dropped", "ratio", "z", "overlap");
    for (size_t i = 0; i < n_layers; i++) {
        const struct cut_layer *l = &cut->layers[i];
        fprintf(f, "%5d %4d/%-4d", l->layer, l->n_kept, l->n_experts);
        for (int s = 0; s < CUT_SHARES; s++)
            print_share(f, l->share[s]);
        fprintf(f, "       %5d / %-5d", l->kept_id, l->dropped_id);
        print_number(f, 4, l->ratio);
        print_number(f, 2, l->z_score);
        print_number(f, 3, l->jaccard);
        fputc('\n', f);
    }
    fprintf(f, "kept %lld experts in all, mean share of S dropped ", (long long)cut->n_kept);
    print_share(f, cut->mean_dropped_share);
    fputc('\n', f);
}

static void print_cuts(FILE *f, const struct cut_report *r)
{
    for (size_t i = 0; i < r->n_cuts; i++)
        print_cut(f, &r->cuts[i], r->n_layers);
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    struct prune_job job = {
        .io = &io_posix,
        .source = cli->operands[0],
        .observations = o->obs.items,
        .n_observations = o->obs.n,
        .suffix = o->suffix,
        .keep_map = o->keep_map,
        .source_map = o->source_map,
        .recover_base = o->recover,
        .protect = o->protect,
        .drop = o->drop,
        .keep_counts = o->keep_counts,
        .run_maps = o->run_maps.items,
        .n_run_maps = o->run_maps.n,
        .model_name = o->model_name,
        .apply.expand_patterns = o->expand_patterns,
        .mend = {.fix_gate_up = o->fix_gate_up, .center_bias = o->center_bias},
        .shard_bytes = o->plan.shard_bytes,
    };
    int64_t *compare = NULL;
    const char *output = cli->n_operands > 1 ? cli->operands[1] : NULL;
    if (fill_options(&job.options, o, &cli->arena, err) ||
        (o->compare && parse_counts(&compare, &job.n_compare, o->compare, &cli->arena, err)))
        return -1;
    job.compare = compare;
    int with_plan = output || cli->common.dry_run;
    if (!with_plan && o->keep_map)
        return prep_fail(err, PREP_EUSAGE, "--keep-map needs an OUTPUT, or --dry-run");

    struct prune_result result;
    int rc = prune_job_run(&result, &job, with_plan, report, err);
    if (!rc && result.has_cuts && !cli->common.json)
        print_cuts(cli->host.out, job.n_compare ? &result.compared : &result.cuts);
    if (!rc && with_plan)
        rc = cli_run_plan(cli, result.plan, &o->plan, output, report, err);
    prune_result_free(&result);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.ratio = -1, .mtp_proxy = -1};
    return cli_main(&program, &o, run, argc, argv);
}

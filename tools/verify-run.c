/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "tools/cli_judge.h"

enum { DEFAULT_WINDOW = 512, DEFAULT_NEW_TOKENS = 64, DEFAULT_WORST = 10 };

struct options {
    const char *against, *reference, *save, *keep_map, *windows, *set, *tokens, *tokenizer;
    const char *index_pattern, *isa, *greedy, *activations, *calibration, *calibration_set;
    struct cli_list texts;
    int64_t window, max_windows, new_tokens, worst;
    int dense, mtp_dense, mtp, as_is, no_linears, brief;
    double norm_eps;
    struct judge_limits limits;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"against", 'a', CLI_TEXT, "ORIGINAL", "the model it was made from: every figure", AT(against),
     0, 0},
    {"reference", 'r', CLI_TEXT, "FILE", "a saved reference of the original: likelihood and KL",
     AT(reference), 0, 0},
    {"save-reference", 0, CLI_TEXT, "FILE", "save what MODEL answers, to judge others later",
     AT(save), 0, 0},
    {"text", 't', CLI_LIST, "FILE", "text, JSON lines, or an archive of these; repeatable",
     AT(texts), 0, 0},
    {"windows", 0, CLI_TEXT, "FILE", "token windows as JSON", AT(windows), 0, 0},
    {"set", 0, CLI_TEXT, "NAME", "which windows of the file; evaluation when not given", AT(set), 0,
     0},
    {"tokens", 0, CLI_TEXT, "FILE", "packed tokens, as pack-calibration writes them", AT(tokens), 0,
     0},
    {"tokenizer", 0, CLI_TEXT, "PATH", "folder or tokenizer.json; the original's when not given",
     AT(tokenizer), 0, 0},
    {"window", 0, CLI_INT, "N", "tokens of a window cut from texts; 512 when not given", AT(window),
     2, 1 << 24},
    {"max-windows", 'n', CLI_INT, "N", "take this many windows, evenly spaced", AT(max_windows), 1,
     INT32_MAX},
    {"keep-map", 0, CLI_TEXT, "FILE", "see each MODEL pruned by this keep-map", AT(keep_map), 0, 0},
    {"mtp", 0, CLI_FLAG, NULL, "judge the MTP layer, too", AT(mtp), 0, 0},
    {"dense", 0, CLI_FLAG, NULL, "attend to all positions, without an indexer", AT(dense), 0, 0},
    {"mtp-dense", 0, CLI_FLAG, NULL, "the MTP layer attends to all positions", AT(mtp_dense), 0, 0},
    {"index-pattern", 0, CLI_TEXT, "FS...",
     "which layers run their indexer (F) and which share (S); as config.json says when not given",
     AT(index_pattern), 0, 0},
    {"norm-eps", 0, CLI_REAL, "X", "epsilon of q_a_ and kv_a_layernorm; 1e-6 when not given",
     AT(norm_eps), 0, 0},
    {"activations", 0, CLI_TEXT, "FORM",
     "inputs as W4A4 engines round them: nvfp4 (of linears stored as NVFP4) or nvfp4-experts (of "
     "all routed experts); of MODEL only",
     AT(activations), 0, 0},
    {"calibration", 0, CLI_TEXT, "FILE",
     "token windows as JSON: their largest inputs give input scales that are not stored",
     AT(calibration), 0, 0},
    {"calibration-set", 0, CLI_TEXT, "NAME",
     "which windows of that file; calibration when not given", AT(calibration_set), 0, 0},
    {"original-as-is", 0, CLI_FLAG, NULL,
     "--dense, --mtp-dense, --index-pattern and --norm-eps are for MODEL only; the original runs "
     "as its config.json says",
     AT(as_is), 0, 0},
    {"no-linears", 0, CLI_FLAG, NULL, "leave out the errors of single linears", AT(no_linears), 0,
     0},
    {"brief", 0, CLI_FLAG, NULL, "print a line for each model and nothing else", AT(brief), 0, 0},
    {"worst", 0, CLI_INT, "N", "how many of the worst linears to list; 10 when not given",
     AT(worst), 0, 1 << 20},
    {"greedy", 'g', CLI_TEXT, "PROMPT", "print what each model goes on with", AT(greedy), 0, 0},
    {"new-tokens", 0, CLI_INT, "N", "most tokens to go on with; 64 when not given", AT(new_tokens),
     1, 1 << 20},
    {"max-kl", 0, CLI_REAL, "X", "limit: mean KL in nats", AT(limits.max_kl), 0, 0},
    {"max-forced-kl", 0, CLI_REAL, "X", "limit: mean KL with the original's choices",
     AT(limits.max_forced_kl), 0, 0},
    {"max-token-kl", 0, CLI_REAL, "X", "limit: KL of the worst token", AT(limits.max_token_kl), 0,
     0},
    {"max-nll-increase", 0, CLI_REAL, "X", "limit: more nats per token than the original",
     AT(limits.max_nll_increase), 0, 0},
    {"min-top1", 0, CLI_REAL, "X", "limit: share of tokens with the same most likely one, 0 to 1",
     AT(limits.min_top1), 0, 0},
    {"min-top5", 0, CLI_REAL, "X", "limit: share of the five most likely, 0 to 1",
     AT(limits.min_top5), 0, 0},
    {"max-nmse", 0, CLI_REAL, "X", "limit: error of the worst linear", AT(limits.max_nmse), 0, 0},
    {"max-block-error", 0, CLI_REAL, "X", "limit: error of the worst layer",
     AT(limits.max_block_error), 0, 0},
    {"isa", 0, CLI_TEXT, "NAME",
     "fastest instructions to use: auto, scalar, avx2, avx512; same figures with each", AT(isa), 0,
     0},
};

static const struct cli_program program = {
    .name = "verify-run",
    .schema = "verify-run/1",
    .purpose = "run models and judge whether they still are the original",
    .synopsis = "MODEL... --against ORIGINAL --text FILE\n"
                "MODEL... --reference FILE\n"
                "MODEL --save-reference FILE --text FILE\n"
                "MODEL... --text FILE",
    .description =
        "Runs each MODEL over a text, in whatever form it is stored, beside the ORIGINAL: both go "
        "through the text layer by layer within --mem. Prints perplexity, KL divergence of the "
        "next token as the model runs and with the original's choices of experts and positions, "
        "agreement of the most likely tokens, the error of each layer and of each linear, with "
        "95 % intervals over windows. Several models are compared in pairs on the same windows.\n\n"
        "A saved reference takes the original's place where that is too large to be at hand; it "
        "gives likelihood, agreement and a lower bound of KL. Without either, the likelihood alone "
        "is printed.\n\n"
        "Figures are the same on every machine, whatever -j, --mem and --isa say. A limit that "
        "does not hold makes the exit code 1.",
    .examples = "verify-run GLM-5.1-NVFP4 --against GLM-5.1 --text eval.jsonl --max-kl 0.02\n"
                "verify-run GLM-5.1 --text eval.jsonl --save-reference GLM-5.1.reference.st\n"
                "verify-run GLM-5.1-W4A16 --reference GLM-5.1.reference.st --json\n"
                "verify-run GLM-5.1 --keep-map keep_map.json --against GLM-5.1 --text eval.jsonl",
    .common =
        CLI_HAS_JSON | CLI_HAS_QUIET | CLI_HAS_VERBOSE | CLI_HAS_JOBS | CLI_HAS_MEM | CLI_HAS_FORCE,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 1,
    .max_operands = JUDGE_MAX_MODELS,
};

static int parse_inputs(enum inputs_scope *inputs, const struct options *o, struct prep_error *err)
{
    *inputs = INPUTS_AS_THEY_ARE;
    if (!o->activations && (o->calibration || o->calibration_set))
        return prep_fail(err, PREP_EUSAGE, "--calibration is for --activations");
    if (o->calibration_set && !o->calibration)
        return prep_fail(err, PREP_EUSAGE,
                         "--calibration-set names windows of a --calibration file");
    if (!o->activations)
        return 0;
    *inputs = strcmp(o->activations, "nvfp4") == 0 ? INPUTS_NVFP4 : INPUTS_NVFP4_EXPERTS;
    if (*inputs == INPUTS_NVFP4_EXPERTS && strcmp(o->activations, "nvfp4-experts") != 0)
        return prep_fail(err, PREP_EUSAGE, "--activations %s: want nvfp4 or nvfp4-experts",
                         o->activations);
    if (o->greedy)
        return prep_fail(err, PREP_EUSAGE, "--activations is for measuring, not for --greedy");
    return 0;
}

static int fill(struct judge_job *job, const struct options *o, struct cli *cli,
                struct prep_error *err)
{
    *job = (struct judge_job){
        .io = &io_posix,
        .models = (const char *const *)cli->operands,
        .n_models = (size_t)cli->n_operands,
        .original = o->against,
        .reference = o->reference,
        .keep_map = o->keep_map,
        .tokenizer = o->tokenizer,
        .text = {.texts = o->texts.items,
                 .n_texts = o->texts.n,
                 .windows = o->windows,
                 .part = o->set,
                 .tokens = o->tokens,
                 .window = (uint64_t)o->window,
                 .max_windows = (uint64_t)o->max_windows},
        .calibration = {.windows = o->calibration,
                        .part = o->calibration_set ? o->calibration_set : "calibration"},
        .save = o->save != NULL,
        .with_mtp = o->mtp,
        .no_linears = o->no_linears,
        .run = {.mem = cli->common.mem,
                .n_threads = (int)cli->common.jobs,
                .index_pattern = o->index_pattern,
                .dense = o->dense,
                .mtp_dense = o->mtp_dense,
                .latent_eps = o->norm_eps},
        .original_as_is = o->as_is,
        .progress = cli->common.quiet ? NULL : cli_progress,
        .progress_arg = cli,
    };
    if (isa_parse(&job->run.isa, o->isa))
        return prep_fail(err, PREP_EUSAGE, "--isa %s: want auto, scalar, avx2 or avx512", o->isa);
    if (job->run.isa > cpu_isa())
        return prep_fail(err, PREP_EUNSUP, "--isa %s: this machine has %s at most", o->isa,
                         isa_name(cpu_isa()));
    if (o->norm_eps < 0)
        return prep_fail(err, PREP_EUSAGE, "--norm-eps %g: want a number above 0", o->norm_eps);
    if (parse_inputs(&job->run.inputs, o, err))
        return -1;
    if (o->set && !o->windows)
        return prep_fail(err, PREP_EUSAGE, "--set names windows of a --windows file");
    return 0;
}

static int check_save(const struct options *o, const struct cli *cli, struct prep_error *err)
{
    struct io_stat st;
    if (!o->save || io_posix.stat(io_posix.self, o->save, &st) < 0)
        return 0;
    if (st.kind != IO_REGULAR)
        return prep_fail(err, PREP_ECREATE, "%s: is in the way, and is no file", o->save);
    if (!cli->common.force)
        return prep_fail(err, PREP_ECREATE, "%s: is there already; --force replaces it", o->save);
    return 0;
}

static int check_verdicts(const struct judge_verdict *v, size_t n, struct prep_error *err)
{
    size_t broken = 0;
    for (size_t i = 0; i < n; i++)
        broken += !v[i].holds;
    if (!broken)
        return 0;
    return prep_fail(err, PREP_EVERIFY, "%zu of %zu limits %s not hold", broken, n,
                     broken == 1 ? "does" : "do");
}

static int judge(struct cli *cli, const struct options *o, const struct judge_job *job,
                 struct report *report, struct prep_error *err)
{
    struct judgement j;
    struct judge_verdict *v = NULL;
    size_t n = 0;
    struct span bytes;
    int rc = -1;
    if (judge_run(&j, job, report, err) || judge_limits_check(&v, &n, &o->limits, &j, err))
        goto out;
    if (o->save && (judgement_save(&bytes, &j, program.name, err) ||
                    io_write_file(&io_posix, o->save, bytes.p, bytes.n, err)))
        goto out;
    if (cli->common.json && judge_facts(report->facts, &j, v, n, err))
        goto out;
    if (!cli->common.json) {
        cli_judge_print(cli->host.out, &j,
                        o->brief              ? JUDGE_BRIEF
                        : cli->common.verbose ? JUDGE_DETAILS
                                              : JUDGE_NORMAL,
                        (size_t)o->worst);
        cli_judge_verdicts(cli->host.out, &j, v, n);
    }
    rc = check_verdicts(v, n, err);
out:
    judgement_free(&j);
    return rc;
}

static int generate(struct cli *cli, const struct options *o, const struct judge_job *job,
                    struct report *report, struct prep_error *err)
{
    struct judge_text_made *made;
    size_t n;
    if (judge_generate(&made, &n, job, o->greedy, (size_t)o->new_tokens, &cli->arena, err))
        return -1;
    if (cli->common.json)
        return judge_generate_facts(report->facts, made, n, err);
    cli_judge_texts(cli->host.out, made, n);
    return 0;
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    const int has_text = o->texts.n || o->windows || o->tokens || o->reference;
    struct judge_job job;
    if (fill(&job, o, cli, err) || check_save(o, cli, err))
        return -1;
    /* A limit that fails is reported last: the texts are wanted all the same. */
    struct prep_error verdict = PREP_ERROR_INIT;
    if ((has_text || !o->greedy) && judge(cli, o, &job, report, &verdict) &&
        verdict.code != PREP_EVERIFY) {
        *err = verdict;
        return -1;
    }
    if (o->greedy && generate(cli, o, &job, report, err))
        return -1;
    if (verdict.code == PREP_OK)
        return 0;
    *err = verdict;
    return -1;
}

int main(int argc, char **argv)
{
    struct options o = {.isa = "auto",
                        .window = DEFAULT_WINDOW,
                        .new_tokens = DEFAULT_NEW_TOKENS,
                        .worst = DEFAULT_WORST,
                        .limits = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN}};
    return cli_main(&program, &o, run, argc, argv);
}

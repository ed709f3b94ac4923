/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "libprep/release/page_judge.h"
#include "tools/cli_cuts.h"
#include "tools/cli_judge.h"
#include "tools/cli_page.h"
#include "tools/cli_probe.h"
#include "tools/cli_smoke.h"
#include "tools/cli_talk.h"

enum { DEFAULT_WINDOW = 512, DEFAULT_NEW_TOKENS = 64, DEFAULT_WORST = 10 };

struct options {
    const char *against, *reference, *save, *windows, *set, *tokens, *tokenizer;
    const char *index_pattern, *isa, *greedy, *engines, *html;
    const char *activations, *calibration, *calibration_set;
    struct cli_list texts, keep_maps;
    int64_t window, max_windows, worst, random_draws, tp;
    int dense, mtp_dense, mtp, as_is, no_linears, by_layer, brief, smoke;
    double norm_eps, max_nats;
    struct judge_limits limits;
    int argc; /* of the whole command, for the page */
    char **argv;
    struct cli_talk_options talk;
    struct cli_probe_options probe;
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
    {"keep-map", 0, CLI_LIST, "FILE",
     "see each MODEL pruned by this keep-map; with --random-draws: a cut of the original, "
     "repeatable",
     AT(keep_maps), 0, 0},
    {"random-draws", 0, CLI_INT, "N",
     "judge cuts by their loss beside N random ones of the same size, seeds 1 to N; 20 are enough "
     "to claim something",
     AT(random_draws), 0, CUTS_MOST_DRAWS},
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
    {"kl-by-layer", 0, CLI_FLAG, NULL,
     "with --against: KL after each layer, too, through the final norm and lm_head; costs their "
     "product for each layer and model",
     AT(by_layer), 0, 0},
    {"brief", 0, CLI_FLAG, NULL, "print a line for each model and nothing else", AT(brief), 0, 0},
    {"worst", 0, CLI_INT, "N", "how many of the worst linears to list; 10 when not given",
     AT(worst), 0, 1 << 20},
    {"greedy", 'g', CLI_TEXT, "PROMPT", "print what each model goes on with", AT(greedy), 0, 0},
    {"prompt", 'p', CLI_TEXT, "TEXT", "go on with a text, printed as it comes", AT(talk.prompt), 0,
     0},
    {"prompt-file", 0, CLI_TEXT, "FILE", "go on with the text of a file", AT(talk.prompt_file), 0,
     0},
    {"messages", 0, CLI_TEXT, "FILE", "answer messages, JSON as chat servers take it",
     AT(talk.messages), 0, 0},
    {"chat", 0, CLI_FLAG, NULL, "answer lines of standard input, one conversation", AT(talk.chat),
     0, 0},
    {"chat-template", 0, CLI_TEXT, "FILE", "instead of the model's own", AT(talk.chat_template), 0,
     0},
    {"special", 0, CLI_FLAG, NULL, "role markers in message bodies count as such", AT(talk.special),
     0, 0},
    {"new-tokens", 0, CLI_INT, "N",
     "most tokens to go on with; 64 when not given, 1024 for --messages and --chat",
     AT(talk.new_tokens), 1, 1 << 20},
    {"stop", 0, CLI_LIST, "TEXT", "end before this text; repeatable", AT(talk.stops), 0, 0},
    {"preset", 0, CLI_TEXT, "NAME",
     "sampling: greedy (the default), chat (that of --chat), strict, loops, or model: as "
     "generation_config.json says",
     AT(talk.preset), 0, 0},
    {"temperature", 0, CLI_REAL, "X", "0 to 100; 0 takes the most likely token",
     AT(talk.temperature), 0, 0},
    {"top-p", 0, CLI_REAL, "X", "over 0, at most 1; 1 is off", AT(talk.top_p), 0, 0},
    {"top-k", 0, CLI_INT, "N", "0 is off", AT(talk.top_k), 0, INT32_MAX},
    {"min-p", 0, CLI_REAL, "X", "0 to 1; 0 is off", AT(talk.min_p), 0, 0},
    {"repetition-penalty", 0, CLI_REAL, "X", "0.01 to 100; 1 is off", AT(talk.repetition_penalty),
     0, 0},
    {"frequency-penalty", 0, CLI_REAL, "X", "-2 to 2; 0 is off", AT(talk.frequency_penalty), 0, 0},
    {"seed", 0, CLI_INT, "N", "of the draws; 0 when not given", AT(talk.seed), 0, INT64_MAX},
    {"kv-cache", 0, CLI_TEXT, "FORM",
     "how keys are kept: f32, bf16 or fp8; bf16 when not given, since greedy texts come out the "
     "same with it",
     AT(talk.kv_cache), 0, 0},
    {"draft", 0, CLI_INT, "N",
     "tokens that the MTP layer guesses ahead, up to 8; the text stays the same", AT(talk.draft), 0,
     GENERATE_MOST_DRAFTS},
    {"html", 0, CLI_TEXT, "FILE", "write all that was measured as a page for people, too", AT(html),
     0, 0},
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
    {"tp", 0, CLI_INT, "N", "split each model over N ranks, as serving engines do; by mpirun -n N",
     AT(tp), 1, 4096},
    {"smoke", 0, CLI_FLAG, NULL,
     "open, check, lint, run and generate a little, with one line of JSON at the end", AT(smoke), 0,
     0},
    {"engine", 0, CLI_TEXT, "NAME,...", "with --smoke: lint for these engines; all when not given",
     AT(engines), 0, 0},
    {"max-nats", 0, CLI_REAL, "X",
     "with --smoke: most nats per token; 0.8 log(vocab_size) when not given", AT(max_nats), 0, 0},
    {"probe", 0, CLI_TEXT, "LIST",
     "ask the models: any of loops, needle, arithmetic, tools, facts; or all", AT(probe.kinds), 0,
     0},
    {"prompt-set", 0, CLI_LIST, "FILE", "ask a set of prompts of your own, too; repeatable",
     AT(probe.prompts), 0, 0},
    {"template-arg", 0, CLI_LIST, "KEY=JSON",
     "with --probe: a variable of the chat template, enable_thinking=false; repeatable",
     AT(probe.template_args), 0, 0},
    {"probe-lengths", 0, CLI_TEXT, "N,N,...",
     "tokens around a needle; 1024,4096,16384 when not given", AT(probe.lengths), 0, 0},
    {"probe-depths", 0, CLI_TEXT, "X,X,...",
     "where the needle is, 0 to 1; 0,0.25,0.5,0.75,1 when not given", AT(probe.depths), 0, 0},
    {"probe-cases", 0, CLI_INT, "N",
     "needles of each length and depth, sums of each number of digits; 2 and 20 when not given",
     AT(probe.cases), 1, 1000},
    {"answer-tokens", 0, CLI_INT, "N",
     "most tokens of an answer, thinking included; 512 when not given", AT(probe.answer_tokens), 1,
     1 << 20},
    {"loop-prompts", 0, CLI_INT, "N", "windows that loops are looked for behind; 64 when not given",
     AT(probe.loop_prompts), 1, 100000},
    {"loop-seeds", 0, CLI_INT, "N",
     "sampled texts behind each, after a greedy one; 3 when not given", AT(probe.loop_seeds), 0,
     1000},
    {"loop-tokens", 0, CLI_INT, "N", "tokens of each; 256 when not given", AT(probe.loop_tokens), 1,
     1 << 20},
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
                "ORIGINAL --keep-map FILE... --random-draws N --text FILE\n"
                "MODEL... --text FILE\n"
                "MODEL... --probe LIST [--against ORIGINAL]\n"
                "MODEL --smoke [--against ORIGINAL | --reference FILE]\n"
                "MODEL --prompt TEXT\n"
                "MODEL --messages FILE\n"
                "MODEL --chat",
    .description =
        "Runs each MODEL over a text, in whatever form it is stored, beside the ORIGINAL: both go "
        "through the text layer by layer within --mem. Prints perplexity, KL divergence of the "
        "next token as the model runs and with the original's choices of experts and positions, "
        "agreement of the most likely tokens, the error of each layer and of each linear, with "
        "95 % intervals over windows. Several models are compared in pairs on the same windows.\n\n"
        "A saved reference takes the original's place where that is too large to be at hand; it "
        "gives likelihood, agreement and a lower bound of KL. Without either, the likelihood alone "
        "is printed.\n\n"
        "With --prompt, --messages or --chat the MODEL is talked to: its text is printed as it "
        "comes, and is the same for the same seed on every machine, with and without --draft.\n\n"
        "Figures are the same on every machine, whatever -j, --mem and --isa say. A limit that "
        "does not hold makes the exit code 1. --html FILE writes one page with tables and plots of "
        "everything, which needs nothing but a browser.",
    .examples = "verify-run GLM-5.1-NVFP4 --against GLM-5.1 --text eval.jsonl --max-kl 0.02 --html "
                "report.html\n"
                "verify-run GLM-5.1 --text eval.jsonl --save-reference GLM-5.1.reference.st\n"
                "verify-run GLM-5.1-W4A16 --reference GLM-5.1.reference.st --json\n"
                "verify-run GLM-5.1 --keep-map keep_map.json --against GLM-5.1 --text eval.jsonl\n"
                "verify-run GLM-5.1-NVFP4 --chat --draft 3 --kv-cache fp8\n"
                "mpirun -n 8 verify-run GLM-5.1 --text eval.jsonl --tp 8",
    .common = CLI_HAS_JSON | CLI_HAS_QUIET | CLI_HAS_VERBOSE | CLI_HAS_JOBS | CLI_HAS_MEM |
              CLI_HAS_FORCE | CLI_HAS_RANKS,
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
    if (o->greedy || o->smoke || o->random_draws >= 0 || o->tp || o->probe.kinds ||
        o->probe.prompts.n)
        return prep_fail(err, PREP_EUSAGE,
                         "--activations is for measuring: not with --greedy, --smoke, --probe, "
                         "--random-draws or --tp");
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
        .keep_map = o->keep_maps.n ? o->keep_maps.items[0] : NULL,
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
        .kl_by_layer = o->by_layer,
        .run = {.mem = cli->common.mem,
                .n_threads = (int)cli->common.jobs,
                .index_pattern = o->index_pattern,
                .dense = o->dense,
                .mtp_dense = o->mtp_dense,
                .latent_eps = o->norm_eps,
                .ranks = o->tp ? &cli->ranks : NULL},
        .original_as_is = o->as_is,
        .ranks = &cli->ranks,
        .progress = cli->common.quiet ? NULL : cli_progress,
        .progress_arg = cli,
    };
    if (o->tp && o->tp != cli->ranks.size)
        return prep_fail(err, PREP_EUSAGE,
                         "--tp %" PRId64 ": started as %d; start it by mpirun "
                         "-n %" PRId64 " (or srun -n %" PRId64 ")",
                         o->tp, cli->ranks.size, o->tp, o->tp);
    if (isa_parse(&job->run.isa, o->isa))
        return prep_fail(err, PREP_EUSAGE, "--isa %s: want auto, scalar, avx2 or avx512", o->isa);
    if (job->run.isa > cpu_isa())
        return prep_fail(err, PREP_EUNSUP, "--isa %s: this machine has %s at most", o->isa,
                         isa_name(cpu_isa()));
    if (o->norm_eps < 0)
        return prep_fail(err, PREP_EUSAGE, "--norm-eps %g: want a number above 0", o->norm_eps);
    if (parse_inputs(&job->run.inputs, o, err))
        return -1;
    if (o->keep_maps.n > 1 && o->random_draws < 0)
        return prep_fail(err, PREP_EUSAGE,
                         "several keep-maps: they are compared with --random-draws");
    if (o->set && !o->windows)
        return prep_fail(err, PREP_EUSAGE, "--set names windows of a --windows file");
    /* Whoever shares a model does everything alike, so with the memory of the least. */
    return o->tp ? ranks_least(&cli->ranks, &job->run.mem, err) : 0;
}

static int check_by_layer(const struct options *o, struct prep_error *err)
{
    if (o->by_layer && !o->against)
        return prep_fail(err, PREP_EUSAGE,
                         "--kl-by-layer compares with the original: give --against ORIGINAL");
    if (o->by_layer && (o->smoke || o->random_draws >= 0 || o->probe.kinds || o->probe.prompts.n))
        return prep_fail(err, PREP_EUSAGE,
                         "--kl-by-layer is for judging on a text: not with --smoke, --probe or "
                         "--random-draws");
    return 0;
}

static int check_files(const struct options *o, const struct cli *cli, struct prep_error *err)
{
    if (o->save && o->html && strcmp(o->save, o->html) == 0)
        return prep_fail(err, PREP_EUSAGE, "%s: is both the page and the reference", o->save);
    return cli_page_check(cli, o->save, err) || cli_page_check(cli, o->html, err) ? -1 : 0;
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

/* page: NULL when none is wanted. */
static int judge(struct cli *cli, const struct options *o, const struct judge_job *job,
                 struct report *report, struct page *page, struct prep_error *err)
{
    struct judgement j;
    struct judge_verdict *v = NULL;
    size_t n = 0;
    struct span bytes;
    int rc = -1;
    if (judge_run(&j, job, report, err) || judge_limits_check(&v, &n, &o->limits, &j, err))
        goto out;
    if (o->save && cli->ranks.rank == 0 &&
        (judgement_save(&bytes, &j, program.name, err) ||
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
    if (page)
        page_judgement(page, &j, v, n);
    rc = check_verdicts(v, n, err);
out:
    judgement_free(&j);
    return rc;
}

static int generate(struct cli *cli, const struct options *o, const struct judge_job *job,
                    struct report *report, struct page *page, struct prep_error *err)
{
    struct judge_text_made *made;
    size_t n;
    const int64_t n_new = o->talk.new_tokens ? o->talk.new_tokens : DEFAULT_NEW_TOKENS;
    if (judge_generate(&made, &n, job, o->greedy, (size_t)n_new, &cli->arena, err))
        return -1;
    if (page)
        page_texts(page, o->greedy, made, n);
    if (cli->common.json)
        return judge_generate_facts(report->facts, made, n, err);
    cli_judge_texts(cli->host.out, made, n);
    return 0;
}

static int write_page(struct cli *cli, const struct options *o, struct page *page,
                      struct prep_error *err)
{
    if (!page || cli->ranks.rank != 0)
        return 0;
    return cli_page_write(cli, page, o->html, o->argc, o->argv, err);
}

/* What is no judgement: a smoke test, probes, cuts. */
static int test(struct cli *cli, const struct options *o, const struct judge_job *job,
                struct report *report, struct page *page, struct prep_error *err)
{
    const struct cli_smoke smoke = {job, &o->limits, o->max_nats, o->engines};
    const struct cli_cuts cuts = {job, &o->keep_maps, o->random_draws};
    if (o->smoke && page)
        return prep_fail(err, PREP_EUSAGE, "--smoke ends with a line of JSON, and makes no page");
    if (o->smoke)
        return cli_smoke_run(cli, &smoke, report, err);
    const int probes = o->probe.kinds || o->probe.prompts.n;
    if (probes ? cli_probe_run(cli, &o->probe, job, report, page, err)
               : cli_cuts_run(cli, &cuts, report, page, err))
        return -1;
    return write_page(cli, o, page, err);
}

static int work(struct cli *cli, const struct options *o, struct report *report, struct page *page,
                struct prep_error *err)
{
    const int has_text = o->texts.n || o->windows || o->tokens || o->reference;
    struct judge_job job;
    if (fill(&job, o, cli, err) || check_by_layer(o, err) || check_files(o, cli, err))
        return -1;
    if (o->smoke || o->probe.kinds || o->probe.prompts.n || o->random_draws >= 0)
        return o->tp || cli->ranks.rank == 0 ? test(cli, o, &job, report, page, err) : 0;
    if (cli_talk_is_wanted(&o->talk)) {
        if (has_text || o->greedy || o->against || o->html)
            return prep_fail(err, PREP_EUSAGE,
                             "judge a model or talk to it: --prompt, --messages and --chat stand "
                             "alone");
        return o->tp || cli->ranks.rank == 0 ? cli_talk(cli, &o->talk, &job, report, err) : 0;
    }
    /* A limit that fails is reported last: the texts are wanted all the same. */
    struct prep_error verdict = PREP_ERROR_INIT;
    if ((has_text || !o->greedy) && judge(cli, o, &job, report, page, &verdict) &&
        verdict.code != PREP_EVERIFY) {
        *err = verdict;
        return -1;
    }
    /* Ranks that do not share a model leave this to rank 0. */
    if (o->greedy && (o->tp || cli->ranks.rank == 0) && generate(cli, o, &job, report, page, err))
        return -1;
    if (write_page(cli, o, page, err))
        return -1;
    if (verdict.code == PREP_OK)
        return 0;
    *err = verdict;
    return -1;
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    struct page page;
    if (!o->html)
        return work(cli, o, report, NULL, err);
    page_init(&page);
    const int rc = work(cli, o, report, &page, err);
    page_free(&page);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.isa = "auto",
                        .window = DEFAULT_WINDOW,
                        .worst = DEFAULT_WORST,
                        .random_draws = -1,
                        .max_nats = NAN,
                        .probe = {.cases = -1,
                                  .answer_tokens = -1,
                                  .loop_prompts = -1,
                                  .loop_seeds = -1,
                                  .loop_tokens = -1},
                        .argc = argc,
                        .argv = argv,
                        .limits = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
                        .talk = CLI_TALK_DEFAULTS};
    return cli_main(&program, &o, run, argc, argv);
}

/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "libprep/release/compare.h"
#include "libprep/release/inspect_check.h"
#include "tools/cli_gguf.h"
#include "tools/cli_inspect.h"
#include "tools/cli_lint.h"

struct options {
    const char *match, *keep_map;
    int64_t layer;
    int64_t max_tensors;
    int tensors, read_data, pruned, strict_parity;
    struct cli_lint_options lint;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"tensors", 't', CLI_FLAG, NULL, "list every tensor: name, dtype, shape, bytes, file, offset",
     AT(tensors), 0, 0},
    {"layer", 0, CLI_INT, "L", "only what belongs to this layer", AT(layer), 0, 1023},
    {"match", 0, CLI_TEXT, "GLOB", "only tensors whose name matches", AT(match), 0, 0},
    {"read-data", 0, CLI_FLAG, NULL,
     "check, diff: read every byte again, and hash it or compare it", AT(read_data), 0, 0},
    {"keep-map", 0, CLI_TEXT, "FILE", "diff: see A through this keep-map", AT(keep_map), 0, 0},
    {"pruned", 0, CLI_FLAG, NULL, "diff: see A through the keep_map.json of B", AT(pruned), 0, 0},
    {"engine", 0, CLI_TEXT, "NAME,...",
     "lint, repair: of sglang, vllm, transformers, llama.cpp; all when not given", AT(lint.engines),
     0, 0},
    {"tp", 0, CLI_INT, "N", "lint: can N tensor-parallel ranks serve it", AT(lint.tp), 1, 4096},
    {"ep", 0, CLI_INT, "N", "lint: can N expert-parallel ranks serve it", AT(lint.ep), 1, 65536},
    {"source", 0, CLI_TEXT, "PATH", "lint: the checkpoint this one was cut from: compare routers",
     AT(lint.source), 0, 0},
    {"max-tensors", 0, CLI_INT, "N", "split: begin a new part after N tensors", AT(max_tensors), 1,
     INT32_MAX},
    {"strict-parity", 0, CLI_FLAG, NULL,
     "split, merge: as llama.cpp's tool does, which does not give the file back", AT(strict_parity),
     0, 0},
    CLI_PLAN_OPTIONS(struct options, lint.plan),
};

static const struct cli_program program = {
    .name = "prep-inspect",
    .schema = "prep-inspect/1",
    .purpose = "show what is in a checkpoint or beside it, check it, compare two, lint and repair",
    .synopsis = "PATH...\n"
                "check PATH...\n"
                "diff A B\n"
                "lint PATH...\n"
                "repair SOURCE OUTPUT\n"
                "split GGUF OUTPUT\n"
                "merge GGUF OUTPUT\n"
                "merge-imatrix OUTPUT FILE...",
    .description =
        "PATH is a checkpoint (a folder, or ORG/NAME in the local hub cache), a .safetensors file, "
        "an index, a config.json, observations (a file, a folder of blocks or a bundle), a "
        "keep-map, a prep-manifest.json or a GGUF file (of a split set any part). What it is, is "
        "told by what it holds.\n\n"
        "check holds each PATH against itself: a checkpoint against its config, keep-map and "
        "manifest. Every fault is one line on stdout: CODE place: text.\n\n"
        "split cuts a GGUF file into parts, merge makes a set of parts one file again, with the "
        "bytes "
        "it had; both look at every part first. merge-imatrix adds importance matrices; OUTPUT "
        "NAME.dat is written in the older form.\n\n"
        "diff holds B against A. With --pruned or --keep-map A is seen through the map, with fewer "
        "experts under their new ids, so that B is proven to hold A's bytes.\n\n"
        "lint says what will fail when an engine serves the checkpoint: one line for each finding, "
        "CODE [engines] place: what is found; what will happen; the mend. Notes, which are no "
        "faults, are shown with -v.\n\n"
        "repair writes SOURCE to OUTPUT with everything mended that needs no source: unequal gate "
        "and up scales, lists, counts, the index, headers. Codes of weights never change. The "
        "result is linted again, and what is left is shown.",
    .examples = "prep-inspect GLM-5.1 --layer 3 --match '*.gate.*'\n"
                "prep-inspect check --read-data GLM-5.1-192\n"
                "prep-inspect diff --pruned --read-data GLM-5.1 GLM-5.1-192\n"
                "prep-inspect lint --engine sglang,vllm --tp 8 GLM-5.1-192-NVFP4\n"
                "prep-inspect repair GLM-5.1-192-NVFP4 GLM-5.1-192-NVFP4-mended",
    .common = CLI_HAS_ALL,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 1,
    .max_operands = -1,
};

/* What every mode needs. */
struct run {
    struct cli_inspect show;
    const struct options *o;
};

/* ---- check ---- */

static struct verify_options verify_options(struct run *r)
{
    return (struct verify_options){
        .n_threads = (int)r->show.cli->common.jobs,
        .mem = r->show.cli->common.mem,
        .progress = cli_progress,
        .progress_arg = r->show.cli,
        .stop = cli_catch_signals(),
    };
}

static void print_findings(FILE *out, const struct findings *f)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct finding *x = &f->items[i];
        fprintf(out, "%s %s%s%s%s\n", x->code, x->place, *x->place ? ": " : "", x->text,
                x->severity == FINDING_WARNING ? " (warning)" : "");
    }
}

static int check_one(struct run *r, const char *path, size_t *n_faults)
{
    const struct check_options opt = {.read_data = r->o->read_data, .verify = verify_options(r)};
    struct findings f = {0};
    struct inspected it;
    if (inspect_open_past_index(&it, &io_posix, path, r->show.report, r->show.err))
        return -1;
    int rc = inspect_check(&f, &it, &opt, r->show.report, r->show.err);
    if (!rc && r->show.out) {
        print_findings(r->show.out, &f);
        fprintf(r->show.out, "%s: %s, ", path, inspect_kind_name(it.kind));
        if (f.n_errors)
            fprintf(r->show.out, "%zu fault%s\n", f.n_errors, cli_plural(f.n_errors));
        else
            fputs("no fault\n", r->show.out);
    } else if (!rc) {
        cJSON *fact = cli_inspect_fact(&r->show);
        rc = !fact || !cJSON_AddStringToObject(fact, "path", path) ||
             !cJSON_AddStringToObject(fact, "kind", inspect_kind_name(it.kind)) ||
             findings_facts(fact, &f, r->show.err);
    }
    *n_faults += f.n_errors;
    findings_fini(&f);
    inspect_close(&it);
    return rc ? -1 : 0;
}

/* ---- diff ---- */

static void diff_side(FILE *out, const char *name, const char *path, const struct compare_count *n,
                      uint64_t parameters, int experts)
{
    fprintf(out, "%s  %s: ", name, path);
    cli_print_count(out, 0, n->tensors);
    fputs(" tensors, ", out);
    cli_print_count(out, 0, n->bytes);
    fputs(" bytes", out);
    if (parameters) {
        fputs(", ", out);
        cli_print_count(out, 0, parameters);
        fprintf(out, " parameters, %d experts", experts);
    }
    fputc('\n', out);
}

static void diff_row(FILE *out, const char *name, const struct compare_count *n)
{
    fprintf(out, "  %-34s", name);
    cli_print_count(out, 10, n->tensors);
    cli_print_count(out, 22, n->bytes);
    fputc('\n', out);
}

static void diff_table(struct run *r, const struct comparison *c)
{
    FILE *out = r->show.out;
    fprintf(out, "\n  %-34s%10s%22s\n", "", "tensors", "bytes");
    if (c->through_map) {
        diff_row(out, "kept", &c->kept);
        diff_row(out, "  under a new expert id", &c->renamed);
        diff_row(out, "  router rows gathered", &c->gathered);
        diff_row(out, "dropped", &c->dropped);
    }
    diff_row(out, c->read_data ? "identical, byte for byte" : "identical, by both manifests",
             &c->identical);
    diff_row(out, "different", &c->different);
    diff_row(out, "not compared", &c->unproven);
    fputc('\n', out);
}

static void diff_text(struct run *r, const struct inspected *a, const struct inspected *b,
                      const struct comparison *c)
{
    FILE *out = r->show.out;
    diff_side(out, "A", a->path, &c->a, c->a_parameters, c->a_experts);
    diff_side(out, "B", b->path, &c->b, c->b_parameters, c->b_experts);
    if (c->through_map)
        fprintf(out, "A is seen through the keep-map, by %s\n",
                c->from_base ? "kept_source" : "kept_parent");
    diff_table(r, c);
    if (c->config_identical)
        fprintf(out, "config.json is byte for byte %s\n",
                c->through_map ? "what the keep-map makes of A's" : "the same");
    fprintf(out, "%" PRIu64 " file%s beside the shards %s equal\n", c->files_equal,
            cli_plural(c->files_equal), c->files_equal == 1 ? "is" : "are");
    print_findings(out, &c->findings);
    if (!comparison_equal(c))
        fprintf(out, "%zu difference%s\n", c->findings.n_errors, cli_plural(c->findings.n_errors));
    else if (c->unproven.tensors)
        fputs("no difference as far as was looked: --read-data compares the bytes\n", out);
    else
        fprintf(out, "B is %s, byte for byte\n", c->through_map ? "A through the keep-map" : "A");
}

/* The map of --keep-map or --pruned; NULL with no error when none was asked for. */
static int diff_map(struct run *r, const struct inspected *b, struct inspected *file,
                    const struct keep_map **map)
{
    *map = NULL;
    if (r->o->keep_map) {
        if (inspect_open(file, &io_posix, r->o->keep_map, r->show.report, r->show.err))
            return -1;
        if (!file->has_map)
            return prep_fail(r->show.err, PREP_EUSAGE, "%s: holds no keep-map", r->o->keep_map);
        *map = &file->map;
    } else if (r->o->pruned) {
        if (b->map_fault.code != PREP_OK) {
            *r->show.err = b->map_fault;
            return -1;
        }
        if (!b->has_map)
            return prep_fail(r->show.err, PREP_ENOINPUT,
                             "%s: has no " INSPECT_KEEP_MAP ": name one with "
                             "--keep-map",
                             b->path);
        *map = &b->map;
    } else if (b->has_map) {
        cli_say(r->show.cli, "%s has a " INSPECT_KEEP_MAP ": --pruned sees A through it", b->path);
    }
    return 0;
}

static int diff(struct run *r, const char *a_path, const char *b_path)
{
    struct inspected a = {0}, b = {0}, file = {0};
    struct comparison c = {0};
    struct compare_options opt = {.read_data = r->o->read_data, .verify = verify_options(r)};
    int rc = -1;
    /* What is odd about A and B by themselves is for check to say. */
    if (inspect_open(&a, &io_posix, a_path, NULL, r->show.err) ||
        inspect_open(&b, &io_posix, b_path, NULL, r->show.err) ||
        diff_map(r, &b, &file, &opt.map) ||
        compare_checkpoints(&c, &a, &b, &opt, NULL, r->show.err))
        goto out;
    if (r->show.out) {
        diff_text(r, &a, &b, &c);
    } else {
        cJSON *fact = cli_inspect_fact(&r->show);
        if (!fact || !cJSON_AddStringToObject(fact, "a_path", a_path) ||
            !cJSON_AddStringToObject(fact, "b_path", b_path) ||
            compare_facts(fact, &c, r->show.err))
            goto out;
    }
    if (comparison_equal(&c))
        rc = 0;
    else
        prep_fail(r->show.err, PREP_EVERIFY, "%s and %s differ", a_path, b_path);
out:
    comparison_fini(&c);
    inspect_close(&file);
    inspect_close(&b);
    inspect_close(&a);
    return rc;
}

/* ---- modes ---- */

static int show_all(struct run *r)
{
    const struct options *o = r->o;
    const struct inspect_filter filter = {
        .has_layer = o->layer >= 0, .layer = (int)o->layer, .match = o->match};
    const int list = o->tensors || filter.has_layer || filter.match;
    for (int i = 0; i < r->show.cli->n_operands; i++) {
        if (i && r->show.out)
            fputc('\n', r->show.out);
        if (cli_inspect_show(&r->show, r->show.cli->operands[i], &filter, list))
            return -1;
    }
    return 0;
}

static int check_all(struct run *r)
{
    size_t n = 0;
    if (r->show.cli->n_operands < 2)
        return prep_fail(r->show.err, PREP_EUSAGE, "check wants one PATH or more");
    for (int i = 1; i < r->show.cli->n_operands; i++)
        if (check_one(r, r->show.cli->operands[i], &n))
            return -1;
    return n ? prep_fail(r->show.err, PREP_EVERIFY, "%zu fault%s found", n, cli_plural(n)) : 0;
}

enum mode {
    MODE_SHOW,
    MODE_CHECK,
    MODE_DIFF,
    MODE_LINT,
    MODE_REPAIR,
    MODE_SPLIT,
    MODE_MERGE,
    MODE_IMATRIX,
    N_MODES
};

static enum mode mode_of(const char *word)
{
    static const char *const words[N_MODES] = {"",       "check", "diff",  "lint",
                                               "repair", "split", "merge", "merge-imatrix"};
    for (int m = MODE_CHECK; m < N_MODES; m++)
        if (strcmp(words[m], word) == 0)
            return (enum mode)m;
    return MODE_SHOW;
}

/* Options that would be passed over in silence are refused. */
static int check_options(const struct options *o, const struct cli_common *c, enum mode mode,
                         struct prep_error *err)
{
    const struct cli_lint_options *l = &o->lint;
    const int reading = mode == MODE_CHECK || mode == MODE_DIFF;
    const int cutting = mode == MODE_SPLIT || mode == MODE_MERGE;
    const int writing = cutting || mode == MODE_REPAIR;
    if (mode != MODE_SHOW && (o->tensors || o->match || o->layer >= 0))
        return prep_fail(err, PREP_EUSAGE, "--tensors, --layer and --match only show");
    if (!reading && o->read_data)
        return prep_fail(err, PREP_EUSAGE, "--read-data goes with check and diff");
    if (mode != MODE_DIFF && (o->keep_map || o->pruned))
        return prep_fail(err, PREP_EUSAGE, "--keep-map and --pruned go with diff");
    if (o->keep_map && o->pruned)
        return prep_fail(err, PREP_EUSAGE, "give --keep-map or --pruned, not both");
    if (mode != MODE_LINT && (l->tp || l->ep || l->source))
        return prep_fail(err, PREP_EUSAGE, "--tp, --ep and --source go with lint");
    if (mode != MODE_LINT && mode != MODE_REPAIR && l->engines)
        return prep_fail(err, PREP_EUSAGE, "--engine goes with lint and repair");
    if ((mode != MODE_SPLIT && o->max_tensors) || (!cutting && o->strict_parity))
        return prep_fail(err, PREP_EUSAGE, "--max-tensors and --strict-parity go with split");
    if (!writing && ((c->force && mode != MODE_IMATRIX) || c->dry_run || c->fresh || c->assemble ||
                     c->part.n || l->plan.shard_bytes || l->plan.sync_bytes || l->plan.no_hashes))
        return prep_fail(err, PREP_EUSAGE, "options of writing go with repair, split and merge");
    return 0;
}

static int repair(struct run *r)
{
    const int n = r->show.cli->n_operands;
    if (n != 3 && !(n == 2 && r->show.cli->common.dry_run))
        return prep_fail(r->show.err, PREP_EUSAGE, "repair wants SOURCE and OUTPUT");
    return cli_repair(r->show.cli, &r->o->lint, r->show.cli->operands[1],
                      n == 3 ? r->show.cli->operands[2] : NULL, r->show.list, r->show.report,
                      r->show.err);
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    struct run r = {.show = {.cli = cli,
                             .out = cli->common.json ? NULL : cli->host.out,
                             .report = report,
                             .err = err},
                    .o = options};
    const enum mode mode = mode_of(cli->operands[0]);
    if (check_options(r.o, &cli->common, mode, err))
        return -1;
    r.show.list = cJSON_AddArrayToObject(report->facts, "results");
    if (!r.show.list)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    if (mode == MODE_SHOW)
        return show_all(&r);
    if (mode == MODE_CHECK)
        return check_all(&r);
    if (mode == MODE_LINT)
        return cli_lint(cli, &r.o->lint, cli->operands + 1, cli->n_operands - 1, r.show.list, err);
    if (mode == MODE_REPAIR)
        return repair(&r);
    if (mode == MODE_SPLIT || mode == MODE_MERGE) {
        const struct cli_gguf_options g = {.max_tensors = r.o->max_tensors,
                                           .strict_parity = r.o->strict_parity,
                                           .plan = r.o->lint.plan};
        return cli_cut_gguf(cli, &g, mode == MODE_SPLIT, cli->operands + 1, cli->n_operands - 1,
                            report, err);
    }
    if (mode == MODE_IMATRIX)
        return cli_merge_imatrix(cli, cli->operands + 1, cli->n_operands - 1, err);
    if (cli->n_operands != 3)
        return prep_fail(err, PREP_EUSAGE, "diff wants two checkpoints, A and B");
    return diff(&r, cli->operands[1], cli->operands[2]);
}

int main(int argc, char **argv)
{
    struct options o = {.layer = -1};
    return cli_main(&program, &o, run, argc, argv);
}

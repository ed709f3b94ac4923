/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "libprep/release/sizes.h"
#include "tools/cli.h"

struct options {
    const char *experts;
    int no_mtp;
    int64_t tp, context;
    uint64_t rank_memory;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"experts", 'e', CLI_TEXT, "N,N,...", "sizes after pruning to N experts per MoE layer",
     AT(experts), 0, 0},
    {"no-mtp", 0, CLI_FLAG, NULL, "leave the MTP layers out", AT(no_mtp), 0, 0},
    {"tp", 0, CLI_INT, "N", "split the weights over N tensor-parallel ranks", AT(tp), 1, 4096},
    {"context", 0, CLI_INT, "N", "tokens of cache; what the config allows when not given",
     AT(context), 1, INT64_C(1) << 40},
    {"rank-memory", 0, CLI_SIZE, "SIZE",
     "memory of a rank for weights and cache: how many tokens fit", AT(rank_memory), 0, 0},
};

static const struct cli_program program = {
    .name = "prep-plan",
    .schema = "prep-plan/1",
    .purpose = "compute parameters, sizes and memory of a model in every format",
    .synopsis = "CONFIG|FOLDER",
    .description =
        "Reads config.json, nothing else, and prints exact parameter counts, the tensor bytes of "
        "every format, the share of one tensor-parallel rank (the largest), and the cache per "
        "token. GB are "
        "10^9 bytes, GiB 2^30. Formats: linears is everything but lm_head, the dense MLPs and "
        "indexer.weights_proj; portable is routed and shared experts, q_b_proj and o_proj. MTP "
        "layers stay BF16 except in FP8 and GGUF.",
    .examples = "prep-plan GLM-5.1\n"
                "prep-plan GLM-5.1 --experts 256,192,160,154 --no-mtp\n"
                "prep-plan GLM-5.1 --experts 160 --tp 4 --context 202752 --rank-memory 90G",
    .common = CLI_HAS_JSON | CLI_HAS_QUIET,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 1,
    .max_operands = 1,
};

/* "192,160,154" */
static int parse_experts(struct size_request *request, const char *text, struct arena *arena,
                         struct prep_error *err)
{
    int64_t *counts = arena_calloc(arena, strlen(text) + 1, sizeof *counts, err);
    char *copy = arena_strndup(arena, text, strlen(text), err);
    if (!counts || !copy)
        return -1;
    for (char *save, *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save))
        if (cli_parse_int(&counts[request->n_experts++], word, 1, 65536, "--experts", err))
            return -1;
    request->experts = counts;
    if (request->n_experts == 0)
        return prep_fail(err, PREP_EUSAGE, "--experts names no number");
    return 0;
}

static double giga(uint64_t n)
{
    return (double)n / 1e9;
}

static double gibi(uint64_t n)
{
    return (double)n / (double)(1 << 30);
}

static void print_variant(FILE *f, const struct size_table *t, const struct size_variant *v)
{
    const struct model_counts *m = &v->counts;
    int n_cut = 0;
    fprintf(f, "%d experts: %.3f B parameters", v->n_experts, giga(v->parameters));
    if (t->mtp_layers > 0)
        fprintf(f, " (%.3f B and %.3f B of MTP)", giga(m->main), giga(m->mtp));
    fprintf(f, ", %.3f B active per token\n", giga(m->active));
    fprintf(f, "  %-32s %18s %10s %10s", "format", "bytes", "GB", "GiB");
    if (t->tp > 1)
        fprintf(f, " %10s%s", "GiB/rank", t->rank_memory > 0 ? " " : "");
    if (t->rank_memory > 0)
        fprintf(f, " %12s %12s", "tokens bf16", "tokens fp8");
    fputc('\n', f);
    for (int i = 0; i < N_WEIGHT_FORMATS; i++) {
        const struct size_row *row = &v->rows[i];
        fprintf(f, "  %-32s %18" PRIu64 " %10.2f %10.2f", row->format->text, row->size.bytes,
                giga(row->size.bytes), gibi(row->size.bytes));
        if (t->tp > 1)
            fprintf(f, " %10.2f%s", gibi(row->size.rank_bytes),
                    row->size.rank_cut   ? "*"
                    : t->rank_memory > 0 ? " "
                                         : "");
        if (t->rank_memory > 0)
            fprintf(f, " %12" PRIu64 " %12" PRIu64, row->tokens[KV_LAYOUT_BF16],
                    row->tokens[KV_LAYOUT_FP8]);
        fputc('\n', f);
        n_cut += row->size.rank_cut;
    }
    if (n_cut)
        fputs("  * blocks or groups are cut, and held on both sides: engines refuse this split\n",
              f);
}

static void print_cache(FILE *f, const struct size_table *t)
{
    fprintf(f, "cache per rank, %d layers%s, %" PRIu64 " tokens\n", t->layers + t->mtp_layers,
            t->mtp_layers ? " with MTP" : "", t->context);
    fprintf(f, "  %-32s %18s %10s %10s\n", "layout", "bytes per token", "GB", "GiB");
    for (int k = 0; k < KV_LAYOUT_COUNT; k++) {
        const uint64_t bytes = t->kv_context[k];
        fprintf(f, "  %-32s %18" PRIu64 " %10.2f %10.2f\n", kv_layout_name((enum kv_layout)k),
                t->kv_token[k], giga(bytes), gibi(bytes));
    }
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    struct size_request request = {.without_mtp = o->no_mtp,
                                   .tp = (int)o->tp,
                                   .context = (uint64_t)o->context,
                                   .rank_memory = o->rank_memory};
    struct size_table sizes = {0};
    struct config c = {0};
    int rc = -1;
    if ((o->experts && parse_experts(&request, o->experts, &cli->arena, err)) ||
        config_load(&c, &io_posix, cli->operands[0], report, err) ||
        sizes_build(&sizes, &c, &request, err))
        goto out;
    sizes_report(&sizes, report);
    FILE *f = cli->host.out;
    for (size_t i = 0; i < sizes.n_variants && !cli->common.json; i++)
        print_variant(f, &sizes, &sizes.variants[i]);
    if (!cli->common.json)
        print_cache(f, &sizes);
    rc = 0;
out:
    sizes_free(&sizes);
    config_free(&c);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.tp = 1};
    return cli_main(&program, &o, run, argc, argv);
}

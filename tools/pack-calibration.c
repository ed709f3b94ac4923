/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "libprep/calib/mix.h"
#include "tools/cli.h"

struct options {
    const char *tokenizer, *separator, *prefix, *field, *members;
    int64_t sequence, sequences, seed;
    int mode, lossy;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"tokenizer", 't', CLI_TEXT, "PATH", "folder, hub name or tokenizer.json; needed",
     AT(tokenizer), 0, 0},
    {"sequence", 'n', CLI_INT, "N", "tokens of a sequence; needed", AT(sequence), 2,
     PACK_MAX_SEQUENCE},
    {"sequences", 0, CLI_INT, "N", "how many to make; as many as are full when not given",
     AT(sequences), 1, INT64_C(1) << 40},
    {"seed", 's', CLI_INT, "N", "shuffle the documents; in the order of the files when not given",
     AT(seed), 0, INT64_MAX},
    {"separator", 0, CLI_TEXT, "TOKEN",
     "token put behind every document, '' for none; <|endoftext|> when not given", AT(separator), 0,
     0},
    {"prefix", 0, CLI_TEXT, "TEXT", "put before every sequence, such as '[gMASK]<sop>'", AT(prefix),
     0, 0},
    {"mode", 0, CLI_CHOICE, "all|nospecial|raw", "which added tokens are found in the text",
     AT(mode), 0, 0},
    {"field", 0, CLI_TEXT, "KEY", "where the text of a JSON line is; text when not given",
     AT(field), 0, 0},
    {"members", 0, CLI_TEXT, "PATTERN", "files to take from archives, such as '*/train-*.jsonl'",
     AT(members), 0, 0},
    {"lossy", 0, CLI_FLAG, NULL, "replace bytes that are not UTF-8 instead of refusing them",
     AT(lossy), 0, 0},
};

static const struct cli_program program = {
    .name = "pack-calibration",
    .schema = "pack-calibration/1",
    .purpose = "tokenize texts and pack them into full calibration sequences",
    .synopsis = "--tokenizer PATH --sequence N FILE... OUTPUT\n"
                "--tokenizer PATH --sequence N MIX.json OUTPUT",
    .description =
        "Reads documents from JSON lines (*.jsonl, *.ndjson), text files (anything else), *.gz of "
        "these, or the members of *.tar, *.tar.gz, *.tar.zst and *.zip; encodes them; puts them "
        "end to end, each followed by the separator; and cuts full sequences. OUTPUT is a "
        "safetensors file with the tokens, where each document begins, and the hashes of all that "
        "went in.\n\n"
        "A mix file names sources with numbers of documents or weights, a seed and more. Options "
        "given here win over what it says.",
    .examples = "pack-calibration -t GLM-5.1 -n 2048 --seed 1 code.jsonl chat.jsonl.gz set.st\n"
                "pack-calibration -t GLM-5.1 -n 2048 calibration/nano.json set.safetensors",
    .common =
        CLI_HAS_DRY_RUN | CLI_HAS_JSON | CLI_HAS_QUIET | CLI_HAS_JOBS | CLI_HAS_MEM | CLI_HAS_FORCE,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 2,
    .max_operands = -1,
};

static int is_mix(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".json") == 0;
}

/* The files given as operands, each a source. */
static int list_files(struct pack_options *p, const struct options *o, struct cli *cli,
                      struct prep_error *err)
{
    size_t n = (size_t)cli->n_operands - 1;
    struct pack_source *sources = arena_calloc(&cli->arena, n, sizeof *sources, err);
    if (!sources)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *path = cli->operands[i];
        if (is_mix(path))
            return prep_fail(err, PREP_EUSAGE, "%s: a mix file is given alone", path);
        sources[i] = (struct pack_source){
            .name = path,
            .documents = {.path = path, .members = o->members, .field = o->field},
            .mode = -1};
    }
    p->sources = sources;
    p->n_sources = n;
    return 0;
}

static int fill_options(struct pack_options *p, const struct options *o, struct cli *cli,
                        struct prep_error *err)
{
    *p = (struct pack_options){.separator = "<|endoftext|>",
                               .prefix = "",
                               .lossy = o->lossy,
                               .n_threads = (int)cli->common.jobs,
                               .mem = cli->common.mem,
                               .progress = cli->common.quiet ? NULL : cli_progress,
                               .progress_arg = cli};
    if (!o->tokenizer || o->sequence == 0)
        return prep_fail(err, PREP_EUSAGE, "--tokenizer and --sequence are needed");
    if (cli->n_operands == 2 && is_mix(cli->operands[0])) {
        if (o->field || o->members)
            return prep_fail(err, PREP_EUSAGE,
                             "--field and --members are said by the mix, source by source");
        if (mix_read(p, &io_posix, cli->operands[0], &cli->arena, err))
            return -1;
    } else if (list_files(p, o, cli, err)) {
        return -1;
    }
    p->sequence = (uint64_t)o->sequence;
    if (o->sequences > 0)
        p->n_sequences = (uint64_t)o->sequences;
    if (o->seed >= 0) {
        p->shuffle = 1;
        p->seed = (uint64_t)o->seed;
    }
    p->separator = o->separator ? o->separator : p->separator;
    p->prefix = o->prefix ? o->prefix : p->prefix;
    p->mode = o->mode >= 0 ? o->mode : p->mode;
    return 0;
}

static int check_output(const struct cli *cli, const char *path, struct prep_error *err)
{
    struct io_stat st;
    if (io_posix.stat(io_posix.self, path, &st) < 0)
        return 0;
    if (st.kind != IO_REGULAR)
        return prep_fail(err, PREP_ECREATE, "%s: is in the way, and is no file", path);
    if (!cli->common.force)
        return prep_fail(err, PREP_ECREATE, "%s: is there already; --force replaces it", path);
    return 0;
}

static void report_sources(const struct pack_options *p, const struct pack_result *r,
                           struct report *report)
{
    cJSON *list = cJSON_AddArrayToObject(report->facts, "sources");
    for (size_t i = 0; i < p->n_sources; i++) {
        const struct pack_source_result *s = &r->sources[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "name", p->sources[i].name);
        cJSON_AddStringToObject(item, "sha256", s->stats.sha256);
        report_u64(item, "bytes", s->stats.bytes);
        report_u64(item, "records", s->stats.records);
        report_u64(item, "documents", s->documents);
        report_u64(item, "empty", s->empty);
        report_u64(item, "taken", s->taken);
        report_u64(item, "tokens", s->tokens);
        report_u64(item, "members_read", s->stats.members_read);
        report_u64(item, "members_passed_over", s->stats.members_passed_over);
        report_add(list, item);
    }
}

static void report_result(const struct pack_options *p, const struct pack_result *r,
                          const struct tokenizer *t, const char *output, size_t bytes,
                          struct report *report)
{
    char hex[SHA256_HEX];
    cJSON *facts = report->facts;
    tokens_text_sha256(&r->packed, hex);
    cJSON_AddStringToObject(facts, "output", output);
    report_u64(facts, "bytes", bytes);
    report_u64(facts, "sequences", r->packed.n_sequences);
    report_u64(facts, "sequence", r->packed.sequence);
    report_u64(facts, "tokens", r->packed.n_sequences * r->packed.sequence);
    report_u64(facts, "documents", r->packed.n_documents);
    report_u64(facts, "left_over", r->left_over);
    cJSON_AddStringToObject(facts, "text_sha256", hex);
    cJSON_AddStringToObject(facts, "tokenizer_sha256", tokenizer_sha256(t));
    report_sources(p, r, report);
}

static void print_result(const struct cli *cli, const struct pack_options *p,
                         const struct pack_result *r, size_t bytes)
{
    FILE *f = cli->host.out;
    char hex[SHA256_HEX], size[CLI_BYTES_TEXT];
    const struct packed_tokens *t = &r->packed;
    tokens_text_sha256(t, hex);
    fprintf(f,
            "%" PRIu64 " sequences of %" PRIu64 " tokens: %" PRIu64 " of %zu documents, %" PRIu64
            " left over, %s\n",
            t->n_sequences, t->sequence, t->n_sequences * t->sequence, t->n_documents, r->left_over,
            cli_format_bytes(bytes, size));
    for (size_t i = 0; i < p->n_sources; i++)
        fprintf(f, "  %s: %" PRIu64 " of %" PRIu64 " documents, %" PRIu64 " tokens\n",
                p->sources[i].name, r->sources[i].taken, r->sources[i].documents,
                r->sources[i].tokens);
    fprintf(f, "text_sha256 %s%s\n", hex, cli->common.dry_run ? "; nothing written" : "");
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    const char *output = cli->operands[cli->n_operands - 1];
    struct pack_options pack;
    struct pack_result result;
    struct tokenizer *t = NULL;
    struct span bytes;
    int rc = -1;
    if (fill_options(&pack, o, cli, err) || check_output(cli, output, err) ||
        tokenizer_open(&t, &io_posix, o->tokenizer, report, err) ||
        pack_documents(&result, &pack, t, &io_posix, &cli->arena, report, err) ||
        tokens_write(&bytes, &result.packed, &cli->arena, err))
        goto out;
    if (!cli->common.dry_run && io_write_file(&io_posix, output, bytes.p, bytes.n, err))
        goto out;
    report_result(&pack, &result, t, output, bytes.n, report);
    if (!cli->common.json)
        print_result(cli, &pack, &result, bytes.n);
    rc = 0;
out:
    tokenizer_free(t);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = -1, .mode = -1};
    return cli_main(&program, &o, run, argc, argv);
}

/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "libprep/release/gguf.h"
#include "tools/cli_plan.h"

struct options {
    struct cli_list types, tensor_types;
    const char *keep_map, *imatrix, *type_file, *output_type, *embedding_type, *isa;
    const char *prefix, *metadata, *pre, *tokenizer;
    int mtp, no_mtp, pure, strict_parity, names_from_folder, first_empty, sizes;
    uint64_t split_bytes, sync_bytes;
    int64_t split_tensors;
    int no_hashes;
};

#define AT(member) offsetof(struct options, member)

static const struct cli_option table[] = {
    {"type", 't', CLI_LIST, "[family:]RUNG",
     "make this rung: BF16, Q8_0, Q4_K_M, ...; repeatable, all are made in one reading", AT(types),
     0, 0},
    {"keep-map", 0, CLI_TEXT, "FILE", "prune by this keep-map in the same pass", AT(keep_map), 0,
     0},
    {"imatrix", 0, CLI_TEXT, "FILE", "importance matrix, GGUF or .dat: weighs the errors",
     AT(imatrix), 0, 0},
    {"mtp", 0, CLI_CHOICE, "keep|drop|separate",
     "the MTP layer: in the file, left out, or in a file mtp-NAME of its own", AT(mtp), 0, 0},
    {"no-mtp", 0, CLI_FLAG, NULL, "same as --mtp drop", AT(no_mtp), 0, 0},
    {"tensor-type", 0, CLI_LIST, "REGEX=TYPE",
     "type of the tensors in whose names REGEX is found; repeatable, the first match counts",
     AT(tensor_types), 0, 0},
    {"type-file", 0, CLI_TEXT, "FILE", "more of these, one per word, behind --tensor-type",
     AT(type_file), 0, 0},
    {"pure", 0, CLI_FLAG, NULL, "every tensor in the rung's base type, no mixture", AT(pure), 0, 0},
    {"output-type", 0, CLI_TEXT, "TYPE", "type of output.weight", AT(output_type), 0, 0},
    {"embedding-type", 0, CLI_TEXT, "TYPE", "type of token_embd.weight", AT(embedding_type), 0, 0},
    {"strict-parity", 0, CLI_FLAG, NULL,
     "write what llama.cpp's own tools would: quantized indexer.proj, no provenance keys",
     AT(strict_parity), 0, 0},
    {"sizes", 0, CLI_FLAG, NULL, "print what every rung would weigh", AT(sizes), 0, 0},
    {"prefix", 0, CLI_TEXT, "NAME",
     "names of files begin with this; the last part of SOURCE when not given", AT(prefix), 0, 0},
    {"metadata", 0, CLI_TEXT, "FILE", "JSON object with general.name and other general.* keys",
     AT(metadata), 0, 0},
    {"names-from-folder", 0, CLI_FLAG, NULL,
     "guess general.name and its kin from the last part of SOURCE", AT(names_from_folder), 0, 0},
    {"tokenizer", 0, CLI_TEXT, "FOLDER", "take tokenizer and chat template from here",
     AT(tokenizer), 0, 0},
    {"pre", 0, CLI_TEXT, "NAME", "tokenizer.ggml.pre, how the runtime splits text; glm4", AT(pre),
     0, 0},
    {"split-max-size", 0, CLI_SIZE, "SIZE", "begin a new part before a file has more tensor bytes",
     AT(split_bytes), 0, 0},
    {"split-max-tensors", 0, CLI_INT, "N", "begin a new part after N tensors", AT(split_tensors), 1,
     INT32_MAX},
    {"no-tensor-first-split", 0, CLI_FLAG, NULL, "the first part has the keys alone",
     AT(first_empty), 0, 0},
    {"isa", 0, CLI_TEXT, "NAME",
     "fastest instructions to use: auto, scalar, avx2, avx512; same bytes with each", AT(isa), 0,
     0},
    {"no-hashes", 0, CLI_FLAG, NULL,
     "compute neither SHA-256 nor XXH3: faster, and nothing to verify with later", AT(no_hashes), 0,
     0},
    {"sync-every", 0, CLI_SIZE, "SIZE",
     "bytes of a file between two points a killed run can go on from; 256M when not given",
     AT(sync_bytes), 0, 0},
};

static const struct cli_program program = {
    .name = "make-gguf",
    .schema = "make-gguf/1",
    .purpose = "convert a checkpoint to GGUF and quantize it, pruning it on the way if asked",
    .synopsis = "SOURCE OUTPUT",
    .description =
        "Reads SOURCE once and writes a GGUF file per --type into the folder OUTPUT: what "
        "llama.cpp's converter and quantizer would make of it one after the other, byte for byte "
        "with --strict-parity. SOURCE may be BF16, FP8 blocks, NVFP4 or W4A16; what is coded is "
        "decoded first.\n\n"
        "family:RUNG is the mixture of the published files: experts by the rung's rule, every "
        "other matrix Q8_0. Without --strict-parity indexer.proj stays F32 and keys named prep.* "
        "say where a file comes from. A run that was stopped or killed goes on when the same "
        "command is given again.",
    .examples = "make-gguf GLM-5.1 OUT -t Q4_K_M -t Q8_0 --no-mtp\n"
                "make-gguf GLM-5.1 --keep-map keep_map.json --imatrix imatrix.gguf \\\n"
                "    -t family:Q4_K_M --split-max-size 50GB OUT\n"
                "make-gguf GLM-5.1 --sizes --dry-run",
    .common = CLI_HAS_ALL,
    .options = table,
    .n_options = sizeof table / sizeof *table,
    .min_operands = 1,
    .max_operands = 2,
};

static void print_sizes(struct cli *cli, const struct gguf_result *r)
{
    char plain[CLI_BYTES_TEXT], family[CLI_BYTES_TEXT];
    fprintf(cli->host.out, "%-8s %12s %16s  %12s\n", "rung", "plain", "", "family");
    for (int i = 0; i < RUNG_COUNT; i++) {
        const struct gguf_size *s = &r->sizes[i];
        fprintf(cli->host.out, "%-8s %12s %16" PRIu64 "  %12s\n", gguf_rung_name(s->rung),
                cli_format_bytes(s->plain, plain), s->plain, cli_format_bytes(s->family, family));
    }
}

static void print_files(struct cli *cli, const struct gguf_result *r)
{
    char bytes[CLI_BYTES_TEXT];
    for (size_t i = 0; i < r->n_passes; i++)
        for (size_t k = 0; k < r->passes[i].n_outputs; k++) {
            const struct gguf_output *o = &r->passes[i].outputs[k];
            fprintf(cli->host.out, "%s: %zu tensors, %s (%" PRIu64 " bytes of tensors)", o->stem,
                    r->passes[i].map.n, cli_format_bytes(o->file_bytes, bytes), o->tensor_bytes);
            if (o->n_parts > 1)
                fprintf(cli->host.out, " in %zu parts", o->n_parts);
            fputc('\n', cli->host.out);
        }
}

static int fill_job(struct gguf_job *job, struct cli *cli, const struct options *o,
                    struct prep_error *err)
{
    static const char *const none[] = {"Q4_K_M"};
    *job = (struct gguf_job){.io = &io_posix,
                             .tool = program.name,
                             .source = cli->operands[0],
                             .keep_map = o->keep_map,
                             .rungs = o->types.items,
                             .n_rungs = o->types.n,
                             .mtp = o->no_mtp ? GGUF_JOB_DROP : (enum gguf_job_mtp)o->mtp,
                             .patterns = o->tensor_types.items,
                             .n_patterns = o->tensor_types.n,
                             .type_file = o->type_file,
                             .pure = o->pure,
                             .output_type = o->output_type,
                             .embedding_type = o->embedding_type,
                             .imatrix = o->imatrix,
                             .strict_parity = o->strict_parity,
                             .prefix = o->prefix,
                             .metadata = o->metadata,
                             .names_from_folder = o->names_from_folder,
                             .pre = o->pre,
                             .tokenizer = o->tokenizer,
                             .split_bytes = o->split_bytes,
                             .split_tensors = (uint64_t)o->split_tensors,
                             .first_empty = o->first_empty};
    if (o->no_mtp && o->mtp)
        return prep_fail(err, PREP_EUSAGE, "--no-mtp and --mtp exclude each other");
    if (job->n_rungs == 0) {
        if (!o->sizes)
            return prep_fail(err, PREP_EUSAGE, "give --type, for instance -t Q4_K_M, or --sizes");
        job->rungs = none;
        job->n_rungs = 1;
    }
    if (isa_parse(&job->isa, o->isa))
        return prep_fail(err, PREP_EUSAGE, "--isa %s: want auto, scalar, avx2 or avx512", o->isa);
    if (job->isa > cpu_isa())
        return prep_fail(err, PREP_EUNSUP, "--isa %s: this machine has %s at most", o->isa,
                         isa_name(cpu_isa()));
    return 0;
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    const struct options *o = options;
    const char *output = cli->n_operands > 1 ? cli->operands[1] : NULL;
    const struct cli_plan_options plan = {.sync_bytes = o->sync_bytes, .no_hashes = o->no_hashes};
    struct gguf_job job;
    struct gguf_result result;
    if (fill_job(&job, cli, o, err))
        return -1;
    const int only_sizes = o->sizes && o->types.n == 0;
    if (!output && !cli->common.dry_run && !only_sizes)
        return prep_fail(err, PREP_EUSAGE, "give an OUTPUT, or --dry-run");
    int rc = gguf_job_run(&result, &job, report, err);
    if (!rc && !cli->common.json) {
        if (o->sizes)
            print_sizes(cli, &result);
        if (!only_sizes)
            print_files(cli, &result);
    }
    if (!rc && !only_sizes)
        rc = cli_run_plan(cli, result.plan, &plan, output, report, err);
    gguf_result_free(&result);
    return rc ? -1 : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.isa = "auto"};
    return cli_main(&program, &o, run, argc, argv);
}

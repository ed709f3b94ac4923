/* SPDX-License-Identifier: MIT */
#include "tools/cli_gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/imatrix.h"
#include "libprep/release/gguf_check.h"
#include "libprep/release/gguf_parts.h"

/* Texts from files may hold bytes that a terminal obeys. */
static void print_clean(FILE *out, const char *s)
{
    for (; *s; s++)
        fputc((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s, out);
}

static void show_tensor(FILE *out, const struct gguf_tensor_info *t, const char *file)
{
    fputs("  ", out);
    print_clean(out, t->name);
    fprintf(out, " %s [", ggml_type_info(t->type)->name);
    /* Slowest first, as the tensors of a checkpoint are shown. */
    for (int d = t->n_dims - 1; d >= 0; d--)
        fprintf(out, "%" PRIu64 "%s", t->dims[d], d ? ", " : "");
    fprintf(out, "] %" PRIu64 " %s %" PRIu64 "\n", t->bytes, file, t->offset);
}

/* Does the filter want it? Layers are told by "blk.N.". */
static int wants(const struct inspect_filter *f, const char *name)
{
    if (f->has_layer) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blk.%d.", f->layer);
        if (strncmp(name, prefix, strlen(prefix)) != 0)
            return 0;
    }
    const struct inspect_filter match = {.match = f->match};
    return inspect_wants(&match, name);
}

static void show_types(FILE *out, const struct gguf_set *s)
{
    fprintf(out, "\n  %-10s %9s %22s\n", "type", "tensors", "bytes");
    for (uint32_t type = 0; type < 64; type++) {
        uint64_t n = 0, bytes = 0;
        for (size_t p = 0; p < s->n_parts; p++)
            for (size_t i = 0; i < s->parts[p].n_tensors; i++)
                if (s->parts[p].tensors[i].type == type) {
                    n++;
                    bytes += s->parts[p].tensors[i].bytes;
                }
        if (n)
            fprintf(out, "  %-10s %9" PRIu64 " %22" PRIu64 "\n", ggml_type_info(type)->name, n,
                    bytes);
    }
    fprintf(out, "  %-10s %9" PRIu64 " %22" PRIu64 "\n", "total", s->n_tensors, s->tensor_bytes);
}

static int show_keys(struct cli *cli, const struct gguf_set *s, struct prep_error *err)
{
    FILE *out = cli->host.out;
    for (size_t i = 0; i < s->parts[0].n_kvs; i++) {
        const struct gguf_kv *kv = &s->parts[0].kvs[i];
        const char *text = gguf_value_text(kv, &cli->arena, err);
        if (!text)
            return -1;
        fputs("  ", out);
        print_clean(out, kv->key);
        fputs(" = ", out);
        print_clean(out, text);
        fputc('\n', out);
    }
    return 0;
}

int cli_show_gguf(struct cli *cli, const struct inspected *it, const struct inspect_filter *filter,
                  int list, struct prep_error *err)
{
    const struct gguf_set *s = &it->gguf;
    FILE *out = cli->host.out;
    char bytes[CLI_BYTES_TEXT];
    fprintf(out, "  version %" PRIu32 ", alignment %" PRIu32 ", %" PRIu64 " tensors, %s",
            s->parts[0].version, s->parts[0].alignment, s->n_tensors,
            cli_format_bytes(s->tensor_bytes, bytes));
    if (s->n_parts > 1)
        fprintf(out, " in %zu parts", s->n_parts);
    fputc('\n', out);
    if (!list) {
        if (show_keys(cli, s, err))
            return -1;
        show_types(out, s);
        return 0;
    }
    fputc('\n', out);
    for (size_t p = 0; p < s->n_parts; p++)
        for (size_t i = 0; i < s->parts[p].n_tensors; i++)
            if (wants(filter, s->parts[p].tensors[i].name))
                show_tensor(out, &s->parts[p].tensors[i], s->files[p].name);
    return 0;
}

/* ---- split and merge ---- */

/* The file's name without folder, part number and ".gguf". */
static const char *stem_of(struct cli *cli, const struct gguf_set *s, struct prep_error *err)
{
    const char *name = s->files[0].name;
    size_t n = gguf_part_prefix(name, 0, (uint32_t)s->n_parts);
    if (!n) {
        n = strlen(name);
        if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
            n -= 5;
    }
    return arena_strndup(&cli->arena, name, n, err);
}

int cli_cut_gguf(struct cli *cli, const struct cli_gguf_options *o, int split,
                 char *const *operands, int n, struct report *report, struct prep_error *err)
{
    struct gguf_set set;
    struct gguf_parts parts;
    if (n != 2 && !(n == 1 && cli->common.dry_run))
        return prep_fail(err, PREP_EUSAGE, "%s wants SOURCE and OUTPUT", split ? "split" : "merge");
    if (split && !o->max_tensors && !o->plan.shard_bytes)
        return prep_fail(err, PREP_EUSAGE, "split wants --max-shard-size or --max-tensors");
    if (gguf_set_open(&set, &io_posix, operands[0], err))
        return -1;
    struct gguf_parts_job job = {.tool = "prep-inspect",
                                 .set = &set,
                                 .stem = stem_of(cli, &set, err),
                                 .split_bytes = split ? o->plan.shard_bytes : 0,
                                 .split_tensors = split ? (uint64_t)o->max_tensors : 0,
                                 .strict_parity = o->strict_parity};
    int rc = job.stem ? gguf_parts_plan(&parts, &job, err) : -1;
    if (job.stem) {
        rc =
            rc || cli_run_plan(cli, parts.plan, &o->plan, n == 2 ? operands[1] : NULL, report, err);
        gguf_parts_free(&parts);
    }
    gguf_set_close(&set);
    return rc ? -1 : 0;
}

/* ---- importance matrices ---- */

static int write_imatrix(const struct imatrix *m, const char *path, struct prep_error *err)
{
    struct arena arena;
    struct span out;
    const size_t n = strlen(path);
    const int legacy = n > 4 && strcmp(path + n - 4, ".dat") == 0;
    arena_init(&arena, 0);
    int rc = (legacy ? imatrix_write_legacy(m, &arena, &out, err)
                     : imatrix_write(m, &arena, &out, err)) ||
             io_write_file(&io_posix, path, out.p, out.n, err);
    arena_fini(&arena);
    return rc ? -1 : 0;
}

int cli_merge_imatrix(struct cli *cli, char *const *operands, int n, struct prep_error *err)
{
    struct imatrix merged = {0};
    struct io_stat st;
    if (n < 2)
        return prep_fail(err, PREP_EUSAGE, "merge-imatrix wants OUTPUT and one FILE or more");
    if (!cli->common.force && io_posix.stat(io_posix.self, operands[0], &st) >= 0)
        return prep_fail_tag(err, PREP_ECREATE, "OUTPUT_FINISHED",
                             "%s: is there already; --force replaces it", operands[0]);
    const size_t n_parts = (size_t)n - 1;
    struct imatrix *parts = calloc(n_parts, sizeof *parts);
    const char **paths = arena_calloc(&cli->arena, n_parts, sizeof *paths, err);
    int rc = parts && paths ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory");
    size_t opened = 0;
    for (; opened < n_parts && !rc; opened += !rc) {
        paths[opened] = operands[opened + 1];
        rc = imatrix_open(&parts[opened], &io_posix, paths[opened], 1, err);
    }
    rc = rc || imatrix_merge(&merged, parts, paths, n_parts, 0, err) ||
         write_imatrix(&merged, operands[0], err);
    if (!rc && !cli->common.json)
        fprintf(cli->host.out, "wrote %s: %zu entries, %" PRIu32 " chunks\n", operands[0], merged.n,
                merged.chunk_count);
    imatrix_free(&merged);
    for (size_t i = 0; i < opened; i++)
        imatrix_free(&parts[i]);
    free(parts);
    return rc ? -1 : 0;
}

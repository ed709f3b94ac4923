/* SPDX-License-Identifier: MIT */
#include "tools/cli_inspect.h"

#include <inttypes.h>
#include <string.h>

#include "tools/cli_gguf.h"

enum { COUNT_TEXT = 32 };

/* ---- small texts ---- */

/* 1,507,728,316,928 */
static const char *count_text(uint64_t v, char buf[COUNT_TEXT])
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, v), k = 0;
    for (int i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            buf[k++] = ',';
        buf[k++] = digits[i];
    }
    buf[k] = 0;
    return buf;
}

void cli_print_count(FILE *out, int width, uint64_t v)
{
    char buf[COUNT_TEXT];
    fprintf(out, "%*s", width, count_text(v, buf));
}

/* Texts from files may hold bytes that a terminal obeys. */
static void print_clean(FILE *out, const char *s)
{
    for (; *s; s++)
        fputc((unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s, out);
}

static void print_field(FILE *out, const char *name, const char *value)
{
    fprintf(out, "  %-14s", name);
    print_clean(out, value);
    fputc('\n', out);
}

static const char *or_none(const char *s)
{
    return s && *s ? s : "not said";
}

const char *cli_plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- show ---- */

static int is_dense(const struct config *c, int layer)
{
    return layer < c->num_hidden_layers && !c->is_moe[layer];
}

static int is_main_moe(const struct config *c, int layer)
{
    return layer < c->num_hidden_layers && c->is_moe[layer];
}

static int is_mtp(const struct config *c, int layer)
{
    return layer >= c->num_hidden_layers;
}

static int show_layers(struct cli_inspect *r, const struct config *c)
{
    static const struct {
        const char *name;
        int (*want)(const struct config *, int);
    } kinds[] = {{"dense", is_dense}, {"MoE", is_main_moe}, {"MTP", is_mtp}};
    const char *between = "";
    fprintf(r->out, "  %-14s", "layers");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *ids = inspect_layers(c, kinds[i].want, &r->cli->arena, r->err);
        if (!ids)
            return -1;
        if (*ids)
            fprintf(r->out, "%s%s %s", between, kinds[i].name, ids);
        between = *ids ? ", " : between;
    }
    fputc('\n', r->out);
    return 0;
}

static void show_quantization(struct cli_inspect *r, const struct config *c)
{
    fprintf(r->out, "  %-14s", "quantized");
    print_clean(r->out, *c->quant_method ? c->quant_method : "no");
    if (c->quant_group_size > 0)
        fprintf(r->out, ", groups of %d", c->quant_group_size);
    if (c->quant_block[0])
        fprintf(r->out, ", blocks of %" PRId64 " x %" PRId64, c->quant_block[0], c->quant_block[1]);
    fputc('\n', r->out);
}

static int show_config(struct cli_inspect *r, const struct inspected *it)
{
    const struct config *c = &it->config;
    const struct model_counts *n = &it->counts;
    if (show_layers(r, c))
        return -1;
    fprintf(r->out, "  %-14s%d routed, %d per token, %d shared\n", "experts", c->n_routed_experts,
            c->num_experts_per_tok, c->n_shared_experts);
    fprintf(r->out, "  %-14s", "parameters");
    cli_print_count(r->out, 0, n->main + n->mtp);
    fputs(": ", r->out);
    cli_print_count(r->out, 0, n->main);
    fputs(" main, ", r->out);
    cli_print_count(r->out, 0, n->mtp);
    fputs(" MTP; ", r->out);
    cli_print_count(r->out, 0, n->active);
    fputs(" active per token\n", r->out);
    show_quantization(r, c);
    return 0;
}

static void show_tally(FILE *out, const char *name, const char *dtype, const struct tally *t)
{
    fprintf(out, "  %-22s %-8s", name, dtype);
    cli_print_count(out, 9, t->tensors);
    cli_print_count(out, 20, t->elements);
    cli_print_count(out, 22, t->bytes);
    fputc('\n', out);
}

static void show_tallies(struct cli_inspect *r, const struct inspected *it)
{
    fprintf(r->out, "\n  %-22s %-8s%9s%20s%22s\n", "role", "dtype", "tensors", "elements", "bytes");
    for (size_t i = 0; i < it->n_tallies; i++) {
        const struct tally *t = &it->tallies[i];
        char name[64];
        snprintf(name, sizeof name, "%s%s", t->mtp && t->role != ROLE_MTP_GLUE ? "MTP " : "",
                 inspect_role_name(t->role));
        show_tally(r->out, name, dtype_name((enum dtype)t->dtype), t);
    }
    show_tally(r->out, "total", "", &it->total);
}

static void show_tensors(struct cli_inspect *r, const struct inspected *it,
                         const struct inspect_filter *filter)
{
    fputc('\n', r->out);
    for (size_t i = 0; i < inspect_n_tensors(it); i++) {
        const char *file;
        const struct tensor_info *t = inspect_tensor(it, i, &file);
        if (!inspect_wants(filter, t->name))
            continue;
        fprintf(r->out, "  %s %s [", t->name, dtype_name((enum dtype)t->dtype));
        for (int d = 0; d < t->n_dims; d++)
            fprintf(r->out, "%s%" PRIu64, d ? ", " : "", t->shape[d]);
        fprintf(r->out, "] %" PRIu64 " %s %" PRIu64 "\n", t->bytes, file, t->offset);
    }
}

static void show_passes(struct cli_inspect *r, const struct keep_map *m)
{
    for (size_t i = 0; i < m->n_passes; i++) {
        const struct keep_pass *p = &m->passes[i];
        fprintf(r->out, "  pass %-9zu%d -> %d by ", i + 1, p->from, p->to);
        print_clean(r->out, p->metric);
        fputs(", pool ", r->out);
        print_clean(r->out, p->pool);
        fputs(", gates ", r->out);
        print_clean(r->out, p->gate_semantics);
        for (size_t k = 0; k < p->n_runs; k++) {
            fputs(k ? ", " : "; runs ", r->out);
            print_clean(r->out, p->runs[k].label);
            fputs(" (", r->out);
            cli_print_count(r->out, 0, p->runs[k].tokens);
            fputs(" tokens)", r->out);
        }
        fputc('\n', r->out);
    }
}

/* Kept lists in ids of the unpruned model. */
static int show_map_layers(struct cli_inspect *r, const struct keep_map *m,
                           const struct inspect_filter *filter)
{
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct keep_layer *l = &m->layers[i];
        if (filter->has_layer && filter->layer != l->layer)
            continue;
        const char *ids = inspect_ranges(l->kept_source, l->n_kept, &r->cli->arena, r->err);
        if (!ids)
            return -1;
        fprintf(r->out, "  layer %-8d%d kept, %s: %s\n", l->layer, l->n_kept, l->origin, ids);
    }
    return 0;
}

static int show_map(struct cli_inspect *r, const struct inspected *it,
                    const struct inspect_filter *filter)
{
    const struct keep_map *m = &it->map;
    print_field(r->out, "sha256", it->map_sha256);
    if (m->full) {
        print_field(r->out, "base", or_none(m->base_model));
        fprintf(r->out, "  %-14s%d of %d\n", "experts", m->n_routed_experts,
                m->base_n_routed_experts);
        print_field(r->out, "parent", m->parent_sha256 ? m->parent_sha256 : "none: a first pass");
    }
    show_passes(r, m);
    return show_map_layers(r, m, filter);
}

static int show_checkpoint(struct cli_inspect *r, const struct inspected *it,
                           const struct inspect_filter *filter, int list)
{
    char bytes[CLI_BYTES_TEXT];
    const struct checkpoint *c = it->ckpt;
    if (it->has_config && show_config(r, it))
        return -1;
    fprintf(r->out, "  %-14s", "tensors");
    cli_print_count(r->out, 0, it->total.tensors);
    fprintf(r->out, " in %zu shard%s, %s\n", c->n_shards, cli_plural(c->n_shards),
            cli_format_bytes(it->total.bytes, bytes));
    if (c->revision)
        print_field(r->out, "revision", c->revision);
    if (it->has_map && it->map.full)
        fprintf(r->out, "  %-14s%d of %d experts, %zu pass%s, sha256 %.16s...\n", "keep-map",
                it->map.n_routed_experts, it->map.base_n_routed_experts, it->map.n_passes,
                it->map.n_passes == 1 ? "" : "es", it->map_sha256);
    else
        print_field(r->out, "keep-map", it->has_map ? "yes, in a short form" : "none");
    if (it->has_manifest)
        fprintf(r->out, "  %-14s%zu files, %zu tensors\n", "manifest", it->manifest.n_files,
                it->manifest.n_tensors);
    else
        print_field(r->out, "manifest", "none");
    if (list)
        show_tensors(r, it, filter);
    else
        show_tallies(r, it);
    return 0;
}

static void show_observation(struct cli_inspect *r, const struct obs_run *run,
                             const struct inspect_filter *filter)
{
    print_field(r->out, "run", or_none(run->label));
    print_field(r->out, "model", or_none(run->model));
    print_field(r->out, "gates", or_none(run->gate_semantics));
    print_field(r->out, "expert ids", run->id_space);
    fprintf(r->out, "  %-14s", "tokens");
    cli_print_count(r->out, 0, run->tokens);
    fprintf(r->out, "\n\n  %5s %7s %16s %16s %6s %14s %16s %14s\n", "layer", "experts", "tokens",
            "routed", "never", "min n", "mean n", "max n");
    for (size_t i = 0; i < run->n_layers; i++) {
        struct obs_summary s;
        inspect_summarize(&s, &run->layers[i]);
        if (filter->has_layer && filter->layer != s.layer)
            continue;
        fprintf(r->out, "  %5d %7d", s.layer, s.n_experts);
        cli_print_count(r->out, 17, s.tokens);
        if (s.has_counts)
            fprintf(r->out, " %16" PRIu64 " %6d %14" PRId64 " %16.1f %14" PRId64, s.routed,
                    s.never_routed, s.least, s.mean, s.most);
        fputc('\n', r->out);
    }
}

static void show_index(struct cli_inspect *r, const struct hf_index *index)
{
    fprintf(r->out, "  %-14s%zu\n", "tensors", index->n_entries);
    if (index->total_size_kind != HF_TOTAL_SIZE_MISSING) {
        fprintf(r->out, "  %-14s", "total_size");
        cli_print_count(r->out, 0, index->total_size);
        fputc('\n', r->out);
    }
    for (size_t i = 0; i < index->n_shards; i++)
        print_field(r->out, i ? "" : "shards", index->shards[i]);
}

static void show_manifest(struct cli_inspect *r, const struct manifest *m)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->n_files; i++)
        bytes += m->files[i].bytes;
    fprintf(r->out, "  %-14s%zu, ", "files", m->n_files);
    cli_print_count(r->out, 0, bytes);
    fprintf(r->out, " bytes\n  %-14s%zu\n  %-14s%zu\n", "tensors", m->n_tensors, "sources",
            m->n_sources);
    for (size_t i = 0; i < m->n_files; i++) {
        cli_print_count(r->out, 20, m->files[i].bytes);
        fprintf(r->out, "  %s  %s\n", m->files[i].sha256 ? m->files[i].sha256 : "not hashed",
                m->files[i].name);
    }
}

static int show_text(struct cli_inspect *r, const struct inspected *it,
                     const struct inspect_filter *filter, int list)
{
    fprintf(r->out, "%s: %s\n", it->path, inspect_kind_name(it->kind));
    switch (it->kind) {
    case KIND_CHECKPOINT:
        return show_checkpoint(r, it, filter, list);
    case KIND_SAFETENSORS:
        if (list)
            show_tensors(r, it, filter);
        else
            show_tallies(r, it);
        return 0;
    case KIND_INDEX:
        show_index(r, &it->index);
        return 0;
    case KIND_CONFIG:
        return show_config(r, it);
    case KIND_OBSERVATION:
        show_observation(r, &it->run, filter);
        return 0;
    case KIND_KEEP_MAP:
        return show_map(r, it, filter);
    case KIND_MANIFEST:
        show_manifest(r, &it->manifest);
        return 0;
    case KIND_GGUF:
        return cli_show_gguf(r->cli, it, filter, list, r->err);
    }
    return 0;
}

cJSON *cli_inspect_fact(struct cli_inspect *r)
{
    cJSON *o = cJSON_CreateObject();
    if (o && cJSON_AddItemToArray(r->list, o))
        return o;
    cJSON_Delete(o);
    prep_fail(r->err, PREP_ENOMEM, "out of memory while listing facts");
    return NULL;
}

int cli_inspect_show(struct cli_inspect *r, const char *path, const struct inspect_filter *filter,
                     int list)
{
    struct inspected it;
    if (inspect_open(&it, &io_posix, path, r->report, r->err))
        return -1;
    inspect_warn_faults(&it, r->report);
    int rc = 0;
    if (r->out) {
        rc = show_text(r, &it, filter, list);
    } else {
        cJSON *fact = cli_inspect_fact(r);
        rc = fact ? inspect_facts(fact, &it, list ? filter : NULL, r->err) : -1;
    }
    inspect_close(&it);
    return rc;
}

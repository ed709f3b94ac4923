/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "libprep/release/compare.h"
#include "libprep/release/inspect_check.h"
#include "tools/cli_lint.h"

enum { COUNT_TEXT = 32 };

struct options {
    const char *match, *keep_map;
    int64_t layer;
    int tensors, read_data, pruned;
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
                "repair SOURCE OUTPUT",
    .description =
        "PATH is a checkpoint (a folder, or ORG/NAME in the local hub cache), a .safetensors file, "
        "an index, a config.json, observations (a file, a folder of blocks or a bundle), a "
        "keep-map or a prep-manifest.json. What it is, is told by what it holds.\n\n"
        "check holds each PATH against itself: a checkpoint against its config, keep-map and "
        "manifest. Every fault is one line on stdout: CODE place: text.\n\n"
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
    struct cli *cli;
    const struct options *o;
    FILE *out; /* NULL with --json */
    cJSON *list;
    struct report *report;
    struct prep_error *err;
};

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

static void print_count(FILE *out, int width, uint64_t v)
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

static const char *plural(uint64_t n)
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

static int show_layers(struct run *r, const struct config *c)
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

static void show_quantization(struct run *r, const struct config *c)
{
    fprintf(r->out, "  %-14s", "quantized");
    print_clean(r->out, *c->quant_method ? c->quant_method : "no");
    if (c->quant_group_size > 0)
        fprintf(r->out, ", groups of %d", c->quant_group_size);
    if (c->quant_block[0])
        fprintf(r->out, ", blocks of %" PRId64 " x %" PRId64, c->quant_block[0], c->quant_block[1]);
    fputc('\n', r->out);
}

static int show_config(struct run *r, const struct inspected *it)
{
    const struct config *c = &it->config;
    const struct model_counts *n = &it->counts;
    if (show_layers(r, c))
        return -1;
    fprintf(r->out, "  %-14s%d routed, %d per token, %d shared\n", "experts", c->n_routed_experts,
            c->num_experts_per_tok, c->n_shared_experts);
    fprintf(r->out, "  %-14s", "parameters");
    print_count(r->out, 0, n->main + n->mtp);
    fputs(": ", r->out);
    print_count(r->out, 0, n->main);
    fputs(" main, ", r->out);
    print_count(r->out, 0, n->mtp);
    fputs(" MTP; ", r->out);
    print_count(r->out, 0, n->active);
    fputs(" active per token\n", r->out);
    show_quantization(r, c);
    return 0;
}

static void show_tally(FILE *out, const char *name, const char *dtype, const struct tally *t)
{
    fprintf(out, "  %-22s %-8s", name, dtype);
    print_count(out, 9, t->tensors);
    print_count(out, 20, t->elements);
    print_count(out, 22, t->bytes);
    fputc('\n', out);
}

static void show_tallies(struct run *r, const struct inspected *it)
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

static void show_tensors(struct run *r, const struct inspected *it,
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

static void show_passes(struct run *r, const struct keep_map *m)
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
            print_count(r->out, 0, p->runs[k].tokens);
            fputs(" tokens)", r->out);
        }
        fputc('\n', r->out);
    }
}

/* Kept lists in ids of the unpruned model. */
static int show_map_layers(struct run *r, const struct keep_map *m,
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

static int show_map(struct run *r, const struct inspected *it, const struct inspect_filter *filter)
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

static int show_checkpoint(struct run *r, const struct inspected *it,
                           const struct inspect_filter *filter, int list)
{
    char bytes[CLI_BYTES_TEXT];
    const struct checkpoint *c = it->ckpt;
    if (it->has_config && show_config(r, it))
        return -1;
    fprintf(r->out, "  %-14s", "tensors");
    print_count(r->out, 0, it->total.tensors);
    fprintf(r->out, " in %zu shard%s, %s\n", c->n_shards, plural(c->n_shards),
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

static void show_observation(struct run *r, const struct obs_run *run,
                             const struct inspect_filter *filter)
{
    print_field(r->out, "run", or_none(run->label));
    print_field(r->out, "model", or_none(run->model));
    print_field(r->out, "gates", or_none(run->gate_semantics));
    print_field(r->out, "expert ids", run->id_space);
    fprintf(r->out, "  %-14s", "tokens");
    print_count(r->out, 0, run->tokens);
    fprintf(r->out, "\n\n  %5s %7s %16s %16s %6s %14s %16s %14s\n", "layer", "experts", "tokens",
            "routed", "never", "min n", "mean n", "max n");
    for (size_t i = 0; i < run->n_layers; i++) {
        struct obs_summary s;
        inspect_summarize(&s, &run->layers[i]);
        if (filter->has_layer && filter->layer != s.layer)
            continue;
        fprintf(r->out, "  %5d %7d", s.layer, s.n_experts);
        print_count(r->out, 17, s.tokens);
        if (s.has_counts)
            fprintf(r->out, " %16" PRIu64 " %6d %14" PRId64 " %16.1f %14" PRId64, s.routed,
                    s.never_routed, s.least, s.mean, s.most);
        fputc('\n', r->out);
    }
}

static void show_index(struct run *r, const struct hf_index *index)
{
    fprintf(r->out, "  %-14s%zu\n", "tensors", index->n_entries);
    if (index->total_size_kind != HF_TOTAL_SIZE_MISSING) {
        fprintf(r->out, "  %-14s", "total_size");
        print_count(r->out, 0, index->total_size);
        fputc('\n', r->out);
    }
    for (size_t i = 0; i < index->n_shards; i++)
        print_field(r->out, i ? "" : "shards", index->shards[i]);
}

static void show_manifest(struct run *r, const struct manifest *m)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->n_files; i++)
        bytes += m->files[i].bytes;
    fprintf(r->out, "  %-14s%zu, ", "files", m->n_files);
    print_count(r->out, 0, bytes);
    fprintf(r->out, " bytes\n  %-14s%zu\n  %-14s%zu\n", "tensors", m->n_tensors, "sources",
            m->n_sources);
    for (size_t i = 0; i < m->n_files; i++) {
        print_count(r->out, 20, m->files[i].bytes);
        fprintf(r->out, "  %s  %s\n", m->files[i].sha256 ? m->files[i].sha256 : "not hashed",
                m->files[i].name);
    }
}

static int show_text(struct run *r, const struct inspected *it, const struct inspect_filter *filter,
                     int list)
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
    }
    return 0;
}

static cJSON *new_fact(struct run *r)
{
    cJSON *o = cJSON_CreateObject();
    if (o && cJSON_AddItemToArray(r->list, o))
        return o;
    cJSON_Delete(o);
    prep_fail(r->err, PREP_ENOMEM, "out of memory while listing facts");
    return NULL;
}

static int show_one(struct run *r, const char *path)
{
    const struct inspect_filter filter = {
        .has_layer = r->o->layer >= 0, .layer = (int)r->o->layer, .match = r->o->match};
    int list = r->o->tensors || filter.has_layer || filter.match;
    struct inspected it;
    if (inspect_open(&it, &io_posix, path, r->report, r->err))
        return -1;
    inspect_warn_faults(&it, r->report);
    int rc = 0;
    if (r->out) {
        rc = show_text(r, &it, &filter, list);
    } else {
        cJSON *fact = new_fact(r);
        rc = fact ? inspect_facts(fact, &it, list ? &filter : NULL, r->err) : -1;
    }
    inspect_close(&it);
    return rc;
}

/* ---- check ---- */

static struct verify_options verify_options(struct run *r)
{
    return (struct verify_options){
        .n_threads = (int)r->cli->common.jobs,
        .mem = r->cli->common.mem,
        .progress = cli_progress,
        .progress_arg = r->cli,
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
    if (inspect_open_past_index(&it, &io_posix, path, r->report, r->err))
        return -1;
    int rc = inspect_check(&f, &it, &opt, r->report, r->err);
    if (!rc && r->out) {
        print_findings(r->out, &f);
        fprintf(r->out, "%s: %s, ", path, inspect_kind_name(it.kind));
        if (f.n_errors)
            fprintf(r->out, "%zu fault%s\n", f.n_errors, plural(f.n_errors));
        else
            fputs("no fault\n", r->out);
    } else if (!rc) {
        cJSON *fact = new_fact(r);
        rc = !fact || !cJSON_AddStringToObject(fact, "path", path) ||
             !cJSON_AddStringToObject(fact, "kind", inspect_kind_name(it.kind)) ||
             findings_facts(fact, &f, r->err);
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
    print_count(out, 0, n->tensors);
    fputs(" tensors, ", out);
    print_count(out, 0, n->bytes);
    fputs(" bytes", out);
    if (parameters) {
        fputs(", ", out);
        print_count(out, 0, parameters);
        fprintf(out, " parameters, %d experts", experts);
    }
    fputc('\n', out);
}

static void diff_row(FILE *out, const char *name, const struct compare_count *n)
{
    fprintf(out, "  %-34s", name);
    print_count(out, 10, n->tensors);
    print_count(out, 22, n->bytes);
    fputc('\n', out);
}

static void diff_table(struct run *r, const struct comparison *c)
{
    FILE *out = r->out;
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
    FILE *out = r->out;
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
            plural(c->files_equal), c->files_equal == 1 ? "is" : "are");
    print_findings(out, &c->findings);
    if (!comparison_equal(c))
        fprintf(out, "%zu difference%s\n", c->findings.n_errors, plural(c->findings.n_errors));
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
        if (inspect_open(file, &io_posix, r->o->keep_map, r->report, r->err))
            return -1;
        if (!file->has_map)
            return prep_fail(r->err, PREP_EUSAGE, "%s: holds no keep-map", r->o->keep_map);
        *map = &file->map;
    } else if (r->o->pruned) {
        if (b->map_fault.code != PREP_OK) {
            *r->err = b->map_fault;
            return -1;
        }
        if (!b->has_map)
            return prep_fail(r->err, PREP_ENOINPUT,
                             "%s: has no " INSPECT_KEEP_MAP ": name one with "
                             "--keep-map",
                             b->path);
        *map = &b->map;
    } else if (b->has_map) {
        cli_say(r->cli, "%s has a " INSPECT_KEEP_MAP ": --pruned sees A through it", b->path);
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
    if (inspect_open(&a, &io_posix, a_path, NULL, r->err) ||
        inspect_open(&b, &io_posix, b_path, NULL, r->err) || diff_map(r, &b, &file, &opt.map) ||
        compare_checkpoints(&c, &a, &b, &opt, NULL, r->err))
        goto out;
    if (r->out) {
        diff_text(r, &a, &b, &c);
    } else {
        cJSON *fact = new_fact(r);
        if (!fact || !cJSON_AddStringToObject(fact, "a_path", a_path) ||
            !cJSON_AddStringToObject(fact, "b_path", b_path) || compare_facts(fact, &c, r->err))
            goto out;
    }
    if (comparison_equal(&c))
        rc = 0;
    else
        prep_fail(r->err, PREP_EVERIFY, "%s and %s differ", a_path, b_path);
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
    for (int i = 0; i < r->cli->n_operands; i++) {
        if (i && r->out)
            fputc('\n', r->out);
        if (show_one(r, r->cli->operands[i]))
            return -1;
    }
    return 0;
}

static int check_all(struct run *r)
{
    size_t n = 0;
    if (r->cli->n_operands < 2)
        return prep_fail(r->err, PREP_EUSAGE, "check wants one PATH or more");
    for (int i = 1; i < r->cli->n_operands; i++)
        if (check_one(r, r->cli->operands[i], &n))
            return -1;
    return n ? prep_fail(r->err, PREP_EVERIFY, "%zu fault%s found", n, plural(n)) : 0;
}

enum mode { MODE_SHOW, MODE_CHECK, MODE_DIFF, MODE_LINT, MODE_REPAIR, N_MODES };

static enum mode mode_of(const char *word)
{
    static const char *const words[N_MODES] = {"", "check", "diff", "lint", "repair"};
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
    if (mode != MODE_REPAIR && (c->dry_run || c->fresh || c->force || c->assemble || c->part.n ||
                                l->plan.shard_bytes || l->plan.sync_bytes || l->plan.no_hashes))
        return prep_fail(err, PREP_EUSAGE, "options of writing go with repair");
    return 0;
}

static int repair(struct run *r)
{
    const int n = r->cli->n_operands;
    if (n != 3 && !(n == 2 && r->cli->common.dry_run))
        return prep_fail(r->err, PREP_EUSAGE, "repair wants SOURCE and OUTPUT");
    return cli_repair(r->cli, &r->o->lint, r->cli->operands[1], n == 3 ? r->cli->operands[2] : NULL,
                      r->list, r->report, r->err);
}

static int run(struct cli *cli, const void *options, struct report *report, struct prep_error *err)
{
    struct run r = {.cli = cli,
                    .o = options,
                    .out = cli->common.json ? NULL : cli->host.out,
                    .report = report,
                    .err = err};
    const enum mode mode = mode_of(cli->operands[0]);
    if (check_options(r.o, &cli->common, mode, err))
        return -1;
    r.list = cJSON_AddArrayToObject(report->facts, "results");
    if (!r.list)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    if (mode == MODE_SHOW)
        return show_all(&r);
    if (mode == MODE_CHECK)
        return check_all(&r);
    if (mode == MODE_LINT)
        return cli_lint(cli, &r.o->lint, cli->operands + 1, cli->n_operands - 1, r.list, err);
    if (mode == MODE_REPAIR)
        return repair(&r);
    if (cli->n_operands != 3)
        return prep_fail(err, PREP_EUSAGE, "diff wants two checkpoints, A and B");
    return diff(&r, cli->operands[1], cli->operands[2]);
}

int main(int argc, char **argv)
{
    struct options o = {.layer = -1};
    return cli_main(&program, &o, run, argc, argv);
}

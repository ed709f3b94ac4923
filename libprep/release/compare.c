/* SPDX-License-Identifier: MIT */
#include "libprep/release/compare.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/prune/apply.h"
#include "libprep/prune/edit_config.h"
#include "libprep/store/executor.h"

enum { FILE_BLOCK = 1 << 16, SHAPE_TEXT = 200 };

/* Written anew for each checkpoint, or by people. */
static const char *const own_files[] = {HF_INDEX_NAME, INSPECT_KEEP_MAP, EXEC_MANIFEST,
                                        "prep-report.html", "README.md"};

/* What the steps of compare_checkpoints() share. */
struct job {
    struct comparison *out;
    const struct inspected *a, *b;
    const struct compare_options *opt;
    const struct view *view;    /* A as B must be */
    struct prune_output pruned; /* with a map */
    struct view plain;          /* without */
    struct verify_pair *pairs;  /* comparable tensors, in the order of B's files */
    size_t n_pairs;
    unsigned char *seen; /* [B's tensors] */
    struct arena arena;
};

void comparison_fini(struct comparison *c)
{
    findings_fini(&c->findings);
    *c = (struct comparison){0};
}

int comparison_equal(const struct comparison *c)
{
    return c->findings.n_errors == 0;
}

static void add(struct compare_count *c, uint64_t bytes)
{
    c->tensors++;
    c->bytes += bytes;
}

/* ---- the view of A ---- */

static int plain_view(struct job *j, struct prep_error *err)
{
    const struct checkpoint *c = j->a->ckpt;
    view_init(&j->plain);
    j->plain.sources[0] = c;
    j->plain.n_sources = 1;
    for (uint32_t i = 0; i < c->n_tensors; i++)
        if (view_add(&j->plain, 0, i, c->tensors[i].info.name, NULL, 0, i, i, err))
            return -1;
    j->view = &j->plain;
    return view_finish(&j->plain, err);
}

/* Was the MTP layer left out on purpose? The map says so; a short one leaves it to B. */
static int drops_mtp(const struct job *j)
{
    const struct keep_map *map = j->opt->map;
    if (j->a->config.num_nextn_predict_layers == 0)
        return 0;
    if (map->full)
        return map->num_nextn_predict_layers == 0;
    return j->b->has_config && j->b->config.num_nextn_predict_layers == 0;
}

static int open_view(struct job *j, struct report *report, struct prep_error *err)
{
    const struct apply_options options = {.drop_mtp = j->opt->map && drops_mtp(j)};
    if (!j->opt->map)
        return plain_view(j, err);
    if (!j->a->has_config) {
        *err = j->a->config_fault;
        return -1;
    }
    if (prune_apply(&j->pruned, j->a->ckpt, &j->a->config, j->opt->map, &options, report, err))
        return prep_note(err, "%s", j->a->path);
    j->out->through_map = 1;
    j->out->from_base = j->pruned.from_base;
    j->view = &j->pruned.view;
    return 0;
}

static void count_view(struct job *j)
{
    struct comparison *out = j->out;
    for (size_t i = 0; i < j->view->n_tensors; i++) {
        const struct view_tensor *t = &j->view->tensors[i];
        add(&out->kept, t->info.bytes);
        if (t->rows)
            add(&out->gathered, t->info.bytes);
        else if (strcmp(t->info.name, view_source(j->view, t)->info.name) != 0)
            add(&out->renamed, t->info.bytes);
    }
    out->dropped.tensors = out->a.tensors - out->kept.tensors;
    out->dropped.bytes = out->a.bytes - out->kept.bytes;
}

/* ---- names, dtypes, shapes ---- */

static const char *shape_text(const struct tensor_info *t, char buf[SHAPE_TEXT])
{
    size_t n = (size_t)snprintf(buf, SHAPE_TEXT, "[");
    for (int i = 0; i < t->n_dims && n < SHAPE_TEXT; i++)
        n += (size_t)snprintf(buf + n, SHAPE_TEXT - n, "%s%" PRIu64, i ? ", " : "", t->shape[i]);
    if (n < SHAPE_TEXT)
        snprintf(buf + n, SHAPE_TEXT - n, "]");
    return buf;
}

static int same_shape(const struct tensor_info *a, const struct tensor_info *b)
{
    return a->n_dims == b->n_dims &&
           memcmp(a->shape, b->shape, (size_t)a->n_dims * sizeof a->shape[0]) == 0;
}

static void match_tensor(struct job *j, const struct view_tensor *t)
{
    struct findings *f = &j->out->findings;
    const struct checkpoint *b = j->b->ckpt;
    const struct tensor_info *x = &t->info;
    const struct checkpoint_tensor *other = checkpoint_find(b, x->name);
    const char *origin = view_source(j->view, t)->info.name;
    char want[SHAPE_TEXT], found[SHAPE_TEXT];
    if (!other) {
        j->out->missing++;
        findings_add(f, FINDING_ERROR, "ONLY_IN_A", x->name, "%s%s is not in B",
                     origin == x->name ? "" : "A's ", origin == x->name ? "it" : origin);
        return;
    }
    j->seen[other - b->tensors] = 1;
    if (x->dtype != other->info.dtype) {
        findings_add(f, FINDING_ERROR, "DTYPE", x->name, "%s in A, %s in B",
                     dtype_name((enum dtype)x->dtype), dtype_name((enum dtype)other->info.dtype));
        j->out->incompatible++;
    } else if (!same_shape(x, &other->info)) {
        findings_add(f, FINDING_ERROR, "SHAPE", x->name, "%s in A%s, %s in B", shape_text(x, want),
                     t->rows ? " under the map" : "", shape_text(&other->info, found));
        j->out->incompatible++;
    } else {
        j->pairs[j->n_pairs++] = (struct verify_pair){.a = t, .b = other};
    }
}

static int by_place(const void *p, const void *q)
{
    const struct verify_pair *x = p, *y = q;
    if (x->b->file != y->b->file)
        return x->b->file < y->b->file ? -1 : 1;
    return (x->b->info.offset > y->b->info.offset) - (x->b->info.offset < y->b->info.offset);
}

static int match_tensors(struct job *j, struct prep_error *err)
{
    const struct checkpoint *b = j->b->ckpt;
    j->pairs = arena_calloc(&j->arena, j->view->n_tensors, sizeof *j->pairs, err);
    j->seen = arena_calloc(&j->arena, b->n_tensors, 1, err);
    if (!j->pairs || !j->seen)
        return -1;
    for (size_t i = 0; i < j->view->n_tensors; i++)
        match_tensor(j, &j->view->tensors[i]);
    for (size_t i = 0; i < b->n_tensors; i++) {
        if (j->seen[i])
            continue;
        j->out->extra++;
        findings_add(&j->out->findings, FINDING_ERROR, "ONLY_IN_B", b->tensors[i].info.name,
                     "nothing in A becomes it");
    }
    if (j->n_pairs)
        qsort(j->pairs, j->n_pairs, sizeof *j->pairs, by_place);
    return 0;
}

/* ---- bytes ---- */

static void bytes_differ(struct job *j, const struct verify_pair *p, const char *a, const char *b)
{
    char where[64] = "";
    if (p->difference != VERIFY_EQUAL)
        snprintf(where, sizeof where, ", first at byte %" PRIu64, p->difference);
    add(&j->out->different, p->a->info.bytes);
    findings_add(&j->out->findings, FINDING_ERROR, "BYTES", p->a->info.name,
                 "XXH3-128 %s in A, %s in B%s", a, b, where);
}

static int compare_data(struct job *j, struct prep_error *err)
{
    if (verify_pairs(j->pairs, j->n_pairs, j->view, j->b->ckpt, &j->opt->verify, err))
        return -1;
    for (size_t i = 0; i < j->n_pairs; i++) {
        const struct verify_pair *p = &j->pairs[i];
        char a[XXH128_HEX], b[XXH128_HEX];
        hash128_to_hex(p->a_hash, a);
        hash128_to_hex(p->b_hash, b);
        if (p->difference == VERIFY_EQUAL)
            add(&j->out->identical, p->a->info.bytes);
        else
            bytes_differ(j, p, a, b);
    }
    return 0;
}

/* What both runs wrote down when the bytes passed. Gathered rows have no hash of their own in A. */
static void compare_manifests(struct job *j)
{
    for (size_t i = 0; i < j->n_pairs; i++) {
        struct verify_pair *p = &j->pairs[i];
        const char *name = view_source(j->view, p->a)->info.name;
        const struct manifest_tensor *a = p->a->rows ? NULL : manifest_find(&j->a->manifest, name);
        const struct manifest_tensor *b = manifest_find(&j->b->manifest, p->b->info.name);
        p->difference = VERIFY_EQUAL;
        if (!a || !b || !a->xxh3 || !b->xxh3)
            add(&j->out->unproven, p->a->info.bytes);
        else if (strcmp(a->xxh3, b->xxh3) == 0)
            add(&j->out->identical, p->a->info.bytes);
        else
            bytes_differ(j, p, a->xxh3, b->xxh3);
    }
}

/* ---- files beside the shards ---- */

static int is_own(const char *name)
{
    for (size_t i = 0; i < sizeof own_files / sizeof *own_files; i++)
        if (strcmp(name, own_files[i]) == 0)
            return 1;
    return 0;
}

/* Files that are worth comparing by key. */
static int is_config(const char *name)
{
    if (strcmp(name, INSPECT_CONFIG) == 0 || strcmp(name, "generation_config.json") == 0)
        return 1;
    for (size_t i = 0; quantization_files[i]; i++)
        if (strcmp(name, quantization_files[i]) == 0)
            return 1;
    return 0;
}

static int compare_text(struct job *j, const char *name, struct span want, struct prep_error *err)
{
    struct span found;
    if (checkpoint_file(j->b->ckpt, name) < 0) {
        findings_add(&j->out->findings, FINDING_ERROR, "FILE_ONLY_IN_A", name, "is not in B");
        return 0;
    }
    if (checkpoint_read_file(j->b->ckpt, name, &j->arena, &found, err))
        return -1;
    if (want.n == found.n && memcmp(want.p, found.p, want.n) == 0) {
        j->out->files_equal++;
        j->out->config_identical |= strcmp(name, INSPECT_CONFIG) == 0;
        return 0;
    }
    return compare_json(&j->out->findings, name, want, found, err);
}

/* 1 equal, 0 different, -1 error. */
static int same_file(struct job *j, int a, int b, unsigned char *buf, struct prep_error *err)
{
    const struct checkpoint *x = j->a->ckpt, *y = j->b->ckpt;
    const struct source_file *f = &x->files[a], *g = &y->files[b];
    int fd = -1, gd = -1, rc = -1;
    if (f->bytes != g->bytes)
        return 0;
    if (checkpoint_reopen(x, f, &fd, err) || checkpoint_reopen(y, g, &gd, err))
        goto out;
    for (uint64_t at = 0; at < f->bytes; at += FILE_BLOCK) {
        size_t n = f->bytes - at < FILE_BLOCK ? (size_t)(f->bytes - at) : FILE_BLOCK;
        if (io_read_exact(x->io, fd, buf, n, at, f->path, err) ||
            io_read_exact(y->io, gd, buf + FILE_BLOCK, n, at, g->path, err))
            goto out;
        if (memcmp(buf, buf + FILE_BLOCK, n) != 0) {
            rc = 0;
            goto out;
        }
    }
    rc = 1;
out:
    io_close_read(x->io, fd);
    io_close_read(y->io, gd);
    return rc;
}

static int compare_file(struct job *j, int a, unsigned char *buf, struct prep_error *err)
{
    const char *name = j->a->ckpt->files[a].name;
    int b = checkpoint_file(j->b->ckpt, name);
    if (b < 0) {
        findings_add(&j->out->findings, FINDING_ERROR, "FILE_ONLY_IN_A", name, "is not in B");
        return 0;
    }
    int same = same_file(j, a, b, buf, err);
    if (same < 0)
        return -1;
    if (same)
        j->out->files_equal++;
    else
        findings_add(&j->out->findings, FINDING_ERROR, "FILE_BYTES", name, "other bytes in B");
    return 0;
}

/* Config files that pruning edits are held against its result, not against A's. */
static int is_edited(const struct job *j, const char *name)
{
    for (size_t i = 0; i < j->pruned.n_edited; i++)
        if (strcmp(j->pruned.edited[i].name, name) == 0)
            return 1;
    return 0;
}

static int compare_files(struct job *j, struct prep_error *err)
{
    const struct checkpoint *a = j->a->ckpt, *b = j->b->ckpt;
    unsigned char *buf = arena_alloc(&j->arena, 2 * FILE_BLOCK, err);
    if (!buf)
        return -1;
    for (size_t i = 0; i < j->pruned.n_edited; i++)
        if (compare_text(j, j->pruned.edited[i].name, j->pruned.edited[i].text, err))
            return -1;
    for (size_t i = a->n_shards; i < a->n_files; i++) {
        const char *name = a->files[i].name;
        struct span text;
        if (is_own(name) || is_edited(j, name))
            continue;
        if (!is_config(name)) {
            if (compare_file(j, (int)i, buf, err))
                return -1;
            continue;
        }
        if (checkpoint_read_file(a, name, &j->arena, &text, err) ||
            compare_text(j, name, text, err))
            return -1;
    }
    for (size_t i = b->n_shards; i < b->n_files; i++)
        if (!is_own(b->files[i].name) && checkpoint_file(a, b->files[i].name) < 0)
            findings_add(&j->out->findings, FINDING_ERROR, "FILE_ONLY_IN_B", b->files[i].name,
                         "is not in A");
    return 0;
}

static void count_sides(struct comparison *out, const struct inspected *a,
                        const struct inspected *b)
{
    out->a = (struct compare_count){a->total.tensors, a->total.bytes};
    out->b = (struct compare_count){b->total.tensors, b->total.bytes};
    if (a->has_config) {
        out->a_parameters = a->counts.main + a->counts.mtp;
        out->a_experts = a->config.n_routed_experts;
    }
    if (b->has_config) {
        out->b_parameters = b->counts.main + b->counts.mtp;
        out->b_experts = b->config.n_routed_experts;
    }
}

int compare_checkpoints(struct comparison *out, const struct inspected *a,
                        const struct inspected *b, const struct compare_options *opt,
                        struct report *report, struct prep_error *err)
{
    struct job j = {.out = out, .a = a, .b = b, .opt = opt};
    int rc = -1;
    *out = (struct comparison){0};
    findings_init(&out->findings);
    out->read_data = opt->read_data;
    arena_init(&j.arena, 0);
    if (a->kind != KIND_CHECKPOINT || b->kind != KIND_CHECKPOINT) {
        prep_fail(err, PREP_EUSAGE, "%s: is a %s, want two checkpoints",
                  a->kind != KIND_CHECKPOINT ? a->path : b->path,
                  inspect_kind_name(a->kind != KIND_CHECKPOINT ? a->kind : b->kind));
        goto out;
    }
    count_sides(out, a, b);
    if (open_view(&j, report, err))
        goto out;
    count_view(&j);
    if (match_tensors(&j, err))
        goto out;
    if (opt->read_data ? compare_data(&j, err) : (compare_manifests(&j), 0))
        goto out;
    if (compare_files(&j, err) || findings_finish(&out->findings, err))
        goto out;
    rc = 0;
out:
    prune_output_fini(&j.pruned);
    view_fini(&j.plain);
    arena_fini(&j.arena);
    if (rc)
        comparison_fini(out);
    return rc;
}

/* ---- facts ---- */

static void add_count(cJSON *o, const char *key, const struct compare_count *c)
{
    cJSON *x = cJSON_AddObjectToObject(o, key);
    report_u64(x, "tensors", c->tensors);
    report_u64(x, "bytes", c->bytes);
}

int findings_facts(cJSON *object, const struct findings *f, struct prep_error *err)
{
    cJSON *list = cJSON_AddArrayToObject(object, "findings");
    int ok = list != NULL;
    for (size_t i = 0; i < f->n && ok; i++) {
        const struct finding *x = &f->items[i];
        cJSON *row = cJSON_CreateObject();
        ok = cJSON_AddItemToArray(list, row) &&
             cJSON_AddStringToObject(row, "severity",
                                     x->severity == FINDING_ERROR ? "error" : "warning") &&
             cJSON_AddStringToObject(row, "code", x->code) &&
             cJSON_AddStringToObject(row, "place", x->place) &&
             cJSON_AddStringToObject(row, "text", x->text);
    }
    report_u64(object, "n_errors", f->n_errors);
    report_u64(object, "n_warnings", f->n_warnings);
    return ok ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory while listing findings");
}

int compare_facts(cJSON *object, const struct comparison *c, struct prep_error *err)
{
    static const char *const names[] = {"a",       "b",         "kept",      "renamed", "gathered",
                                        "dropped", "identical", "different", "unproven"};
    const struct compare_count *const counts[] = {&c->a,         &c->b,         &c->kept,
                                                  &c->renamed,   &c->gathered,  &c->dropped,
                                                  &c->identical, &c->different, &c->unproven};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add_count(object, names[i], counts[i]);
    report_u64(object, "a_parameters", c->a_parameters);
    report_u64(object, "b_parameters", c->b_parameters);
    report_u64(object, "a_experts", (uint64_t)c->a_experts);
    report_u64(object, "b_experts", (uint64_t)c->b_experts);
    report_u64(object, "only_in_a", c->missing);
    report_u64(object, "only_in_b", c->extra);
    report_u64(object, "incompatible", c->incompatible);
    report_u64(object, "files_equal", c->files_equal);
    cJSON_AddBoolToObject(object, "read_data", c->read_data);
    cJSON_AddBoolToObject(object, "config_identical", c->config_identical);
    cJSON_AddStringToObject(object, "map_ids",
                            !c->through_map ? "none"
                            : c->from_base  ? "kept_source"
                                            : "kept_parent");
    cJSON_AddBoolToObject(object, "equal", comparison_equal(c));
    return findings_facts(object, &c->findings, err);
}

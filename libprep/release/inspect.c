/* SPDX-License-Identifier: MIT */
#include "libprep/release/inspect.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/format/bundle.h"
#include "libprep/model/names.h"
#include "libprep/store/executor.h"

#define MAX_TEXT_BYTES ((uint64_t)1 << 30)

struct opener {
    struct inspected *it;
    const struct io *io;
    struct report *report;
    struct prep_error *err;
    int past_index;
};

const char *inspect_kind_name(enum inspect_kind kind)
{
    static const char *const names[] = {
        [KIND_CHECKPOINT] = "checkpoint",
        [KIND_SAFETENSORS] = "safetensors file",
        [KIND_INDEX] = "index",
        [KIND_CONFIG] = "config",
        [KIND_OBSERVATION] = "observation",
        [KIND_KEEP_MAP] = "keep-map",
        [KIND_MANIFEST] = "manifest",
        [KIND_GGUF] = "GGUF file",
    };
    return names[kind];
}

const char *inspect_role_name(enum role role)
{
    static const char *const names[] = {
        [ROLE_OTHER] = "other",
        [ROLE_EMBED] = "embedding",
        [ROLE_FINAL_NORM] = "final norm",
        [ROLE_LM_HEAD] = "output head",
        [ROLE_LAYER_NORM] = "layer norms",
        [ROLE_ATTENTION] = "attention",
        [ROLE_INDEXER] = "indexer",
        [ROLE_DENSE_MLP] = "dense MLP",
        [ROLE_ROUTER] = "router",
        [ROLE_EXPERT] = "routed experts",
        [ROLE_FUSED_EXPERTS] = "fused experts",
        [ROLE_SHARED_EXPERT] = "shared expert",
        [ROLE_MTP_GLUE] = "MTP glue",
    };
    return names[role];
}

/* ---- tensors ---- */

size_t inspect_n_tensors(const struct inspected *it)
{
    return it->kind == KIND_CHECKPOINT    ? it->ckpt->n_tensors
           : it->kind == KIND_SAFETENSORS ? it->st.n_tensors
                                          : 0;
}

const struct tensor_info *inspect_tensor(const struct inspected *it, size_t i, const char **file)
{
    *file = it->path;
    if (it->kind == KIND_SAFETENSORS)
        return &it->st.tensors[i];
    *file = it->ckpt->files[it->ckpt->tensors[i].file].name;
    return &it->ckpt->tensors[i].info;
}

int inspect_wants(const struct inspect_filter *f, const char *tensor)
{
    if (f->has_layer && name_parse(tensor, strlen(tensor)).layer != f->layer)
        return 0;
    return !f->match || fnmatch(f->match, tensor, 0) == 0;
}

static int by_tally(const void *a, const void *b)
{
    const struct tally *x = a, *y = b;
    if (x->mtp != y->mtp)
        return x->mtp - y->mtp;
    if (x->role != y->role) {
        /* What is not known comes last. */
        unsigned m = x->role == ROLE_OTHER ? 99 : x->role, n = y->role == ROLE_OTHER ? 99 : y->role;
        return m < n ? -1 : 1;
    }
    return (int)x->dtype - (int)y->dtype;
}

static uint64_t count_elements(const struct tensor_info *t)
{
    uint64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->shape[i]; /* the header was judged: cannot overflow */
    return n;
}

static int add_tally(struct inspected *it, const struct tensor_info *t, size_t *cap,
                     struct prep_error *err)
{
    struct name_parts parts = name_parse(t->name, strlen(t->name));
    struct tally key = {
        .mtp = it->has_config && parts.layer >= it->config.num_hidden_layers,
        .role = parts.role,
        .dtype = t->dtype,
    };
    size_t i = 0;
    while (i < it->n_tallies && by_tally(&it->tallies[i], &key) != 0)
        i++;
    if (i == it->n_tallies) {
        if (prep_grow(&it->tallies, cap, it->n_tallies, sizeof *it->tallies, err))
            return -1;
        it->tallies[it->n_tallies++] = key;
    }
    struct tally *both[] = {&it->tallies[i], &it->total};
    for (int k = 0; k < 2; k++) {
        both[k]->tensors++;
        both[k]->elements += count_elements(t);
        both[k]->bytes += t->bytes;
    }
    return 0;
}

static int tally_tensors(struct inspected *it, struct prep_error *err)
{
    size_t cap = 0;
    const char *file;
    for (size_t i = 0; i < inspect_n_tensors(it); i++)
        if (add_tally(it, inspect_tensor(it, i, &file), &cap, err))
            return -1;
    if (it->n_tallies)
        qsort(it->tallies, it->n_tallies, sizeof *it->tallies, by_tally);
    return 0;
}

/* ---- a checkpoint and what lies beside it ---- */

static int parse_map(struct opener *o, const char *text, size_t n, const char *path,
                     struct prep_error *err)
{
    if (keep_map_parse(&o->it->map, text, n, path, err))
        return -1;
    sha256_hex(text, n, o->it->map_sha256);
    o->it->has_map = 1;
    return 0;
}

static int parse_manifest(struct opener *o, const char *text, size_t n, const char *path,
                          struct prep_error *err)
{
    o->it->has_manifest = manifest_parse(&o->it->manifest, text, n, path, err) == 0;
    return o->it->has_manifest ? 0 : -1;
}

/* Is it the file that is at fault, or the machine? Only the first is kept for later. */
static int keep_fault(struct opener *o, const struct prep_error *fault)
{
    if (fault->code != PREP_ENOMEM && fault->code != PREP_EIO)
        return 0;
    *o->err = *fault;
    return -1;
}

/* Read a file beside the shards; its faults go to *fault. */
static int read_beside(struct opener *o, const char *name,
                       int (*parse)(struct opener *, const char *, size_t, const char *,
                                    struct prep_error *),
                       struct prep_error *fault)
{
    const struct checkpoint *c = o->it->ckpt;
    int file = checkpoint_file(c, name);
    struct span text;
    if (file < 0)
        return 0;
    if (checkpoint_read_file(c, name, &o->it->arena, &text, fault) == 0 &&
        parse(o, (const char *)text.p, text.n, c->files[file].path, fault) == 0)
        return 0;
    return keep_fault(o, fault);
}

static int load_config(struct opener *o, const char *path, struct prep_error *err)
{
    struct inspected *it = o->it;
    if (config_load(&it->config, o->io, path, o->report, err))
        return -1;
    it->has_config = 1;
    count_model(&it->counts, &it->config);
    return 0;
}

/* By its index or, when that is at fault and nothing else, by its shards. */
static int open_shards(struct opener *o)
{
    struct inspected *it = o->it;
    struct prep_error why = PREP_ERROR_INIT, ignored = PREP_ERROR_INIT;
    if (checkpoint_open(&it->ckpt, o->io, it->path, o->report, &why) == 0)
        return 0;
    if (o->past_index && checkpoint_is_index_fault(&why) &&
        checkpoint_open_shards(&it->ckpt, o->io, it->path, o->report, &ignored) == 0) {
        it->index_fault = why;
        return 0;
    }
    *o->err = why;
    return -1;
}

static int open_checkpoint(struct opener *o)
{
    struct inspected *it = o->it;
    it->kind = KIND_CHECKPOINT;
    if (open_shards(o))
        return -1;
    if (load_config(o, it->ckpt->dir, &it->config_fault) && keep_fault(o, &it->config_fault))
        return -1;
    return read_beside(o, INSPECT_KEEP_MAP, parse_map, &it->map_fault) ||
                   read_beside(o, EXEC_MANIFEST, parse_manifest, &it->manifest_fault) ||
                   tally_tensors(it, o->err)
               ? -1
               : 0;
}

/* ---- single files ---- */

static int open_observation(struct opener *o)
{
    o->it->kind = KIND_OBSERVATION;
    return obs_run_read(&o->it->run, o->io, o->it->path, NULL, o->report, o->err);
}

static int is_observation_file(const struct safetensors *st)
{
    for (size_t i = 0; i < st->n_metadata; i++)
        if (strcmp(st->metadata[i].key, "format") == 0 &&
            strcmp(st->metadata[i].value, "reap-obs") == 0)
            return 1;
    return 0;
}

static void warn_header(struct opener *o)
{
    static const struct {
        unsigned bit;
        const char *tag, *text;
    } lints[] = {
        {SAFETENSORS_HEADER_ALIGNMENT, "HEADER_ALIGNMENT",
         "data does not begin at a multiple of 8"},
        {SAFETENSORS_HEADER_PADDING, "HEADER_PADDING",
         "header ends in white space other than up to 7 spaces"},
        {SAFETENSORS_HEADER_LEADING_SPACE, "HEADER_LEADING_SPACE",
         "header begins with white space"},
        {SAFETENSORS_UNKNOWN_FIELD, "UNKNOWN_FIELD", "an entry has a field that means nothing"},
    };
    for (size_t i = 0; i < sizeof lints / sizeof *lints; i++)
        if (o->it->st.lint & lints[i].bit)
            report_warn(o->report, lints[i].tag, "%s: %s", o->it->path, lints[i].text);
}

static int open_safetensors(struct opener *o)
{
    struct inspected *it = o->it;
    struct io_stat st;
    int fd = -1;
    it->kind = KIND_SAFETENSORS;
    if (io_open_read(o->io, it->path, &fd, &st, o->err))
        return -1;
    int rc = safetensors_read(&it->st, o->io, fd, st.size, it->path, &it->arena, o->err);
    io_close_read(o->io, fd);
    if (rc)
        return -1;
    if (is_observation_file(&it->st))
        return open_observation(o);
    warn_header(o);
    return tally_tensors(it, o->err);
}

/* The manifest that make-gguf puts beside its files. */
static int read_gguf_manifest(struct opener *o)
{
    struct inspected *it = o->it;
    const char *slash = strrchr(it->path, '/');
    struct io_stat st;
    struct span text;
    char *dir = arena_strndup(&it->arena, it->path, slash ? (size_t)(slash - it->path) : 0, o->err);
    if (!dir)
        return -1;
    const char *path = io_join(&it->arena, slash ? dir : ".", EXEC_MANIFEST, o->err);
    if (!path)
        return -1;
    if (o->io->stat(o->io->self, path, &st) < 0)
        return 0;
    if (io_read_file(o->io, path, MAX_TEXT_BYTES, &it->arena, &text, &it->manifest_fault) == 0 &&
        parse_manifest(o, (const char *)text.p, text.n, path, &it->manifest_fault) == 0)
        return 0;
    return keep_fault(o, &it->manifest_fault);
}

static int open_gguf(struct opener *o)
{
    struct inspected *it = o->it;
    it->kind = KIND_GGUF;
    if (gguf_set_open(&it->gguf, o->io, it->path, o->err))
        return -1;
    gguf_set_warn(&it->gguf, o->report);
    return read_gguf_manifest(o);
}

/* What a JSON file is, by its members. */
static enum inspect_kind kind_of_json(const struct json *d, int *known)
{
    static const struct {
        const char *key, *value;
        enum inspect_kind kind;
    } marks[] = {
        {"format", "reap-keep-map", KIND_KEEP_MAP}, {"format", "prep-manifest", KIND_MANIFEST},
        {"format", "reap-obs", KIND_OBSERVATION},   {"weight_map", NULL, KIND_INDEX},
        {"architectures", NULL, KIND_CONFIG},       {"model_type", NULL, KIND_CONFIG},
        {"layers", NULL, KIND_OBSERVATION},
    };
    uint32_t first = json_type(d, 0) == JSON_OBJECT ? json_first(d, 0) : JSON_NONE;
    *known = first != JSON_NONE;
    if (!*known)
        return KIND_CONFIG;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        uint32_t v = json_get(d, 0, marks[i].key);
        if (v != JSON_NONE && (!marks[i].value || (json_type(d, v) == JSON_STRING &&
                                                   json_equal(d, v, marks[i].value))))
            return marks[i].kind;
    }
    *known = keep_map_layer_key(d, first) >= 0; /* a short keep-map */
    return KIND_KEEP_MAP;
}

static int open_kind(struct opener *o, struct span text)
{
    struct inspected *it = o->it;
    switch (it->kind) {
    case KIND_KEEP_MAP:
        return parse_map(o, (const char *)text.p, text.n, it->path, o->err);
    case KIND_MANIFEST:
        return parse_manifest(o, (const char *)text.p, text.n, it->path, o->err);
    case KIND_INDEX:
        return hf_index_read(&it->index, o->io, it->path, &it->arena, o->err);
    case KIND_OBSERVATION:
        return open_observation(o);
    default:
        return load_config(o, it->path, o->err);
    }
}

static int open_json(struct opener *o)
{
    struct inspected *it = o->it;
    struct span text;
    struct json doc = {0};
    int known;
    if (io_read_file(o->io, it->path, MAX_TEXT_BYTES, &it->arena, &text, o->err) ||
        json_parse(&doc, (const char *)text.p, text.n, it->path, o->err)) {
        json_free(&doc);
        return -1;
    }
    it->kind = kind_of_json(&doc, &known);
    json_free(&doc);
    if (!known)
        return prep_fail_tag(o->err, PREP_EDATA, "UNKNOWN_KIND",
                             "%s: is JSON, but no index, config, observation, keep-map or manifest",
                             it->path);
    return open_kind(o, text);
}

static int ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && strcmp(s + n - k, tail) == 0;
}

static int open_file(struct opener *o, uint64_t bytes)
{
    struct inspected *it = o->it;
    unsigned char head[9] = {0};
    int fd = -1;
    if (io_open_read(o->io, it->path, &fd, NULL, o->err))
        return -1;
    size_t n = bytes < 9 ? (size_t)bytes : 9;
    int rc = io_read_exact(o->io, fd, head, n, 0, it->path, o->err);
    io_close_read(o->io, fd);
    if (rc)
        return -1;
    if (n >= 4 && memcmp(head, "GGUF", 4) == 0)
        return open_gguf(o);
    if (hf_is_shard_name(it->path, strlen(it->path)) || (n == 9 && head[8] == '{' && !head[7]))
        return open_safetensors(o);
    if (bundle_has_name(it->path) || ends_with(it->path, ".jsonl") || memcmp(head, "PK", 2) == 0 ||
        ends_with(it->path, ".pt") || ends_with(it->path, ".pkl"))
        return open_observation(o);
    if (ends_with(it->path, ".json") || head[0] == '{')
        return open_json(o);
    return prep_fail_tag(o->err, PREP_EDATA, "UNKNOWN_KIND",
                         "%s: is no checkpoint, safetensors, JSON or observation file", it->path);
}

struct folder_marks {
    int weights, blocks;
};

static int mark(void *arg, const char *name)
{
    struct folder_marks *m = arg;
    m->weights |= ends_with(name, ".safetensors") || strcmp(name, HF_INDEX_NAME) == 0;
    m->blocks |= strcmp(name, "layerwise_intermediate") == 0 || strncmp(name, "group_", 6) == 0 ||
                 (strncmp(name, "block_", 6) == 0 && ends_with(name, "_metrics.pt"));
    return 0;
}

static int open_folder(struct opener *o)
{
    struct folder_marks m = {0};
    int sys = o->io->list(o->io->self, o->it->path, mark, &m);
    if (sys < 0)
        return prep_fail_sys(o->err, PREP_ENOINPUT, -sys, "%s: cannot be listed", o->it->path);
    return m.blocks && !m.weights ? open_observation(o) : open_checkpoint(o);
}

void inspect_warn_faults(const struct inspected *it, struct report *report)
{
    const struct prep_error *faults[] = {&it->config_fault, &it->map_fault, &it->manifest_fault};
    for (int i = 0; i < 3; i++)
        if (faults[i]->code != PREP_OK)
            report_warn(report, faults[i]->tag, "%s", faults[i]->msg);
}

static int open_path(struct opener *o, const char *path)
{
    struct io_stat st;
    int rc;
    *o->it = (struct inspected){.path = path};
    arena_init(&o->it->arena, 0);
    if (o->io->stat(o->io->self, path, &st) < 0)
        rc = open_checkpoint(o); /* "ORG/NAME", or nothing */
    else if (st.kind == IO_DIRECTORY)
        rc = open_folder(o);
    else
        rc = open_file(o, st.size);
    if (rc)
        inspect_close(o->it);
    return rc;
}

int inspect_open(struct inspected *it, const struct io *io, const char *path, struct report *report,
                 struct prep_error *err)
{
    struct opener o = {it, io, report, err, 0};
    return open_path(&o, path);
}

int inspect_open_past_index(struct inspected *it, const struct io *io, const char *path,
                            struct report *report, struct prep_error *err)
{
    struct opener o = {it, io, report, err, 1};
    return open_path(&o, path);
}

void inspect_close(struct inspected *it)
{
    checkpoint_close(it->ckpt);
    gguf_set_close(&it->gguf);
    hf_index_free(&it->index);
    obs_run_free(&it->run);
    config_free(&it->config);
    keep_map_free(&it->map);
    manifest_free(&it->manifest);
    free(it->tallies);
    arena_fini(&it->arena);
    *it = (struct inspected){0};
}

/* ---- small summaries ---- */

void inspect_summarize(struct obs_summary *s, const struct obs_layer *l)
{
    *s = (struct obs_summary){.layer = l->layer, .n_experts = l->n_experts};
    s->tokens = l->has_total_tokens && l->total_tokens > 0 ? (uint64_t)l->total_tokens : 0;
    s->has_counts = l->expert_frequency != NULL && l->n_experts > 0;
    if (!s->has_counts)
        return;
    s->least = s->most = l->expert_frequency[0];
    for (int e = 0; e < l->n_experts; e++) {
        int64_t n = l->expert_frequency[e];
        s->least = n < s->least ? n : s->least;
        s->most = n > s->most ? n : s->most;
        s->never_routed += n == 0;
        s->routed += n > 0 ? (uint64_t)n : 0;
    }
    s->mean = (double)s->routed / l->n_experts;
}

const char *inspect_ranges(const int *ids, int n, struct arena *arena, struct prep_error *err)
{
    /* An id and a separator take at most 12 bytes. */
    size_t size = (size_t)n * 12 + 1, used = 0;
    char *text = arena_alloc(arena, size, err);
    if (!text)
        return NULL;
    text[0] = 0;
    for (int i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && ids[end] == ids[end - 1] + 1; end++)
            continue;
        const char *space = i ? " " : "";
        if (end - i > 1)
            used +=
                (size_t)snprintf(text + used, size - used, "%s%d-%d", space, ids[i], ids[end - 1]);
        else
            used += (size_t)snprintf(text + used, size - used, "%s%d", space, ids[i]);
    }
    return text;
}

const char *inspect_layers(const struct config *c, int (*want)(const struct config *, int),
                           struct arena *arena, struct prep_error *err)
{
    int *ids = arena_calloc(arena, (size_t)c->n_layers, sizeof *ids, err), n = 0;
    if (!ids)
        return NULL;
    for (int i = 0; i < c->n_layers; i++)
        if (want(c, i))
            ids[n++] = i;
    return inspect_ranges(ids, n, arena, err);
}

/* SPDX-License-Identifier: MIT */
#include "libprep/format/hf_index.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libprep/base/table.h"
#include "libprep/format/safetensors.h"

#define SHARD_SUFFIX ".safetensors"

enum { SHOWN = 200 };

/* A million tensors make 100 MB. */
static const uint64_t max_index_bytes = 1u << 30;

int hf_is_shard_name(const char *name, size_t n)
{
    size_t suffix = strlen(SHARD_SUFFIX);
    return n > suffix && strncasecmp(name + n - suffix, SHARD_SUFFIX, suffix) == 0;
}

static int type_fault(const struct json *doc, uint32_t node, const char *what, const char *want,
                      struct prep_error *err)
{
    char where[512];
    const struct json_node *k = &doc->nodes[node];
    int n = k->end - k->start > 80 ? 80 : (int)(k->end - k->start);
    return prep_fail_tag(err, PREP_EDATA, "INDEX_TYPE", "%s: %s is %.*s, want %s",
                         json_where(doc, node, where, sizeof where), what, n, doc->text + k->start,
                         want);
}

static int read_total_size(struct hf_index *ix, struct prep_error *err)
{
    const struct json *doc = &ix->doc;
    uint32_t metadata = json_get(doc, 0, "metadata");
    if (metadata == JSON_NONE)
        return 0;
    if (json_type(doc, metadata) != JSON_OBJECT)
        return type_fault(doc, metadata, "metadata", "an object", err);
    uint32_t node = json_get(doc, metadata, "total_size");
    if (node == JSON_NONE)
        return 0;
    if (json_u64(doc, node, &ix->total_size) == 0) {
        ix->total_size_kind = HF_TOTAL_SIZE_INTEGER;
        return 0;
    }
    double v = -1;
    const double limit = 18446744073709551616.0; /* 2^64 */
    if (json_f64(doc, node, &v) || !(v >= 0 && v < limit) || v != (double)(uint64_t)v)
        return type_fault(doc, node, "total_size", "a whole number of bytes", err);
    ix->total_size = (uint64_t)v;
    ix->total_size_kind = HF_TOTAL_SIZE_FLOAT;
    return 0;
}

/* Shards in the order in which they are met. */
struct shards {
    struct name_table ids;
    const char **names;
    size_t n, cap;
};

static int add_shard(struct shards *s, const struct json *doc, uint32_t node, struct arena *arena,
                     uint32_t *id, struct prep_error *err)
{
    size_t n;
    const char *name = json_string(doc, node, arena, &n, err);
    uint32_t old;
    if (!name)
        return -1;
    const char *fault = file_name_fault(name, n);
    if (!fault && !hf_is_shard_name(name, n))
        fault = "does not end in " SHARD_SUFFIX;
    if (fault) {
        char where[512];
        return prep_fail_tag(err, PREP_EDATA, "SHARD_NAME",
                             "%s: shard name \"%.*s\" %s, want a plain file name",
                             json_where(doc, node, where, sizeof where), SHOWN, name, fault);
    }
    if (prep_grow(&s->names, &s->cap, s->n, sizeof *s->names, err) ||
        name_table_add(&s->ids, name, n, (uint32_t)s->n, &old, err))
        return -1;
    *id = old;
    if (old == NAME_NONE) {
        *id = (uint32_t)s->n;
        s->names[s->n++] = name;
    }
    return 0;
}

/* Ids of the shards, by entry. Tensors of a shard mostly stand together. */
static int read_entries(struct hf_index *ix, struct shards *s, struct arena *arena,
                        struct prep_error *err)
{
    const struct json *doc = &ix->doc;
    const struct json_node *last = NULL;
    uint32_t id = 0;
    size_t at = 0;
    for (uint32_t k = json_first(doc, ix->weight_map); k != JSON_NONE;) {
        uint32_t value = json_next(doc, k);
        const struct json_node *v = &doc->nodes[value];
        size_t n = v->end - v->start;
        if (v->type != JSON_STRING)
            return type_fault(doc, value, "shard of a tensor", "a string", err);
        if (!last || n != last->end - last->start ||
            memcmp(doc->text + v->start, doc->text + last->start, n) != 0) {
            id = v->escaped ? NAME_NONE : name_table_get(&s->ids, doc->text + v->start + 1, n - 2);
            if (id == NAME_NONE && add_shard(s, doc, value, arena, &id, err))
                return -1;
        }
        last = v;
        ix->shard_of[at++] = id;
        k = json_next(doc, value);
    }
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Number the shards by name instead of by first mention. */
static int sort_shards(struct hf_index *ix, struct shards *s, struct arena *arena,
                       struct prep_error *err)
{
    uint32_t *rank = arena_alloc(arena, s->n * sizeof *rank, err);
    ix->shards = rank ? arena_alloc(arena, s->n * sizeof *ix->shards, err) : NULL;
    if (!ix->shards)
        return -1;
    memcpy(ix->shards, s->names, s->n * sizeof *ix->shards);
    qsort(ix->shards, s->n, sizeof *ix->shards, by_bytes);
    for (uint32_t i = 0; i < s->n; i++)
        rank[name_table_get(&s->ids, ix->shards[i], strlen(ix->shards[i]))] = i;
    for (size_t i = 0; i < ix->n_entries; i++)
        ix->shard_of[i] = rank[ix->shard_of[i]];
    ix->n_shards = s->n;
    return 0;
}

static int read_weight_map(struct hf_index *ix, struct arena *arena, struct prep_error *err)
{
    const struct json *doc = &ix->doc;
    if (json_type(doc, 0) != JSON_OBJECT)
        return type_fault(doc, 0, "the index", "an object", err);
    ix->weight_map = json_get(doc, 0, "weight_map");
    if (ix->weight_map == JSON_NONE)
        return prep_fail_tag(err, PREP_EDATA, "INDEX_TYPE", "%s: has no weight_map, want one",
                             doc->name);
    if (json_type(doc, ix->weight_map) != JSON_OBJECT)
        return type_fault(doc, ix->weight_map, "weight_map", "an object", err);
    if (read_total_size(ix, err))
        return -1;
    ix->n_entries = json_count(doc, ix->weight_map);
    if (ix->n_entries == 0)
        return prep_fail_tag(err, PREP_EDATA, "INDEX_MISMATCH",
                             "%s: weight_map is empty, want every tensor of the shards", doc->name);
    ix->shard_of = calloc(ix->n_entries, sizeof *ix->shard_of);
    if (!ix->shard_of)
        return prep_fail(err, PREP_ENOMEM, "%s: out of memory for %zu tensors", doc->name,
                         ix->n_entries);
    struct shards s = {0};
    int rc = name_table_init(&s.ids, 0, err) || read_entries(ix, &s, arena, err) ||
             sort_shards(ix, &s, arena, err);
    name_table_free(&s.ids);
    free(s.names);
    return rc ? -1 : 0;
}

int hf_index_read(struct hf_index *ix, const struct io *io, const char *path, struct arena *arena,
                  struct prep_error *err)
{
    *ix = (struct hf_index){0};
    if (io_read_file(io, path, max_index_bytes, arena, &ix->text, err))
        return -1;
    if (safetensors_is_lfs_pointer(ix->text))
        return prep_fail_tag(
            err, PREP_EDATA, "LFS_POINTER",
            "%s: is a Git LFS pointer, want the file itself: it was not downloaded", path);
    if (json_parse(&ix->doc, (const char *)ix->text.p, ix->text.n, path, err)) {
        if (err->code == PREP_EDATA)
            err->tag = strcmp(err->tag, "JSON_DUPLICATE_KEY") == 0 ? "DUPLICATE_KEY" : "INDEX_JSON";
        return -1;
    }
    if (read_weight_map(ix, arena, err)) {
        hf_index_free(ix);
        return -1;
    }
    return 0;
}

void hf_index_free(struct hf_index *ix)
{
    json_free(&ix->doc);
    free(ix->shard_of);
    *ix = (struct hf_index){0};
}

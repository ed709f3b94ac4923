/* SPDX-License-Identifier: MIT */
#include "libprep/store/gguf_set.h"

#include <inttypes.h>
#include <string.h>

#include "libprep/base/hash.h"

static int open_part(struct gguf_set *s, size_t i, const char *path, struct prep_error *err)
{
    struct io_stat st;
    char *copy = arena_strndup(&s->arena, path, strlen(path), err);
    if (!copy || gguf_open(&s->parts[i], s->io, copy, &st, err))
        return -1;
    const struct gguf *g = &s->parts[i];
    const char *slash = strrchr(copy, '/');
    /* Offsets are packed, so names, types and shapes stand for the whole table. */
    uint64_t h = 0;
    for (size_t t = 0; t < g->n_tensors; t++) {
        const uint64_t of[2] = {h ^ hash64(g->tensors[t].name, strlen(g->tensors[t].name)),
                                g->tensors[t].bytes};
        h = hash64(of, sizeof of);
    }
    s->files[i] = (struct source_file){.name = slash ? slash + 1 : copy,
                                       .path = copy,
                                       .bytes = st.size,
                                       .dev = st.dev,
                                       .ino = st.ino,
                                       .mtime_ns = st.mtime_ns,
                                       .header_hi = g->data_start,
                                       .header_lo = h};
    s->lint |= g->lint;
    s->n_tensors += g->n_tensors;
    return 0;
}

static int list_names(struct gguf_set *s, struct prep_error *err)
{
    if (name_table_init(&s->names, (size_t)s->n_tensors, err))
        return -1;
    for (size_t i = 0; i < s->n_parts; i++)
        for (size_t t = 0; t < s->parts[i].n_tensors; t++) {
            const struct gguf_tensor_info *info = &s->parts[i].tensors[t];
            uint32_t old;
            if (name_table_add(&s->names, info->name, strlen(info->name), (uint32_t)i, &old, err))
                return -1;
            if (old != NAME_NONE)
                return prep_fail_tag(err, PREP_EDATA, "SPLIT_TENSOR",
                                     "%s: tensor %s is in part %" PRIu32 ", too", s->files[i].path,
                                     info->name, old + 1);
            s->tensor_bytes += info->bytes;
        }
    return 0;
}

static int open_others(struct gguf_set *s, const struct gguf_split *split, const char *path,
                       size_t prefix, struct prep_error *err)
{
    for (uint32_t i = 0; i < split->count; i++) {
        struct gguf_split other;
        struct io_stat st;
        char *stem = arena_strndup(&s->arena, path, prefix, err);
        char *name = stem ? gguf_part_name(&s->arena, stem, i, split->count, err) : NULL;
        if (!name)
            return -1;
        if (s->io->stat(s->io->self, name, &st) < 0)
            return prep_fail_tag(err, PREP_ENOINPUT, "SPLIT_MISSING",
                                 "%s: part %" PRIu32 " of %" PRIu32 " is not there", name, i + 1,
                                 split->count);
        if (open_part(s, i, name, err))
            return -1;
        s->n_parts++;
        if (gguf_split_of(&other, &s->parts[i], name, err))
            return -1;
        if (other.no != i || other.count != split->count || other.tensors != split->tensors)
            return prep_fail_tag(err, PREP_EDATA, "SPLIT_KEYS",
                                 "%s: says it is part %" PRIu32 " of %" PRIu32 " with %" PRIu64
                                 " tensors, want %" PRIu32 " of %" PRIu32 " with %" PRIu64,
                                 name, other.no + 1, other.count, other.tensors, i + 1,
                                 split->count, split->tensors);
    }
    if (s->n_tensors != split->tensors)
        return prep_fail_tag(err, PREP_EDATA, "SPLIT_KEYS",
                             "%s: the parts hold %" PRIu64 " tensors, want %" PRIu64, path,
                             s->n_tensors, split->tensors);
    return 0;
}

static int open_all(struct gguf_set *s, const char *path, struct prep_error *err)
{
    struct gguf one;
    struct gguf_split split;
    if (gguf_open(&one, s->io, path, NULL, err))
        return -1;
    int rc = gguf_split_of(&split, &one, path, err);
    gguf_free(&one);
    if (rc)
        return -1;
    const size_t prefix = split.count > 1 ? gguf_part_prefix(path, split.no, split.count) : 0;
    if (split.count > 1 && !prefix)
        return prep_fail_tag(err, PREP_EDATA, "SPLIT_NAME",
                             "%s: is part %" PRIu32 " of %" PRIu32
                             " and not named like it (NAME-%05" PRIu32 "-of-%05" PRIu32 ".gguf)",
                             path, split.no + 1, split.count, split.no + 1, split.count);
    s->parts = arena_calloc(&s->arena, split.count, sizeof *s->parts, err);
    s->files = arena_calloc(&s->arena, split.count, sizeof *s->files, err);
    if (!s->parts || !s->files)
        return -1;
    if (split.count > 1)
        return open_others(s, &split, path, prefix, err);
    if (open_part(s, 0, path, err))
        return -1;
    s->n_parts = 1;
    return 0;
}

int gguf_set_open(struct gguf_set *s, const struct io *io, const char *path, struct prep_error *err)
{
    *s = (struct gguf_set){.io = io};
    arena_init(&s->arena, 0);
    if (open_all(s, path, err) || list_names(s, err)) {
        gguf_set_close(s);
        return -1;
    }
    s->source = (struct checkpoint){
        .io = io, .dir = ".", .files = s->files, .n_files = s->n_parts, .n_shards = s->n_parts};
    return 0;
}

void gguf_set_close(struct gguf_set *s)
{
    for (size_t i = 0; i < s->n_parts; i++)
        gguf_free(&s->parts[i]);
    name_table_free(&s->names);
    arena_fini(&s->arena);
    *s = (struct gguf_set){0};
}

const struct gguf_tensor_info *gguf_set_find(const struct gguf_set *s, const char *name,
                                             uint32_t *part)
{
    const uint32_t i = name_table_get(&s->names, name, strlen(name));
    if (i == NAME_NONE)
        return NULL;
    *part = i;
    return gguf_find_tensor(&s->parts[i], name);
}

void gguf_set_warn(const struct gguf_set *s, struct report *report)
{
    static const struct {
        unsigned bit;
        const char *tag, *text;
    } lints[] = {
        {GGUF_LINT_UTF8, "UTF8", "a string value is not UTF-8"},
        {GGUF_LINT_RANK_0, "RANK_0", "a tensor has no dimension"},
        {GGUF_LINT_LAST_PADDING, "LAST_PADDING", "the last tensor's padding is left out"},
        {GGUF_LINT_TRAILING_BYTES, "TRAILING_BYTES", "there are bytes behind the data"},
    };
    for (size_t i = 0; i < s->n_parts; i++)
        for (size_t k = 0; k < sizeof lints / sizeof *lints; k++)
            if (s->parts[i].lint & lints[k].bit)
                report_warn(report, lints[k].tag, "%s: %s", s->files[i].path, lints[k].text);
}

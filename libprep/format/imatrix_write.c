/* SPDX-License-Identifier: MIT */
/* Merging and writing; bytes as in imatrix.c. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/format/gguf.h"
#include "libprep/format/imatrix.h"

enum { CHUNK_DEFAULT = 512 };

/* ---- merging ---- */

struct merging {
    struct imatrix *out;
    struct imatrix_entry *entries; /* growing; names unique */
    size_t n, cap;
    struct name_table found;
    struct prep_error *err;
};

static int same_shape(const struct imatrix_entry *a, const struct imatrix_entry *b)
{
    return a->n_values == b->n_values && a->slices == b->slices;
}

/* Where the sums of an entry go: new and zero, or those of an earlier file. */
static struct imatrix_entry *merged_entry(struct merging *w, const struct imatrix_entry *from,
                                          const char *path)
{
    uint32_t old;
    size_t n = strlen(from->name);
    struct arena *arena = &w->out->arena;
    if (prep_grow(&w->entries, &w->cap, w->n, sizeof *w->entries, w->err))
        return NULL;
    char *name = arena_strndup(arena, from->name, n, w->err);
    if (!name || name_table_add(&w->found, name, n, (uint32_t)w->n, &old, w->err))
        return NULL;
    if (old != NAME_NONE) {
        struct imatrix_entry *e = &w->entries[old];
        if (same_shape(e, from))
            return e;
        prep_fail_tag(w->err, PREP_EDATA, "IMATRIX_SHAPE",
                      "%s: %s has %" PRIu64 " values in %" PRIu64 " slices, another file %" PRIu64
                      " in %" PRIu64,
                      path, name, from->n_values, from->slices, e->n_values, e->slices);
        return NULL;
    }
    struct imatrix_entry *e = &w->entries[w->n];
    *e = (struct imatrix_entry){.name = name, .n_values = from->n_values, .slices = from->slices};
    e->values = arena_calloc(arena, (size_t)e->n_values, sizeof(float), w->err);
    e->counts = arena_calloc(arena, (size_t)e->slices, sizeof(float), w->err);
    if (!e->values || !e->counts)
        return NULL;
    w->n++;
    return e;
}

static int add_part(struct merging *w, const struct imatrix *part, const char *path,
                    uint32_t chunk_size)
{
    for (size_t i = 0; i < part->n; i++) {
        const struct imatrix_entry *from = &part->entries[i];
        const float factor = part->legacy ? (float)chunk_size : 1.0f;
        if (!from->values)
            return prep_fail(w->err, PREP_EBUG, "%s: values were not read", path);
        struct imatrix_entry *to = merged_entry(w, from, path);
        if (!to)
            return -1;
        float *values = (float *)(uintptr_t)to->values, *counts = (float *)(uintptr_t)to->counts;
        for (uint64_t k = 0; k < from->n_values; k++)
            values[k] += from->values[k] * factor;
        for (uint64_t k = 0; k < from->slices; k++)
            counts[k] += from->counts[k] * factor;
    }
    return 0;
}

static int add_datasets(struct imatrix *out, const struct imatrix *part, struct prep_error *err)
{
    for (size_t i = 0; i < part->n_datasets; i++) {
        size_t k = 0;
        while (k < out->n_datasets && strcmp(out->datasets[k], part->datasets[i]) != 0)
            k++;
        if (k < out->n_datasets)
            continue;
        out->datasets[k] =
            arena_strndup(&out->arena, part->datasets[i], strlen(part->datasets[i]), err);
        if (!out->datasets[k])
            return -1;
        out->n_datasets++;
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct imatrix_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int finish(struct merging *w)
{
    struct imatrix *out = w->out;
    qsort(w->entries, w->n, sizeof *w->entries, by_name);
    out->entries = arena_calloc(&out->arena, w->n, sizeof *out->entries, w->err);
    if (!out->entries || name_table_init(&out->names, w->n, w->err))
        return -1;
    for (size_t i = 0; i < w->n; i++) {
        uint32_t old;
        out->entries[out->n++] = w->entries[i];
        if (name_table_add(&out->names, w->entries[i].name, strlen(w->entries[i].name), (uint32_t)i,
                           &old, w->err))
            return -1;
    }
    return 0;
}

int imatrix_merge(struct imatrix *out, const struct imatrix *parts, const char *const *paths,
                  size_t n, uint32_t chunk_size, struct prep_error *err)
{
    struct merging w = {.out = out, .err = err};
    size_t n_datasets = 0;
    *out = (struct imatrix){0};
    arena_init(&out->arena, 0);
    out->chunk_size = chunk_size;
    for (size_t i = 0; i < n; i++) {
        n_datasets += parts[i].n_datasets;
        if (!out->chunk_size)
            out->chunk_size = parts[i].chunk_size;
    }
    if (!out->chunk_size)
        out->chunk_size = CHUNK_DEFAULT;
    out->datasets = arena_calloc(&out->arena, n_datasets, sizeof *out->datasets, err);
    int rc = !out->datasets || name_table_init(&w.found, 0, err);
    for (size_t i = 0; i < n && !rc; i++) {
        rc =
            add_part(&w, &parts[i], paths[i], out->chunk_size) || add_datasets(out, &parts[i], err);
        out->chunk_count += parts[i].chunk_count;
    }
    rc = rc || finish(&w);
    name_table_free(&w.found);
    free(w.entries);
    if (rc)
        imatrix_free(out);
    return rc ? -1 : 0;
}

/* ---- writing ---- */

static int set_keys(struct gguf_keys *keys, const struct imatrix *m, struct prep_error *err)
{
    struct span *names = arena_calloc(keys->arena, m->n_datasets, sizeof *names, err);
    for (size_t i = 0; i < m->n_datasets && names; i++)
        names[i] = (struct span){(const unsigned char *)m->datasets[i], strlen(m->datasets[i])};
    return !names || gguf_set_string(keys, "general.type", "imatrix", 7, err) ||
                   gguf_set_strings(keys, "imatrix.datasets", names, m->n_datasets, err) ||
                   gguf_set_u32(keys, "imatrix.chunk_count", m->chunk_count, err) ||
                   gguf_set_u32(keys, "imatrix.chunk_size", m->chunk_size, err)
               ? -1
               : 0;
}

static int list_tensors(struct gguf_tensor_info *t, const struct imatrix *m, struct arena *arena,
                        struct prep_error *err)
{
    for (size_t i = 0; i < m->n; i++, t += 2) {
        const struct imatrix_entry *e = &m->entries[i];
        /* The reference's writer drops trailing dimensions of 1. */
        const uint8_t rank = e->slices > 1 ? 2 : 1;
        t[0] = (struct gguf_tensor_info){
            .type = GGML_F32, .n_dims = rank, .dims = {e->n_values / e->slices, e->slices, 1, 1}};
        t[1] = (struct gguf_tensor_info){
            .type = GGML_F32, .n_dims = rank, .dims = {1, e->slices, 1, 1}};
        t[0].name = arena_printf(arena, err, "%s.in_sum2", e->name);
        t[1].name = arena_printf(arena, err, "%s.counts", e->name);
        if (!t[0].name || !t[1].name)
            return -1;
    }
    return 0;
}

int imatrix_write(const struct imatrix *m, struct arena *arena, struct span *out,
                  struct prep_error *err)
{
    struct gguf_keys keys = {.arena = arena};
    struct gguf_tensor_info *t = arena_calloc(arena, 2 * m->n, sizeof *t, err);
    struct span head;
    uint64_t bytes;
    int rc = !t || set_keys(&keys, m, err) || list_tensors(t, m, arena, err) ||
             gguf_layout(&head, &bytes, &keys, t, 2 * m->n, arena, err);
    gguf_keys_free(&keys);
    unsigned char *p = rc ? NULL : arena_calloc(arena, (size_t)bytes, 1, err);
    if (!p)
        return -1;
    memcpy(p, head.p, head.n);
    for (size_t i = 0; i < m->n; i++) {
        memcpy(p + t[2 * i].offset, m->entries[i].values, (size_t)t[2 * i].bytes);
        memcpy(p + t[2 * i + 1].offset, m->entries[i].counts, (size_t)t[2 * i + 1].bytes);
    }
    *out = (struct span){p, (size_t)bytes};
    return 0;
}

static float most_rows(const struct imatrix_entry *e)
{
    float most = 0;
    for (uint64_t i = 0; i < e->slices; i++)
        if (e->counts[i] > most)
            most = e->counts[i];
    return most;
}

static float calls_of(const struct imatrix_entry *e, uint32_t chunk)
{
    const float rows = most_rows(e);
    const uint64_t calls = rows < 1e15f ? ((uint64_t)rows + chunk - 1) / chunk : INT32_MAX;
    return (float)(calls < INT32_MAX ? calls : INT32_MAX);
}

/* Means times calls, with as many calls as whole chunks hold the fullest slice. */
static unsigned char *put_entry(unsigned char *p, const struct imatrix_entry *e, uint32_t chunk)
{
    const size_t n = strlen(e->name);
    const uint64_t columns = e->n_values / e->slices;
    const float calls = calls_of(e, chunk);
    store_le32(p, (uint32_t)n);
    memcpy(p + 4, e->name, n);
    p += 4 + n;
    store_le32(p, calls < 2e9f ? (uint32_t)calls : INT32_MAX);
    store_le32(p + 4, (uint32_t)e->n_values);
    p += 8;
    for (uint64_t s = 0; s < e->slices; s++)
        for (uint64_t k = 0; k < columns; k++, p += 4) {
            float mean;
            uint32_t bits;
            imatrix_mean(&mean, &e->values[s * columns + k], 1, e->counts[s]);
            mean *= calls;
            memcpy(&bits, &mean, sizeof bits);
            store_le32(p, bits);
        }
    return p;
}

int imatrix_write_legacy(const struct imatrix *m, struct arena *arena, struct span *out,
                         struct prep_error *err)
{
    const char *dataset = m->n_datasets ? m->datasets[0] : "";
    const uint32_t chunk = m->chunk_size ? m->chunk_size : CHUNK_DEFAULT;
    uint64_t bytes = 4 + 8 + strlen(dataset), n = 0;
    for (size_t i = 0; i < m->n; i++)
        if (most_rows(&m->entries[i]) > 0) { /* without any data it is left out */
            bytes += 12 + strlen(m->entries[i].name) + 4 * m->entries[i].n_values;
            n++;
        }
    unsigned char *p = arena_alloc(arena, (size_t)bytes, err);
    if (!p)
        return -1;
    *out = (struct span){p, (size_t)bytes};
    store_le32(p, (uint32_t)n);
    p += 4;
    for (size_t i = 0; i < m->n; i++)
        if (most_rows(&m->entries[i]) > 0)
            p = put_entry(p, &m->entries[i], chunk);
    store_le32(p, m->chunk_count);
    store_le32(p + 4, (uint32_t)strlen(dataset));
    memcpy(p + 8, dataset, strlen(dataset));
    return 0;
}

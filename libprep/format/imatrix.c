/* SPDX-License-Identifier: MIT */
/*
 * Reading. The GGUF form is a GGUF file; the other one is
 *
 *   i32 n_entries
 *   n_entries x { i32 name_n  char name[name_n]  i32 calls  i32 n_values  f32 values[n_values] }
 *   i32 chunk_count   i32 dataset_n   char dataset[dataset_n]          (may be missing)
 */
#include "libprep/format/imatrix.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/format/gguf.h"

enum { MAX_NAME = 256, MAX_ENTRIES = 1 << 20 };

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

struct reader {
    struct imatrix *m;
    const struct io *io;
    int fd;
    const char *path;
    uint64_t at;
    size_t cap;
    int with_values;
    struct prep_error *err;
};

static int by_name(const void *a, const void *b)
{
    const struct imatrix_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* n floats of the file, judged. */
static const float *read_floats(struct reader *r, uint64_t at, uint64_t n, const char *entry)
{
    float *v = arena_calloc(&r->m->arena, (size_t)n, sizeof *v, r->err);
    if (!v || io_read_exact(r->io, r->fd, v, (size_t)n * sizeof *v, at, r->path, r->err))
        return NULL;
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(v[i]) || v[i] < 0) {
            prep_fail_tag(r->err, PREP_EDATA, "IMATRIX_VALUE",
                          "%s: %s: value %" PRIu64 " is %g, want finite and not negative", r->path,
                          entry, i, (double)v[i]);
            return NULL;
        }
    return v;
}

/* ---- the GGUF form ---- */

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

static int add_entry(struct reader *r, const struct gguf *g, const struct gguf_tensor_info *sums)
{
    struct imatrix *m = r->m;
    size_t n = strlen(sums->name) - strlen(sums_suffix);
    char *name = arena_strndup(&m->arena, sums->name, n, r->err);
    char *of_counts = arena_printf(&m->arena, r->err, "%.*s%s", (int)n, sums->name, counts_suffix);
    if (!name || !of_counts)
        return -1;
    const struct gguf_tensor_info *counts = gguf_find_tensor(g, of_counts);
    uint64_t rows, bytes, n_counts, each;
    if (!counts || counts->type != GGML_F32 || sums->type != GGML_F32 ||
        gguf_tensor_size(counts, &rows, &bytes) || gguf_tensor_size(sums, &rows, &each) ||
        (n_counts = bytes / sizeof(float)) != rows)
        return prep_fail_tag(r->err, PREP_EDATA, "IMATRIX_FORMAT",
                             "%s: %s: want F32 sums and as many F32 counts as they have rows",
                             r->path, name);
    struct imatrix_entry e = {.name = name,
                              .n_values = each / sizeof(float),
                              .slices = n_counts,
                              .values_at = sums->offset};
    e.counts = read_floats(r, counts->offset, n_counts, name);
    if (!e.counts)
        return -1;
    m->entries[m->n++] = e;
    return 0;
}

static int read_datasets(struct reader *r, const struct gguf_kv *kv)
{
    struct imatrix *m = r->m;
    size_t at = 0;
    if (!kv || kv->type != GGUF_ARRAY || kv->element != GGUF_STRING)
        return 0;
    m->datasets = arena_calloc(&m->arena, (size_t)kv->count, sizeof *m->datasets, r->err);
    for (uint64_t i = 0; i < kv->count && m->datasets; i++) {
        struct span s = gguf_element(kv, &at);
        m->datasets[i] = arena_strndup(&m->arena, (const char *)s.p, s.n, r->err);
        if (!m->datasets[i])
            return -1;
        m->n_datasets++;
    }
    return m->datasets ? 0 : -1;
}

static int read_gguf(struct reader *r)
{
    struct gguf g;
    struct imatrix *m = r->m;
    uint64_t count = 0, size = 0;
    if (gguf_read(&g, r->io, r->fd, m->file_bytes, r->path, r->err))
        return -1;
    const struct gguf_kv *type = gguf_find(&g, "general.type");
    int rc = 0;
    if (!type || type->type != GGUF_STRING || type->bytes.n != 7 ||
        memcmp(type->bytes.p, "imatrix", 7) != 0)
        rc = prep_fail_tag(r->err, PREP_EDATA, "IMATRIX_FORMAT",
                           "%s: is GGUF, but its general.type is not imatrix", r->path);
    if (!rc) {
        m->entries = arena_calloc(&m->arena, g.n_tensors, sizeof *m->entries, r->err);
        rc = m->entries ? read_datasets(r, gguf_find(&g, "imatrix.datasets")) : -1;
    }
    for (size_t i = 0; i < g.n_tensors && !rc; i++) {
        const char *name = g.tensors[i].name;
        if (ends_with(name, sums_suffix))
            rc = add_entry(r, &g, &g.tensors[i]);
        else if (!ends_with(name, counts_suffix))
            rc = prep_fail_tag(r->err, PREP_EDATA, "IMATRIX_FORMAT",
                               "%s: %s is neither sums nor counts", r->path, name);
    }
    if (!rc && g.n_tensors != 2 * m->n)
        rc =
            prep_fail_tag(r->err, PREP_EDATA, "IMATRIX_FORMAT", "%s: counts without sums", r->path);
    if (!rc) {
        (void)gguf_as_u64(gguf_find(&g, "imatrix.chunk_count"), &count);
        (void)gguf_as_u64(gguf_find(&g, "imatrix.chunk_size"), &size);
        m->chunk_count = count > UINT32_MAX ? 0 : (uint32_t)count;
        m->chunk_size = size > UINT32_MAX ? 0 : (uint32_t)size;
    }
    gguf_free(&g);
    return rc;
}

/* ---- the other form ---- */

static int bad_legacy(struct reader *r, const char *what, int64_t found)
{
    return prep_fail_tag(r->err, PREP_EDATA, "IMATRIX_FORMAT",
                         "%s: byte %" PRIu64 ": %s is %" PRId64
                         ", no importance matrix has that (neither form)",
                         r->path, r->at, what, found);
}

/* A number of 0..most, which the file has room for at `each` bytes. */
static int read_count(struct reader *r, int64_t most, uint64_t each, const char *what, uint32_t *v)
{
    unsigned char b[4];
    if (r->m->file_bytes - r->at < 4)
        return bad_legacy(r, what, -1);
    if (io_read_exact(r->io, r->fd, b, 4, r->at, r->path, r->err))
        return -1;
    int64_t n = (int32_t)load_le32(b);
    if (n < 0 || n > most || (uint64_t)n * each > r->m->file_bytes - r->at - 4)
        return bad_legacy(r, what, n);
    r->at += 4;
    *v = (uint32_t)n;
    return 0;
}

static char *read_text(struct reader *r, int64_t most, const char *what)
{
    uint32_t n;
    if (read_count(r, most, 1, what, &n))
        return NULL;
    char *s = arena_alloc(&r->m->arena, (size_t)n + 1, r->err);
    if (!s || io_read_exact(r->io, r->fd, s, n, r->at, r->path, r->err))
        return NULL;
    s[n] = 0;
    r->at += n;
    return s;
}

static int read_legacy_entry(struct reader *r)
{
    struct imatrix *m = r->m;
    uint32_t calls, n;
    char *name = read_text(r, MAX_NAME, "the length of a name");
    if (!name)
        return -1;
    if (!name[0])
        return bad_legacy(r, "the length of a name", 0);
    if (read_count(r, INT32_MAX, 0, "a number of calls", &calls) ||
        read_count(r, INT32_MAX, sizeof(float), "a number of values", &n))
        return -1;
    if (n == 0)
        return bad_legacy(r, "a number of values", 0);
    float *count = arena_alloc(&m->arena, sizeof *count, r->err);
    if (!count)
        return -1;
    *count = (float)calls;
    m->entries[m->n++] = (struct imatrix_entry){
        .name = name, .n_values = n, .slices = 1, .values_at = r->at, .counts = count};
    r->at += (uint64_t)n * sizeof(float);
    return 0;
}

static int read_legacy(struct reader *r)
{
    struct imatrix *m = r->m;
    uint32_t n;
    m->legacy = 1;
    if (read_count(r, MAX_ENTRIES, 4 + 1 + 4 + 4 + 4, "the number of entries", &n))
        return -1;
    if (n == 0)
        return bad_legacy(r, "the number of entries", 0);
    m->entries = arena_calloc(&m->arena, n, sizeof *m->entries, r->err);
    if (!m->entries)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        if (read_legacy_entry(r))
            return -1;
    if (r->at == m->file_bytes)
        return 0;
    const char *dataset;
    m->datasets = arena_calloc(&m->arena, 1, sizeof *m->datasets, r->err);
    if (!m->datasets || read_count(r, INT32_MAX, 0, "the number of chunks", &m->chunk_count) ||
        !(dataset = read_text(r, 1 << 20, "the length of a data set's name")))
        return -1;
    m->datasets[0] = dataset;
    m->n_datasets = dataset[0] != 0;
    return r->at == m->file_bytes ? 0 : bad_legacy(r, "what follows the data set", 0);
}

/* ---- both ---- */

static int index_names(struct imatrix *m, const char *path, struct prep_error *err)
{
    if (m->n)
        qsort(m->entries, m->n, sizeof *m->entries, by_name);
    if (name_table_init(&m->names, m->n, err))
        return -1;
    for (size_t i = 0; i < m->n; i++) {
        uint32_t old;
        if (name_table_add(&m->names, m->entries[i].name, strlen(m->entries[i].name), (uint32_t)i,
                           &old, err))
            return -1;
        if (old != NAME_NONE)
            return prep_fail_tag(err, PREP_EDATA, "IMATRIX_FORMAT", "%s: %s is there twice", path,
                                 m->entries[i].name);
    }
    return 0;
}

static int read_all(struct reader *r)
{
    struct imatrix *m = r->m;
    unsigned char magic[4] = {0};
    if (m->file_bytes >= 4 && io_read_exact(r->io, r->fd, magic, 4, 0, r->path, r->err))
        return -1;
    if (memcmp(magic, "GGUF", 4) == 0 ? read_gguf(r) : read_legacy(r))
        return -1;
    for (size_t i = 0; i < m->n && r->with_values; i++) {
        struct imatrix_entry *e = &m->entries[i];
        e->values = read_floats(r, e->values_at, e->n_values, e->name);
        if (!e->values)
            return -1;
    }
    return index_names(m, r->path, r->err);
}

int imatrix_open(struct imatrix *m, const struct io *io, const char *path, int with_values,
                 struct prep_error *err)
{
    struct io_stat st;
    struct reader r = {
        .m = m, .io = io, .fd = -1, .path = path, .with_values = with_values, .err = err};
    *m = (struct imatrix){0};
    arena_init(&m->arena, 0);
    int rc = io_open_read(io, path, &r.fd, &st, err);
    if (!rc) {
        m->file_bytes = st.size;
        rc = read_all(&r);
    }
    io_close_read(io, r.fd);
    if (rc)
        imatrix_free(m);
    return rc ? -1 : 0;
}

void imatrix_free(struct imatrix *m)
{
    name_table_free(&m->names);
    arena_fini(&m->arena);
    *m = (struct imatrix){0};
}

const struct imatrix_entry *imatrix_find(const struct imatrix *m, const char *tensor)
{
    uint32_t i = name_table_get(&m->names, tensor, strlen(tensor));
    return i == NAME_NONE ? NULL : &m->entries[i];
}

uint64_t imatrix_empty_slices(const struct imatrix *m, const struct imatrix_entry *e)
{
    uint64_t n = 0;
    (void)m;
    for (uint64_t i = 0; i < e->slices; i++)
        n += e->counts[i] == 0;
    return n;
}

void imatrix_mean(float *out, const float *values, uint64_t n, float count)
{
    for (uint64_t i = 0; i < n; i++)
        out[i] = count > 0 ? values[i] / count : 1.0f;
}

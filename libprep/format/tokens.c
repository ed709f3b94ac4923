/* SPDX-License-Identifier: MIT */
#include "libprep/format/tokens.h"

#include <string.h>

enum { N_TENSORS = 4, HASHED_AT_ONCE = 1024 };
#define MAX_FILE (UINT64_C(1) << 40)

enum { START, RECORD, TOKENS, SOURCE };

static const char *const names[N_TENSORS] = {
    [START] = "document_start",
    [RECORD] = "document_record",
    [TOKENS] = "tokens",
    [SOURCE] = "document_source",
};

void tokens_text_sha256(const struct packed_tokens *t, char hex[SHA256_HEX])
{
    unsigned char bytes[4 * HASHED_AT_ONCE], digest[SHA256_BYTES];
    struct sha256 h;
    sha256_init(&h);
    for (uint64_t at = 0, n, all = t->n_sequences * t->sequence; at < all; at += n) {
        n = all - at < HASHED_AT_ONCE ? all - at : HASHED_AT_ONCE;
        for (size_t i = 0; i < n; i++)
            store_le32(bytes + 4 * i, t->ids[at + i]);
        sha256_update(&h, bytes, 4 * (size_t)n);
    }
    sha256_final(&h, digest);
    sha256_to_hex(digest, hex);
}

const char *tokens_metadata(const struct packed_tokens *t, const char *key)
{
    for (size_t i = 0; i < t->n_metadata; i++)
        if (strcmp(t->metadata[i].key, key) == 0)
            return t->metadata[i].value;
    return NULL;
}

/* ---- writing ---- */

static void put_data(unsigned char *file, const struct tensor_info tensors[N_TENSORS],
                     const struct packed_tokens *t)
{
    unsigned char *start = file + tensors[START].offset, *record = file + tensors[RECORD].offset;
    unsigned char *ids = file + tensors[TOKENS].offset, *source = file + tensors[SOURCE].offset;
    for (uint64_t i = 0; i < t->n_sequences * t->sequence; i++)
        store_le32(ids + 4 * i, t->ids[i]);
    for (size_t i = 0; i < t->n_documents; i++) {
        store_le64(start + 8 * i, t->documents[i].start);
        store_le64(record + 8 * i, t->documents[i].record);
        store_le32(source + 4 * i, t->documents[i].source);
    }
}

int tokens_write(struct span *out, const struct packed_tokens *t, struct arena *arena,
                 struct prep_error *err)
{
    char *hash = arena_alloc(arena, SHA256_HEX, err);
    struct metadata_pair *metadata = arena_calloc(arena, t->n_metadata + 1, sizeof *metadata, err);
    struct tensor_info tensors[N_TENSORS];
    struct span header;
    if (!hash || !metadata)
        return -1;
    tokens_text_sha256(t, hash);
    metadata[0] = (struct metadata_pair){"text_sha256", hash};
    if (t->n_metadata)
        memcpy(metadata + 1, t->metadata, t->n_metadata * sizeof *metadata);
    for (int i = 0; i < N_TENSORS; i++) {
        enum dtype dtype = i < TOKENS ? DTYPE_I64 : DTYPE_I32;
        tensors[i] = (struct tensor_info){
            .name = names[i], .shape = {t->n_documents}, .n_dims = 1, .dtype = (uint8_t)dtype};
        if (i == TOKENS) {
            tensors[i].n_dims = 2;
            tensors[i].shape[0] = t->n_sequences;
            tensors[i].shape[1] = t->sequence;
        }
        if (tensor_bytes(dtype, tensors[i].shape, tensors[i].n_dims, &tensors[i].bytes))
            return prep_fail(err, PREP_EDATA, "too many tokens for one file");
    }
    if (safetensors_layout(tensors, N_TENSORS, metadata, t->n_metadata + 1, arena, &header, err))
        return -1;
    const struct tensor_info *last = &tensors[N_TENSORS - 1];
    unsigned char *file = arena_alloc(arena, (size_t)(last->offset + last->bytes), err);
    if (!file)
        return -1;
    memcpy(file, header.p, header.n);
    put_data(file, tensors, t);
    *out = (struct span){file, (size_t)(last->offset + last->bytes)};
    return 0;
}

/* ---- reading ---- */

struct source_file {
    const struct io *io;
    const char *path;
    int fd;
    struct safetensors st;
    struct arena *arena;
};

#define bad(err, ...) prep_fail_tag((err), PREP_EDATA, "TOKENS", __VA_ARGS__)

/* The data of a tensor, or NULL with *t NULL when there is none of that name. */
static int load(struct source_file *f, int which, enum dtype dtype, const struct tensor_info **t,
                unsigned char **bytes, struct prep_error *err)
{
    const struct tensor_info *k = NULL;
    int dims = which == TOKENS ? 2 : 1;
    for (size_t i = 0; i < f->st.n_tensors; i++)
        if (strcmp(f->st.tensors[i].name, names[which]) == 0)
            k = &f->st.tensors[i];
    *t = k;
    *bytes = NULL;
    if (!k)
        return 0;
    if (k->dtype != dtype || k->n_dims != dims)
        return bad(err, "%s: %s is %s with %d dimensions, want %s with %d", f->path, names[which],
                   dtype_name((enum dtype)k->dtype), k->n_dims, dtype_name(dtype), dims);
    *bytes = arena_alloc(f->arena, (size_t)k->bytes, err);
    if (!*bytes)
        return -1;
    return io_read_exact(f->io, f->fd, *bytes, (size_t)k->bytes, k->offset, f->path, err);
}

static int read_ids(struct source_file *f, struct packed_tokens *t, struct prep_error *err)
{
    const struct tensor_info *k;
    unsigned char *bytes;
    if (load(f, TOKENS, DTYPE_I32, &k, &bytes, err))
        return -1;
    if (!k || k->bytes == 0)
        return bad(err, "%s: no tensor \"tokens\" with anything in it", f->path);
    t->n_sequences = k->shape[0];
    t->sequence = k->shape[1];
    t->ids = (uint32_t *)(void *)bytes; /* arena memory is aligned; decoded in place */
    for (uint64_t i = 0; i < k->bytes / 4; i++) {
        uint32_t id = load_le32(bytes + 4 * i);
        if (id > INT32_MAX)
            return bad(err, "%s: token %llu is %d, want ids from 0", f->path, (unsigned long long)i,
                       (int32_t)id);
        t->ids[i] = id;
    }
    return 0;
}

static int read_documents(struct source_file *f, struct packed_tokens *t, struct prep_error *err)
{
    const struct tensor_info *start, *record, *source;
    unsigned char *start_p, *record_p, *source_p;
    if (load(f, START, DTYPE_I64, &start, &start_p, err) ||
        load(f, RECORD, DTYPE_I64, &record, &record_p, err) ||
        load(f, SOURCE, DTYPE_I32, &source, &source_p, err))
        return -1;
    if (!start && !record && !source)
        return 0;
    if (!start || !record || !source || start->shape[0] != record->shape[0] ||
        start->shape[0] != source->shape[0])
        return bad(err, "%s: document_start, _record and _source are not of one length", f->path);
    t->n_documents = (size_t)start->shape[0];
    t->documents = arena_calloc(f->arena, t->n_documents, sizeof *t->documents, err);
    if (!t->documents)
        return -1;
    for (size_t i = 0; i < t->n_documents; i++) {
        struct packed_document *d = &t->documents[i];
        *d = (struct packed_document){load_le64(start_p + 8 * i), load_le64(record_p + 8 * i),
                                      load_le32(source_p + 4 * i)};
        if (d->start >= t->n_sequences * t->sequence || (i > 0 && d->start <= d[-1].start) ||
            d->record > INT64_MAX || d->source > INT32_MAX)
            return bad(err, "%s: document %zu: begins at %llu, want ascending places", f->path, i,
                       (unsigned long long)d->start);
    }
    return 0;
}

static int check_hash(const struct source_file *f, const struct packed_tokens *t,
                      struct prep_error *err)
{
    char hex[SHA256_HEX];
    const char *want = tokens_metadata(t, "text_sha256");
    if (!want)
        return 0;
    tokens_text_sha256(t, hex);
    if (strcmp(hex, want) == 0)
        return 0;
    return bad(err, "%s: tokens have the hash %s, the file says %.64s", f->path, hex, want);
}

int tokens_read(struct packed_tokens *t, const struct io *io, const char *path, struct arena *arena,
                struct prep_error *err)
{
    struct source_file f = {.io = io, .path = path, .fd = -1, .arena = arena};
    struct io_stat st;
    int rc = -1;
    *t = (struct packed_tokens){0};
    if (io_open_read(io, path, &f.fd, &st, err))
        goto out;
    if (st.size > MAX_FILE) {
        bad(err, "%s: has more than 1 TiB", path);
        goto out;
    }
    if (safetensors_read(&f.st, io, f.fd, st.size, path, arena, err))
        goto out;
    t->metadata = f.st.metadata;
    t->n_metadata = f.st.n_metadata;
    if (read_ids(&f, t, err) || read_documents(&f, t, err) || check_hash(&f, t, err))
        goto out;
    rc = 0;
out:
    io_close_read(io, f.fd);
    return rc;
}

/* SPDX-License-Identifier: MIT */
/*
 *   0        8              8 + H                       file size
 *   | H (le) | JSON, H bytes | tensor data, back to back |
 *
 *   JSON  { "__metadata__": { "key": "value", ... },
 *           "name": { "dtype": "BF16", "shape": [2048, 6144], "data_offsets": [begin, end] }, ... }
 *
 * Offsets in the file count from 8 + H. Sorted by them, the tensors must tile the data exactly.
 */
#include "libprep/format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/base/json.h"

#define LFS_MAGIC "version https://git-lfs.github.com/spec/"

enum { LENGTH_BYTES = 8, SHOWN_NAME = 200 };

static const struct dtype_row {
    char name[12];
    unsigned char n, bits;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_C64] = {"C64", 3, 64},
    [DTYPE_F64] = {"F64", 3, 64},
    [DTYPE_I64] = {"I64", 3, 64},
    [DTYPE_U64] = {"U64", 3, 64},
    [DTYPE_F32] = {"F32", 3, 32},
    [DTYPE_I32] = {"I32", 3, 32},
    [DTYPE_U32] = {"U32", 3, 32},
    [DTYPE_F16] = {"F16", 3, 16},
    [DTYPE_BF16] = {"BF16", 4, 16},
    [DTYPE_I16] = {"I16", 3, 16},
    [DTYPE_U16] = {"U16", 3, 16},
    [DTYPE_F8_E4M3] = {"F8_E4M3", 7, 8},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 7, 8},
    [DTYPE_F8_E8M0] = {"F8_E8M0", 7, 8},
    [DTYPE_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 11, 8},
    [DTYPE_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 11, 8},
    [DTYPE_I8] = {"I8", 2, 8},
    [DTYPE_U8] = {"U8", 2, 8},
    [DTYPE_BOOL] = {"BOOL", 4, 8},
    [DTYPE_F6_E2M3] = {"F6_E2M3", 7, 6},
    [DTYPE_F6_E3M2] = {"F6_E3M2", 7, 6},
    [DTYPE_F4] = {"F4", 2, 4},
};

const char *dtype_name(enum dtype t)
{
    return dtypes[t].name;
}

unsigned dtype_bits(enum dtype t)
{
    return dtypes[t].bits;
}

enum dtype dtype_from_name(const char *name, size_t n)
{
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (dtypes[t].n == n && memcmp(dtypes[t].name, name, n) == 0)
            return (enum dtype)t;
    return DTYPE_COUNT;
}

/* In the order of the shape, as the reference multiplies: [2^40, 2^40, 0] overflows. */
static int tensor_bits(enum dtype t, const uint64_t *shape, int n_dims, uint64_t *bits)
{
    uint64_t n = 1;
    for (int i = 0; i < n_dims; i++)
        if (prep_mul(&n, n, shape[i]))
            return -1;
    return prep_mul(bits, n, dtype_bits(t));
}

int tensor_bytes(enum dtype t, const uint64_t *shape, int n_dims, uint64_t *bytes)
{
    uint64_t bits;
    if (tensor_bits(t, shape, n_dims, &bits) || bits % 8)
        return -1;
    *bytes = bits / 8;
    return 0;
}

/* Names */

/* Eight bytes at once: none of them below 0x20, 0x7f, '/' or '\\'; see skip_plain() in json.c. */
static int is_plain_word(const char *s)
{
    const uint64_t ones = 0x0101010101010101;
    uint64_t x = load_le64((const unsigned char *)s);
    uint64_t slash = x ^ ones * '/', back = x ^ ones * '\\', del = x ^ ones * 0x7f;
    uint64_t hit = ((slash - ones) & ~slash) | ((back - ones) & ~back) | ((del - ones) & ~del) |
                   ((x - ones * 0x20) & ~x);
    return (hit & ones * 0x80) == 0;
}

const char *tensor_name_fault(const char *name, size_t n)
{
    if (n == 0)
        return "is empty";
    size_t i = 0;
    while (n - i >= 8 && is_plain_word(name + i))
        i += 8;
    for (; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c < 0x20 || c == 0x7f)
            return "holds a control character";
        if (c == '/' || c == '\\')
            return "looks like a path";
    }
    if (name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')))
        return "looks like a path";
    return NULL;
}

const char *file_name_fault(const char *name, size_t n)
{
    const char *fault = tensor_name_fault(name, n);
    if (fault)
        return fault;
    if (n > 255)
        return "is longer than 255 bytes";
    unsigned char letter = (unsigned char)name[0] | 0x20;
    if (n > 1 && name[1] == ':' && letter >= 'a' && letter <= 'z')
        return "begins with a drive";
    return NULL;
}

/* Reading */

struct reader {
    struct safetensors *st;
    const char *path;
    struct prep_error *err;
    struct json doc;
    char *names; /* where the next decoded string goes */
};

/* Any node as in the file, cut for a message. */
static struct span shown(const struct json *doc, uint32_t node)
{
    const struct json_node *k = &doc->nodes[node];
    size_t n = k->end - k->start;
    return (struct span){(const unsigned char *)doc->text + k->start, n > 80 ? 80 : n};
}

static int entry_fault(const struct reader *r, const char *tag, const char *name, uint32_t node,
                       const char *what, const char *want)
{
    struct span found = shown(&r->doc, node);
    return prep_fail_tag(r->err, PREP_EDATA, tag, "%s: tensor %.*s: %s is %.*s, want %s", r->path,
                         SHOWN_NAME, name, what, (int)found.n, found.p, want);
}

static const char *take_string(struct reader *r, uint32_t node, size_t *n)
{
    char *s = r->names;
    *n = json_decode(&r->doc, node, s);
    s[*n] = 0;
    r->names += *n + 1;
    return s;
}

static int read_dtype(const struct reader *r, struct tensor_info *t, uint32_t node)
{
    const struct json_node *k = &r->doc.nodes[node];
    enum dtype d = DTYPE_COUNT;
    char name[72]; /* twelve characters, were each an escape of six */
    if (k->type == JSON_STRING && k->end - k->start - 2 <= sizeof name)
        d = dtype_from_name(name, json_decode(&r->doc, node, name));
    if (d == DTYPE_COUNT)
        return entry_fault(r, "DTYPE", t->name, node, "dtype", "one like \"BF16\" or \"F32\"");
    t->dtype = (uint8_t)d;
    return 0;
}

static int read_shape(const struct reader *r, struct tensor_info *t, uint32_t node)
{
    const struct json *doc = &r->doc;
    if (json_type(doc, node) != JSON_ARRAY)
        return entry_fault(r, "SHAPE", t->name, node, "shape", "a list of integers");
    for (uint32_t i = json_first(doc, node); i != JSON_NONE; i = json_next(doc, i)) {
        uint64_t v;
        if (json_u64(doc, i, &v))
            return entry_fault(r, "SHAPE", t->name, i, "a dimension",
                               "an integer from 0 to 2^64-1");
        if (t->n_dims == SAFETENSORS_MAX_DIMS)
            return prep_fail_tag(r->err, PREP_EUNSUP, "SHAPE",
                                 "%s: tensor %.*s: has %zu dimensions, want at most %d", r->path,
                                 SHOWN_NAME, t->name, json_count(doc, node), SAFETENSORS_MAX_DIMS);
        t->shape[t->n_dims++] = v;
    }
    return 0;
}

/* offset and bytes become begin and length, as written. */
static int read_span(const struct reader *r, struct tensor_info *t, uint32_t node)
{
    const struct json *doc = &r->doc;
    uint32_t a = json_first(doc, node), b = a == JSON_NONE ? a : json_next(doc, a);
    uint64_t begin, end;
    if (json_type(doc, node) != JSON_ARRAY || b == JSON_NONE || json_next(doc, b) != JSON_NONE ||
        json_u64(doc, a, &begin) || json_u64(doc, b, &end) || begin > end)
        return entry_fault(r, "SPAN", t->name, node, "data_offsets",
                           "two integers, begin and end, begin <= end");
    t->offset = begin;
    t->bytes = end - begin;
    return 0;
}

static int check_size(const struct reader *r, const struct tensor_info *t)
{
    uint64_t bits;
    if (tensor_bits((enum dtype)t->dtype, t->shape, t->n_dims, &bits))
        return prep_fail_tag(r->err, PREP_EDATA, "OVERFLOW",
                             "%s: tensor %.*s: its shape has more than 2^64 bits, want fewer",
                             r->path, SHOWN_NAME, t->name);
    if (bits % 8)
        return prep_fail_tag(r->err, PREP_EDATA, "SPAN",
                             "%s: tensor %.*s: ends inside a byte, want whole bytes", r->path,
                             SHOWN_NAME, t->name);
    if (t->bytes != bits / 8)
        return prep_fail_tag(r->err, PREP_EDATA, "SPAN",
                             "%s: tensor %.*s: data_offsets span %llu bytes, shape and dtype want "
                             "%llu",
                             r->path, SHOWN_NAME, t->name, (unsigned long long)t->bytes,
                             (unsigned long long)(bits / 8));
    return 0;
}

static int missing_field(const struct reader *r, const char *name, const char *field)
{
    return prep_fail_tag(r->err, PREP_EDATA, "ENTRY", "%s: tensor %.*s: has no %s, want one",
                         r->path, SHOWN_NAME, name, field);
}

static int read_entry(struct reader *r, struct tensor_info *t, uint32_t entry)
{
    const struct json *doc = &r->doc;
    uint32_t dtype = JSON_NONE, shape = JSON_NONE, span = JSON_NONE;
    if (json_type(doc, entry) != JSON_OBJECT)
        return entry_fault(r, "ENTRY", t->name, entry, "its entry", "an object");
    for (uint32_t k = json_first(doc, entry); k != JSON_NONE;) {
        uint32_t value = json_next(doc, k);
        if (json_equal(doc, k, "dtype"))
            dtype = value;
        else if (json_equal(doc, k, "shape"))
            shape = value;
        else if (json_equal(doc, k, "data_offsets"))
            span = value;
        else
            r->st->lint |= SAFETENSORS_UNKNOWN_FIELD;
        k = json_next(doc, value);
    }
    if (dtype == JSON_NONE)
        return missing_field(r, t->name, "dtype");
    if (shape == JSON_NONE)
        return missing_field(r, t->name, "shape");
    if (span == JSON_NONE)
        return missing_field(r, t->name, "data_offsets");
    return read_dtype(r, t, dtype) || read_shape(r, t, shape) || read_span(r, t, span) ||
                   check_size(r, t)
               ? -1
               : 0;
}

static int metadata_fault(const struct reader *r, uint32_t node, const char *want)
{
    struct span found = shown(&r->doc, node);
    return prep_fail_tag(r->err, PREP_EDATA, "METADATA", "%s: __metadata__: found %.*s, want %s",
                         r->path, (int)found.n, found.p, want);
}

static int read_metadata(struct reader *r, uint32_t object, struct arena *arena)
{
    const struct json *doc = &r->doc;
    struct safetensors *st = r->st;
    if (json_type(doc, object) != JSON_OBJECT)
        return metadata_fault(r, object, "an object of strings");
    st->metadata = arena_calloc(arena, json_count(doc, object), sizeof *st->metadata, r->err);
    if (!st->metadata)
        return -1;
    for (uint32_t k = json_first(doc, object); k != JSON_NONE;) {
        uint32_t value = json_next(doc, k);
        if (json_type(doc, value) != JSON_STRING)
            return metadata_fault(r, value, "a string");
        size_t key_n, value_n;
        const char *key = take_string(r, k, &key_n), *v = take_string(r, value, &value_n);
        /* Kept as C strings, which it would cut. */
        if (memchr(key, 0, key_n) || memchr(v, 0, value_n))
            return metadata_fault(r, value, "no \\u0000");
        st->metadata[st->n_metadata++] = (struct metadata_pair){key, v};
        k = json_next(doc, value);
    }
    return 0;
}

/* Bytes of all strings that are kept, each with its NUL: at most those of their tokens. */
static size_t string_bytes(const struct json *doc, uint32_t object)
{
    size_t n = 0;
    for (uint32_t i = json_first(doc, object); i != JSON_NONE; i = json_next(doc, i))
        if (json_type(doc, i) == JSON_STRING)
            n += doc->nodes[i].end - doc->nodes[i].start;
    return n;
}

/* Tables and names in the arena, one block each, inside the memory a header may cost. */
static int reserve(struct reader *r, struct arena *arena)
{
    const struct json *doc = &r->doc;
    struct safetensors *st = r->st;
    size_t n = json_count(doc, 0), names = string_bytes(doc, 0);
    uint32_t metadata = json_get(doc, 0, "__metadata__");
    if (metadata != JSON_NONE)
        names += string_bytes(doc, metadata);
    uint64_t tables = (uint64_t)n * sizeof *st->tensors + names;
    uint64_t held = doc->n + doc->n_nodes * sizeof *doc->nodes;
    uint64_t limit = (64u << 20) + 4 * (uint64_t)doc->n;
    if (held + tables > limit)
        return prep_fail_tag(r->err, PREP_EDATA, "HEADER_JSON",
                             "%s: header of %zu bytes with %zu tensors needs more than the %llu "
                             "bytes allowed for it",
                             r->path, doc->n, n, (unsigned long long)limit);
    st->tensors = arena_calloc(arena, n, sizeof *st->tensors, r->err);
    r->names = st->tensors ? arena_alloc(arena, names, r->err) : NULL;
    return r->names ? 0 : -1;
}

static int read_tensor(struct reader *r, struct tensor_info *t, uint32_t key, uint32_t entry)
{
    size_t n;
    t->name = take_string(r, key, &n);
    const char *fault = tensor_name_fault(t->name, n);
    if (fault)
        return prep_fail_tag(r->err, PREP_EDATA, "NAME",
                             "%s: byte %u: tensor name \"%.*s\" %s, want a plain name", r->path,
                             LENGTH_BYTES + r->doc.nodes[key].start, SHOWN_NAME, t->name, fault);
    return read_entry(r, t, entry);
}

static int read_entries(struct reader *r, struct arena *arena)
{
    const struct json *doc = &r->doc;
    if (reserve(r, arena))
        return -1;
    for (uint32_t k = json_first(doc, 0); k != JSON_NONE;) {
        uint32_t value = json_next(doc, k);
        int rc = json_equal(doc, k, "__metadata__")
                     ? read_metadata(r, value, arena)
                     : read_tensor(r, &r->st->tensors[r->st->n_tensors++], k, value);
        if (rc)
            return -1;
        k = json_next(doc, value);
    }
    return 0;
}

/* Names lie in one block in header order, so their addresses break ties. */
static int by_offset(const void *a, const void *b)
{
    const struct tensor_info *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (!x->bytes != !y->bytes)
        return x->bytes ? 1 : -1;
    return x->name < y->name ? -1 : 1;
}

static void sort_by_offset(struct tensor_info *t, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (by_offset(&t[i - 1], &t[i]) > 0) {
            qsort(t, n, sizeof *t, by_offset);
            return;
        }
    }
}

/* The tensors, sorted, must tile the data; offsets become those of the file. */
static int place(const struct reader *r)
{
    struct safetensors *st = r->st;
    uint64_t base = LENGTH_BYTES + st->header_bytes, data = st->file_bytes - base, at = 0;
    sort_by_offset(st->tensors, st->n_tensors);
    for (size_t i = 0; i < st->n_tensors; i++) {
        struct tensor_info *t = &st->tensors[i];
        if (t->offset != at)
            return prep_fail_tag(r->err, PREP_EDATA, t->offset > at ? "GAP" : "OVERLAP",
                                 "%s: tensor %.*s: data begins at %llu, want %llu, where the one "
                                 "before ends",
                                 r->path, SHOWN_NAME, t->name, (unsigned long long)t->offset,
                                 (unsigned long long)at);
        at += t->bytes; /* begin <= end, so this is the end as written */
        t->offset += base;
    }
    if (at == data)
        return 0;
    return prep_fail_tag(r->err, PREP_EDATA, at < data ? "TRAILING" : "SHORT_DATA",
                         "%s: file has %llu bytes of data, header wants %llu", r->path,
                         (unsigned long long)data, (unsigned long long)at);
}

static void lint_header(struct safetensors *st, const struct json *doc)
{
    const struct json_node *root = &doc->nodes[0];
    size_t padding = doc->n - root->end;
    if ((LENGTH_BYTES + doc->n) % 8)
        st->lint |= SAFETENSORS_HEADER_ALIGNMENT;
    if (root->start > 0)
        st->lint |= SAFETENSORS_HEADER_LEADING_SPACE;
    if (padding > 7 || memcmp(doc->text + root->end, "       ", padding) != 0)
        st->lint |= SAFETENSORS_HEADER_PADDING;
}

/* The classes of json.h in the words of this format. */
static void retag(const struct json *doc, struct prep_error *err)
{
    if (strcmp(err->tag, "JSON") == 0)
        err->tag = "HEADER_JSON";
    else if (strcmp(err->tag, "JSON_UTF8") == 0)
        err->tag = "HEADER_UTF8";
    else if (strcmp(err->tag, "JSON_DUPLICATE_KEY") == 0)
        err->tag = doc->fault_depth == 1 ? "NAME" : "ENTRY";
}

static int judge(struct safetensors *st, const unsigned char *header, const char *path,
                 struct arena *arena, struct prep_error *err)
{
    struct reader r = {.st = st, .path = path, .err = err};
    const char *text = (const char *)header + LENGTH_BYTES;
    if (json_parse(&r.doc, text, (size_t)st->header_bytes, path, err)) {
        retag(&r.doc, err);
        return -1;
    }
    int rc = -1;
    if (json_type(&r.doc, 0) != JSON_OBJECT)
        prep_fail_tag(err, PREP_EDATA, "HEADER_TYPE", "%s: header begins with '%c', want an object",
                      path, text[r.doc.nodes[0].start]);
    else if (!read_entries(&r, arena) && !place(&r))
        rc = 0;
    if (!rc)
        lint_header(st, &r.doc);
    json_free(&r.doc);
    return rc;
}

int safetensors_is_lfs_pointer(struct span bytes)
{
    size_t n = strlen(LFS_MAGIC);
    return bytes.n >= n && memcmp(bytes.p, LFS_MAGIC, n) == 0;
}

static int file_is_lfs_pointer(const struct io *io, int fd, uint64_t file_bytes, const char *path)
{
    unsigned char head[sizeof LFS_MAGIC];
    struct prep_error ignored = PREP_ERROR_INIT;
    return file_bytes >= sizeof head &&
           io_read_exact(io, fd, head, sizeof head, 0, path, &ignored) == 0 &&
           safetensors_is_lfs_pointer((struct span){head, sizeof head});
}

static int read_length(struct safetensors *st, const struct io *io, int fd, const char *path,
                       struct prep_error *err)
{
    unsigned char length[LENGTH_BYTES];
    if (st->file_bytes < sizeof length)
        return prep_fail_tag(err, PREP_EDATA, "SHORT_FILE",
                             "%s: has %llu bytes, want at least the 8 of the header length", path,
                             (unsigned long long)st->file_bytes);
    if (io_read_exact(io, fd, length, sizeof length, 0, path, err))
        return -1;
    uint64_t h = load_le64(length);
    if (h > SAFETENSORS_MAX_HEADER && file_is_lfs_pointer(io, fd, st->file_bytes, path))
        return prep_fail_tag(
            err, PREP_EDATA, "LFS_POINTER",
            "%s: is a Git LFS pointer, want the file itself: it was not downloaded", path);
    if (h == 0 || h > SAFETENSORS_MAX_HEADER)
        return prep_fail_tag(err, PREP_EDATA, "HEADER_LENGTH",
                             "%s: header length is %llu, want 1 to %u", path, (unsigned long long)h,
                             SAFETENSORS_MAX_HEADER);
    if (h > st->file_bytes - sizeof length)
        return prep_fail_tag(err, PREP_EDATA, "HEADER_LENGTH",
                             "%s: header length is %llu, but only %llu bytes follow", path,
                             (unsigned long long)h,
                             (unsigned long long)(st->file_bytes - sizeof length));
    st->header_bytes = h;
    return 0;
}

int safetensors_read(struct safetensors *st, const struct io *io, int fd, uint64_t file_bytes,
                     const char *path, struct arena *arena, struct prep_error *err)
{
    *st = (struct safetensors){.file_bytes = file_bytes};
    if (read_length(st, io, fd, path, err))
        return -1;
    /* Not from the arena: only the tables outlive this call. */
    size_t n = LENGTH_BYTES + (size_t)st->header_bytes;
    unsigned char *header = malloc(n);
    if (!header)
        return prep_fail(err, PREP_ENOMEM, "%s: out of memory for a header of %zu bytes", path, n);
    int rc = -1;
    if (!io_read_exact(io, fd, header, n, 0, path, err) && !judge(st, header, path, arena, err)) {
        struct hash128 h = hash128(header, n);
        st->header_hash.hi = h.hi;
        st->header_hash.lo = h.lo;
        rc = 0;
    }
    free(header);
    return rc;
}

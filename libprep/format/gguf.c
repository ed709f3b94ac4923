/* SPDX-License-Identifier: MIT */
/*
 *   u32 "GGUF"   u32 version   u64 n_tensors   u64 n_keys
 *   n_keys    x  { string key   u32 type   value }
 *   n_tensors x  { string name  u32 n_dims  u64 dim[n_dims]  u32 type  u64 offset }
 *   zeros to a multiple of the alignment = start of the data
 *   n_tensors x  { bytes, zeros to a multiple of the alignment }
 *
 *   string = u64 length, bytes      array = u32 type of an element, u64 count, elements
 *
 * Offsets count from the start of the data; the tensors lie in table order without gaps.
 */
#include "libprep/format/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/base/utf8.h"

enum {
    HEADER_BYTES = 24,
    LEAST_KEY_BYTES = 8 + 1 + 4 + 1,        /* a key of one byte with a value of one */
    LEAST_TENSOR_BYTES = 8 + 1 + 4 + 4 + 8, /* a name of one byte, no dimension */
    READ_AHEAD = 64 << 10,
};

static const char alignment_key[] = "general.alignment";

/* ---- bytes ---- */

/* Reads forward through the metadata, which is kept; the buffer moves as it grows. */
struct cursor {
    struct gguf *g;
    const struct io *io;
    int fd;
    const char *path;
    uint64_t at;   /* next byte */
    uint64_t have; /* bytes in g->text */
    uint64_t cap;
    struct prep_error *err;
};

static uint64_t left(const struct cursor *c)
{
    return c->g->file_bytes - c->at;
}

/* Have the next n bytes in memory; n <= left(). */
static int fetch(struct cursor *c, uint64_t n)
{
    uint64_t end = c->at + n;
    if (end <= c->have)
        return 0;
    if (end > GGUF_MAX_METADATA)
        return prep_fail_tag(c->err, PREP_EDATA, "STRING",
                             "%s: byte %" PRIu64 ": metadata of more than %" PRIu64 " bytes",
                             c->path, c->at, GGUF_MAX_METADATA);
    uint64_t want = end + READ_AHEAD < c->g->file_bytes ? end + READ_AHEAD : c->g->file_bytes;
    if (want > c->cap) {
        uint64_t cap = c->cap * 2 > want ? c->cap * 2 : want;
        unsigned char *p = realloc(c->g->text, (size_t)cap + 1);
        if (!p)
            return prep_fail(c->err, PREP_ENOMEM, "%s: out of memory for the metadata", c->path);
        c->g->text = p;
        c->cap = cap;
    }
    if (io_read_exact(c->io, c->fd, c->g->text + c->have, (size_t)(want - c->have), c->have,
                      c->path, c->err))
        return -1;
    c->have = want;
    return 0;
}

/* The next n bytes, or a short file while reading `what`; valid until the next take(). */
static const unsigned char *take(struct cursor *c, uint64_t n, const char *what)
{
    if (n > left(c)) {
        prep_fail_tag(c->err, PREP_EDATA, "SHORT_FILE",
                      "%s: byte %" PRIu64 ": the file ends inside %s", c->path, c->at, what);
        return NULL;
    }
    if (fetch(c, n))
        return NULL;
    const unsigned char *p = c->g->text + c->at;
    c->at += n;
    return p;
}

static int take_u32(struct cursor *c, uint32_t *v, const char *what)
{
    const unsigned char *p = take(c, 4, what);
    if (p)
        *v = load_le32(p);
    return p ? 0 : -1;
}

static int take_u64(struct cursor *c, uint64_t *v, const char *what)
{
    const unsigned char *p = take(c, 8, what);
    if (p)
        *v = load_le64(p);
    return p ? 0 : -1;
}

/* Where a string lies: *at and *n of its bytes. */
static int take_string(struct cursor *c, uint64_t *at, uint64_t *n, const char *what)
{
    if (take_u64(c, n, what))
        return -1;
    if (*n > left(c))
        return prep_fail_tag(c->err, PREP_EDATA, "STRING",
                             "%s: byte %" PRIu64 ": %s has %" PRIu64 " bytes, %" PRIu64
                             " are left in the file",
                             c->path, c->at - 8, what, *n, left(c));
    if (fetch(c, *n))
        return -1;
    *at = c->at;
    c->at += *n;
    return 0;
}

/* A NUL-terminated copy that stays where it is. */
static char *copied(struct cursor *c, uint64_t at, uint64_t n)
{
    return arena_strndup(&c->g->arena, (const char *)c->g->text + at, (size_t)n, c->err);
}

/* ---- keys ---- */

static int read_key(struct cursor *c, struct gguf_kv *kv)
{
    uint64_t at, n;
    uint32_t old;
    if (take_string(c, &at, &n, "a key"))
        return -1;
    const char *s = (const char *)c->g->text + at;
    if (n == 0 || memchr(s, 0, (size_t)n))
        return prep_fail_tag(c->err, PREP_EDATA, "KEY", "%s: key %zu at byte %" PRIu64 " %s",
                             c->path, c->g->n_kvs, at, n ? "holds NUL" : "is empty");
    if (utf8_valid(s, (size_t)n) != n)
        return prep_fail_tag(c->err, PREP_EDATA, "UTF8",
                             "%s: key %zu at byte %" PRIu64 " is not UTF-8", c->path, c->g->n_kvs,
                             at);
    kv->key = copied(c, at, n);
    if (!kv->key ||
        name_table_add(&c->g->keys, kv->key, (size_t)n, (uint32_t)c->g->n_kvs, &old, c->err))
        return -1;
    if (old != NAME_NONE)
        return prep_fail_tag(c->err, PREP_EDATA, "KEY", "%s: key %s is given twice", c->path,
                             kv->key);
    return 0;
}

static int check_bools(struct cursor *c, const struct gguf_kv *kv, const unsigned char *p,
                       uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return prep_fail_tag(c->err, PREP_EDATA, "BOOL",
                                 "%s: key %s: a bool is %d, want 0 or 1", c->path, kv->key, p[i]);
    return 0;
}

static void lint_string(struct cursor *c, uint64_t at, uint64_t n)
{
    if (utf8_valid((const char *)c->g->text + at, (size_t)n) != n)
        c->g->lint |= GGUF_LINT_UTF8;
}

static int read_array(struct cursor *c, struct gguf_kv *kv, uint64_t *at, uint64_t *n)
{
    uint32_t element;
    uint64_t count;
    if (take_u32(c, &element, "an array") || take_u64(c, &count, "an array"))
        return -1;
    if (element >= GGUF_VALUE_TYPES || element == GGUF_ARRAY)
        return prep_fail_tag(c->err, PREP_EDATA, "ARRAY",
                             "%s: key %s: an array of %s (type %" PRIu32 ")", c->path, kv->key,
                             element == GGUF_ARRAY ? "arrays" : "an unknown type", element);
    uint64_t each = element == GGUF_STRING ? 8 : gguf_value_bytes(element);
    if (count > left(c) / each)
        return prep_fail_tag(c->err, PREP_EDATA, "ARRAY",
                             "%s: key %s: an array of %" PRIu64 " elements, %" PRIu64
                             " bytes are left in the file",
                             c->path, kv->key, count, left(c));
    kv->element = (uint8_t)element;
    kv->count = count;
    *at = c->at;
    if (element == GGUF_STRING) {
        for (uint64_t i = 0; i < count; i++) {
            uint64_t s, len;
            if (take_string(c, &s, &len, "an array of strings"))
                return -1;
            lint_string(c, s, len);
        }
    } else if (!take(c, count * each, "an array")) {
        return -1;
    }
    *n = c->at - *at;
    return element == GGUF_BOOL ? check_bools(c, kv, c->g->text + *at, *n) : 0;
}

/* While the buffer may move, bytes.p is NULL and bytes.n unset: places[] has them. */
struct place {
    uint64_t at, n;
};

static int read_value(struct cursor *c, struct gguf_kv *kv, struct place *v)
{
    uint32_t type;
    if (take_u32(c, &type, "a key's type"))
        return -1;
    if (type >= GGUF_VALUE_TYPES)
        return prep_fail_tag(c->err, PREP_EDATA, "VALUE_TYPE",
                             "%s: key %s has value type %" PRIu32 ", want less than %d", c->path,
                             kv->key, type, GGUF_VALUE_TYPES);
    kv->type = (uint8_t)type;
    if (type == GGUF_ARRAY)
        return read_array(c, kv, &v->at, &v->n);
    if (type == GGUF_STRING) {
        if (take_string(c, &v->at, &v->n, "a string value"))
            return prep_note(c->err, "%s", kv->key);
        lint_string(c, v->at, v->n);
        return 0;
    }
    v->n = gguf_value_bytes(type);
    if (!take(c, v->n, "a value"))
        return -1;
    v->at = c->at - v->n;
    return type == GGUF_BOOL ? check_bools(c, kv, c->g->text + v->at, 1) : 0;
}

static int check_count(struct cursor *c, uint64_t n, uint64_t least, const char *what)
{
    if (n > left(c) / least || n >= UINT32_MAX)
        return prep_fail_tag(c->err, PREP_EDATA, "COUNT",
                             "%s: %" PRIu64 " %s announced, %" PRIu64 " bytes are left in the file",
                             c->path, n, what, left(c));
    return 0;
}

static int read_keys(struct cursor *c, uint64_t n)
{
    struct gguf *g = c->g;
    struct place *places = NULL;
    size_t cap_places = 0;
    int rc = check_count(c, n, LEAST_KEY_BYTES, "keys");
    for (uint64_t i = 0; i < n && !rc; i++) {
        rc = prep_grow(&g->kvs, &g->cap_kvs, g->n_kvs, sizeof *g->kvs, c->err) ||
             prep_grow(&places, &cap_places, g->n_kvs, sizeof *places, c->err);
        if (rc)
            break;
        g->kvs[g->n_kvs] = (struct gguf_kv){0};
        rc = read_key(c, &g->kvs[g->n_kvs]) || read_value(c, &g->kvs[g->n_kvs], &places[g->n_kvs]);
        g->n_kvs += !rc;
    }
    /* The tensor table that follows makes the buffer move again: values are copied out. */
    for (size_t i = 0; i < g->n_kvs && !rc; i++) {
        unsigned char *p = arena_alloc(&g->arena, (size_t)places[i].n + 1, c->err);
        rc = p ? 0 : -1;
        if (rc)
            break;
        memcpy(p, g->text + places[i].at, (size_t)places[i].n);
        p[places[i].n] = 0;
        g->kvs[i].bytes = (struct span){p, (size_t)places[i].n};
    }
    free(places);
    return rc ? -1 : 0;
}

static int read_alignment(struct cursor *c)
{
    const struct gguf_kv *kv = gguf_find(c->g, alignment_key);
    c->g->alignment = GGUF_ALIGNMENT;
    if (!kv)
        return 0;
    uint32_t v = kv->type == GGUF_U32 ? load_le32(kv->bytes.p) : 0;
    if (kv->type != GGUF_U32 || v == 0 || (v & (v - 1)) != 0 || v > c->g->file_bytes)
        return prep_fail_tag(c->err, PREP_EDATA, "ALIGNMENT",
                             "%s: %s is %s %" PRIu32 ", want u32, a power of two within the file",
                             c->path, alignment_key, gguf_value_name(kv->type), v);
    c->g->alignment = v;
    return 0;
}

/* ---- tensors ---- */

int gguf_tensor_size(const struct gguf_tensor_info *t, uint64_t *rows, uint64_t *bytes)
{
    const struct ggml_type_info *info = ggml_type_info(t->type);
    uint64_t n = t->dims[0];
    *rows = 1;
    for (int i = 1; i < t->n_dims; i++)
        if (prep_mul(rows, *rows, t->dims[i]) || prep_mul(&n, n, t->dims[i]) || n > INT64_MAX)
            return -1;
    if (!info || n > INT64_MAX || t->dims[0] % info->block)
        return -1;
    return prep_mul(bytes, n / info->block, info->block_bytes);
}

static int read_name(struct cursor *c, struct gguf_tensor_info *t)
{
    uint64_t at, n;
    uint32_t old;
    if (take_string(c, &at, &n, "a tensor's name"))
        return -1;
    const char *s = (const char *)c->g->text + at, *fault = NULL;
    if (n == 0 || n > GGUF_MAX_NAME)
        fault = n ? "is longer than 63 bytes" : "is empty";
    else if (utf8_valid(s, (size_t)n) != n)
        fault = "is not UTF-8";
    for (uint64_t i = 0; i < n && !fault; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            fault = "holds a control character";
    if (fault)
        return prep_fail_tag(c->err, PREP_EDATA, "TENSOR_NAME",
                             "%s: name of tensor %zu at byte %" PRIu64 " %s", c->path,
                             c->g->n_tensors, at, fault);
    t->name = copied(c, at, n);
    if (!t->name ||
        name_table_add(&c->g->names, t->name, (size_t)n, (uint32_t)c->g->n_tensors, &old, c->err))
        return -1;
    if (old != NAME_NONE)
        return prep_fail_tag(c->err, PREP_EDATA, "TENSOR_NAME", "%s: tensor %s is there twice",
                             c->path, t->name);
    return 0;
}

static int read_dims(struct cursor *c, struct gguf_tensor_info *t)
{
    uint32_t n;
    if (take_u32(c, &n, "the tensor table"))
        return -1;
    if (n > GGUF_MAX_DIMS)
        return prep_fail_tag(c->err, PREP_EDATA, "RANK",
                             "%s: tensor %s has %" PRIu32 " dimensions, want at most %d", c->path,
                             t->name, n, GGUF_MAX_DIMS);
    t->n_dims = (uint8_t)n;
    if (n == 0)
        c->g->lint |= GGUF_LINT_RANK_0;
    for (int i = 0; i < GGUF_MAX_DIMS; i++)
        t->dims[i] = 1;
    for (uint32_t i = 0; i < n; i++) {
        if (take_u64(c, &t->dims[i], "the tensor table"))
            return -1;
        if (t->dims[i] == 0 || t->dims[i] > INT64_MAX)
            return prep_fail_tag(c->err, PREP_EDATA, "DIM",
                                 "%s: tensor %s: dimension %" PRIu32 " is %" PRId64, c->path,
                                 t->name, i, (int64_t)t->dims[i]);
    }
    return 0;
}

static int read_type(struct cursor *c, struct gguf_tensor_info *t)
{
    uint64_t rows;
    if (take_u32(c, &t->type, "the tensor table"))
        return -1;
    const struct ggml_type_info *info = ggml_type_info(t->type);
    if (!info)
        return prep_fail_tag(c->err, PREP_EDATA, "TYPE",
                             "%s: tensor %s has type %" PRIu32 ", which no tensor can have",
                             c->path, t->name, t->type);
    if (t->dims[0] % info->block)
        return prep_fail_tag(c->err, PREP_EDATA, "BLOCK",
                             "%s: tensor %s: rows of %" PRIu64 " are no whole blocks of %d (%s)",
                             c->path, t->name, t->dims[0], info->block, info->name);
    if (gguf_tensor_size(t, &rows, &t->bytes))
        return prep_fail_tag(c->err, PREP_EDATA, "OVERFLOW",
                             "%s: tensor %s: %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64
                             " elements do not fit 64 bits",
                             c->path, t->name, t->dims[0], t->dims[1], t->dims[2], t->dims[3]);
    return 0;
}

/* Offsets still count from the start of the data. */
static int read_tensors(struct cursor *c, uint64_t n)
{
    struct gguf *g = c->g;
    uint64_t end = 0;
    if (check_count(c, n, LEAST_TENSOR_BYTES, "tensors"))
        return -1;
    for (uint64_t i = 0; i < n; i++) {
        if (prep_grow(&g->tensors, &g->cap_tensors, g->n_tensors, sizeof *g->tensors, c->err))
            return -1;
        struct gguf_tensor_info *t = &g->tensors[g->n_tensors];
        *t = (struct gguf_tensor_info){0};
        if (read_name(c, t) || read_dims(c, t) || read_type(c, t) ||
            take_u64(c, &t->offset, "the tensor table"))
            return -1;
        if (t->offset != end)
            return prep_fail_tag(c->err, PREP_EDATA, "OFFSET",
                                 "%s: tensor %s has offset %" PRIu64 ", want %" PRIu64, c->path,
                                 t->name, t->offset, end);
        if (prep_add(&end, end, t->bytes) || end > (uint64_t)INT64_MAX - g->alignment)
            return prep_fail_tag(c->err, PREP_EDATA, "OVERFLOW",
                                 "%s: tensor %s ends behind byte 2^63", c->path, t->name);
        end = gguf_pad(end, g->alignment);
        g->n_tensors++;
    }
    return 0;
}

/* Too large a count of keys makes a tensor's name the last key: say that, not what comes of it. */
static int blame_keys(struct cursor *c, uint64_t n_tensors)
{
    const struct gguf *g = c->g;
    const char *key = g->n_kvs && n_tensors ? g->kvs[g->n_kvs - 1].key : "";
    const char *dot = strrchr(key, '.');
    if (c->err->code != PREP_EDATA || !dot || (strcmp(dot, ".weight") && strcmp(dot, ".bias")))
        return -1;
    prep_error_clear(c->err);
    return prep_fail_tag(c->err, PREP_EDATA, "KEY",
                         "%s: key %zu, %s, is a tensor: there are fewer keys than the header says",
                         c->path, g->n_kvs - 1, key);
}

/* ---- the whole ---- */

static int read_header(struct cursor *c, uint64_t *n_tensors, uint64_t *n_kvs)
{
    uint32_t magic, version;
    if (take_u32(c, &magic, "the magic"))
        return -1;
    if (magic != 0x46554747)
        return prep_fail_tag(c->err, PREP_EDATA, "MAGIC",
                             "%s: begins with %02x %02x %02x %02x, want \"GGUF\"", c->path,
                             c->g->text[0], c->g->text[1], c->g->text[2], c->g->text[3]);
    if (take_u32(c, &version, "the header"))
        return -1;
    if (version != 0 && (version & 0xffff) == 0)
        return prep_fail_tag(c->err, PREP_EDATA, "ENDIAN",
                             "%s: version 0x%08" PRIx32 ": a big-endian file", c->path, version);
    if (version != 2 && version != GGUF_VERSION)
        return prep_fail_tag(c->err, PREP_EDATA, "VERSION", "%s: version %" PRIu32 ", want 2 or 3",
                             c->path, version);
    c->g->version = version;
    return take_u64(c, n_tensors, "the header") || take_u64(c, n_kvs, "the header") ? -1 : 0;
}

/* Where the data lies, and whether all of it is there. */
static int place_data(struct cursor *c)
{
    struct gguf *g = c->g;
    uint64_t end = g->data_start = gguf_pad(c->at, g->alignment);
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor_info *t = &g->tensors[i];
        t->offset += g->data_start;
        end = t->offset + t->bytes;
        if (end > g->file_bytes)
            return prep_fail_tag(c->err, PREP_EDATA, "SHORT_DATA",
                                 "%s: tensor %s ends at byte %" PRIu64 ", the file at %" PRIu64,
                                 c->path, t->name, end, g->file_bytes);
    }
    uint64_t padded = gguf_pad(end, g->alignment);
    if (g->n_tensors && g->file_bytes < padded)
        g->lint |= GGUF_LINT_LAST_PADDING;
    if (g->file_bytes > padded)
        g->lint |= GGUF_LINT_TRAILING_BYTES;
    return 0;
}

int gguf_read(struct gguf *g, const struct io *io, int fd, uint64_t file_bytes, const char *path,
              struct prep_error *err)
{
    *g = (struct gguf){.file_bytes = file_bytes};
    arena_init(&g->arena, 0);
    struct cursor c = {.g = g, .io = io, .fd = fd, .path = path, .err = err};
    uint64_t n_tensors, n_kvs;
    int rc = name_table_init(&g->keys, 0, err) || name_table_init(&g->names, 0, err) ||
             read_header(&c, &n_tensors, &n_kvs) || read_keys(&c, n_kvs) || read_alignment(&c);
    if (!rc && read_tensors(&c, n_tensors))
        rc = blame_keys(&c, n_tensors);
    if (!rc)
        rc = place_data(&c);
    free(g->text);
    g->text = NULL;
    if (rc)
        gguf_free(g);
    return rc ? -1 : 0;
}

int gguf_open(struct gguf *g, const struct io *io, const char *path, struct io_stat *st,
              struct prep_error *err)
{
    int fd;
    struct io_stat own;
    *g = (struct gguf){0};
    if (io_open_read(io, path, &fd, st ? st : &own, err))
        return -1;
    int rc = gguf_read(g, io, fd, st ? st->size : own.size, path, err);
    io_close_read(io, fd);
    return rc;
}

void gguf_free(struct gguf *g)
{
    free(g->kvs);
    free(g->tensors);
    free(g->text);
    name_table_free(&g->keys);
    name_table_free(&g->names);
    arena_fini(&g->arena);
    *g = (struct gguf){0};
}

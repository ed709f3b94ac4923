/* SPDX-License-Identifier: MIT */
/* Keys in order, and the metadata block made of them; bytes as in gguf.c. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/format/gguf.h"

void gguf_keys_free(struct gguf_keys *k)
{
    free(k->items);
    k->items = NULL;
    k->n = k->cap = 0;
}

void gguf_unset(struct gguf_keys *k, const char *key)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->items[i].key, key) == 0) {
            memmove(&k->items[i], &k->items[i + 1], (k->n - i - 1) * sizeof *k->items);
            k->n--;
            return;
        }
}

int gguf_keys_copy(struct gguf_keys *to, const struct gguf_keys *from, struct arena *arena,
                   struct prep_error *err)
{
    *to = (struct gguf_keys){.arena = arena};
    for (size_t i = 0; i < from->n; i++) {
        if (prep_grow(&to->items, &to->cap, to->n, sizeof *to->items, err)) {
            gguf_keys_free(to);
            return -1;
        }
        to->items[to->n++] = from->items[i];
    }
    return 0;
}

const struct gguf_kv *gguf_keys_find(const struct gguf_keys *k, const char *key)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->items[i].key, key) == 0)
            return &k->items[i];
    return NULL;
}

int gguf_set(struct gguf_keys *k, const struct gguf_kv *kv, struct prep_error *err)
{
    struct gguf_kv own = *kv;
    own.key = arena_strndup(k->arena, kv->key, strlen(kv->key), err);
    unsigned char *p = arena_alloc(k->arena, kv->bytes.n + 1, err);
    if (!own.key || !p)
        return -1;
    if (kv->bytes.n)
        memcpy(p, kv->bytes.p, kv->bytes.n);
    own.bytes.p = p;
    gguf_unset(k, kv->key);
    if (prep_grow(&k->items, &k->cap, k->n, sizeof *k->items, err))
        return -1;
    k->items[k->n++] = own;
    return 0;
}

static int set_bytes(struct gguf_keys *k, const char *key, enum gguf_value_type type,
                     const unsigned char *p, size_t n, struct prep_error *err)
{
    return gguf_set(k, &(struct gguf_kv){.key = key, .type = (uint8_t)type, .bytes = {p, n}}, err);
}

int gguf_set_u16(struct gguf_keys *k, const char *key, uint16_t v, struct prep_error *err)
{
    unsigned char b[4];
    store_le32(b, v);
    return set_bytes(k, key, GGUF_U16, b, 2, err);
}

int gguf_set_u32(struct gguf_keys *k, const char *key, uint32_t v, struct prep_error *err)
{
    unsigned char b[4];
    store_le32(b, v);
    return set_bytes(k, key, GGUF_U32, b, 4, err);
}

int gguf_replace_u32(struct gguf_keys *k, const char *key, uint32_t v, struct prep_error *err)
{
    size_t i = 0;
    while (i < k->n && strcmp(k->items[i].key, key) != 0)
        i++;
    unsigned char *p = arena_alloc(k->arena, 4, err);
    if (!p)
        return -1;
    if (i == k->n || k->items[i].type != GGUF_U32)
        return prep_fail(err, PREP_EBUG, "no u32 key %s to replace", key);
    store_le32(p, v);
    k->items[i].bytes.p = p;
    return 0;
}

int gguf_set_i32(struct gguf_keys *k, const char *key, int32_t v, struct prep_error *err)
{
    unsigned char b[4];
    store_le32(b, (uint32_t)v);
    return set_bytes(k, key, GGUF_I32, b, 4, err);
}

int gguf_set_f32(struct gguf_keys *k, const char *key, float v, struct prep_error *err)
{
    unsigned char b[4];
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    store_le32(b, bits);
    return set_bytes(k, key, GGUF_F32, b, 4, err);
}

int gguf_set_bool(struct gguf_keys *k, const char *key, int v, struct prep_error *err)
{
    unsigned char b = v != 0;
    return set_bytes(k, key, GGUF_BOOL, &b, 1, err);
}

int gguf_set_string(struct gguf_keys *k, const char *key, const char *s, size_t n,
                    struct prep_error *err)
{
    return set_bytes(k, key, GGUF_STRING, (const unsigned char *)s, n, err);
}

/* An array whose elements are filled in by the caller; NULL when out of memory. */
static unsigned char *add_array(struct gguf_keys *k, const char *key, enum gguf_value_type element,
                                uint64_t count, size_t bytes, struct prep_error *err)
{
    struct gguf_kv kv = {.type = GGUF_ARRAY, .element = (uint8_t)element, .count = count};
    unsigned char *p = arena_alloc(k->arena, bytes + 1, err);
    kv.key = arena_strndup(k->arena, key, strlen(key), err);
    if (!p || !kv.key || prep_grow(&k->items, &k->cap, k->n, sizeof *k->items, err))
        return NULL;
    kv.bytes = (struct span){p, bytes};
    gguf_unset(k, key);
    k->items[k->n++] = kv;
    return p;
}

int gguf_set_strings(struct gguf_keys *k, const char *key, const struct span *items, size_t n,
                     struct prep_error *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += 8 + items[i].n;
    unsigned char *p = add_array(k, key, GGUF_STRING, n, bytes, err);
    if (!p)
        return -1;
    for (size_t i = 0; i < n; i++) {
        store_le64(p, items[i].n);
        if (items[i].n)
            memcpy(p + 8, items[i].p, items[i].n);
        p += 8 + items[i].n;
    }
    return 0;
}

int gguf_set_i32s(struct gguf_keys *k, const char *key, const int32_t *v, size_t n,
                  struct prep_error *err)
{
    unsigned char *p = add_array(k, key, GGUF_I32, n, 4 * n, err);
    for (size_t i = 0; i < n && p; i++)
        store_le32(p + 4 * i, (uint32_t)v[i]);
    return p ? 0 : -1;
}

int gguf_set_bools(struct gguf_keys *k, const char *key, const unsigned char *v, size_t n,
                   struct prep_error *err)
{
    unsigned char *p = add_array(k, key, GGUF_BOOL, n, n, err);
    for (size_t i = 0; i < n && p; i++)
        p[i] = v[i] != 0;
    return p ? 0 : -1;
}

/* ---- the block ---- */

static size_t kv_bytes(const struct gguf_kv *kv)
{
    size_t n = 8 + strlen(kv->key) + 4 + kv->bytes.n;
    if (kv->type == GGUF_STRING)
        n += 8;
    return kv->type == GGUF_ARRAY ? n + 12 : n;
}

static unsigned char *put_string(unsigned char *p, const void *s, size_t n)
{
    store_le64(p, n);
    if (n)
        memcpy(p + 8, s, n);
    return p + 8 + n;
}

static unsigned char *put_kv(unsigned char *p, const struct gguf_kv *kv)
{
    p = put_string(p, kv->key, strlen(kv->key));
    store_le32(p, kv->type);
    p += 4;
    if (kv->type == GGUF_STRING)
        return put_string(p, kv->bytes.p, kv->bytes.n);
    if (kv->type == GGUF_ARRAY) {
        store_le32(p, kv->element);
        store_le64(p + 4, kv->count);
        p += 12;
    }
    if (kv->bytes.n)
        memcpy(p, kv->bytes.p, kv->bytes.n);
    return p + kv->bytes.n;
}

static unsigned char *put_tensor(unsigned char *p, const struct gguf_tensor_info *t)
{
    p = put_string(p, t->name, strlen(t->name));
    store_le32(p, t->n_dims);
    p += 4;
    for (int i = 0; i < t->n_dims; i++, p += 8)
        store_le64(p, t->dims[i]);
    store_le32(p, t->type);
    store_le64(p + 4, t->offset);
    return p + 12;
}

/* Offsets from the start of the data; *end is the size of the data. */
static int place_tensors(struct gguf_tensor_info *tensors, size_t n, uint32_t alignment,
                         uint64_t *end, struct prep_error *err)
{
    *end = 0;
    for (size_t i = 0; i < n; i++) {
        struct gguf_tensor_info *t = &tensors[i];
        uint64_t rows;
        size_t len = strlen(t->name);
        if (len == 0 || len > GGUF_MAX_NAME)
            return prep_fail_tag(err, PREP_EDATA, "TENSOR_NAME",
                                 "%s: a tensor's name has 1 to %d bytes", t->name, GGUF_MAX_NAME);
        if (t->n_dims > GGUF_MAX_DIMS || gguf_tensor_size(t, &rows, &t->bytes))
            return prep_fail_tag(err, PREP_EDATA, "BLOCK",
                                 "%s: rows of %" PRIu64 " cannot be stored as type %" PRIu32,
                                 t->name, t->dims[0], t->type);
        t->offset = *end;
        if (prep_add(end, *end, t->bytes) || *end > (uint64_t)INT64_MAX - alignment)
            return prep_fail_tag(err, PREP_EDATA, "OVERFLOW", "%s: ends behind byte 2^63", t->name);
        *end = gguf_pad(*end, alignment);
    }
    return 0;
}

int gguf_layout(struct span *out, uint64_t *file_bytes, const struct gguf_keys *keys,
                struct gguf_tensor_info *tensors, size_t n, struct arena *arena,
                struct prep_error *err)
{
    const struct gguf_kv *kv = gguf_keys_find(keys, "general.alignment");
    const uint32_t alignment =
        kv && kv->type == GGUF_U32 ? load_le32(kv->bytes.p) : (uint32_t)GGUF_ALIGNMENT;
    if (alignment == 0 || (alignment & (alignment - 1)) != 0)
        return prep_fail_tag(err, PREP_EDATA, "ALIGNMENT", "alignment %" PRIu32, alignment);
    uint64_t data_bytes;
    if (place_tensors(tensors, n, alignment, &data_bytes, err))
        return -1;
    size_t bytes = 24;
    for (size_t i = 0; i < keys->n; i++)
        bytes += kv_bytes(&keys->items[i]);
    for (size_t i = 0; i < n; i++)
        bytes += 24 + 8u * tensors[i].n_dims + strlen(tensors[i].name);
    const size_t padded = (size_t)gguf_pad(bytes, alignment);
    unsigned char *p = arena_calloc(arena, padded, 1, err);
    if (!p)
        return -1;
    *out = (struct span){p, padded};
    memcpy(p, "GGUF", 4);
    store_le32(p + 4, GGUF_VERSION);
    store_le64(p + 8, n);
    store_le64(p + 16, keys->n);
    p += 24;
    for (size_t i = 0; i < keys->n; i++)
        p = put_kv(p, &keys->items[i]);
    for (size_t i = 0; i < n; i++)
        p = put_tensor(p, &tensors[i]);
    for (size_t i = 0; i < n; i++)
        tensors[i].offset += padded;
    if (file_bytes)
        *file_bytes = padded + data_bytes;
    return 0;
}

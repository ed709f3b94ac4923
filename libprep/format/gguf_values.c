/* SPDX-License-Identifier: MIT */
/* What a key holds, and which part of a split set a file is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/format/gguf.h"

static const struct value_row {
    char name[8];
    unsigned char bytes;
} values[GGUF_VALUE_TYPES] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_value_name(unsigned type)
{
    return type < GGUF_VALUE_TYPES ? values[type].name : "unknown";
}

size_t gguf_value_bytes(unsigned type)
{
    return type < GGUF_VALUE_TYPES ? values[type].bytes : 0;
}

/* ---- looking things up ---- */

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
    uint32_t i = name_table_get(&g->keys, key, strlen(key));
    return i == NAME_NONE ? NULL : &g->kvs[i];
}

const struct gguf_tensor_info *gguf_find_tensor(const struct gguf *g, const char *name)
{
    uint32_t i = name_table_get(&g->names, name, strlen(name));
    return i == NAME_NONE ? NULL : &g->tensors[i];
}

static int signed_value(const struct gguf_kv *kv, int64_t *v)
{
    const unsigned char *p = kv->bytes.p;
    switch (kv->type) {
    case GGUF_I8:
        *v = (int8_t)p[0];
        return 0;
    case GGUF_I16:
        *v = (int16_t)load_le16(p);
        return 0;
    case GGUF_I32:
        *v = (int32_t)load_le32(p);
        return 0;
    case GGUF_I64:
        *v = (int64_t)load_le64(p);
        return 0;
    default:
        return -1;
    }
}

int gguf_as_u64(const struct gguf_kv *kv, uint64_t *v)
{
    int64_t s;
    if (!kv)
        return -1;
    switch (kv->type) {
    case GGUF_U8:
        *v = kv->bytes.p[0];
        return 0;
    case GGUF_U16:
        *v = load_le16(kv->bytes.p);
        return 0;
    case GGUF_U32:
        *v = load_le32(kv->bytes.p);
        return 0;
    case GGUF_U64:
        *v = load_le64(kv->bytes.p);
        return 0;
    default:
        break;
    }
    if (signed_value(kv, &s) || s < 0)
        return -1;
    *v = (uint64_t)s;
    return 0;
}

int gguf_as_f64(const struct gguf_kv *kv, double *v)
{
    uint64_t u;
    int64_t s;
    if (!kv)
        return -1;
    if (kv->type == GGUF_F32) {
        uint32_t bits = load_le32(kv->bytes.p);
        float f;
        memcpy(&f, &bits, sizeof f);
        *v = (double)f;
    } else if (kv->type == GGUF_F64) {
        uint64_t bits = load_le64(kv->bytes.p);
        memcpy(v, &bits, sizeof *v);
    } else if (gguf_as_u64(kv, &u) == 0) {
        *v = (double)u;
    } else if (signed_value(kv, &s) == 0) {
        *v = (double)s;
    } else {
        return -1;
    }
    return 0;
}

int gguf_as_bool(const struct gguf_kv *kv, int *v)
{
    if (!kv || kv->type != GGUF_BOOL)
        return -1;
    *v = kv->bytes.p[0];
    return 0;
}

struct span gguf_element(const struct gguf_kv *kv, size_t *at)
{
    size_t n = values[kv->element].bytes;
    if (kv->element == GGUF_STRING) {
        n = (size_t)load_le64(kv->bytes.p + *at);
        *at += 8;
    }
    struct span s = {kv->bytes.p + *at, n};
    *at += n;
    return s;
}

/* ---- split sets ---- */

static int split_number(const struct gguf *g, const char *key, uint64_t most, uint64_t *v,
                        const char *path, struct prep_error *err)
{
    const struct gguf_kv *kv = gguf_find(g, key);
    if (gguf_as_u64(kv, v) || *v > most)
        return prep_fail_tag(err, PREP_EDATA, "SPLIT_KEYS", "%s: %s is %s", path, key,
                             kv ? "out of range or no integer" : "missing");
    return 0;
}

int gguf_split_of(struct gguf_split *s, const struct gguf *g, const char *path,
                  struct prep_error *err)
{
    uint64_t no, count;
    *s = (struct gguf_split){.count = 1, .tensors = g->n_tensors};
    if (!gguf_find(g, "split.count"))
        return 0;
    if (split_number(g, "split.count", GGUF_MAX_PARTS, &count, path, err))
        return -1;
    if (count <= 1) /* the reference tool's merge leaves the keys in, with a count of 0 */
        return 0;
    if (split_number(g, "split.no", GGUF_MAX_PARTS, &no, path, err) ||
        split_number(g, "split.tensors.count", INT32_MAX, &s->tensors, path, err))
        return -1;
    if (no >= count)
        return prep_fail_tag(err, PREP_EDATA, "SPLIT_KEYS", "%s: is part %" PRIu64 " of %" PRIu64,
                             path, no + 1, count);
    s->no = (uint32_t)no;
    s->count = (uint32_t)count;
    return 0;
}

char *gguf_part_name(struct arena *arena, const char *prefix, uint32_t no, uint32_t count,
                     struct prep_error *err)
{
    return arena_printf(arena, err, "%s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", prefix, no + 1,
                        count);
}

size_t gguf_part_prefix(const char *path, uint32_t no, uint32_t count)
{
    char end[48];
    size_t n = strlen(path);
    int m = snprintf(end, sizeof end, "-%05" PRIu32 "-of-%05" PRIu32 ".gguf", no + 1, count);
    if (m < 0 || n <= (size_t)m || strcmp(path + n - (size_t)m, end) != 0)
        return 0;
    return n - (size_t)m;
}

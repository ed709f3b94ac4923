/* SPDX-License-Identifier: MIT */
/*
 * Storages are archive members, tensors are strided views into them: element (i, j, ...) is at
 * offset + i * stride[0] + j * stride[1] + ..., counted in elements. Everything is little-endian.
 */
#include <math.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/format/pt_pickle.h"

#define CORRUPT "OBS_PICKLE_CORRUPT"
#define BOUNDS "OBS_STORAGE_BOUNDS"

#define bad(err, tag, ...) prep_fail_tag((err), PREP_EDATA, (tag), __VA_ARGS__)

const char *pt_dtype_name(enum pt_dtype t)
{
    static const char *const names[] = {
        [PT_F64] = "float64", [PT_F32] = "float32", [PT_F16] = "float16", [PT_BF16] = "bfloat16",
        [PT_I64] = "int64",   [PT_I32] = "int32",   [PT_I16] = "int16",   [PT_I8] = "int8",
        [PT_U8] = "uint8",    [PT_BOOL8] = "bool"};
    return names[t];
}

static unsigned dtype_bytes(enum pt_dtype t)
{
    static const unsigned char bytes[] = {
        [PT_F64] = 8, [PT_F32] = 4, [PT_F16] = 2, [PT_BF16] = 2, [PT_I64] = 8,
        [PT_I32] = 4, [PT_I16] = 2, [PT_I8] = 1,  [PT_U8] = 1,   [PT_BOOL8] = 1};
    return bytes[t];
}

/* The tuple ("storage", class, key, location, element count); key is decimal. */
static int check_persistent_id(const struct pt_value *id, struct prep_error *err)
{
    if (id->type != PT_TUPLE || id->n != 5 || !pt_string_is(id->items[0], "storage") ||
        !pt_storage_class(id->items[1]) || id->items[2]->type != PT_STRING ||
        id->items[3]->type != PT_STRING || id->items[4]->type != PT_INT || id->items[4]->i < 0)
        return bad(err, CORRUPT, "persistent id is not (\"storage\", class, key, location, count)");
    struct span key = id->items[2]->s;
    int decimal = key.n > 0 && key.n <= 20;
    for (size_t i = 0; decimal && i < key.n; i++)
        decimal = key.p[i] >= '0' && key.p[i] <= '9';
    return decimal ? 0 : bad(err, CORRUPT, "storage key is not a decimal number");
}

struct pt_storage *pt_storage_new(struct pt *pt, const struct pt_value *id, struct prep_error *err)
{
    if (check_persistent_id(id, err))
        return NULL;
    struct span key = id->items[2]->s;
    char *name =
        arena_printf(&pt->arena, err, "%sdata/%.*s", pt->prefix, (int)key.n, (const char *)key.p);
    struct pt_storage *s = arena_alloc(&pt->arena, sizeof *s, err);
    if (!name || !s)
        return NULL;
    const struct zip_member *member = zip_find(&pt->zip, name);
    if (!member) {
        bad(err, "OBS_STORAGE_MISSING", "no member %s in the archive", name);
        return NULL;
    }
    *s = (struct pt_storage){*pt_storage_class(id->items[1]), (uint64_t)id->items[4]->i,
                             member->bytes};
    uint64_t bytes;
    unsigned size = dtype_bytes(s->dtype);
    if (!prep_mul(&bytes, s->n, size) && bytes == s->bytes.n)
        return s;
    bad(err, BOUNDS, "member %s has %zu bytes, want %llu elements of %u", name, s->bytes.n,
        (unsigned long long)s->n, size);
    return NULL;
}

static int take_dims(uint64_t *dims, const struct pt_value *tuple, struct prep_error *err)
{
    if (tuple->type != PT_TUPLE)
        return bad(err, CORRUPT, "size or stride of a tensor is a %s, want a tuple",
                   pt_type_name(tuple));
    if (tuple->n > PT_MAX_DIMS)
        return bad(err, "OBS_PICKLE_LIMIT", "tensor of %u dimensions, want at most %d", tuple->n,
                   (int)PT_MAX_DIMS);
    for (uint32_t i = 0; i < tuple->n; i++) {
        const struct pt_value *v = tuple->items[i];
        if (v->type != PT_INT)
            return bad(err, CORRUPT, "size or stride of a tensor holds a %s", pt_type_name(v));
        if (v->i < 0)
            return bad(err, BOUNDS, "size or stride of a tensor is %lld", (long long)v->i);
        dims[i] = (uint64_t)v->i;
    }
    return 0;
}

/* Every element inside the storage, and no more elements than the storage has. */
static int check_bounds(struct pt_tensor *t, struct prep_error *err)
{
    uint64_t last = t->offset, n = 1;
    int over = 0, empty = 0;
    for (int i = 0; i < t->n_dims; i++) {
        uint64_t reach;
        if (t->shape[i] == 0) {
            empty = 1;
            continue;
        }
        over |= prep_mul(&n, n, t->shape[i]) || prep_mul(&reach, t->shape[i] - 1, t->stride[i]) ||
                prep_add(&last, last, reach);
    }
    t->n = empty ? 0 : n;
    if (empty || (!over && last < t->storage->n && n <= t->storage->n))
        return 0;
    return bad(err, BOUNDS, "tensor at element %llu passes its storage of %llu elements",
               (unsigned long long)t->offset, (unsigned long long)t->storage->n);
}

struct pt_tensor *pt_tensor_new(struct pt *pt, const struct pt_value *args, struct prep_error *err)
{
    if (args->n < 6 || args->n > 7 || args->items[0]->type != PT_STORAGE ||
        args->items[1]->type != PT_INT) {
        bad(err, CORRUPT, "_rebuild_tensor_v2 wants (storage, offset, size, stride, ...)");
        return NULL;
    }
    struct pt_tensor *t = arena_calloc(&pt->arena, 1, sizeof *t, err);
    if (!t)
        return NULL;
    t->storage = args->items[0]->storage;
    t->offset = (uint64_t)args->items[1]->i;
    if (args->items[1]->i < 0) {
        bad(err, BOUNDS, "tensor begins at element %lld", (long long)args->items[1]->i);
        return NULL;
    }
    const struct pt_value *shape = args->items[2], *stride = args->items[3];
    if (take_dims(t->shape, shape, err) || take_dims(t->stride, stride, err))
        return NULL;
    t->n_dims = (int)shape->n;
    if (shape->n != stride->n) {
        bad(err, CORRUPT, "tensor has %u sizes and %u strides", shape->n, stride->n);
        return NULL;
    }
    return check_bounds(t, err) ? NULL : t;
}

static double f32_from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

/* 1 sign, 5 exponent (bias 15), 10 fraction bits; a subnormal counts 2^-24. */
static double f16_from_bits(unsigned bits)
{
    int e = (int)(bits >> 10 & 31), frac = (int)(bits & 1023);
    double v;
    if (e == 31)
        v = frac ? (double)NAN : (double)INFINITY;
    else
        v = e ? ldexp(1024 + frac, e - 25) : ldexp(frac, -24);
    return bits & 0x8000 ? -v : v;
}

static double load_f64(enum pt_dtype t, const unsigned char *p)
{
    double v;
    uint64_t bits;
    switch (t) {
    case PT_F32:
        return f32_from_bits(load_le32(p));
    case PT_BF16:
        return f32_from_bits((uint32_t)load_le16(p) << 16);
    case PT_F16:
        return f16_from_bits(load_le16(p));
    default:
        bits = load_le64(p);
        memcpy(&v, &bits, sizeof v);
        return v;
    }
}

static int64_t load_i64(enum pt_dtype t, const unsigned char *p)
{
    switch (t) {
    case PT_I32:
        return (int32_t)load_le32(p);
    case PT_I16:
        return (int16_t)load_le16(p);
    case PT_I8:
        return (int8_t)p[0];
    case PT_U8:
    case PT_BOOL8:
        return p[0];
    default:
        return (int64_t)load_le64(p);
    }
}

/* Storage index of the next element in row-major order; index[] counts like an odometer. */
static uint64_t next_element(const struct pt_tensor *t, uint64_t index[PT_MAX_DIMS], uint64_t at)
{
    for (int d = t->n_dims - 1; d >= 0; d--) {
        if (++index[d] < t->shape[d])
            return at + t->stride[d];
        at -= (t->shape[d] - 1) * t->stride[d];
        index[d] = 0;
    }
    return at;
}

int pt_tensor_i64(const struct pt_tensor *t, int64_t *out)
{
    enum pt_dtype dtype = t->storage->dtype;
    if (dtype < PT_I64)
        return -1;
    uint64_t index[PT_MAX_DIMS] = {0}, at = t->offset;
    for (uint64_t i = 0; i < t->n; i++) {
        out[i] = load_i64(dtype, t->storage->bytes.p + at * dtype_bytes(dtype));
        at = next_element(t, index, at);
    }
    return 0;
}

int pt_tensor_f64(const struct pt_tensor *t, double *out)
{
    enum pt_dtype dtype = t->storage->dtype;
    if (dtype >= PT_I64)
        return -1;
    uint64_t index[PT_MAX_DIMS] = {0}, at = t->offset;
    for (uint64_t i = 0; i < t->n; i++) {
        out[i] = load_f64(dtype, t->storage->bytes.p + at * dtype_bytes(dtype));
        at = next_element(t, index, at);
    }
    return 0;
}

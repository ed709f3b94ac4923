/* SPDX-License-Identifier: MIT */
/* Tensors "layers.L.METRIC" or "layers.L.METRIC.RULE" of an ordinary safetensors file. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/obs_build.h"
#include "libprep/format/safetensors.h"

/* What a tensor is, in the order in which a layer is judged. */
enum { TOTAL_TOKENS = -1, OUTPUT_SUM = OBS_N_KEYS };

struct entry {
    int layer, what; /* what: a key, TOTAL_TOKENS or OUTPUT_SUM */
    const struct tensor_info *t;
};

/* safetensors.h reads through a struct io; this one serves bytes in memory. */
static ssize_t span_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    const struct span *file = self;
    (void)fd;
    if (offset > file->n)
        return -EINVAL;
    size_t left = file->n - (size_t)offset;
    n = n < left ? n : left;
    memcpy(buf, file->p + offset, n);
    return (ssize_t)n;
}

static int is(const char *s, size_t n, const char *want)
{
    return n == strlen(want) && memcmp(s, want, n) == 0;
}

/* Does name[0..n) spell the key, with the suffix where the key has one per gate rule? */
static int key_matches(const struct obs_build *b, const struct obs_key *k, const char *s, size_t n)
{
    size_t key_n = strlen(k->name);
    if (*b->suffix == 0)
        return is(s, n, k->name);
    return k->suffixed && n > key_n && is(s, key_n, k->name) && is(s + key_n, n - key_n, b->suffix);
}

/* 0 when the tensor is one of those that are read. */
static int classify(const struct obs_build *b, const struct tensor_info *t, struct entry *e)
{
    if (strncmp(t->name, "layers.", 7) != 0)
        return -1;
    const char *id = t->name + 7, *dot = strchr(id, '.');
    if (!dot)
        return -1;
    *e = (struct entry){.layer = obs_parse_layer(id, (size_t)(dot - id)), .t = t};
    const char *s = dot + 1;
    size_t n = strlen(s);
    if (e->layer < 0)
        return -1;
    if (is(s, n, OBS_TOTAL_TOKENS)) {
        e->what = TOTAL_TOKENS;
        return 0;
    }
    if (*b->suffix == 0 && is(s, n, OBS_OUTPUT_SUM)) {
        e->what = OUTPUT_SUM;
        return 0;
    }
    for (int k = 0; k < OBS_N_KEYS; k++) {
        e->what = k;
        if (key_matches(b, &obs_keys[k], s, n))
            return 0;
    }
    return -1;
}

static int by_layer(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return (x->what > y->what) - (x->what < y->what);
}

static int check_dtype(struct obs_build *b, const struct tensor_info *t, enum dtype want)
{
    if (t->dtype == want)
        return 0;
    return obs_bad(b, "OBS_SHAPE", "%s: %s: has type %s, want %s", b->path, t->name,
                   dtype_name((enum dtype)t->dtype), dtype_name(want));
}

/* Elements of 4 or 8 bytes from the file's little-endian order into ours. */
static void copy_le(void *out, const struct tensor_info *t, struct span file)
{
    unsigned size = dtype_bits((enum dtype)t->dtype) / 8;
    for (uint64_t at = 0; at < t->bytes; at += size) {
        const unsigned char *p = file.p + t->offset + at;
        uint64_t wide = size == 8 ? load_le64(p) : 0;
        uint32_t narrow = load_le32(p);
        memcpy((char *)out + at, size == 8 ? (void *)&wide : (void *)&narrow, size);
    }
}

static int read_entry(struct obs_build *b, struct obs_layer *l, const struct entry *e,
                      struct span file)
{
    static const enum dtype dtypes[] = {
        [OBS_I64] = DTYPE_I64, [OBS_F64] = DTYPE_F64, [OBS_F32] = DTYPE_F32};
    const struct tensor_info *t = e->t;
    if (e->what == TOTAL_TOKENS) {
        if (check_dtype(b, t, DTYPE_I64))
            return -1;
        if (t->bytes != sizeof l->total_tokens)
            return obs_bad(b, "OBS_SHAPE",
                           "%s: layer %d: total_tokens: has %llu bytes, want one "
                           "element",
                           b->path, l->layer, (unsigned long long)t->bytes);
        copy_le(&l->total_tokens, t, file);
        l->has_total_tokens = 1;
        return 0;
    }
    int is_output = e->what == OUTPUT_SUM;
    if (check_dtype(b, t, is_output ? DTYPE_F64 : dtypes[obs_keys[e->what].type]))
        return -1;
    void *p = is_output ? obs_build_output(b, l, OBS_OUTPUT_SUM, t->n_dims, t->shape)
                        : obs_build_vector(b, l, (size_t)e->what, t->n_dims, t->shape);
    if (!p)
        return -1;
    copy_le(p, t, file);
    return 0;
}

/* The metrics that the format promises; a chosen gate rule has its own list. */
static int check_complete(struct obs_build *b, const struct obs_layer *l)
{
    if (!l->has_total_tokens)
        return obs_bad(b, "OBS_METRIC_MISSING", "%s: layer %d: no total_tokens", b->path, l->layer);
    for (size_t k = 0; *b->suffix == 0 && k < OBS_N_KEYS; k++) {
        if (obs_keys[k].required && !obs_vector(l, k))
            return obs_bad(b, "OBS_METRIC_MISSING", "%s: layer %d: no %s", b->path, l->layer,
                           obs_keys[k].name);
    }
    return 0;
}

static int read_entries(struct obs_build *b, const struct entry *entries, size_t n,
                        struct span file)
{
    struct obs_layer *l = NULL;
    for (size_t i = 0; i < n; i++) {
        if (!l || l->layer != entries[i].layer)
            l = obs_build_layer(b, entries[i].layer);
        if (!l || read_entry(b, l, &entries[i], file))
            return -1;
        if ((i + 1 == n || entries[i + 1].layer != l->layer) && check_complete(b, l))
            return -1;
    }
    return 0;
}

static int read_metadata(struct obs_build *b, const struct safetensors *st)
{
    struct arena *arena = &b->run->arena;
    int has_format = 0;
    for (size_t i = 0; i < st->n_metadata; i++) {
        const char *key = st->metadata[i].key, *value = st->metadata[i].value;
        char *k = arena_strndup(arena, key, strlen(key), b->err);
        char *v = arena_strndup(arena, value, strlen(value), b->err);
        if (!k || !v || obs_build_metadata(b, k, v))
            return -1;
        has_format |= strcmp(k, "format") == 0;
    }
    return has_format ? 0
                      : obs_bad(b, "OBS_SHAPE", "%s: has no metadata \"format\", want \"reap-obs\"",
                                b->path);
}

int obs_read_native(struct obs_build *b, struct span file)
{
    const struct io memory = {.self = &file, .pread = span_pread};
    struct safetensors st;
    struct arena tmp;
    int rc = -1;
    arena_init(&tmp, 0);
    if (safetensors_read(&st, &memory, -1, file.n, b->path, &tmp, b->err) || read_metadata(b, &st))
        goto out;
    struct entry *entries = arena_calloc(&tmp, st.n_tensors, sizeof *entries, b->err);
    if (!entries)
        goto out;
    size_t n = 0;
    for (size_t i = 0; i < st.n_tensors; i++)
        n += classify(b, &st.tensors[i], &entries[n]) == 0;
    qsort(entries, n, sizeof *entries, by_layer);
    if (read_entries(b, entries, n, file))
        goto out;
    rc = obs_build_native(b);
out:
    arena_fini(&tmp);
    return rc;
}

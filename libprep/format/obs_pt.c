/* SPDX-License-Identifier: MIT */
/*
 * {layer: {"total_tokens": tensor, "expert_frequency": tensor, ...}, ...}, or for one block the
 * inner dictionary alone, where running means may be trackers with the mean as an attribute.
 */
#include <stdlib.h>

#include "libprep/format/obs_build.h"
#include "libprep/format/pt.h"

enum { MAX_KEYS = 1024 }; /* of a layer; REAP writes 13 */

/* The tensor of a metric. *t stays NULL when the layer does not have it. */
static int find_tensor(struct obs_build *b, const struct pt_value *dict, int layer,
                       const char *name, const struct pt_tensor **t)
{
    const struct pt_value *v = NULL;
    *t = NULL;
    for (uint32_t i = 0; i < dict->n; i += 2) {
        if (!pt_string_is(dict->items[i], name))
            continue;
        if (v)
            return obs_bad(b, "OBS_SHAPE", "%s: layer %d: %s: occurs twice", b->path, layer, name);
        v = dict->items[i + 1];
    }
    if (!v)
        return 0;
    if (v->type == PT_OBJECT)
        v = pt_get(v, "mean");
    if (!v || v->type != PT_TENSOR)
        return obs_bad(b, "OBS_SHAPE", "%s: layer %d: %s: is a %s, want a tensor", b->path, layer,
                       name, v ? pt_type_name(v) : "tracker without a mean");
    *t = v->tensor;
    return 0;
}

static int wrong_type(struct obs_build *b, int layer, const char *name, const struct pt_tensor *t)
{
    return obs_bad(b, "OBS_SHAPE", "%s: layer %d: %s: has elements of type %s", b->path, layer,
                   name, pt_dtype_name(t->storage->dtype));
}

static int read_tokens(struct obs_build *b, const struct pt_value *dict, struct obs_layer *l)
{
    const struct pt_tensor *t;
    const struct pt_value *v = pt_get(dict, OBS_TOTAL_TOKENS);
    if (v && v->type == PT_INT) {
        l->total_tokens = v->i;
        l->has_total_tokens = 1;
        return 0;
    }
    if (find_tensor(b, dict, l->layer, OBS_TOTAL_TOKENS, &t))
        return -1;
    if (!t)
        return 0;
    if (t->n != 1)
        return obs_bad(b, "OBS_SHAPE", "%s: layer %d: total_tokens: has %llu elements, want 1",
                       b->path, l->layer, (unsigned long long)t->n);
    l->has_total_tokens = 1;
    return pt_tensor_i64(t, &l->total_tokens) ? wrong_type(b, l->layer, OBS_TOTAL_TOKENS, t) : 0;
}

static int read_floats(float *out, const struct pt_tensor *t, struct obs_build *b)
{
    struct arena tmp;
    arena_init(&tmp, 0);
    double *wide = arena_calloc(&tmp, (size_t)t->n, sizeof *wide, b->err);
    int rc = wide ? pt_tensor_f64(t, wide) : -1;
    for (uint64_t i = 0; rc == 0 && i < t->n; i++)
        out[i] = (float)wide[i];
    arena_fini(&tmp);
    return rc;
}

static int read_vector(struct obs_build *b, const struct pt_value *dict, struct obs_layer *l,
                       size_t key)
{
    const struct pt_tensor *t;
    const char *name = obs_keys[key].name;
    if (find_tensor(b, dict, l->layer, name, &t))
        return -1;
    if (!t)
        return 0;
    void *p = obs_build_vector(b, l, key, t->n_dims, t->shape);
    if (!p)
        return -1;
    int rc = obs_keys[key].type == OBS_I64   ? pt_tensor_i64(t, p)
             : obs_keys[key].type == OBS_F64 ? pt_tensor_f64(t, p)
                                             : read_floats(p, t, b);
    return rc ? wrong_type(b, l->layer, name, t) : 0;
}

static int read_output(struct obs_build *b, const struct pt_value *dict, struct obs_layer *l)
{
    const struct pt_tensor *t;
    if (find_tensor(b, dict, l->layer, OBS_OUTPUT_MEAN, &t))
        return -1;
    if (!t)
        return 0;
    double *p = obs_build_output(b, l, OBS_OUTPUT_MEAN, t->n_dims, t->shape);
    if (!p)
        return -1;
    return pt_tensor_f64(t, p) ? wrong_type(b, l->layer, OBS_OUTPUT_MEAN, t) : 0;
}

/* A dense block has an empty dictionary and is no layer. */
static int read_layer(struct obs_build *b, const struct pt_value *dict, int layer)
{
    if (dict->type != PT_DICT)
        return obs_bad(b, "OBS_SHAPE", "%s: layer %d is a %s, want a dictionary of metrics",
                       b->path, layer, pt_type_name(dict));
    if (dict->n == 0)
        return 0;
    if (dict->n / 2 > MAX_KEYS)
        return obs_bad(b, "OBS_SHAPE", "%s: layer %d has %u metrics, want at most %d", b->path,
                       layer, dict->n / 2, (int)MAX_KEYS);
    struct obs_layer *l = obs_build_layer(b, layer);
    if (!l || read_tokens(b, dict, l))
        return -1;
    for (size_t k = 0; k < OBS_N_KEYS; k++) {
        if (read_vector(b, dict, l, k))
            return -1;
    }
    if (read_output(b, dict, l))
        return -1;
    return l->n_experts
               ? 0
               : obs_bad(b, "OBS_SHAPE", "%s: layer %d holds no known metric", b->path, layer);
}

static int layer_of_key(struct obs_build *b, const struct pt_value *key, int *layer)
{
    *layer = -1;
    if (key->type == PT_INT && key->i >= 0 && key->i <= OBS_MAX_LAYER)
        *layer = (int)key->i;
    if (key->type == PT_STRING)
        *layer = obs_parse_layer((const char *)key->s.p, key->s.n);
    if (*layer >= 0)
        return 0;
    if (key->type == PT_STRING)
        return obs_bad(b, "OBS_SHAPE",
                       "%s: key \"%.*s\" is no layer index (a single block's file must be called "
                       "block_NNN_metrics.pt)",
                       b->path, (int)(key->s.n < 60 ? key->s.n : 60), (const char *)key->s.p);
    return obs_bad(b, "OBS_SHAPE",
                   "%s: a key of the top dictionary is a %s out of range, want "
                   "layer indices",
                   b->path, pt_type_name(key));
}

struct entry {
    int layer;
    const struct pt_value *dict;
};

static int by_layer(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->layer > y->layer) - (x->layer < y->layer);
}

/* Layers are judged in ascending order, whatever their order in the file. */
static int read_layers(struct obs_build *b, struct pt *pt)
{
    size_t n = pt->root->n / 2;
    struct entry *entries = arena_calloc(&pt->arena, n, sizeof *entries, b->err);
    if (!entries)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (layer_of_key(b, pt->root->items[2 * i], &entries[i].layer))
            return -1;
        entries[i].dict = pt->root->items[2 * i + 1];
    }
    qsort(entries, n, sizeof *entries, by_layer);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && entries[i].layer == entries[i - 1].layer)
            return obs_bad(b, "OBS_SHAPE", "%s: layer %d occurs twice", b->path, entries[i].layer);
        if (read_layer(b, entries[i].dict, entries[i].layer))
            return -1;
    }
    return 0;
}

int obs_read_pt(struct obs_build *b, struct span file, int layer)
{
    struct pt pt;
    int rc = -1;
    if (pt_read(&pt, file, b->path, b->err))
        goto out;
    if (layer >= 0)
        rc = read_layer(b, pt.root, layer);
    else if (pt.root->type == PT_DICT)
        rc = read_layers(b, &pt);
    else
        obs_bad(b, "OBS_SHAPE", "%s: holds a %s, want a dictionary of layers", b->path,
                pt_type_name(pt.root));
out:
    pt_free(&pt);
    return rc;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/engine/kv_cache.h"

#include <stdlib.h>

#include "libprep/engine/kv_parts.h"

struct kv_row runtime_kv_row(const struct runtime *r, enum kv_form form, int index)
{
    const struct config *c = r->config;
    const size_t rank = (size_t)c->kv_lora_rank, dim = (size_t)c->index_head_dim;
    return index ? (struct kv_row){form, dim, dim}
                 : (struct kv_row){form, rank + (size_t)c->qk_rope_head_dim, rank};
}

static int has_index(const struct runtime *r, int layer)
{
    return r->layers[layer].full && !r->layers[layer].dense;
}

/* Numbers that hold the rows of an array. */
static uint64_t numbers(const struct runtime *r, const struct kv_cache_shape *s, int index)
{
    const struct kv_row row = runtime_kv_row(r, s->form, index);
    return (kv_row_bytes(&row) * (uint64_t)s->capacity + sizeof(float) - 1) / sizeof(float);
}

uint64_t kv_cache_bytes(const struct runtime *r, const struct kv_cache_shape *s)
{
    uint64_t n = 0;
    for (int i = s->layer; i < s->layer + s->n_layers; i++)
        n += numbers(r, s, 0) + (has_index(r, i) ? numbers(r, s, 1) : 0);
    return n * sizeof(float);
}

static int alloc(const struct runtime *r, void **p, uint64_t n, struct prep_error *err)
{
    float *keys;
    if (r->ops.alloc(r->ops.self, &keys, n, err))
        return -1;
    *p = keys;
    return 0;
}

int kv_cache_new(struct kv_cache **out, struct runtime *r, const struct kv_cache_shape *shape,
                 struct prep_error *err)
{
    const size_t n_layers = (size_t)shape->n_layers;
    if (shape->layer < 0 || shape->n_layers < 1 || shape->layer + shape->n_layers > r->n_layers)
        return prep_fail(err, PREP_EBUG, "a cache of layers %d + %d of %d", shape->layer,
                         shape->n_layers, r->n_layers);
    struct kv_cache *c = calloc(1, sizeof *c);
    void **keys = calloc(2 * n_layers, sizeof *keys);
    int rc = -1;
    if (!c || !keys) {
        free(keys);
        free(c);
        return prep_fail(err, PREP_ENOMEM, "no memory for a cache");
    }
    *c = (struct kv_cache){r, *shape, keys, keys + n_layers, 0};
    const uint64_t bytes = kv_cache_bytes(r, shape);
    if (runtime_reserve(r, bytes, 0, 0, err))
        goto out;
    c->bytes = bytes;
    for (size_t i = 0; i < n_layers; i++)
        if (alloc(r, &c->keys[i], numbers(r, shape, 0), err) ||
            (has_index(r, shape->layer + (int)i) &&
             alloc(r, &c->index_keys[i], numbers(r, shape, 1), err)))
            goto out;
    rc = 0;
out:
    if (rc)
        kv_cache_free(c);
    else
        *out = c;
    return rc;
}

void kv_cache_free(struct kv_cache *c)
{
    if (!c)
        return;
    const struct ops *ops = &c->runtime->ops;
    for (int i = 0; i < c->shape.n_layers; i++) {
        ops->free(ops->self, c->keys[i]);
        ops->free(ops->self, c->index_keys[i]);
    }
    runtime_unreserve(c->runtime, c->bytes);
    free(c->keys);
    free(c);
}

/* One array for more positions, the old ones copied. */
static int grow(const struct kv_cache *c, void **keys, const struct kv_cache_shape *to, int index,
                struct prep_error *err)
{
    const struct ops *ops = &c->runtime->ops;
    const uint64_t n = numbers(c->runtime, &c->shape, index);
    void *more;
    if (!*keys)
        return 0;
    if (alloc(c->runtime, &more, numbers(c->runtime, to, index), err))
        return -1;
    if (ops->copy(ops->self, more, n, *keys, n, 1, n, err)) {
        ops->free(ops->self, more);
        return -1;
    }
    ops->free(ops->self, *keys);
    *keys = more;
    return 0;
}

int kv_cache_grow(struct kv_cache *c, size_t capacity, struct prep_error *err)
{
    struct runtime *r = c->runtime;
    struct kv_cache_shape to = c->shape, layer = c->shape;
    if (capacity <= c->shape.capacity)
        return 0;
    to.capacity = capacity;
    layer.n_layers = 1;
    const uint64_t bytes = kv_cache_bytes(r, &to), twice = kv_cache_bytes(r, &layer);
    if (runtime_reserve(r, bytes - c->bytes + twice, 0, 0, err))
        return -1;
    int rc = 0;
    for (int i = 0; i < to.n_layers && !rc; i++)
        rc = grow(c, &c->keys[i], &to, 0, err) || grow(c, &c->index_keys[i], &to, 1, err);
    if (rc) { /* arrays larger than the capacity says do no harm */
        runtime_unreserve(r, bytes - c->bytes + twice);
        return -1;
    }
    runtime_unreserve(r, twice);
    c->bytes = bytes;
    c->shape = to;
    return 0;
}

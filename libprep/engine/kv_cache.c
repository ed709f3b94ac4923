/* SPDX-License-Identifier: MIT */
#include "libprep/engine/kv_cache.h"

#include <stdlib.h>

#include "libprep/engine/runtime_parts.h"

/* Elements of a position: keys, and those of the indexer. */
static uint64_t wide(const struct runtime *r)
{
    return (uint64_t)(r->config->kv_lora_rank + r->config->qk_rope_head_dim);
}

static uint64_t index_wide(const struct runtime *r, int layer)
{
    const struct runtime_layer_ids *l = &r->layers[layer];
    return l->full && !l->dense ? (uint64_t)r->config->index_head_dim : 0;
}

uint64_t kv_cache_bytes(const struct runtime *r, int layer, int n_layers, size_t capacity)
{
    uint64_t elements = 0;
    for (int i = layer; i < layer + n_layers; i++)
        elements += wide(r) + index_wide(r, i);
    return elements * capacity * sizeof(float);
}

int kv_cache_new(struct kv_cache **out, struct runtime *r, int layer, int n_layers, size_t capacity,
                 struct prep_error *err)
{
    if (layer < 0 || n_layers < 1 || layer + n_layers > r->n_layers)
        return prep_fail(err, PREP_EBUG, "a cache of layers %d + %d of %d", layer, n_layers,
                         r->n_layers);
    struct kv_cache *c = calloc(1, sizeof *c);
    float **keys = calloc(2 * (size_t)n_layers, sizeof *keys);
    int rc = -1;
    if (!c || !keys) {
        free(keys);
        free(c);
        return prep_fail(err, PREP_ENOMEM, "no memory for a cache");
    }
    *c = (struct kv_cache){r, layer, n_layers, capacity, keys, keys + n_layers, 0};
    const uint64_t bytes = kv_cache_bytes(r, layer, n_layers, capacity);
    if (runtime_reserve(r, bytes, 0, 0, err))
        goto out;
    c->bytes = bytes;
    for (int i = 0; i < n_layers; i++) {
        const uint64_t index = index_wide(r, layer + i);
        if (r->ops.alloc(r->ops.self, &c->keys[i], wide(r) * capacity, err) ||
            (index && r->ops.alloc(r->ops.self, &c->index_keys[i], index * capacity, err)))
            goto out;
    }
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
    for (int i = 0; i < c->n_layers; i++) {
        ops->free(ops->self, c->keys[i]);
        ops->free(ops->self, c->index_keys[i]);
    }
    runtime_unreserve(c->runtime, c->bytes);
    free(c->keys);
    free(c);
}

/* One array for more positions, the old ones copied. */
static int grow(const struct kv_cache *c, float **keys, uint64_t cols, size_t capacity,
                struct prep_error *err)
{
    const struct ops *ops = &c->runtime->ops;
    float *more;
    if (!*keys)
        return 0;
    if (ops->alloc(ops->self, &more, cols * capacity, err))
        return -1;
    if (ops->copy(ops->self, more, cols, *keys, cols, c->capacity, cols, err)) {
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
    const uint64_t bytes = kv_cache_bytes(r, c->layer, c->n_layers, capacity);
    const uint64_t layer = kv_cache_bytes(r, c->layer, 1, c->capacity);
    if (capacity <= c->capacity)
        return 0;
    if (runtime_reserve(r, bytes - c->bytes + layer, 0, 0, err))
        return -1;
    int rc = 0;
    for (int i = 0; i < c->n_layers && !rc; i++)
        rc = grow(c, &c->keys[i], wide(r), capacity, err) ||
             grow(c, &c->index_keys[i], index_wide(r, c->layer + i), capacity, err);
    if (rc) { /* larger arrays than the capacity says do no harm */
        runtime_unreserve(r, bytes - c->bytes + layer);
        return -1;
    }
    runtime_unreserve(r, layer);
    c->bytes = bytes;
    c->capacity = capacity;
    return 0;
}

/* SPDX-License-Identifier: MIT */
/*
 * kv_cache.h - keys of one sequence that stay: latents, rotated keys, and keys of the indexer.
 *
 * A sequence with a cache (batch.h) leaves its keys there and sees what is there before it. Cutting
 * back is starting again at a lower position.
 *
 * Shapes     per layer [capacity] rows of kv_lora_rank + qk_rope_head_dim values and, where an
 *            indexer runs, of index_head_dim, in the form asked for (kv_form.h)
 * Ownership  kv_cache_new / kv_cache_free, before the runtime; its bytes count against the
 *            runtime's mem
 * Errors     PREP_EUSAGE when mem has no room, with the floor; PREP_ENOMEM; PREP_EBUG for layers
 *            that the model has not
 * Threads    one at a time
 */
#ifndef PREP_ENGINE_KV_CACHE_H
#define PREP_ENGINE_KV_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/engine/kv_form.h"

#ifdef __cplusplus
extern "C" {
#endif

struct runtime;
struct kv_cache;

struct kv_cache_shape {
    int layer, n_layers; /* from `layer` on; the main layers: 0, num_hidden_layers */
    size_t capacity;     /* positions */
    enum kv_form form;
};

PREP_MUST_CHECK int kv_cache_new(struct kv_cache **c, struct runtime *r,
                                 const struct kv_cache_shape *shape, struct prep_error *err);
void kv_cache_free(struct kv_cache *c); /* accepts NULL */

/* More positions; what is there stays. Needs room for one layer twice. After an error the cache is
 * what it was. */
PREP_MUST_CHECK int kv_cache_grow(struct kv_cache *c, size_t capacity, struct prep_error *err);

/* What kv_cache_new() reserves. */
uint64_t kv_cache_bytes(const struct runtime *r, const struct kv_cache_shape *shape);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * kv_parts.h - what a cache of keys consists of, and what room there is for texts that have one.
 * Private to engine/.
 *
 * Ownership  see kv_cache.h
 * Errors     none
 */
#ifndef PREP_ENGINE_KV_PARTS_H
#define PREP_ENGINE_KV_PARTS_H

#include "libprep/engine/runtime_parts.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kv_cache {
    struct runtime *runtime;
    struct kv_cache_shape shape;
    /* [n_layers] of [capacity] stored rows; index_keys NULL where none are kept. */
    void **keys, **index_keys;
    uint64_t bytes;
};
/* Rows of a layer's keys, or of its indexer's. */
struct kv_row runtime_kv_row(const struct runtime *r, enum kv_form form, int index);

/* What batch_new() reserves. */
uint64_t runtime_batch_bytes(const struct runtime *r, size_t tokens, size_t longest);
/* Bytes that may still be reserved when the rest of memory is to do for a batch of these tokens,
 * whose own bytes are not taken off. */
uint64_t runtime_room(const struct runtime *r, size_t tokens, size_t longest);
/* How many of these tokens one batch should have, at least 1: half of what is free beside the floor
 * goes to it, and where all weights fit, no more than makes a difference. beside: bytes per token
 * that the caller will reserve. */
size_t runtime_batch_most(const struct runtime *r, size_t tokens, size_t longest, uint64_t beside);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * hf_index.h - model.safetensors.index.json: which shard holds which tensor.
 *
 *   { "metadata": { "total_size": 1507728316928 }, "weight_map": { "tensor": "shard", ... } }
 *
 * Reading judges the file alone; whether the shards agree is for store/checkpoint.h.
 *
 * Ownership  text and shard names live in the caller's arena, the rest until hf_index_free()
 * Errors     PREP_EDATA with a tag: LFS_POINTER INDEX_JSON INDEX_TYPE DUPLICATE_KEY SHARD_NAME
 *            INDEX_MISMATCH (no tensor is named); PREP_ENOINPUT
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_HF_INDEX_H
#define PREP_FORMAT_HF_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"
#include "libprep/base/io.h"
#include "libprep/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HF_INDEX_NAME "model.safetensors.index.json"
#define HF_SINGLE_NAME "model.safetensors"

enum hf_total_size { HF_TOTAL_SIZE_MISSING, HF_TOTAL_SIZE_INTEGER, HF_TOTAL_SIZE_FLOAT };

struct hf_index {
    struct span text;
    struct json doc;     /* over text */
    uint32_t weight_map; /* node */
    const char **shards; /* names, sorted by bytes */
    size_t n_shards, n_entries;
    uint32_t *shard_of; /* per entry of weight_map, in text order */
    enum hf_total_size total_size_kind;
    uint64_t total_size;
};

/* path is for messages and to open. */
PREP_MUST_CHECK int hf_index_read(struct hf_index *index, const struct io *io, const char *path,
                                  struct arena *arena, struct prep_error *err);
void hf_index_free(struct hf_index *index); /* accepts a zeroed struct */

/* Does the file name end in ".safetensors", in any case? */
int hf_is_shard_name(const char *name, size_t n);

#ifdef __cplusplus
}
#endif
#endif

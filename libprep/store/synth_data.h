/* SPDX-License-Identifier: MIT */
/*
 * synth_data.h - one computed shard: a real header, and data by name and offset (synth.h).
 *
 * Private to store/.
 *
 * Ownership  what a shard points to lives in the arena it was made with
 * Errors     those of safetensors_layout(); PREP_EBUG for tensors whose bytes do not fit their
 * shape Threads    const after synth_shard_init()
 */
#ifndef PREP_STORE_SYNTH_DATA_H
#define PREP_STORE_SYNTH_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/format/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

struct synth_tensor {
    const char *name;
    uint64_t offset, bytes, seed; /* offset: in the file */
};

struct synth_shard {
    const char *name; /* of the file */
    struct span header;
    struct synth_tensor *tensors; /* back to back behind the header */
    size_t n_tensors;
    uint64_t bytes;
};

PREP_MUST_CHECK int synth_shard_init(struct synth_shard *shard, struct tensor_info *tensors,
                                     size_t n, struct arena *arena, struct prep_error *err);
/* Bytes [offset, offset + n), which must lie inside. */
void synth_shard_read(const struct synth_shard *shard, void *buf, uint64_t offset, size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * synth.h - a checkpoint that is computed instead of stored, and a sink for what is made of it.
 *
 * A synthetic store is a struct io. Its source folder holds shards with real headers, whose data
 * are a function of tensor name and offset. Around it lies a file system in memory that remembers
 * every name and size but swallows data; only files that stay small keep their bytes. So a plan
 * over 1.5 TB is rehearsed on any machine, and a byte in the wrong place is known by its value.
 *
 *   word w of page p of a tensor:  x = key(name, p) + w * C;  x ^ x >> 32, bit 6 of each byte 0
 *
 * Pages have 4096 bytes, words 8 (little-endian), both counted from the tensor's first byte. The
 * cleared bit makes the data finite numbers in F64, F32, F16, BF16, E4M3 and E5M2.
 *
 * Units      bytes
 * Ownership  everything given is copied; synth_free() frees it all
 * Errors     PREP_ENOMEM; PREP_EBUG for two files of one name; PREP_EDATA from
 *            safetensors_layout(). As a file system: -EACCES for writing into the source folder,
 *            -EIO for reading back what was swallowed; copy_range is refused, locks always succeed
 * Threads    building from one thread; the table may then be used by many
 */
#ifndef PREP_STORE_SYNTH_H
#define PREP_STORE_SYNTH_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/io.h"
#include "libprep/format/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A file outside the source folder keeps its bytes while it is not larger. */
#define SYNTH_KEEP_BYTES ((uint64_t)16 << 20)

struct synth;

/* dir is the source folder; it and the folders above it exist from the start. */
PREP_MUST_CHECK int synth_new(struct synth **s, const char *dir, struct prep_error *err);
void synth_free(struct synth *s); /* accepts NULL */

/* A small file of the source folder. */
PREP_MUST_CHECK int synth_add_text(struct synth *s, const char *name, const void *bytes, size_t n,
                                   struct prep_error *err);
/* A shard with these tensors back to back: sets their offsets. Name, dtype, shape and bytes
 * must be set and agree. */
PREP_MUST_CHECK int synth_add_shard(struct synth *s, const char *name, struct tensor_info *tensors,
                                    size_t n, struct prep_error *err);
/* model.safetensors.index.json over all shards added before. */
PREP_MUST_CHECK int synth_add_index(struct synth *s, struct prep_error *err);

/* Valid until synth_free(). */
const struct io *synth_io(const struct synth *s);

/*
 * See every write outside the source folder before it is swallowed: from the writing thread, many
 * at a time. A negative errno makes the write fail.
 */
typedef int (*synth_write_fn)(void *arg, const char *path, uint64_t offset, const void *bytes,
                              size_t n);
void synth_watch(struct synth *s, synth_write_fn fn, void *arg);

struct synth_stats {
    uint64_t read_bytes, written_bytes;
    int open, most_open; /* descriptors */
};
void synth_stats(struct synth *s, struct synth_stats *out);

/* What a tensor is told from others by ... */
uint64_t synth_seed(const char *name, size_t n);
/* ... and its bytes [offset, offset + n). */
void synth_bytes(void *buf, uint64_t seed, uint64_t offset, size_t n);

#ifdef __cplusplus
}
#endif
#endif

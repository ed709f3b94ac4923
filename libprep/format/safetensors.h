/* SPDX-License-Identifier: MIT */
/*
 * safetensors.h - the header of one safetensors file: bytes <-> table of tensors.
 *
 *   0        8              8 + H                       file size
 *   | H (le) | JSON, H bytes | tensor data, back to back |
 *
 * Reading accepts what the reference reader (safetensors 0.8.0) accepts, minus names that lie
 * (duplicates, empty, control characters, path-like); writing puts '{' first, pads with spaces
 * to 8 bytes, leaves no gaps. Source: the safetensors README, section Format.
 *
 * Shapes     at most SAFETENSORS_MAX_DIMS dimensions; [] is a scalar
 * Units      bytes; `offset` counts from the start of the file
 * Ownership  names and metadata live in the caller's arena
 * Errors     PREP_EDATA with a tag: SHORT_FILE HEADER_LENGTH LFS_POINTER HEADER_UTF8 HEADER_JSON
 *            HEADER_TYPE ENTRY DTYPE SHAPE OVERFLOW SPAN GAP OVERLAP TRAILING SHORT_DATA METADATA
 *            NAME; PREP_EUNSUP with SHAPE for more dimensions than we hold. A duplicate key is
 *            NAME at the top level, else ENTRY. Strings of the metadata may not hold U+0000,
 *            which a C string would cut. Nothing is allocated beyond 64 MiB + 4 x the header
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_SAFETENSORS_H
#define PREP_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"
#include "libprep/base/io.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SAFETENSORS_MAX_DIMS = 8 };
#define SAFETENSORS_MAX_HEADER 100000000u

/* In the order of element size, largest first, so that writing in this order aligns all. */
enum dtype {
    DTYPE_C64,
    DTYPE_F64,
    DTYPE_I64,
    DTYPE_U64,
    DTYPE_F32,
    DTYPE_I32,
    DTYPE_U32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_F8_E8M0,
    DTYPE_F8_E4M3FNUZ,
    DTYPE_F8_E5M2FNUZ,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_F6_E2M3,
    DTYPE_F6_E3M2,
    DTYPE_F4,
    DTYPE_COUNT
};

const char *dtype_name(enum dtype t); /* as in the file: "BF16" */
unsigned dtype_bits(enum dtype t);
/* DTYPE_COUNT when unknown. */
enum dtype dtype_from_name(const char *name, size_t n);

struct tensor_info {
    const char *name;
    uint64_t shape[SAFETENSORS_MAX_DIMS];
    uint64_t offset, bytes;
    uint8_t n_dims;
    uint8_t dtype; /* enum dtype */
    /* A tensor of a GGUF file that only its blocks describe: 1 + enum ggml_type; shape counts
     * elements, dtype is U8 and means nothing. 0 for every tensor of a safetensors file. */
    uint16_t ggml;
};

/* Bytes of a tensor of this shape, or -1 on overflow or when it ends inside a byte. */
int tensor_bytes(enum dtype t, const uint64_t *shape, int n_dims, uint64_t *bytes);

struct metadata_pair {
    const char *key, *value;
};

/* What lint reports of an accepted file. */
enum {
    SAFETENSORS_HEADER_ALIGNMENT = 1, /* 8 + H is not a multiple of 8 */
    SAFETENSORS_HEADER_PADDING = 2,   /* other white space than < 8 spaces after '}' */
    SAFETENSORS_HEADER_LEADING_SPACE = 4,
    SAFETENSORS_UNKNOWN_FIELD = 8,
};

struct safetensors {
    struct tensor_info *tensors; /* in the order of the data, empty ones by header order */
    size_t n_tensors;
    struct metadata_pair *metadata;
    size_t n_metadata;
    uint64_t file_bytes, header_bytes; /* header_bytes = H */
    struct hash128_pair {
        uint64_t hi, lo;
    } header_hash; /* XXH3-128 of the first 8 + H bytes: the identity of the layout */
    unsigned lint;
};

/* Read and judge the header of an open file of file_bytes; path is for messages. */
PREP_MUST_CHECK int safetensors_read(struct safetensors *st, const struct io *io, int fd,
                                     uint64_t file_bytes, const char *path, struct arena *arena,
                                     struct prep_error *err);

/*
 * The header for tensors to be written back to back in the given order: sets each offset
 * (from the start of the file) and returns the first 8 + H bytes in the arena. Metadata may be
 * NULL. PREP_EDATA when the header would pass 25,000,000 bytes, where hub parsers stop.
 */
PREP_MUST_CHECK int safetensors_layout(struct tensor_info *tensors, size_t n,
                                       const struct metadata_pair *metadata, size_t n_metadata,
                                       struct arena *arena, struct span *header,
                                       struct prep_error *err);

/* Is this (the beginning of) a Git LFS pointer, left in place of a file not downloaded? */
int safetensors_is_lfs_pointer(struct span bytes);

/* NULL when a tensor name is acceptable, else what is wrong with it ("is empty", ...). */
const char *tensor_name_fault(const char *name, size_t n);
/* The same for the name of a file inside a folder: plain, printable, no path. */
const char *file_name_fault(const char *name, size_t n);

#ifdef __cplusplus
}
#endif
#endif

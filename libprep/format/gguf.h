/* SPDX-License-Identifier: MIT */
/*
 * gguf.h - the metadata block of one GGUF file: bytes <-> keys and a table of tensors.
 *
 *   | header | keys | tensor table | zeros to the alignment | data, each tensor padded |
 *
 * Reading takes versions 2 and 3 and what the reference reader (ggml 0.25.3) takes, minus what
 * lies: keys that are not UTF-8 or hold NUL, unnamed tensors, dimensions of 0, bools other than
 * 0 and 1. One leniency: the last tensor may lack its padding. Writing makes version 3.
 * Source: ggml's docs/gguf.md.
 *
 * Shapes     dims[0] is the length of a row, the fastest varying one; experts are dims[2]
 * Units      bytes; `offset` counts from the start of the file
 * Ownership  what was read lives until gguf_free(); what is written borrows keys and values
 * Errors     PREP_EDATA with a tag: SHORT_FILE MAGIC VERSION ENDIAN COUNT STRING UTF8 KEY
 * VALUE_TYPE BOOL ARRAY ALIGNMENT TENSOR_NAME RANK DIM OVERFLOW TYPE BLOCK OFFSET SHORT_DATA.
 *            Nothing is allocated beyond 64 MiB + 4 x the metadata, which may have 256 MiB
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_GGUF_H
#define PREP_FORMAT_GGUF_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"
#include "libprep/base/table.h"
#include "libprep/format/ggml_type.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GGUF_VERSION = 3, GGUF_MAX_DIMS = 4, GGUF_MAX_NAME = 63, GGUF_ALIGNMENT = 32 };
#define GGUF_MAX_METADATA ((uint64_t)256 << 20)

/* The numbers are those in the file. */
enum gguf_value_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_VALUE_TYPES
};

/* A key and its value, as the bytes of the file. */
struct gguf_kv {
    const char *key;   /* NUL-terminated */
    uint8_t type;      /* enum gguf_value_type */
    uint8_t element;   /* of an array */
    uint64_t count;    /* elements of an array */
    struct span bytes; /* a number; a string without its length; the elements of an array */
};

struct gguf_tensor_info {
    const char *name;
    uint32_t type; /* enum ggml_type */
    uint8_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* 1 behind n_dims */
    uint64_t offset, bytes;       /* without padding */
};

enum {                     /* oddities that are no faults */
       GGUF_LINT_UTF8 = 1, /* a string value that is not UTF-8 */
       GGUF_LINT_RANK_0 = 2,
       GGUF_LINT_LAST_PADDING = 4,
       GGUF_LINT_TRAILING_BYTES = 8,
};

struct gguf {
    struct gguf_kv *kvs; /* in file order */
    size_t n_kvs, cap_kvs;
    struct gguf_tensor_info *tensors; /* in file order, which is that of their data */
    size_t n_tensors, cap_tensors;
    uint32_t version, alignment;
    uint64_t file_bytes, data_start; /* data_start is also the size of the metadata */
    unsigned lint;                   /* GGUF_LINT_* */
    struct name_table keys, names;   /* -> index */
    unsigned char *text;             /* the metadata as read */
    struct arena arena;
};

/* The metadata of an open file; path is for messages. */
PREP_MUST_CHECK int gguf_read(struct gguf *g, const struct io *io, int fd, uint64_t file_bytes,
                              const char *path, struct prep_error *err);
PREP_MUST_CHECK int gguf_open(struct gguf *g, const struct io *io, const char *path,
                              struct io_stat *st, struct prep_error *err);
void gguf_free(struct gguf *g); /* accepts a zeroed struct */

/* NULL when absent. */
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor_info *gguf_find_tensor(const struct gguf *g, const char *name);

const char *gguf_value_name(unsigned type); /* "u32", "string" */
size_t gguf_value_bytes(unsigned type);     /* of a number or bool; 0 for strings and arrays */
/* Any integer type as a number: 0, or -1 when it is none, absent (kv NULL) or out of range. */
int gguf_as_u64(const struct gguf_kv *kv, uint64_t *v);
int gguf_as_f64(const struct gguf_kv *kv, double *v); /* any number */
int gguf_as_bool(const struct gguf_kv *kv, int *v);
/* Elements of an array one after the other; *at begins as 0. Strings come without their length. */
struct span gguf_element(const struct gguf_kv *kv, size_t *at);

/* Rows, and bytes without padding; -1 on overflow, for an unknown type, or rows of no whole blocks.
 */
int gguf_tensor_size(const struct gguf_tensor_info *t, uint64_t *rows, uint64_t *bytes);
static inline uint64_t gguf_pad(uint64_t n, uint64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

/*
 * A list of keys to be written, in order. Keys and string values are copied into the arena.
 * Setting a key that is there moves it to the end, as the reference quantizer does.
 */
struct gguf_keys {
    struct gguf_kv *items;
    size_t n, cap;
    struct arena *arena;
};

void gguf_keys_free(struct gguf_keys *k); /* the list alone; accepts a zeroed struct */
PREP_MUST_CHECK int gguf_set(struct gguf_keys *k, const struct gguf_kv *kv, struct prep_error *err);
PREP_MUST_CHECK int gguf_set_u16(struct gguf_keys *k, const char *key, uint16_t v,
                                 struct prep_error *err);
PREP_MUST_CHECK int gguf_set_u32(struct gguf_keys *k, const char *key, uint32_t v,
                                 struct prep_error *err);
PREP_MUST_CHECK int gguf_set_i32(struct gguf_keys *k, const char *key, int32_t v,
                                 struct prep_error *err);
PREP_MUST_CHECK int gguf_set_f32(struct gguf_keys *k, const char *key, float v,
                                 struct prep_error *err);
PREP_MUST_CHECK int gguf_set_bool(struct gguf_keys *k, const char *key, int v,
                                  struct prep_error *err);
PREP_MUST_CHECK int gguf_set_string(struct gguf_keys *k, const char *key, const char *s, size_t n,
                                    struct prep_error *err);
PREP_MUST_CHECK int gguf_set_strings(struct gguf_keys *k, const char *key, const struct span *items,
                                     size_t n, struct prep_error *err);
PREP_MUST_CHECK int gguf_set_i32s(struct gguf_keys *k, const char *key, const int32_t *v, size_t n,
                                  struct prep_error *err);
PREP_MUST_CHECK int gguf_set_bools(struct gguf_keys *k, const char *key, const unsigned char *v,
                                   size_t n, struct prep_error *err);
/* A number that is there, where it is. */
PREP_MUST_CHECK int gguf_replace_u32(struct gguf_keys *k, const char *key, uint32_t v,
                                     struct prep_error *err);
void gguf_unset(struct gguf_keys *k, const char *key);
/* The same keys in a list of its own; values stay shared. */
PREP_MUST_CHECK int gguf_keys_copy(struct gguf_keys *to, const struct gguf_keys *from,
                                   struct arena *arena, struct prep_error *err);
const struct gguf_kv *gguf_keys_find(const struct gguf_keys *k, const char *key);

/*
 * The metadata block of a file with these keys and tensors, padded, in the arena. Sets bytes and
 * offset of every tensor; *file_bytes (may be NULL) is the size of the whole file. Faults of what
 * is asked for are those of reading.
 */
PREP_MUST_CHECK int gguf_layout(struct span *out, uint64_t *file_bytes,
                                const struct gguf_keys *keys, struct gguf_tensor_info *tensors,
                                size_t n, struct arena *arena, struct prep_error *err);

/*
 * Split sets: PREFIX-00001-of-00004.gguf, and the keys split.no (u16, from 0), split.count (u16),
 * split.tensors.count (i32). A file without these keys is a set of one.
 */
enum { GGUF_MAX_PARTS = 65535 };
struct gguf_split {
    uint32_t no, count;
    uint64_t tensors; /* of the whole set */
};

PREP_MUST_CHECK int gguf_split_of(struct gguf_split *s, const struct gguf *g, const char *path,
                                  struct prep_error *err);
/* "PREFIX-00002-of-00004.gguf" in the arena. */
char *gguf_part_name(struct arena *arena, const char *prefix, uint32_t no, uint32_t count,
                     struct prep_error *err);
/* Length of PREFIX when path ends as that of part no of count does; 0 otherwise. */
size_t gguf_part_prefix(const char *path, uint32_t no, uint32_t count);

#ifdef __cplusplus
}
#endif
#endif

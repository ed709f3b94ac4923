/* SPDX-License-Identifier: MIT */
/*
 * pt.h - a torch.save() file as a tree of plain values. Nothing in it is ever executed.
 *
 * The pickle inside is interpreted by a small stack machine that knows the opcodes and the
 * global names of observations.md section 3.2 and refuses everything else by name and byte
 * offset. A global is a symbol; "calling" one builds a tensor view, an empty dictionary or an
 * object with attributes.
 *
 * Shapes     tensors are strided views into a storage member, offset and strides in elements
 * Ownership  the tree lives in the pt until pt_free() and borrows the file's bytes
 * Errors     PREP_EDATA with a tag: those of zip.h, OBS_LEGACY_FORMAT, OBS_BYTEORDER,
 *            OBS_PICKLE_FORBIDDEN (opcode or global not on the list), OBS_PICKLE_CORRUPT,
 *            OBS_PICKLE_LIMIT, OBS_STORAGE_MISSING, OBS_STORAGE_BOUNDS
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_PT_H
#define PREP_FORMAT_PT_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"
#include "libprep/format/zip.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    PT_MAX_DEPTH = 64,        /* containers inside containers */
    PT_MAX_MEMO = 1 << 20,    /* entries */
    PT_MAX_STACK = 1 << 20,   /* entries */
    PT_MAX_STRING = 1 << 20,  /* bytes */
    PT_MAX_OPCODES = 1 << 22, /* bounds the memory of the tree; a real file has 10^5 */
    PT_MAX_DIMS = 8,
};
#define PT_MAX_FILE_BYTES ((uint64_t)1 << 31)

enum pt_type {
    PT_NONE,
    PT_BOOL,
    PT_INT,
    PT_FLOAT,
    PT_STRING,
    PT_TUPLE,
    PT_LIST,
    PT_DICT,   /* OrderedDict too */
    PT_OBJECT, /* an instance of an allowed class; its attributes are `items` */
    PT_TENSOR,
    PT_GLOBAL, /* a class or function by name */
    PT_STORAGE,
};

enum pt_dtype { PT_F64, PT_F32, PT_F16, PT_BF16, PT_I64, PT_I32, PT_I16, PT_I8, PT_U8, PT_BOOL8 };

struct pt_storage {
    enum pt_dtype dtype;
    uint64_t n; /* elements */
    struct span bytes;
};

struct pt_tensor {
    const struct pt_storage *storage;
    uint64_t offset; /* elements */
    uint64_t shape[PT_MAX_DIMS], stride[PT_MAX_DIMS];
    uint64_t n; /* product of shape, never more than the storage has */
    int n_dims;
};

struct pt_value {
    unsigned char type;   /* enum pt_type */
    unsigned char depth;  /* containers below and including this one */
    unsigned char stored; /* is part of another value and may not change any more */
    uint32_t n;           /* items; a dictionary has n / 2 pairs */
    uint32_t cap;
    union {
        int64_t i; /* PT_BOOL, PT_INT; index of the allow-list for PT_GLOBAL */
        double f;
        struct span s;           /* PT_STRING: UTF-8, not NUL-terminated */
        struct pt_value **items; /* key, value, key, value... in PT_DICT and PT_OBJECT */
        struct pt_tensor *tensor;
        struct pt_storage *storage;
    };
};

struct pt {
    const char *path; /* for messages, borrowed */
    struct zip zip;
    const char *prefix; /* of every member's name, with the slash */
    const struct pt_value *root;
    struct arena arena;
};

/* Judge the container, verify every member's CRC, interpret the pickle. */
PREP_MUST_CHECK int pt_read(struct pt *pt, struct span file, const char *path,
                            struct prep_error *err);
void pt_free(struct pt *pt); /* accepts a zeroed struct */

const char *pt_type_name(const struct pt_value *v); /* "dictionary", "tensor", ... */
const char *pt_dtype_name(enum pt_dtype t);         /* as torch says: "float32" */
int pt_string_is(const struct pt_value *v, const char *s);
/* The value of a string key in a dictionary or an object's attributes; NULL when absent. */
const struct pt_value *pt_get(const struct pt_value *v, const char *key);

/* Elements in row-major order, t->n of them. -1 when the type cannot hold every value exactly:
 * i64 takes integers, f64 takes floating point. */
int pt_tensor_i64(const struct pt_tensor *t, int64_t *out);
int pt_tensor_f64(const struct pt_tensor *t, double *out);

#ifdef __cplusplus
}
#endif
#endif

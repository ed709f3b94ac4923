/* SPDX-License-Identifier: MIT */
/*
 * edit_checkpoint.h - a copy of a checkpoint with a few things changed, for tests that break one.
 *
 * Opened from a folder, changed in memory, written into a new folder: shards that nothing touched
 * become links to the originals, the index is made anew from the tensors.
 *
 * Ownership  edit_open / edit_close; names given are copied
 * Errors     fail the running test
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_EDIT_CHECKPOINT_H
#define PREP_TESTS_EDIT_CHECKPOINT_H

#include "libprep/store/checkpoint.h"
#include "tests/support/support.h"

#ifdef __cplusplus
extern "C" {
#endif

struct edit_tensor {
    struct tensor_info info; /* name owned by the arena */
    uint32_t file;
    unsigned char *bytes; /* NULL: as in the original */
    uint32_t original;    /* index into the checkpoint, when bytes is NULL */
};

struct edit_file {
    const char *name;
    char *text; /* NULL: as in the original */
    size_t n;
    int removed;
};

struct edit {
    const char *dir;
    struct checkpoint *ckpt;
    struct edit_tensor *tensors;
    size_t n, cap;
    unsigned char *touched; /* per shard */
    struct edit_file files[32];
    size_t n_files;
    const char *extra_entry; /* goes into the index though no shard has it */
    struct arena arena;
};

void edit_open(struct edit *e, const char *dir);
void edit_close(struct edit *e);

/* Fails the test when there is none; names are printf-like. */
struct edit_tensor *edit_get(struct edit *e, const char *fmt, ...) PREP_PRINTF(2, 3);
/* The bytes of a tensor, to be changed. */
unsigned char *edit_bytes(struct edit *e, struct edit_tensor *t);
void edit_remove(struct edit *e, const char *name);
void edit_rename(struct edit *e, const char *from, const char *to);
/* A tensor beside `beside`, of these bytes (copied). */
void edit_add(struct edit *e, const char *beside, const char *name, enum dtype dtype, int n_dims,
              const uint64_t *shape, const void *bytes);
/* Replace dtype, shape and bytes of a tensor. */
void edit_set(struct edit *e, struct edit_tensor *t, enum dtype dtype, int n_dims,
              const uint64_t *shape, const void *bytes);

/* The text of a file of the folder; lives until edit_close(). */
const char *edit_text(struct edit *e, const char *name);
void edit_set_text(struct edit *e, const char *name, const char *text);
void edit_drop_file(struct edit *e, const char *name);
/* Every occurrence of `from`; fails the test when there is none. */
void edit_replace(struct edit *e, const char *name, const char *from, const char *to);

/* A new folder with the result. */
const char *edit_write(struct edit *e);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * stored.h - stored tensors for tests: one file of them in memory, or the linears of a folder.
 *
 * Ownership  stored_open / stored_close, linears_open / linears_close
 * Errors     fail the running test
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_STORED_H
#define PREP_TESTS_STORED_H

#include "libprep/quant/linear.h"
#include "tests/support/support.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A safetensors file, whole. */
struct stored {
    struct test_bytes bytes;
    struct safetensors st;
    struct arena arena;
};

void stored_open(struct stored *s, const char *path);
void stored_close(struct stored *s);
const struct tensor_info *stored_find(const struct stored *s, const char *name);
const unsigned char *stored_bytes(const struct stored *s, const char *name);

/* A folder with config.json and shards. */
struct test_linears {
    struct checkpoint *ckpt;
    struct config config;
    struct linears all;
    struct report report;
    struct arena arena;
};

void linears_open(struct test_linears *t, const char *dir);
void linears_close(struct test_linears *t);
/* Without failing the test: for checkpoints that are to be refused. */
PREP_MUST_CHECK int linears_try(struct test_linears *t, const char *dir, struct prep_error *err);

/* The bytes of all tensors of a linear; free with inputs_free(). */
void inputs_read(struct span inputs[LINEAR_PARTS], const struct checkpoint *ckpt,
                 const struct linear *l);
void inputs_free(struct span inputs[LINEAR_PARTS], const struct linear *l);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * verify.h - read files and tensors again: hash them, or compare them with what they should be.
 *
 * Many at a time, each through one block of memory per thread. Files are read once for both
 * their SHA-256 and the XXH3-128 of the tensors inside. A pair holds a tensor as a view shows it
 * (renamed, rows gathered) against a tensor of another checkpoint, byte by byte.
 *
 * Units      bytes
 * Ownership  everything is borrowed for the duration of the call
 * Errors     those of checkpoint_reopen(); PREP_EIO, PREP_ENOMEM; PREP_ESTOPPED when *stop was
 *            set; PREP_EBUG for a pair of unequal sizes
 * Threads    one call at a time per result; sources may be shared
 */
#ifndef PREP_STORE_VERIFY_H
#define PREP_STORE_VERIFY_H

#include <signal.h>

#include "libprep/base/hash.h"
#include "libprep/base/progress.h"
#include "libprep/store/checkpoint.h"
#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

struct verify_options {
    int n_threads;        /* 0: prep_default_threads() */
    uint64_t mem;         /* budget for blocks; 0: 256 MiB */
    uint64_t block_bytes; /* of one read; 0: 4 MiB, less when mem asks for it */
    progress_fn progress; /* may be NULL; from any thread, one call at a time */
    void *progress_arg;
    const volatile sig_atomic_t *stop; /* may be NULL; set by a signal handler */
};

struct file_hash {
    int wanted; /* in: hash this file */
    unsigned char sha256[SHA256_BYTES];
};

/*
 * files[c->n_files] and tensors[c->n_tensors], in the checkpoint's order; entries that belong to
 * files not wanted stay as they are.
 */
PREP_MUST_CHECK int verify_files(struct file_hash *files, struct hash128 *tensors,
                                 const struct checkpoint *c, const struct verify_options *opt,
                                 struct prep_error *err);

#define VERIFY_EQUAL UINT64_MAX

struct verify_pair {
    const struct view_tensor *a;
    const struct checkpoint_tensor *b; /* NULL: a is only hashed */
    struct hash128 a_hash, b_hash;     /* out */
    uint64_t difference;               /* out: first byte that differs, or VERIFY_EQUAL */
};

PREP_MUST_CHECK int verify_pairs(struct verify_pair *pairs, size_t n, const struct view *a,
                                 const struct checkpoint *b, const struct verify_options *opt,
                                 struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * manifest.h - prep-manifest.json, read back: what a run says it wrote.
 *
 *   { "format": "prep-manifest", "version": 1, "run": { .. },
 *     "sources": [ { "name", "bytes", "header_xxh3_128" }, .. ],
 *     "files":   [ { "name", "bytes", "sha256" }, .. ],
 *     "tensors": { "NAME": { "bytes", "xxh3_128", "copy_of" }, .. } }
 *
 * A run without hashes leaves them out. Members that are not known are passed over, so that
 * newer manifests of version 1 can still be checked.
 *
 * Units      bytes
 * Ownership  everything lives in the manifest's arena until manifest_free()
 * Errors     PREP_EDATA, tag MANIFEST: not JSON, wrong type, a name that is no plain file name;
 *            PREP_EUNSUP for another version; PREP_ENOMEM
 * Threads    const after reading
 */
#ifndef PREP_STORE_MANIFEST_H
#define PREP_STORE_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/hash.h"
#include "libprep/base/table.h"

#ifdef __cplusplus
extern "C" {
#endif

struct manifest_file {
    const char *name;
    uint64_t bytes;
    const char *sha256; /* NULL: not hashed */
};

struct manifest_tensor {
    const char *name;
    uint64_t bytes;
    const char *xxh3; /* 32 digits, NULL: not hashed */
    const char *copy_of;
};

struct manifest {
    struct manifest_file *files;
    struct manifest_tensor *tensors;
    size_t n_files, n_tensors, n_sources;
    struct span run; /* JSON text of "run", or empty */
    struct name_table names;
    struct arena arena;
};

PREP_MUST_CHECK int manifest_parse(struct manifest *m, const char *text, size_t n, const char *name,
                                   struct prep_error *err);
void manifest_free(struct manifest *m); /* accepts a zeroed struct */

/* NULL when the manifest does not name it. */
const struct manifest_tensor *manifest_find(const struct manifest *m, const char *tensor);
const struct manifest_file *manifest_find_file(const struct manifest *m, const char *file);

#ifdef __cplusplus
}
#endif
#endif

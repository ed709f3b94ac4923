/* SPDX-License-Identifier: MIT */
/*
 * inspect_check.h - is a thing that could be opened right in itself?
 *
 * A checkpoint is held against what its config.json implies, against its keep-map and its
 * manifest; with read_data every byte is read again and hashed. Observations are checked value by
 * value, keep-maps for counts that follow from each other.
 *
 * Findings   those of model/check.h; the fault's own tag when a file beside the shards cannot be
 *            read; OBS_* of format/observation.h; errors KEEP_MAP_COUNT KEEP_MAP_LAYER
 *            KEEP_MAP_PASSES MANIFEST_FILE MANIFEST_SIZE MANIFEST_TENSOR FILE_SHA256
 *            TENSOR_XXH3; warnings NO_MANIFEST and NO_HASHES: data was read, but there is
 *            nothing to hold it against
 * Ownership  findings copy what they quote; codes are literals
 * Errors     those of store/verify.h; PREP_ENOMEM
 * Threads    one call at a time per result
 */
#ifndef PREP_RELEASE_INSPECT_CHECK_H
#define PREP_RELEASE_INSPECT_CHECK_H

#include "libprep/model/findings.h"
#include "libprep/release/inspect.h"
#include "libprep/store/verify.h"

#ifdef __cplusplus
extern "C" {
#endif

struct check_options {
    int read_data;
    struct verify_options verify;
};

/* out is initialised here; findings_fini() is the caller's. report takes warnings, may be NULL. */
PREP_MUST_CHECK int inspect_check(struct findings *out, const struct inspected *it,
                                  const struct check_options *opt, struct report *report,
                                  struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

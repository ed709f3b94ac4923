/* SPDX-License-Identifier: MIT */
/*
 * amax.h - activation maxima of linears, *.amax.safetensors: read, merged, written.
 *
 *   MODULE.amax_in  F32 [1]  largest |x| over all inputs of the linear
 *   MODULE.tokens   I64 [1]  how many input rows are behind it, at least 1
 *
 * A module that saw no token is absent. Merging takes the larger maximum and adds the tokens;
 * order and grouping of files do not matter. Of the metadata, counts are added, the longest
 * sequence is kept, what identifies model and expert ids must be equal, and everything else that
 * differs is joined by '+', sorted.
 *
 * Shapes     entries[n] ascending by module name
 * Ownership  everything lives in the struct's arena until amax_free()
 * Errors     PREP_EDATA with AMAX_FORMAT (another kind of file, a tensor that is none of these, one
 *            of two missing), OBS_SHAPE, OBS_NONFINITE, OBS_NEGATIVE, OBS_ZERO_TOKENS; when merging
 *            OBS_SPACE_MIX, OBS_EXPERT_COUNT, OBS_SEMANTICS_MIX; those of safetensors.h
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_AMAX_H
#define PREP_FORMAT_AMAX_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"
#include "libprep/base/table.h"
#include "libprep/format/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

struct amax_entry {
    const char *module;
    float amax; /* finite, >= 0 */
    int64_t tokens;
};

struct amax {
    struct amax_entry *entries;
    size_t n;
    struct metadata_pair *metadata; /* ascending by key */
    size_t n_metadata;
    int n_routed_experts; /* from the metadata; 0: not said */
    struct name_table names;
    struct arena arena;
};

PREP_MUST_CHECK int amax_read(struct amax *a, const struct io *io, const char *path,
                              struct prep_error *err);
/* The same from the bytes of a whole file; path is for messages. */
PREP_MUST_CHECK int amax_parse(struct amax *a, struct span file, const char *path,
                               struct prep_error *err);
/*
 * One table of n files; paths are for messages. mix_semantics accepts different rules for which
 * tokens reach an expert. The parts stay as they are.
 */
PREP_MUST_CHECK int amax_merge(struct amax *out, const struct amax *parts, const char *const *paths,
                               size_t n, int mix_semantics, struct prep_error *err);
/* The whole file, in the arena: equal tables give equal bytes. */
PREP_MUST_CHECK int amax_write(const struct amax *a, struct arena *arena, struct span *out,
                               struct prep_error *err);
void amax_free(struct amax *a); /* accepts a zeroed struct */

/* NULL when the module saw nothing. */
const struct amax_entry *amax_find(const struct amax *a, const char *module);
/* NULL when the metadata does not have the key. */
const char *amax_metadata(const struct amax *a, const char *key);

#ifdef __cplusplus
}
#endif
#endif

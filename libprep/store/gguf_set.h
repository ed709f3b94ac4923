/* SPDX-License-Identifier: MIT */
/*
 * gguf_set.h - a GGUF file, or all parts of a split one, as one table of tensors.
 *
 * Opening any part opens them all: the keys of a part say how many there are, its name says what
 * the others are called. A part that is missing, short, of another set or with a tensor too many
 * is found here, before a byte of it is used.
 *
 * Units      bytes; offsets in the part's file
 * Ownership  the set owns everything reachable from it until gguf_set_close()
 * Errors     those of gguf.h, with the part's name; PREP_ENOINPUT with SPLIT_MISSING; PREP_EDATA
 *            with SPLIT_KEYS (parts that do not say the same, or a count of tensors that is not
 *            theirs), SPLIT_NAME (a part whose name is not that of one), SPLIT_TENSOR (twice)
 * Threads    const after opening
 */
#ifndef PREP_STORE_GGUF_SET_H
#define PREP_STORE_GGUF_SET_H

#include "libprep/base/report.h"
#include "libprep/format/gguf.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gguf_set {
    const struct io *io;
    struct gguf *parts;        /* [n_parts]; the first has the keys */
    struct source_file *files; /* [n_parts] */
    size_t n_parts;
    uint64_t n_tensors, tensor_bytes;
    unsigned lint;            /* of all parts */
    struct name_table names;  /* -> part */
    struct checkpoint source; /* with these files and no tensors, for plan_add_checkpoint() */
    struct arena arena;
};

PREP_MUST_CHECK int gguf_set_open(struct gguf_set *s, const struct io *io, const char *path,
                                  struct prep_error *err);
void gguf_set_close(struct gguf_set *s); /* accepts a zeroed struct */

static inline const struct gguf_kv *gguf_set_key(const struct gguf_set *s, const char *key)
{
    return gguf_find(&s->parts[0], key);
}
/* NULL when absent; *part is the file it lies in. */
const struct gguf_tensor_info *gguf_set_find(const struct gguf_set *s, const char *name,
                                             uint32_t *part);
/* The lints as warnings: UTF8 RANK_0 LAST_PADDING TRAILING_BYTES. */
void gguf_set_warn(const struct gguf_set *s, struct report *report);

#ifdef __cplusplus
}
#endif
#endif

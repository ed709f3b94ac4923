/* SPDX-License-Identifier: MIT */
/*
 * gguf_parts.h - a GGUF file cut into parts, or the parts of a set made one file again.
 *
 * Tensors are copied as they are, in order. Merging drops the split keys, so that split and merge
 * give the file back; the reference tool leaves them in, and cuts by another rule: --strict-parity
 * does as it does.
 *
 *                  parts are full when          sizes count   keys of a part
 *   default        the next tensor is too much  as stored     no, count, tensors.count
 *   strict parity  the same                     padded        no, tensors.count, count
 *
 * Ownership  gguf_parts_free(); the set is borrowed and must outlive the plan
 * Errors     PREP_EUSAGE when neither a size nor a number is given; those of gguf.h and plan.h
 */
#ifndef PREP_RELEASE_GGUF_PARTS_H
#define PREP_RELEASE_GGUF_PARTS_H

#include "libprep/store/gguf_set.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gguf_parts_job {
    const char *tool;
    const struct gguf_set *set;
    const char *stem;       /* of the new file or files */
    uint64_t split_bytes;   /* 0: any */
    uint64_t split_tensors; /* 0: any; both 0: one file */
    int first_empty;        /* the first part holds the keys alone */
    int strict_parity;
};

struct gguf_parts {
    struct plan *plan;
    size_t n_parts;
    struct arena arena;
};

PREP_MUST_CHECK int gguf_parts_plan(struct gguf_parts *out, const struct gguf_parts_job *job,
                                    struct prep_error *err);
void gguf_parts_free(struct gguf_parts *p); /* accepts a zeroed struct */

#ifdef __cplusplus
}
#endif
#endif

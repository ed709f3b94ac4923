/* SPDX-License-Identifier: MIT */
/*
 * sizes.h - what a model weighs in every format, before anything is built.
 *
 * One table per number of experts: parameters, bytes of each format, bytes of one tensor-parallel
 * rank, cache bytes, and how many tokens fit beside the weights. All figures come from
 * model/count.h.
 *
 * Shapes     variants[n_variants]; rows[N_WEIGHT_FORMATS] in the order of WEIGHT_FORMATS
 * Units      bytes, parameters, tokens
 * Ownership  sizes_free(); formats are literals
 * Errors     PREP_EUSAGE where a count or a degree is impossible; PREP_ENOMEM
 */
#ifndef PREP_RELEASE_SIZES_H
#define PREP_RELEASE_SIZES_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/report.h"
#include "libprep/model/count.h"

#ifdef __cplusplus
extern "C" {
#endif

struct size_request {
    const int64_t *experts; /* numbers of experts to compare; none: as the config says */
    size_t n_experts;
    int without_mtp;
    int tp;               /* ranks, at least 1 */
    uint64_t context;     /* tokens; 0: what the config allows */
    uint64_t rank_memory; /* bytes for weights and cache of a rank; 0: not asked */
};

struct size_row {
    const struct weight_format *format;
    struct format_size size;
    uint64_t
        tokens[KV_LAYOUT_COUNT]; /* that fit in rank_memory with this cache; 0 when not asked */
};

struct size_variant {
    int n_experts;
    uint64_t parameters; /* of what is stored */
    struct model_counts counts;
    struct size_row *rows;
};

struct size_table {
    int layers, mtp_layers; /* that are counted */
    int tp;
    uint64_t context, rank_memory;
    uint64_t kv_token[KV_LAYOUT_COUNT];   /* bytes per token, MTP layers included, on every rank */
    uint64_t kv_context[KV_LAYOUT_COUNT]; /* of `context` tokens */
    struct size_variant *variants;
    size_t n_variants;
    struct arena arena;
};

/* c is changed while the table is made and restored before this returns. */
PREP_MUST_CHECK int sizes_build(struct size_table *t, struct config *c,
                                const struct size_request *request, struct prep_error *err);
void sizes_free(struct size_table *t); /* accepts a zeroed struct */

/* As facts: variants, formats, kv_cache. */
void sizes_report(const struct size_table *t, struct report *report);

#ifdef __cplusplus
}
#endif
#endif

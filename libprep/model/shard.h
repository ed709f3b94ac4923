/* SPDX-License-Identifier: MIT */
/*
 * shard.h - what a tensor-parallel rank holds of each tensor.
 *
 * The split is that of the serving engines: vocabulary and heads by rows, o_proj and down
 * projections by columns, the rest whole on every rank. Sizes (count.h), slices of stored linears
 * (quant/linear_slice.h) and the runtime all ask here, so that a plan and a run cannot disagree.
 *
 * Units      rows and columns of the whole matrix
 * Ownership  plain values
 * Errors     only shard_check() judges whether a model splits
 */
#ifndef PREP_MODEL_SHARD_H
#define PREP_MODEL_SHARD_H

#include <stdint.h>

#include "libprep/base/error.h"
#include "libprep/model/config.h"
#include "libprep/model/names.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rank `rank` of `n`; n 0 or 1: everything. */
struct shard {
    int rank, n;
};

/* PREP_EUSAGE, tag TP_DIVISIBILITY, when heads, widths or vocabulary do not split over n ranks. */
PREP_MUST_CHECK int shard_check(const struct config *c, int n, struct prep_error *err);

enum shard_axis { SHARD_WHOLE, SHARD_ROWS, SHARD_COLS };
enum shard_axis shard_axis(enum part part);

struct shard_range {
    uint64_t first, n;
};

/* Of `size` rows or columns: equal shares, rounded up; the last ranks may have less, or none. */
struct shard_range shard_range(uint64_t size, const struct shard *s);
/* The whole blocks around a range, of `size` in all; block 1: the range. */
struct shard_range shard_blocks(struct shard_range r, uint64_t block, uint64_t size);

/* The rows and columns of a matrix of this part that a rank computes with. */
struct shard_ranges {
    struct shard_range rows, cols;
};
struct shard_ranges shard_ranges(enum part part, uint64_t rows, uint64_t cols,
                                 const struct shard *s);

#ifdef __cplusplus
}
#endif
#endif

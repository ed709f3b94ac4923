/* SPDX-License-Identifier: MIT */
/*
 * linear_slice.h - some rows and columns of a stored linear, as a linear of its own.
 *
 * A slice decodes like any other linear (linear.h) from bytes that are gathered from the whole:
 * each tensor gives pieces of equal length that lie a stride apart. Where a block, a group or a
 * packed word crosses the border, the slice holds all of it, and `lead_*` say where what was asked
 * for begins.
 *
 *    rows     PLAIN, NVFP4, GGUF: any; FP8: whole blocks; GPTQ (and pack-quantized with zeros):
 *             whole words of 8 zeros; keys and values apart: whole heads
 *    columns  PLAIN: any; FP8, NVFP4, GGUF: whole blocks; integers: whole groups, or whole words of
 *             8 with all groups where g_idx may name any (desc_act, pack-quantized with g_idx)
 *
 * Shapes     rows and columns of the [out, in] matrix
 * Ownership  lives in the caller's arena, borrows the whole linear and its names
 * Errors     PREP_ENOMEM; PREP_EBUG for a range outside; PREP_EUNSUP, tag UNSUPPORTED, for columns
 *            of keys and values apart. When decoding: G_IDX where the config says that groups are
 *            in order and g_idx says otherwise
 * Threads    const
 */
#ifndef PREP_QUANT_LINEAR_SLICE_H
#define PREP_QUANT_LINEAR_SLICE_H

#include "libprep/model/shard.h"
#include "libprep/quant/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

/* n pieces of `bytes` bytes; piece i begins at byte offset + i stride of the tensor. */
struct linear_piece {
    uint64_t offset, n, stride, bytes;
};

struct linear_slice {
    struct linear linear;                     /* what is held */
    uint64_t lead_row, rows, lead_col, cols;  /* of that, what was asked for */
    struct linear_piece pieces[LINEAR_PARTS]; /* of linear.tensors[i] */
};

PREP_MUST_CHECK int linear_slice(const struct linear_slice **out, const struct linear *l,
                                 const struct shard_ranges *ranges, struct arena *arena,
                                 struct prep_error *err);
/* Bytes that the tensors of a linear hold; of a slice too. */
uint64_t linear_bytes(const struct linear *l);
/* Does the slice hold more than was asked for, because a block or group crosses its border? */
int linear_slice_is_wider(const struct linear_slice *s);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * source.h - tensors of a checkpoint or of a view by number, and reading their bytes.
 *
 * Units      offsets and sizes in bytes of the tensor as seen (rows left out do not count)
 * Ownership  borrows checkpoint and view; a reader holds one file open: source_reader_fini()
 * Errors     those of checkpoint_reopen() and io_read_exact()
 * Threads    a source is const; a reader belongs to one thread at a time
 */
#ifndef PREP_ENGINE_SOURCE_H
#define PREP_ENGINE_SOURCE_H

#include "libprep/quant/linear_slice.h"
#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One of the two is set. */
struct source {
    const struct checkpoint *checkpoint;
    const struct view *view;
};

size_t source_count(const struct source *s);
const struct tensor_info *source_info(const struct source *s, size_t tensor);

struct source_reader {
    const struct source *source;
    const struct checkpoint *open; /* whose file is open */
    uint32_t file;
    int fd;
    uint64_t read_bytes;
    unsigned char *bounce; /* of pieces that lie close together */
};

void source_reader_init(struct source_reader *r, const struct source *s);
void source_reader_fini(struct source_reader *r); /* accepts a zeroed struct */

/* Bytes [offset, offset + n) of a tensor; of a tensor with picked rows, whole rows. */
PREP_MUST_CHECK int source_read(struct source_reader *r, size_t tensor, uint64_t offset, void *buf,
                                size_t n, struct prep_error *err);
/*
 * Pieces of a tensor, one after the other. Those that lie close together are read with what is
 * between them, which counts in read_bytes.
 */
PREP_MUST_CHECK int source_read_pieces(struct source_reader *r, size_t tensor,
                                       const struct linear_piece *p, void *buf,
                                       struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

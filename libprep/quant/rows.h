/* SPDX-License-Identifier: MIT */
/*
 * rows.h - the rows of a step's member as numbers, a chunk at a time. Private to the steps.
 *
 * Plain BF16 and F32 are used where they lie; every other form is decoded to F32 into the step's
 * work memory, and so is every chunk that asks for F32.
 *
 * Shapes     a chunk is [n, in], n <= QUANT_CHUNK_ROWS
 * Errors     NONFINITE; those of linear_decode_rows()
 * Threads    pure
 */
#ifndef PREP_QUANT_ROWS_H
#define PREP_QUANT_ROWS_H

#include "libprep/quant/step.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { QUANT_CHUNK_ROWS = 256, QUANT_CHUNK_BYTES = 1 << 20 };

/* Rows of one chunk of this member. */
uint64_t quant_chunk_rows(const struct linear *l);
/* Bytes of a chunk as F32. */
uint64_t quant_chunk_bytes(const struct linear *l);

struct quant_source {
    const struct quant_member *member;
    const struct linear_codec *codec;
    const struct span *inputs; /* of the member */
    float *work;               /* quant_chunk_bytes() */
    struct linear_counts counts;
};

void quant_source_init(struct quant_source *s, const struct quant_step *step, size_t member,
                       const struct step_memory *m, float *work);
/* Rows [first, first + n), n as quant_chunk_rows() or what is left. */
PREP_MUST_CHECK int quant_source_rows(struct quant_source *s, uint64_t first, uint64_t n,
                                      int as_f32, struct nvfp4_rows *rows, struct prep_error *err);
/* Are the rows finite? rows begin at row `first`. */
PREP_MUST_CHECK int quant_check_finite(const struct quant_source *s, uint64_t first,
                                       const struct nvfp4_rows *rows, struct prep_error *err);
/* The importances of the member's inputs, judged; NULL when it has none. */
PREP_MUST_CHECK int quant_importance(const struct quant_source *s, const float **importance,
                                     struct prep_error *err);
/* Where an output of the member goes; NULL when its form has no such part. */
unsigned char *quant_output(const struct quant_member *member, enum linear_part part,
                            const struct step_memory *m);
struct quant_note *quant_note(const struct step_memory *m, size_t member);

#ifdef __cplusplus
}
#endif
#endif

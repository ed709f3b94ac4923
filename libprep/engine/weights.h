/* SPDX-License-Identifier: MIT */
/*
 * weights.h - the modules of a model, brought into memory when they are needed.
 *
 * A module is a linear in whichever form it is stored, or some of its rows and columns
 * (linear_slice.h), or a vector, which is widened to F32 when it is read. The pool holds as many as
 * its bound allows, least recently used go first, and a reader thread brings what was announced
 * while others compute. If everything fits, everything is read once.
 *
 *    weights_announce(ids in order of use)  ->  reader  ->  weights_get(id) ... weights_put(id)
 *
 * Units      bytes as stored (vectors: as F32)
 * Ownership  tensors are borrowed from checkpoint or view; a struct weight belongs to the pool and
 *            its bytes stay until weights_put()
 * Errors     those of reading: PREP_EIO, PREP_EDATA (SOURCE_CHANGED), PREP_ENOMEM. What the
 *            reader met is raised by weights_get()
 * Threads    one user; the reader is inside
 */
#ifndef PREP_ENGINE_WEIGHTS_H
#define PREP_ENGINE_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/engine/source.h"
#include "libprep/quant/linear_slice.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WEIGHT_NONE UINT32_MAX

/* One module. What stands before `parts` is set by whoever adds it. */
struct weight {
    const char *name;                 /* for messages: of the module or tensor */
    const struct linear *linear;      /* what is held; NULL: a vector */
    const struct linear_slice *slice; /* whose linear that is; NULL: all of it */
    const struct tensor_info *vector;
    uint32_t tensor;             /* of the vector: its number in the source */
    uint64_t first, count;       /* rows that are used: they begin at row `first` of the whole
                                    matrix. Of a vector 0 and its length */
    uint64_t lead_row, lead_col; /* where they begin in what is held ... */
    uint64_t cols;               /* ... and how many columns */

    struct span parts[LINEAR_PARTS]; /* bytes of linear->tensors, while held */
    const float *values;             /* of a vector, while held */
};

/* A module that is all of a linear, or a slice. */
struct weight weight_of(const struct linear *l);
struct weight weight_of_slice(const struct linear_slice *s);

struct weights;

/* The source is borrowed. */
PREP_MUST_CHECK int weights_new(struct weights **w, const struct source *source,
                                struct prep_error *err);
void weights_free(struct weights *w); /* accepts NULL; waits for the reader */

/* Before the first use. The struct is copied; *id is how to ask for it. */
PREP_MUST_CHECK int weights_add(struct weights *w, const struct weight *module, uint32_t *id,
                                struct prep_error *err);
/* The module, without its bytes; valid until the next weights_add(). */
const struct weight *weights_at(const struct weights *w, uint32_t id);
uint32_t weights_count(const struct weights *w);
uint64_t weights_bytes(const struct weights *w, uint32_t id);
/* The same as it is stored: vectors in their dtype, nothing for alignment. */
uint64_t weights_stored_bytes(const struct weights *w, uint32_t id);
uint64_t weights_total(const struct weights *w);
uint64_t weights_largest(const struct weights *w);
/* The pool's bound; what is over it is dropped as soon as nobody holds it. */
void weights_limit(struct weights *w, uint64_t bytes);

/* What will be asked for next, in order; replaces what was announced and not yet read. */
PREP_MUST_CHECK int weights_announce(struct weights *w, const uint32_t *ids, size_t n,
                                     struct prep_error *err);
/*
 * Waits until the module is there, and holds it. What is held stays, so little may be at a time:
 * the bound is kept by dropping others.
 */
PREP_MUST_CHECK int weights_get(struct weights *w, uint32_t id, const struct weight **module,
                                struct prep_error *err);
void weights_put(struct weights *w, uint32_t id);

/* Row `row` of a tensor [rows, cols] widened to F32, read alone: embeddings. */
PREP_MUST_CHECK int weights_read_row(struct weights *w, uint32_t tensor, uint64_t row, float *out,
                                     struct prep_error *err);

struct weights_stats {
    uint64_t read_bytes, held_bytes, peak_bytes;
};
void weights_stats(struct weights *w, struct weights_stats *out);

#ifdef __cplusplus
}
#endif
#endif

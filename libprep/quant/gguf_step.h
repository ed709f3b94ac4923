/* SPDX-License-Identifier: MIT */
/*
 * gguf_step.h - the rows of GGUF targets, made a piece at a time for several files at once.
 *
 * A *unit* is a run of rows of one source: an expert, some rows of an embedding, all of kv_b_proj.
 * Its step reads the stored bytes once, decodes them to F32 a chunk at a time, and writes the rows
 * of every file in that file's type. No tensor needs to fit in memory: the 5 GB of a layer's
 * stacked experts are a few hundred units.
 *
 *    inputs    stored tensors of the source (plain: runs of rows) | weights, if any
 *    outputs   one per file; of kv_b_proj two: keys, values, of the first file, then of the second
 *
 * Shapes     a unit has rows [first, first + n) of its target's slice; kv_b_proj is one unit
 * Units      bytes; rows
 * Ownership  everything lives in the plan's arena and borrows from the map
 * Errors     of the steps, PREP_EDATA: NONFINITE (tensor, row and column are named), GGML_SCALE (a
 *            value too large for the type), IMATRIX_VALUE; those of linear_decode_rows()
 * Threads    steps are pure
 */
#ifndef PREP_QUANT_GGUF_STEP_H
#define PREP_QUANT_GGUF_STEP_H

#include "kernels/ggml/ggml.h"
#include "libprep/format/imatrix.h"
#include "libprep/quant/gguf_map.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GGUF_MAX_FILES = PLAN_MAX_STRANDS };

/* The weights of a target, or entry NULL. */
struct gguf_weights {
    const struct imatrix_entry *entry;
    const int *slice_of; /* [slices] number of the slice in the file; NULL: the same */
};

struct gguf_work;

struct gguf_unit {
    const struct gguf_work *work;
    const struct linear *from;
    uint32_t target; /* in the map; of kv_b_proj that of the keys */
    uint32_t slice;
    uint64_t first, n; /* rows of the source */
    uint32_t n_inputs; /* that hold the source */
    uint32_t step;     /* of the plan */
};

/* One reading of the source for n_files files. */
struct gguf_work {
    const struct gguf_map *map;
    struct linear_codec decode;
    enum isa isa;
    size_t n_files;
    const enum ggml_type *types[GGUF_MAX_FILES]; /* [map->n] each */
    const struct gguf_weights *weights;          /* [map->n], or NULL */
    struct gguf_unit *units;
    size_t n_units, cap_units;
    uint32_t *first_unit, *n_of; /* [map->n]; the values of kv_b_proj have those of the keys */
};

struct gguf_work_request {
    const struct view *view;
    const uint32_t *first_source;  /* [view->n_sources]: plan_add_checkpoint() of each */
    uint32_t imatrix_source;       /* the file of the weights in the plan */
    const struct imatrix *imatrix; /* of that file, or NULL */
    uint64_t unit_bytes;           /* stored bytes of a run of rows; 0: 16 MiB */
};

/* Adds a step per unit, in the order of the map. All of w above units must be set. */
PREP_MUST_CHECK int gguf_work_plan(struct gguf_work *w, struct plan *plan,
                                   const struct gguf_work_request *r, struct prep_error *err);
/* Bytes of a unit in a file; half tells the two of kv_b_proj apart. */
uint64_t gguf_unit_bytes(const struct gguf_work *w, const struct gguf_unit *u,
                         const struct gguf_target *t, enum ggml_type type);

/* The step function. */
int gguf_step(const struct step_memory *m, const void *unit, struct prep_error *err);
uint64_t gguf_step_work_bytes(const struct gguf_unit *u);

#ifdef __cplusplus
}
#endif
#endif

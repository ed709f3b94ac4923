/* SPDX-License-Identifier: MIT */
/*
 * view.h - a checkpoint seen differently: other names, fewer tensors, fewer rows; same bytes.
 *
 * A view is a table of tensors over one or several source checkpoints. A keep-map view (prune/
 * builds it) *is* a pruned checkpoint; a stitched checkpoint is a view over two sources. What is
 * made of a view is up to the tool: a copy, a quantization, a GGUF.
 *
 * Shapes     rows[] picks entries of dimension 0, ascending, n_rows of them; NULL takes all
 * Ownership  names, shapes and rows live in the view's arena; sources are borrowed and must
 *            outlive the view
 * Errors     PREP_ENOMEM; PREP_EDATA tag NAME when two tensors get one name
 * Threads    const after building
 */
#ifndef PREP_STORE_VIEW_H
#define PREP_STORE_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { VIEW_MAX_SOURCES = 4 };

struct view_tensor {
    struct tensor_info info; /* name, shape, dtype and bytes as seen; offset unused */
    uint64_t order, group;   /* where the tensor goes in our shards (names.h) */
    uint32_t source;         /* index into sources */
    uint32_t tensor;         /* index into that checkpoint's tensors */
    uint32_t n_rows;
    const int *rows;
};

struct view {
    const struct checkpoint *sources[VIEW_MAX_SOURCES];
    size_t n_sources;
    struct view_tensor *tensors;
    size_t n_tensors, cap_tensors;
    struct arena arena;
};

void view_init(struct view *v);
void view_fini(struct view *v); /* accepts a zeroed struct */

/*
 * Append a tensor of source under `name` (copied). rows == NULL takes it whole; otherwise the
 * tensor needs a dimension 0 and rows[] (copied) must be ascending and inside it.
 */
PREP_MUST_CHECK int view_add(struct view *v, uint32_t source, uint32_t tensor, const char *name,
                             const int *rows, size_t n_rows, uint64_t order, uint64_t group,
                             struct prep_error *err);
/* Sort by (order, name) and refuse duplicate names. Call once after the last view_add(). */
PREP_MUST_CHECK int view_finish(struct view *v, struct prep_error *err);

static inline const struct checkpoint_tensor *view_source(const struct view *v,
                                                          const struct view_tensor *t)
{
    return &v->sources[t->source]->tensors[t->tensor];
}

#ifdef __cplusplus
}
#endif
#endif

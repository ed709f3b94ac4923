/* SPDX-License-Identifier: MIT */
/*
 * importance.h - how much each input of a linear matters, for searches that weigh errors.
 *
 *   MODULE.importance   F32 [in]   sum of squares of that input over the calibration tokens, or
 *                                  anything else in proportion; finite, >= 0
 *
 * An ordinary safetensors file whose metadata has format = reap-importance, version = 1 and
 * n_routed_experts, which says whose expert ids its names hold. Only the header is read here; the
 * values are inputs of the steps that use them.
 *
 * Ownership  the struct owns all of it until importance_close(); the plan borrows it
 * Errors     PREP_EDATA with IMPORTANCE (another kind of file), OBS_EXPERT_COUNT; those of
 *            safetensors.h
 * Threads    const after opening
 */
#ifndef PREP_QUANT_IMPORTANCE_H
#define PREP_QUANT_IMPORTANCE_H

#include "libprep/base/table.h"
#include "libprep/quant/ids.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

struct importance {
    struct source_file file;
    struct checkpoint source; /* with that file and no tensors, for plan_add_checkpoint() */
    struct safetensors st;
    struct name_table names;
    int n_routed_experts;
    struct quant_ids ids; /* filled in by whoever knows the keep-maps */
    struct arena arena;
};

PREP_MUST_CHECK int importance_open(struct importance *p, const struct io *io, const char *path,
                                    struct prep_error *err);
void importance_close(struct importance *p); /* accepts a zeroed struct */

/* NULL when the file has none for this linear; PREP_EDATA tag IMPORTANCE for a wrong shape. */
PREP_MUST_CHECK int importance_find(const struct importance *p, const struct linear *l,
                                    const struct tensor_info **t, struct arena *arena,
                                    struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

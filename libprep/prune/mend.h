/* SPDX-License-Identifier: MIT */
/*
 * mend.h - the few tensors that a pruned checkpoint may hold other bytes of than its source.
 *
 * Two mends, both off unless asked for:
 *
 *   gate and up    an expert of an NVFP4 source whose gate and up have different global scales gets
 *                  one (quant/rescale.h)
 *   bias centred   per layer, the middle m = f32((least + largest)/2) of the kept correction biases
 *                  is subtracted from each: f32(b - m). A constant alters no selection with one
 *                  group of experts; what is left is small, so that fewer bits hold it
 *
 * Unequal pairs are looked for whether they are mended or not: the report says GATE_UP_SCALE.
 *
 * Ownership  everything lives in the arena given; view and arena outlive the plan
 * Errors     PREP_EUSAGE for several groups; PREP_EUNSUP for a bias that is not F32; reading. Of
 *            the steps PREP_EDATA, ROUTER_NONFINITE
 * Threads    none
 */
#ifndef PREP_PRUNE_MEND_H
#define PREP_PRUNE_MEND_H

#include "libprep/base/report.h"
#include "libprep/model/config.h"
#include "libprep/store/layout.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mend_options {
    int fix_gate_up;
    int center_bias;
};

struct mend; /* one step */

struct mends {
    struct mend_options options;
    size_t n_pairs, n_unequal; /* of gate and up in NVFP4 */
    struct mend *items;
    size_t n;
    uint32_t *of;            /* [view tensors] number of the mend that makes it, or UINT32_MAX */
    const struct view *view; /* borrowed */
    const struct plan *plan; /* set by mends_plan(), for the manifest */
};

PREP_MUST_CHECK int mends_find(struct mends *m, const struct view *view, const struct config *c,
                               const struct mend_options *options, struct arena *arena,
                               struct report *report, struct prep_error *err);

/* Adds the steps to the plan and the list of tensors to the layout, and says in the manifest what
 * was done. Nothing to do when there is nothing mended. */
PREP_MUST_CHECK int mends_plan(struct mends *m, struct plan *plan, struct layout *l,
                               struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

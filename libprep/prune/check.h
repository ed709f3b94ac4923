/* SPDX-License-Identifier: MIT */
/*
 * check.h - is a checkpoint whole as far as its experts go? Asked of a view before a byte is
 * written (observations.md section 9).
 *
 * In every MoE layer the expert ids are exactly 0..N-1; all experts have the same parts; experts
 * that store a part in the same form (dtype and shape of its weight) store the same tensors with
 * it, so that a missing scale shows even where single experts are quantized differently; the
 * router has N rows; fused experts have a first dimension of N or 1.
 *
 * Errors     PREP_EDATA, tag APPLY_INCOMPLETE; PREP_ENOMEM
 * Threads    any
 */
#ifndef PREP_PRUNE_CHECK_H
#define PREP_PRUNE_CHECK_H

#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The view is finished, n_experts has n_layers entries, 0 for dense layers. Layers from
 * num_hidden_layers on may be missing as a whole.
 */
PREP_MUST_CHECK int prune_check_view(const struct view *v, const int *n_experts, int n_layers,
                                     int num_hidden_layers, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

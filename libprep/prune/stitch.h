/* SPDX-License-Identifier: MIT */
/*
 * stitch.h - give a pruned checkpoint its MTP layer back, cut from the unpruned model.
 *
 * The layer's experts are chosen by the checkpoint's keep-map in base ids: by the entry of the
 * MTP layer itself where the map has one, else by that of the proxy layer (by default the last
 * MoE layer below it). Its bytes are the source's; the target may be quantized, the layer is not,
 * and the quantization config is told so.
 *
 * Ownership  checkpoints, configs and map are borrowed and must outlive the result
 * Errors     PREP_EDATA, tag STITCH_PRESENT (the target has the layer), STITCH_NO_MTP (the source
 *            has none), STITCH_MISMATCH (other model), STITCH_COUNT (expert counts do not fit);
 *            PREP_EUNSUP, tag STITCH_QUANTISED (the source's layer is quantized); PREP_EUSAGE for
 *            a proxy that is no MoE layer of the map; those of apply.h
 * Threads    const after building
 */
#ifndef PREP_PRUNE_STITCH_H
#define PREP_PRUNE_STITCH_H

#include "libprep/prune/apply.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A checkpoint with its config. */
struct stitch_input {
    const struct checkpoint *ckpt;
    const struct config *config;
};

struct stitch_options {
    int has_proxy, proxy; /* layer whose list is used; else the last MoE layer of the map */
};

struct stitched {
    struct prune_output out; /* view over target (source 0) and source (source 1) */
    struct keep_map map;     /* the map with the MTP layer's entry; borrows from the one given */
};

/*
 * map is the target's, or NULL when the target was never pruned and has only lost the layer.
 * Warnings go to report (may be NULL): STITCH_NOT_LISTED when the quantization config has no list
 * we know, STITCH_ENGINE when an engine is known not to load such a mixture.
 */
PREP_MUST_CHECK int stitch_mtp(struct stitched *s, const struct stitch_input *target,
                               const struct stitch_input *source, const struct keep_map *map,
                               const struct stitch_options *options, struct report *report,
                               struct prep_error *err);
void stitched_fini(struct stitched *s); /* accepts a zeroed struct */

#ifdef __cplusplus
}
#endif
#endif

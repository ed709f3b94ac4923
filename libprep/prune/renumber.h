/* SPDX-License-Identifier: MIT */
/*
 * renumber.h - what a keep-map does to one tensor and to one module name.
 *
 * Experts that stay are numbered 0..N-1 in ascending order of their old ids. Everything here works
 * on names and shapes: stored codes and scales of every format are cut without being decoded.
 * Lists of names and the patterns in them are module_list.h's part.
 *
 * Shapes     kept[n_kept] ascending old ids; new_id[n_parent] the way back, -1 for dropped ones
 * Ownership  lists live in the struct's arena, kept[] in the keep-map, which must outlive it
 * Errors     PREP_EDATA: tag KEEP_MAP when the map does not fit the checkpoint's config,
 *            APPLY_QUANTISED_ROUTER, APPLY_UNKNOWN_TENSOR
 * Threads    const after renumber_init()
 */
#ifndef PREP_PRUNE_RENUMBER_H
#define PREP_PRUNE_RENUMBER_H

#include "libprep/base/arena.h"
#include "libprep/format/keep_map.h"
#include "libprep/format/safetensors.h"
#include "libprep/model/config.h"
#include "libprep/model/names.h"

#ifdef __cplusplus
extern "C" {
#endif

struct renumber_layer {
    int n_parent; /* routed experts of the input, 0 when the layer is dense */
    int n_kept;   /* of the output */
    const int *kept;
    const int *new_id; /* kept and new_id are NULL when the layer stays as it is */
};

struct renumber {
    struct renumber_layer *layers; /* [n_layers] */
    int n_layers;                  /* of the input's config, MTP layers included */
    int num_hidden_layers;
    int drop_mtp;  /* layers from num_hidden_layers on go */
    int from_base; /* the map's kept_source lists were taken: the input is the map's base */
    struct arena arena;
};

/*
 * Fit a map to a checkpoint. The ids are kept_parent's; where the map is the result of several
 * passes and the checkpoint has the base's expert count they are kept_source's, which prunes in
 * one pass. Layers that the map does not name stay as they are.
 */
PREP_MUST_CHECK int renumber_init(struct renumber *r, const struct config *config,
                                  const struct keep_map *map, int drop_mtp, struct prep_error *err);
void renumber_fini(struct renumber *r); /* accepts a zeroed struct */

/* The layer, when it loses experts; else NULL. */
const struct renumber_layer *renumber_pruned(const struct renumber *r, int layer);
/* Does this layer go as a whole? */
int renumber_drops_layer(const struct renumber *r, int layer);

enum renumber_action { RENUMBER_COPY, RENUMBER_DROP, RENUMBER_RENAME, RENUMBER_GATHER };

struct renumber_fate {
    enum renumber_action action;
    struct name_parts parts;            /* of the old name */
    int expert;                         /* RENUMBER_RENAME: the new id */
    const struct renumber_layer *layer; /* RENUMBER_GATHER: rows kept[] stay */
};

PREP_MUST_CHECK int renumber_tensor(struct renumber_fate *fate, const struct renumber *r,
                                    const struct tensor_info *tensor, struct prep_error *err);
/* For the name of a module, or any path inside one: never RENUMBER_GATHER. */
void renumber_module(struct renumber_fate *fate, const struct renumber *r, const char *name,
                     size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * keep_map.h - keep_map.json: which experts of which layer survive.
 *
 * Reads the three accepted forms (observations.md section 8.1: the full file,
 * {"3":{"kept":[..]}} and {"3":[..]}) and writes the full one, byte for byte the same for equal
 * content. Knows nothing of models; composing maps is prune/'s work.
 *
 * The full form is ours and closed: an unknown member of it is refused, except in passes and in
 * the report, which are carried along. The short forms belong to others: what stands beside
 * "kept" is ignored, "keep" must agree with the list's length.
 *
 * Shapes     layers[] ascending by layer; kept_parent[] and kept_source[] ascending, n_kept each
 *            (equal in the short forms, which name one list)
 * Ownership  everything lives in the map's arena until keep_map_free()
 * Errors     PREP_EDATA, tag KEEP_MAP: not JSON, wrong type, not ascending, out of range;
 *            PREP_ENOMEM
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_KEEP_MAP_H
#define PREP_FORMAT_KEEP_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"
#include "libprep/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { KEEP_MAP_MAX_LAYERS = 1024, KEEP_MAP_MAX_EXPERTS = 65536 };

struct keep_layer {
    int layer;
    int n_parent; /* experts of the input layer; 0 when the short forms do not say */
    int n_kept;
    int *kept_parent;   /* ids in the input checkpoint */
    int *kept_source;   /* ids in the base checkpoint */
    const char *origin; /* "observed", "proxy:77", "own", "first", "identity", "explicit" */
};

struct keep_run {
    const char *label;
    const char *sha256;
    uint64_t tokens;
    int layers;
};

struct keep_pass {
    int from, to;
    const char *metric, *pool, *source, *gate_semantics, *protect, *tool_version;
    struct keep_run *runs;
    size_t n_runs;
    struct span extra; /* further members as one JSON object, {"weights": [..]}, or empty */
};

struct keep_map {
    int full; /* 0: one of the short forms, only layers are set */
    const char *base_model, *base_config_sha256, *base_index_sha256;
    int base_n_routed_experts;
    const char *parent_sha256; /* NULL: first pass */
    int parent_n_routed_experts;
    int n_routed_experts, num_hidden_layers, num_nextn_predict_layers;
    struct keep_layer *layers;
    size_t n_layers;
    struct keep_pass *passes;
    size_t n_passes;
    struct span report; /* JSON text of the "report" object, or empty */
    struct arena arena;
};

PREP_MUST_CHECK int keep_map_parse(struct keep_map *m, const char *text, size_t n, const char *name,
                                   struct prep_error *err);
void keep_map_free(struct keep_map *m); /* accepts a zeroed struct */
/* The full form as text in the arena; its SHA-256 is the map's id. */
PREP_MUST_CHECK int keep_map_write(const struct keep_map *m, struct arena *arena, struct span *out,
                                   struct prep_error *err);
/* NULL when the map does not name the layer. */
const struct keep_layer *keep_map_layer(const struct keep_map *m, int layer);
/* Layer index of an object key: decimal without leading zeros, or -1. For every file of the
 * {"3": ...} kind. */
int keep_map_layer_key(const struct json *d, uint32_t key);

#ifdef __cplusplus
}
#endif
#endif

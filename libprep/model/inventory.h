/* SPDX-License-Identifier: MIT */
/*
 * inventory.h - the exact list of BF16 tensors a config implies.
 *
 * One table per layer says what is stored, of which shape and dtype; experts appear once, with
 * the number of copies. Sizes, counts, checks and writers all walk this table, so there is one
 * place to be wrong. Indexer tensors of layers that share a selection are marked optional.
 *
 * Shapes     row-major [rows, cols], or [rows] with cols 1 and n_dims 1
 * Ownership  plain values; paths and suffixes are literals
 * Errors     none: the config was judged when it was read
 */
#ifndef PREP_MODEL_INVENTORY_H
#define PREP_MODEL_INVENTORY_H

#include <stdint.h>

#include "libprep/format/safetensors.h"
#include "libprep/model/config.h"
#include "libprep/model/names.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { INVENTORY_MAX_SPECS = 32, INVENTORY_NAME_BYTES = 160, INVENTORY_GLOBALS = -1 };

struct tensor_spec {
    enum role role;
    enum part part;
    int layer;          /* INVENTORY_GLOBALS outside the layers */
    int copies;         /* experts of the layer for ROLE_EXPERT, else 1 */
    const char *path;   /* "self_attn.q_a_proj"; of an expert "up_proj" */
    enum suffix suffix; /* SUFFIX_WEIGHT, _BIAS or _CORRECTION_BIAS */
    uint64_t rows, cols;
    uint8_t n_dims;
    uint8_t dtype;    /* enum dtype */
    uint8_t linear;   /* a matrix that quantizers see as a linear (the router is none) */
    uint8_t optional; /* may be absent */
};

/*
 * Fill specs with one layer, or the globals, in the order of name_order(); the experts' three come
 * last. Returns how many. layer is INVENTORY_GLOBALS or 0..n_layers-1.
 */
int inventory_layer(const struct config *c, int layer, struct tensor_spec *specs);

/* The stored name; prefix is "model." as a rule. expert is used by ROLE_EXPERT only. */
const char *inventory_name(const struct tensor_spec *spec, const char *prefix, int expert,
                           char buf[INVENTORY_NAME_BYTES]);
/* The same as name_order() of that name. */
uint64_t inventory_order(const struct tensor_spec *spec, int expert);

static inline uint64_t spec_elements(const struct tensor_spec *spec)
{
    return spec->rows * spec->cols; /* one copy */
}

/* Is the tensor part of the BF16 checkpoint that the config describes? */
static inline int spec_is_stored(const struct config *c, const struct tensor_spec *spec)
{
    return !spec->optional || c->shared_indexers_stored;
}

/* Every tensor one by one, in the order of name_order(). */
struct inventory_iter {
    const struct config *c;
    int end_layer, layer; /* the layer in specs */
    int n, at, expert, n_rest;
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
};

void inventory_begin(struct inventory_iter *it, const struct config *c, int with_mtp);
/* NULL at the end. *expert is -1 unless ROLE_EXPERT. */
const struct tensor_spec *inventory_next(struct inventory_iter *it, int *expert);

#ifdef __cplusplus
}
#endif
#endif

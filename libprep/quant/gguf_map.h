/* SPDX-License-Identifier: MIT */
/*
 * gguf_map.h - a checkpoint as the tensors of a GGUF file.
 *
 * A *target* is a tensor of the file; its *sources* are matrices of the view, in whatever form they
 * are stored, one or, where experts are stacked, one per expert. What is no linear (embeddings,
 * norms, routers) becomes a plain matrix here, so that there is one kind of source.
 *
 *    view tensors -> sources (struct linear) -> targets, in the order of the file
 *
 * Shapes     a source is [out, in]; a target has n_rows rows of n_cols, all slices together
 * Ownership  everything lives in the caller's arena and borrows from view and linears
 * Errors     PREP_EDATA with TENSOR_UNKNOWN (no counterpart in the format), EXPERT_COUNT (a layer
 *            with another number of experts, or gaps), TENSOR_SHAPE, TENSOR_MISSING
 * Threads    const after building
 */
#ifndef PREP_QUANT_GGUF_MAP_H
#define PREP_QUANT_GGUF_MAP_H

#include "libprep/base/report.h"
#include "libprep/format/gguf.h"
#include "libprep/model/gguf_names.h"
#include "libprep/model/gguf_rule.h"
#include "libprep/quant/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gguf_mtp {
    GGUF_MTP_KEEP,
    GGUF_MTP_DROP,
    GGUF_MTP_ONLY, /* the MTP layers, with embeddings, head and final norm */
};

/* GGUF_CONVERTER depends on how the checkpoint is cut into shards. */
enum gguf_order { GGUF_QUANTIZER, GGUF_CONVERTER };

struct gguf_target {
    const char *name;
    struct tensor_spec spec; /* role, part, layer, suffix, n_dims; for gguf_rule.h */
    enum gguf_half half;
    uint8_t n_dims; /* as the converter writes it */
    uint64_t dims[GGUF_MAX_DIMS];
    uint64_t n_cols, n_rows, slices; /* slices: experts, or heads of attn_k_b and attn_v_b */
    uint8_t fixed_f32;
    const struct linear **sources; /* [n_sources], by expert */
    uint32_t n_sources;
    uint32_t file;     /* where the converter meets the last of them: */
    const char *place; /* the name of a tensor in that file of the source */
};

struct gguf_map {
    struct gguf_target *targets;
    size_t n;
    uint64_t n_shared,
        n_expert;         /* parameters outside the experts, and of one expert of each layer */
    const char **ignored; /* view tensors that the format has no place for */
    size_t n_ignored;
};

struct gguf_map_request {
    const struct view *view;
    const struct linears *linears;
    const struct config *config; /* of the view */
    enum gguf_mtp mtp;
};

PREP_MUST_CHECK int gguf_map_build(struct gguf_map *m, const struct gguf_map_request *r,
                                   struct arena *arena, struct prep_error *err);
void gguf_map_sort(struct gguf_map *m, enum gguf_order order);
/* NULL when absent. */
const struct gguf_target *gguf_map_find(const struct gguf_map *m, const char *name);
/* For gguf_type_of(). */
struct gguf_tensor gguf_target_tensor(const struct gguf_target *t);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * layout.h - how a view becomes a folder: shards, index, and the files around them.
 *
 * What is written is a list of tensors: those of the view as they are, or a list in which outputs
 * of call steps stand in place of some. Such steps are added to the plan before.
 *
 * Shards hold whole groups (an expert with all its scales), never mix more than two layers, and
 * stay under a size: that makes partial downloads, cheap re-quantization of a layer and per-shard
 * deduplication possible. Inside a shard tensors are in layout order if that keeps all of them
 * aligned, else they lie by falling element size.
 *
 * Shapes     a view whose tensors are sorted by `order` (view_finish); a list in any order
 * Ownership  everything borrowed must outlive the plan; what is built lives in the plan's arena
 * Errors     PREP_ENOMEM; PREP_EDATA from safetensors_layout(); PREP_EUSAGE for a shard size over
 *            50 GB, which the hub refuses
 * Threads    none
 */
#ifndef PREP_STORE_LAYOUT_H
#define PREP_STORE_LAYOUT_H

#include "libprep/base/report.h"
#include "libprep/store/plan.h"
#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LAYOUT_SHARD_BYTES UINT64_C(5000000000)
#define LAYOUT_SHARD_WARN UINT64_C(20000000000)
#define LAYOUT_SHARD_MOST UINT64_C(50000000000)

/* A file written from memory. */
struct layout_text {
    const char *name;
    struct span text;
    enum file_stage stage;
};

/* A file copied whole from a source. */
struct layout_sidecar {
    const char *name;
    uint32_t source; /* number in the view */
    uint32_t file;   /* index into that checkpoint's files */
};

/* One tensor of the output. */
struct layout_tensor {
    struct tensor_info info;        /* offset unused */
    uint64_t order, group;          /* names.h */
    const struct view_tensor *copy; /* of the view; NULL: an output of the step */
    uint32_t step;
    uint32_t *output; /* set to the number by which the step knows it */
    uint8_t apart;    /* goes into shards of its own, named model-mtp */
};

struct layout {
    const struct view *view;
    struct layout_tensor *tensors; /* sorted here; NULL: the view as it is */
    size_t n_tensors;
    uint32_t first_source[VIEW_MAX_SOURCES]; /* plan_add_checkpoint() of each view source */
    const struct layout_text *texts;
    size_t n_texts;
    const struct layout_sidecar *sidecars;
    size_t n_sidecars;
    struct span index;    /* of the input: other keys and metadata are kept; may be empty */
    int single_file;      /* one model.safetensors, no index */
    uint64_t shard_bytes; /* 0: LAYOUT_SHARD_BYTES */
};

/* Adds every file of the output to the plan, steps and extents included, in stage order. */
PREP_MUST_CHECK int layout_plan(struct plan *plan, const struct layout *l, struct report *report,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

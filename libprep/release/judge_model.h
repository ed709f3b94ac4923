/* SPDX-License-Identifier: MIT */
/*
 * judge_model.h - a model to be judged, or judged by: opened, known, ready to run.
 *
 * Ownership  judge_model_open / judge_model_close; strings of the request are borrowed
 * Errors     those of source.h, prune/job.h, linear.h, runtime.h; PREP_EDATA, tag JUDGE_MODEL: two
 *            models of different shape
 * Threads    const after opening, but for its runtime
 */
#ifndef PREP_RELEASE_JUDGE_MODEL_H
#define PREP_RELEASE_JUDGE_MODEL_H

#include "libprep/engine/runtime.h"
#include "libprep/format/reference.h"
#include "libprep/prune/job.h"
#include "libprep/release/judge_linears.h"

#ifdef __cplusplus
extern "C" {
#endif

struct judge_model {
    const char *path;
    struct prune_result pruned; /* the source; with a keep-map its view */
    struct config edited;       /* with a keep-map: config.json of the view */
    const struct config *config;
    const struct view *view;    /* NULL without a keep-map */
    const struct keep_map *map; /* what it was, or is now, cut by; NULL when not known */
    struct linears linears;
    struct judge_matrices matrices;
    struct reference_identity identity;
    uint64_t tensor_bytes, n_tensors;
    char forms[160];         /* "NVFP4 (modelopt) 144, plain 56": linears by form */
    struct runtime *runtime; /* NULL until judge_model_start() */
    struct arena arena;
};

/* keep_map NULL: as it is. */
PREP_MUST_CHECK int judge_model_open(struct judge_model *m, const struct io *io, const char *path,
                                     const char *keep_map, struct report *report,
                                     struct prep_error *err);
void judge_model_close(struct judge_model *m); /* accepts a zeroed struct */

/* Open, or open again with other options. */
PREP_MUST_CHECK int judge_model_start(struct judge_model *m, const struct runtime_options *options,
                                      struct report *report, struct prep_error *err);

/* PREP_EDATA when the two cannot be the same model; another tokenizer is a warning. */
PREP_MUST_CHECK int judge_model_match(const struct judge_model *original,
                                      const struct judge_model *other, struct report *report,
                                      struct prep_error *err);
/*
 * What the original calls other's experts, into other->matrices.experts (NULL when none was
 * removed). *known is 0 when experts were removed and no keep-map says which.
 */
PREP_MUST_CHECK int judge_model_map(struct judge_model *other, const struct judge_model *original,
                                    int *known, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

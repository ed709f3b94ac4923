/* SPDX-License-Identifier: MIT */
/*
 * obs_build.h - what the readers of observation.h's forms share: the keys, and a run in progress.
 *
 * Ownership  vectors go into the run's arena; the list of layers is on the heap until
 *            obs_build_finish()
 * Errors     PREP_EDATA OBS_SHAPE, OBS_METRIC_MISSING, OBS_EXPERT_COUNT, with file, layer, metric
 * Threads    one build, one thread
 */
#ifndef PREP_FORMAT_OBS_BUILD_H
#define PREP_FORMAT_OBS_BUILD_H

#include "libprep/base/json.h"
#include "libprep/format/observation.h"

#ifdef __cplusplus
extern "C" {
#endif

enum obs_type { OBS_I64, OBS_F64, OBS_F32 };

/* A vector of struct obs_layer, spelled as in REAP files; in the order in which files are judged.
 */
struct obs_key {
    const char *name;
    enum obs_type type;
    int square;   /* [E, E] instead of [E] */
    int required; /* a native file must have it */
    int suffixed; /* exists under a second gate rule too */
    size_t field; /* offset of the pointer in struct obs_layer */
};

enum { OBS_PAIRWISE = 1, OBS_N_KEYS = 10 }; /* an index, and their number */
extern const struct obs_key obs_keys[OBS_N_KEYS];
#define OBS_TOTAL_TOKENS "total_tokens"
#define OBS_OUTPUT_MEAN "routed_characteristic_activation"
#define OBS_OUTPUT_SUM "routed_output_sum"

void *obs_vector(const struct obs_layer *l, size_t key); /* NULL when absent */
uint64_t obs_vector_n(const struct obs_layer *l, size_t key);

struct obs_build {
    struct obs_run *run;
    const char *path;   /* of the file in hand, for messages */
    const char *suffix; /* "" or ".logit_softmax_renorm" */
    struct obs_layer *layers;
    size_t n_layers, cap_layers, cap_metadata;
    int from_means; /* sums were read as means: warn OBS_SUM_FROM_MEAN */
    struct sha256 sha;
    struct prep_error *err;
};

#define obs_bad(b, tag, ...) prep_fail_tag((b)->err, PREP_EDATA, (tag), __VA_ARGS__)

/* A new layer at the end; NULL with err set. Valid until the next call. */
struct obs_layer *obs_build_layer(struct obs_build *b, int layer);
/* Room for a vector of dims[n_dims]; the first one decides n_experts. NULL with err set. */
void *obs_build_vector(struct obs_build *b, struct obs_layer *l, size_t key, int n_dims,
                       const uint64_t *dims);
/* Room for routed_output [E, hidden]. */
double *obs_build_output(struct obs_build *b, struct obs_layer *l, const char *name, int n_dims,
                         const uint64_t *dims);
/* A pair of a native file's metadata; both strings live in the run's arena. */
PREP_MUST_CHECK int obs_build_metadata(struct obs_build *b, const char *key, const char *value);
/* After the last layer and pair of a native file in either form: what only they promise. */
PREP_MUST_CHECK int obs_build_native(struct obs_build *b);
/* Decimal digits, no sign, at most OBS_MAX_LAYER: the layer, or -1. */
int obs_parse_layer(const char *s, size_t n);

/* The forms; bytes may be freed afterwards. layer < 0: the file is a dictionary of layers. */
PREP_MUST_CHECK int obs_read_pt(struct obs_build *b, struct span file, int layer);
PREP_MUST_CHECK int obs_read_native(struct obs_build *b, struct span file);
PREP_MUST_CHECK int obs_read_json(struct obs_build *b, struct span file);
PREP_MUST_CHECK int obs_read_jsonl(struct obs_build *b, struct span file);

#ifdef __cplusplus
}
#endif
#endif

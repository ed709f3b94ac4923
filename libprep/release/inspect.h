/* SPDX-License-Identifier: MIT */
/*
 * inspect.h - open any file or folder the suite knows, and sum up what is in it.
 *
 * What a thing is, is told by what it holds; a name only helps where a format has no mark of its
 * own (torch files, bundles). A checkpoint brings along the config, keep-map and manifest beside
 * it: a fault in one of those does not keep the rest from being shown, it is kept in its fault.
 *
 * Units      bytes; elements as the headers count them (a packed element holds several weights)
 * Ownership  inspect_open / inspect_close; what is reachable lives until then
 * Errors     those of the reader of each format; PREP_ENOINPUT when there is nothing at the path;
 *            PREP_EDATA, tag UNKNOWN_KIND, for what is none of these
 * Threads    const after opening
 */
#ifndef PREP_RELEASE_INSPECT_H
#define PREP_RELEASE_INSPECT_H

#include "libprep/base/report.h"
#include "libprep/format/hf_index.h"
#include "libprep/format/keep_map.h"
#include "libprep/format/observation.h"
#include "libprep/model/count.h"
#include "libprep/store/checkpoint.h"
#include "libprep/store/gguf_set.h"
#include "libprep/store/manifest.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INSPECT_KEEP_MAP "keep_map.json"
#define INSPECT_CONFIG "config.json"

enum inspect_kind {
    KIND_CHECKPOINT,
    KIND_SAFETENSORS,
    KIND_INDEX,
    KIND_CONFIG,
    KIND_OBSERVATION,
    KIND_KEEP_MAP,
    KIND_MANIFEST,
    KIND_GGUF,
};

/* Tensors of one role and dtype. */
struct tally {
    int mtp; /* in an MTP layer */
    enum role role;
    uint8_t dtype;
    uint64_t tensors, elements, bytes;
};

struct inspected {
    enum inspect_kind kind;
    const char *path; /* as given */
    struct checkpoint *ckpt;
    struct safetensors st;
    struct gguf_set gguf; /* with all parts of a split one */
    struct hf_index index;
    struct obs_run run;
    struct config config;
    struct model_counts counts; /* of the config */
    struct keep_map map;
    char map_sha256[SHA256_HEX];
    struct manifest manifest;
    int has_config, has_map, has_manifest;
    /* Code PREP_OK unless the file beside the checkpoint is there and cannot be read; a missing
     * config.json is a fault, too. */
    struct prep_error config_fault, map_fault, manifest_fault;
    struct prep_error index_fault; /* of inspect_open_past_index() */
    struct tally *tallies;         /* by (mtp, role, dtype) */
    size_t n_tallies;
    struct tally total;
    struct arena arena;
};

/* report may be NULL; warnings of the readers go there. */
PREP_MUST_CHECK int inspect_open(struct inspected *it, const struct io *io, const char *path,
                                 struct report *report, struct prep_error *err);
/* The same for judging it: a checkpoint whose index alone is at fault is opened by its shards, and
 * the fault kept. */
PREP_MUST_CHECK int inspect_open_past_index(struct inspected *it, const struct io *io,
                                            const char *path, struct report *report,
                                            struct prep_error *err);
void inspect_close(struct inspected *it); /* accepts a zeroed struct */
/* The three faults as warnings. */
void inspect_warn_faults(const struct inspected *it, struct report *report);

const char *inspect_kind_name(enum inspect_kind kind); /* "checkpoint" */
const char *inspect_role_name(enum role role);         /* "routed experts" */

/* The tensors of a checkpoint or a safetensors file; file is its shard. */
size_t inspect_n_tensors(const struct inspected *it);
const struct tensor_info *inspect_tensor(const struct inspected *it, size_t i, const char **file);

struct inspect_filter {
    int has_layer, layer;
    const char *match; /* shell glob over the name, or NULL */
};

int inspect_wants(const struct inspect_filter *f, const char *tensor);

/* What the routed tokens of a layer look like; least, mean and most are over all experts. */
struct obs_summary {
    int layer, n_experts, never_routed;
    int has_counts;
    uint64_t tokens, routed; /* routed: sum of expert_frequency */
    int64_t least, most;
    double mean;
};

void inspect_summarize(struct obs_summary *s, const struct obs_layer *l);

/* "0-3 5 7-9" of an ascending list; NULL when out of memory. */
const char *inspect_ranges(const int *ids, int n, struct arena *arena, struct prep_error *err);
/* Layers for which want(config, layer) holds, as ranges. */
const char *inspect_layers(const struct config *c, int (*want)(const struct config *, int),
                           struct arena *arena, struct prep_error *err);

/* Everything above as one JSON object; tensors are listed when filter is not NULL. */
PREP_MUST_CHECK int inspect_facts(cJSON *object, const struct inspected *it,
                                  const struct inspect_filter *filter, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

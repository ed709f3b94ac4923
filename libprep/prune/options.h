/* SPDX-License-Identifier: MIT */
/*
 * options.h - everything a person may ask of pooling, selection and composition, in one struct,
 * and the little that pruning needs to know of a model.
 *
 * A zeroed struct prune_options means the defaults of observations.md: pool routed, metric reap,
 * no protection, MTP by proxy. Only the size of the cut (`size` and its value) has no default.
 * The files behind --protect, --drop and --keep-counts are read by the two parsers below.
 *
 * Units      expert ids in lists are base ids; layers are layer indices of the model
 * Ownership  the options and the model borrow every list and string; parsers and
 *            prune_model_from_config() put theirs into the caller's arena
 * Errors     PREP_EUSAGE for a word that is no choice, PREP_EDATA for a bad file
 * Threads    const after filling
 */
#ifndef PREP_PRUNE_OPTIONS_H
#define PREP_PRUNE_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"
#include "libprep/format/keep_map.h"
#include "libprep/model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

enum prune_pool { POOL_ROUTED, POOL_TOTAL_TOKENS, POOL_EQUAL, POOL_WEIGHTS };

enum prune_metric {
    METRIC_REAP,
    METRIC_EAN_MEAN,
    METRIC_EAN_SUM,
    METRIC_WEIGHTED_EAN_SUM,
    METRIC_FREQUENCY,
    METRIC_WEIGHTED_FREQUENCY_SUM,
    METRIC_MAX_ACTIVATIONS,
    METRIC_EAN_CA,
};

enum prune_size {
    SIZE_NONE,   /* not said: PREP_EUSAGE */
    SIZE_KEEP,   /* --keep: the same count in every layer */
    SIZE_RATIO,  /* --ratio: share of experts to drop */
    SIZE_BUDGET, /* --budget: total over the selected layers */
    SIZE_COUNTS, /* --keep-counts: a count per layer */
};

enum prune_protect { PROTECT_NONE, PROTECT_SUPER, PROTECT_OUTLIERS };
enum prune_layer_norm { LAYER_NORM_SUM, LAYER_NORM_NONE };
enum prune_mtp { MTP_PROXY, MTP_OWN, MTP_FIRST, MTP_FULL, MTP_DROP };

struct layer_ids {
    int layer;
    int *ids; /* ascending, unique */
    size_t n;
};

struct layer_count {
    int layer;
    int count;
};

/* A keep-map of a checkpoint, with its id. */
struct known_map {
    const struct keep_map *map;
    const char *sha256;
};

struct prune_options {
    /* pooling */
    enum prune_pool pool;
    const double *weights; /* POOL_WEIGHTS: one per run, >= 0 */
    size_t n_weights;
    const char *gate_semantics; /* of runs whose file does not say; NULL: logit-softmax-renorm */
    int allow_mixed_gates;
    int allow_mixed_spaces;
    int strict_coverage; /* OBS_PARTIAL_COVERAGE is an error */
    int lenient;         /* OBS_COUNT_MISMATCH is a warning */
    /* Maps of pruned checkpoints that were observed, besides the parent's own. */
    const struct known_map *run_maps;
    size_t n_run_maps;

    /* saliency */
    enum prune_metric metric;
    int stored; /* --saliency-source stored: the float32 means as the file holds them */

    /* size */
    enum prune_size size;
    int64_t keep;
    double ratio;
    int64_t budget, block, floor, ceil; /* 0: block 1, floor top_k, ceil E */
    enum prune_layer_norm layer_norm;
    const struct layer_count *counts;
    size_t n_counts;
    int tensor_parallel; /* degree to check N against; 0: not said */

    /* lists, in base ids, ascending by layer */
    enum prune_protect protect_auto;
    const struct layer_ids *protect, *drop;
    size_t n_protect, n_drop;

    /* MTP */
    enum prune_mtp mtp;
    int has_mtp_proxy, mtp_proxy; /* --mtp-proxy L; else the last MoE layer below the MTP ones */

    const char *tool_version; /* recorded in the keep-map; NULL: PREP_VERSION */
};

/* The checkpoint that is to be pruned. */
struct prune_model {
    int n_routed_experts; /* config.json's number */
    int num_experts_per_tok, n_group, topk_group;
    int num_hidden_layers, num_nextn_predict_layers;
    const int *moe_layers; /* ascending, MTP layers included when they hold experts */
    const int *n_experts;  /* per MoE layer; NULL: n_routed_experts everywhere */
    size_t n_moe_layers;
    /* Identity of the checkpoint, for a first keep-map; NULL when unknown. */
    const char *name, *config_sha256, *index_sha256;
};

PREP_MUST_CHECK int prune_model_from_config(struct prune_model *m, const struct config *c,
                                            struct arena *arena, struct prep_error *err);
/* Experts of MoE layer number i. */
int prune_model_experts(const struct prune_model *m, size_t i);
/* Position in moe_layers, or SIZE_MAX. */
size_t prune_model_find(const struct prune_model *m, int layer);
int prune_model_is_mtp(const struct prune_model *m, int layer);

const char *prune_pool_name(enum prune_pool v);
const char *prune_metric_name(enum prune_metric v);
const char *prune_mtp_name(enum prune_mtp v);
const char *prune_protect_name(enum prune_protect v);

/* The words of the command line; PREP_EUSAGE lists the choices. */
PREP_MUST_CHECK int prune_pool_parse(enum prune_pool *v, const char *word, struct prep_error *err);
PREP_MUST_CHECK int prune_metric_parse(enum prune_metric *v, const char *word,
                                       struct prep_error *err);
PREP_MUST_CHECK int prune_mtp_parse(enum prune_mtp *v, const char *word, struct prep_error *err);
PREP_MUST_CHECK int prune_layer_norm_parse(enum prune_layer_norm *v, const char *word,
                                           struct prep_error *err);

/* {"3":[17,40]}: --protect and --drop. Ids in any order, duplicates are refused. */
PREP_MUST_CHECK int prune_ids_parse(struct layer_ids **lists, size_t *n, const char *text,
                                    size_t bytes, const char *name, struct arena *arena,
                                    struct prep_error *err);
/* {"3":116}: --keep-counts. */
PREP_MUST_CHECK int prune_counts_parse(struct layer_count **counts, size_t *n, const char *text,
                                       size_t bytes, const char *name, struct arena *arena,
                                       struct prep_error *err);
/* "0.25,0.75": --pool weights and the like. */
PREP_MUST_CHECK int prune_weights_parse(double **weights, size_t *n, const char *text,
                                        struct arena *arena, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

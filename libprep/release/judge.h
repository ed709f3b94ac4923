/* SPDX-License-Identifier: MIT */
/*
 * judge.h - is this still the same model? One or several models against the one they were made of.
 *
 * All run over the same windows at once, layer by layer, within one memory budget (schedule.h). By
 * whom they are judged is one of three: the original itself, which gives every figure; a saved
 * reference of it, which gives likelihood, KL and agreement; nobody, which gives likelihood.
 *
 *   free    each model as it runs
 *   forced  the original's choices of experts and positions: what the weights alone do
 *   block   each layer from the original's input, with its choices
 *
 * Forced and block are not there for a model with fewer experts. Figures per window are kept, so
 * that models are compared in pairs on the same windows.
 *
 * Several ranks may judge together: models split over them, or windows dealt to them. Split models
 * are not judged linear by linear: no rank has all inputs of o_proj and the down projections.
 *
 * Units      nats, shares from 0 to 1, bytes
 * Ownership  a job borrows its strings; a judgement owns all it holds until judgement_free()
 * Errors     those of judge_text.h, judge_model.h, schedule.h, reference.h; PREP_EUSAGE for a
 *            request that contradicts itself, and for mem under the floor, which is printed
 * Threads    one job, one thread; it starts its own
 */
#ifndef PREP_RELEASE_JUDGE_H
#define PREP_RELEASE_JUDGE_H

#include "libprep/base/progress.h"
#include "libprep/release/judge_cut.h"
#include "libprep/release/judge_layers.h"
#include "libprep/release/judge_load.h"
#include "libprep/release/judge_model.h"
#include "libprep/release/judge_series.h"
#include "libprep/release/judge_spread.h"
#include "libprep/release/judge_text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An interval over fewer windows is no reason to claim anything. */
enum { JUDGE_LEAST_WINDOWS = 8 };
enum { JUDGE_SETTINGS = 160 };
enum { JUDGE_MAX_MODELS = 5 }; /* three lanes each, and the original's */

struct judge_job {
    const struct io *io;
    const char *const *models;
    size_t n_models;
    const char *original;  /* or NULL */
    const char *reference; /* or NULL */
    const char *keep_map;  /* the models are seen through it; or NULL */
    const char *tokenizer; /* NULL: the first model's folder */
    struct judge_text_request text;
    /* With run.inputs: the text whose largest inputs give scales that are not stored; its windows
     * or tokens, or neither. The original is run on it, or each model itself when there is none. */
    struct judge_text_request calibration;
    int save;     /* keep the first model's answers for judgement_save() */
    int with_mtp; /* judge the first MTP layer, too */
    int no_linears;
    /* How all models run; mem is theirs together with all else. */
    struct runtime_options run;
    int original_as_is; /* the original: as its config says */
    /* That work together; NULL: alone. Borrowed. Where they are run.ranks too, models are split
     * over them, else units of windows are dealt to them. */
    struct ranks *ranks;
    progress_fn progress;
    void *progress_arg;
};

/* A model's MTP head beside its own main head. */
struct judge_draft {
    unsigned char *accepted_rows;       /* [n_windows, rows of a window] */
    double *window_accepted;            /* [n_windows] */
    struct bootstrap_interval accepted; /* share of drafts the main head would have picked */
};

struct judge_result {
    struct judge_model model;
    uint64_t *rank_bytes; /* split: of each rank's share as stored, [n_ranks] */
    struct judge_series free, forced, mtp;
    int has_forced, has_mtp;
    struct judge_draft draft;
    struct judge_spread spread; /* of free */
    struct judge_load load;
    struct judge_cut cut; /* n_layers 0: was not cut, or nobody knows how */
    struct judge_layers layers;
    struct judge_linears linears;
    struct judge_scope experts, all;      /* of linears */
    struct judge_linears_layer *by_layer; /* [layers.n_layers + 1], the last is lm_head */
    int has_layers, has_linears, knows_experts;
    struct judge_layer *at; /* layers.layers */
};

/* Two models beside the same original: the first minus the second. */
struct judge_pair {
    size_t a, b; /* of results */
    struct bootstrap_interval nll, kl, forced_kl;
    /* Geometric mean and 95 % point of the NMSE, first / second; NaN unless the same linears are
     * changed. */
    double geometric_ratio, p95_ratio;
    /* -1: the first is better, 1: the second, 0: no claim. Better: a geometric mean at least 2 %
     * lower, a 95 % point not more than 2 % higher, and a lower forced KL; end to end: KL, too. */
    int better, end_to_end;
};

struct judgement {
    struct judge_text text;
    int has_original, has_reference;
    struct judge_model original;
    uint64_t *original_rank_bytes;
    int n_ranks; /* over which the models were split; 0: they were not */
    struct reference reference;
    const char *reference_path;
    struct judge_series original_free, original_mtp; /* of the reference, when there is one */
    struct judge_draft original_draft;
    struct judge_load original_load; /* with has_original */
    struct judge_result *results;    /* [n_results] */
    size_t n_results;
    struct judge_pair *pairs;
    size_t n_pairs;
    int has_saved;
    struct reference saved;
    char settings[JUDGE_SETTINGS];     /* "attention sparse, indexers FFFFF, norm_eps 1e-06" */
    uint64_t peak_weights, read_bytes; /* of all runtimes */
    struct arena arena;
};

PREP_MUST_CHECK int judge_run(struct judgement *j, const struct judge_job *job,
                              struct report *report, struct prep_error *err);
void judgement_free(struct judgement *j); /* accepts a zeroed struct */

/* The saved reference's bytes, in the judgement's arena. */
PREP_MUST_CHECK int judgement_save(struct span *out, struct judgement *j, const char *tool,
                                   struct prep_error *err);

/* What must hold; NAN: not asked for. */
struct judge_limits {
    double max_kl, max_forced_kl, max_token_kl; /* max_token_kl: of the worst row */
    double max_nll_increase;                    /* mean over the text */
    double min_top1, min_top5;
    double max_nmse, max_block_error; /* of any linear, of any layer */
};

struct judge_verdict {
    const char *name; /* "max-kl" */
    size_t result;
    double limit, found; /* found NAN: was not measured, which fails */
    int holds;
};

/* One per limit and model, in the arena of j. */
PREP_MUST_CHECK int judge_limits_check(struct judge_verdict **verdicts, size_t *n,
                                       const struct judge_limits *limits, struct judgement *j,
                                       struct prep_error *err);

/* Everything above, as facts. */
PREP_MUST_CHECK int judge_facts(cJSON *object, const struct judgement *j,
                                const struct judge_verdict *verdicts, size_t n_verdicts,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

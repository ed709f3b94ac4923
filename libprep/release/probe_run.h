/* SPDX-License-Identifier: MIT */
/*
 * probe_run.h - do models still do what the original does? All probes (probe/suite.h), asked of
 * each.
 *
 * The cases are built once, with the original's tokenizer and chat template; models run one after
 * the other, all of run.mem each, and answer the same cases. For every group of cases, and for
 * every probe as a whole: hits / n with Wilson's 95 % interval, and beside the original McNemar's
 * exact test over the cases on which the two differ; a difference is claimed only for p < 0.05.
 *
 * Units      tokens; shares from 0 to 1
 * Ownership  a job borrows its strings and lists; results own all they hold until
 *            probe_results_free()
 * Errors     those of judge_text.h, judge_model.h, suite.h, generate.h; PREP_EUSAGE for a request
 *            that names no probe, or loops or needles without a text
 * Threads    one job, one thread; it starts its own
 */
#ifndef PREP_RELEASE_PROBE_RUN_H
#define PREP_RELEASE_PROBE_RUN_H

#include "libprep/base/progress.h"
#include "libprep/numeric/proportion.h"
#include "libprep/probe/suite.h"
#include "libprep/release/judge_model.h"
#include "libprep/release/judge_text.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PROBE_MOST_MODELS = 8, PROBE_MOST_SETS = 16 };

/* How much is asked; probe_sizes_default() is what docs/probes.md says. */
struct probe_sizes {
    size_t loop_prompts, loop_prompt_tokens, loop_tokens;
    uint64_t loop_seeds;
    size_t lengths[16], n_lengths; /* of needles */
    double depths[16];
    size_t n_depths;
    uint64_t needles; /* of each length and depth */
    int digits[9];
    size_t n_digits;
    size_t problems;      /* of each number of digits */
    size_t answer_tokens; /* at most, of everything but loops */
};
void probe_sizes_default(struct probe_sizes *s);

struct probe_job {
    const struct io *io;
    const char *const *models;
    size_t n_models;
    const char *original; /* or NULL */
    const char *keep_map; /* the models are seen through it; or NULL */
    const char
        *tokenizer; /* folder or tokenizer.json; NULL: the original's, or the first model's */
    unsigned kinds; /* 1 << enum probe_kind */
    struct judge_text_request text; /* of loops and needles */
    const char *const *prompts;     /* further sets of prompts, in files */
    size_t n_prompts;
    struct probe_sizes sizes;
    const struct chat_var *args; /* of the chat template */
    size_t n_args;
    struct runtime_options run;
    progress_fn progress;
    void *progress_arg;
};

/* Cases of a group, or of a whole probe, that one model answered. */
struct probe_tally {
    uint64_t n, hits;
    struct proportion rate;
    /* Beside the original: it first. p NaN without one. */
    struct proportion_pairs pairs;
    double p;
    int claim; /* 1: better than the original, -1: worse, 0: nothing is shown */
};

struct probe_model {
    const char *path;
    struct probe_outcome *outcomes;          /* [n_cases] */
    struct probe_tally *groups;              /* [n_groups] */
    struct probe_tally kinds[PROBE_N_KINDS]; /* n 0: not asked */
    uint64_t calls, sound_calls; /* tools: answers with calls, or that tried, and the sound ones */
    uint64_t stopped;            /* answers that ended by themselves */
};

struct probe_results {
    struct suite suite;
    int has_original, has_chat; /* the original is models[0] */
    struct probe_model *models;
    size_t n_models;
    uint64_t text_windows;        /* of which loops and needles were made */
    char chat_sha256[SHA256_HEX]; /* of the template; "" without one */
    struct suite_source source;
    struct tokenizer *tokenizer;
    struct chat_template *chat;
    struct prompt_set sets[PROBE_MOST_SETS];
    size_t n_sets;
    struct judge_text text;
    struct arena arena;
};

PREP_MUST_CHECK int probe_run(struct probe_results *r, const struct probe_job *job,
                              struct report *report, struct prep_error *err);
void probe_results_free(struct probe_results *r); /* accepts a zeroed struct */

/* Rates, intervals and claims from the outcomes of all models. */
PREP_MUST_CHECK int probe_count(struct probe_results *r, struct prep_error *err);

/* Everything above, as facts. */
PREP_MUST_CHECK int probe_facts(cJSON *object, const struct probe_results *r,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

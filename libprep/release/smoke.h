/* SPDX-License-Identifier: MIT */
/*
 * smoke.h - one quick run through everything that tells a whole model from a broken one, for CI.
 *
 *   open      headers, index and config can be read                            tensors
 *   check     the tensors are those that config.json implies (inspect_check)   faults
 *   lint      engines will serve it (lint.h: headers and small tensors)        faults
 *   run       a short text: no NaN, and a likelihood a language model has      nats per token
 *   mtp       the MTP layer drafts what the main head says, where there is one drafts accepted
 *   compare   beside the original or its reference, where one is given         KL
 *   generate  greedy text: the same with a cache, without, and with drafts     tokens
 *
 * A stage that fails ends the run only when nothing behind it can be done; the first one that
 * failed is the verdict's. The text is the caller's, else a built-in one of prose, code and data.
 *
 * What a likelihood must be without an original: at most SMOKE_NATS of log(vocab_size). A model
 * that knows nothing has 1, a small one on strange text about two thirds.
 *
 * Units      seconds of job->now; nats; shares from 0 to 1
 * Ownership  a job borrows its strings; a result is a plain struct
 * Errors     a fault of the model is a failed stage, and PREP_EVERIFY at the end; what hinders the
 *            run itself (no input, memory, I/O, a request that contradicts itself) is raised as it
 * is Threads    one job, one thread; it starts its own
 */
#ifndef PREP_RELEASE_SMOKE_H
#define PREP_RELEASE_SMOKE_H

#include "libprep/release/judge.h"
#include "libprep/release/smoke_look.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SMOKE_NATS 0.8
#define SMOKE_MIN_ACCEPTED 0.05
/* Limits of compare that hold unless the caller has his own. */
#define SMOKE_MAX_KL 0.5
#define SMOKE_MAX_INCREASE 0.3

enum smoke_stage_id {
    SMOKE_OPEN,
    SMOKE_CHECK,
    SMOKE_LINT,
    SMOKE_RUN,
    SMOKE_MTP,
    SMOKE_COMPARE,
    SMOKE_GENERATE,
    SMOKE_N
};
const char *smoke_stage_name(enum smoke_stage_id id);

enum smoke_state { SMOKE_SKIPPED, SMOKE_PASSED, SMOKE_FAILED };

struct smoke_stage {
    enum smoke_state state;
    double seconds;
    double value;                /* of smoke_figure_name(); NaN: not measured */
    char message[SMOKE_MESSAGE]; /* what is wrong, or why it was skipped; "" */
};
const char *smoke_figure_name(enum smoke_stage_id id); /* "nats per token" */

struct smoke_job {
    const struct io *io;
    const char *model;
    const char *original;           /* or NULL */
    const char *reference;          /* or NULL */
    const char *tokenizer;          /* NULL: the original's or the model's folder */
    struct judge_text_request text; /* empty: the built-in one */
    double max_nats;                /* NAN: SMOKE_NATS log(vocab_size) */
    struct judge_limits limits;     /* of compare; all NAN: those above */
    unsigned engines;               /* of lint; 0: all */
    struct runtime_options run;
    double (*now)(void);
    /* Told when a stage begins (state SMOKE_SKIPPED) and ends; may be NULL. */
    void (*tell)(void *arg, enum smoke_stage_id id, const struct smoke_stage *stage, int ended);
    void *arg;
};

struct smoke {
    struct smoke_stage stages[SMOKE_N];
    double seconds;
    int failed; /* the first stage that did, or -1 */
};

PREP_MUST_CHECK int smoke_run(struct smoke *s, const struct smoke_job *job, struct report *report,
                              struct prep_error *err);

/* "model", "stages", "verdict" and so on. */
PREP_MUST_CHECK int smoke_facts(cJSON *object, const struct smoke *s, const struct smoke_job *job,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * suite.h - everything a model is asked, built once and asked of every model.
 *
 * A *case* is one prompt, how it is to be gone on from, and how what comes is judged: a hit or not.
 * A hit is an output that loops (loops), else a right answer. Cases of a *group* are counted
 * together: greedy and sampled loops, a length and depth of a needle, a number of digits, a set of
 * prompts. Cases are the same for every model, so two models are compared case by case.
 *
 * Prompts of text go through the chat template as one user's message (sets of prompts: as the
 * conversation they are); without a template their text alone is the prompt.
 *
 * Units      tokens
 * Ownership  suite_open / suite_close; tokenizer, template, variables and prompt sets are borrowed
 * until then Errors     PREP_EUSAGE for sizes that cannot be; those of needle.h, arithmetic.h,
 * prompt_set.h, chat.h and tokenizer.h Threads    one at a time; const once built
 */
#ifndef PREP_PROBE_SUITE_H
#define PREP_PROBE_SUITE_H

#include "libprep/chat/chat.h"
#include "libprep/probe/generator.h"
#include "libprep/probe/prompt_set.h"

#ifdef __cplusplus
extern "C" {
#endif

enum probe_kind {
    PROBE_LOOPS,
    PROBE_NEEDLE,
    PROBE_ARITHMETIC,
    PROBE_TOOLS,
    PROBE_FACTS,
    PROBE_N_KINDS
};
/* "loops", "needle", "arithmetic", "tools", "facts" */
const char *probe_name(enum probe_kind kind);
/* Is a hit what one wants? Of loops it is not. */
int probe_wants_hits(enum probe_kind kind);

struct probe_case {
    char id[40];
    struct probe_ask ask;
    size_t group;
    int64_t number;               /* needle, arithmetic */
    const struct prompt_set *set; /* tools, facts */
    size_t prompt;                /* of the set */
};

struct probe_group {
    enum probe_kind kind;
    char name[48];
    size_t first, n; /* cases */
    size_t length;   /* needle: tokens asked for; 0 elsewhere */
    double depth;    /* needle */
};

/* What prompts are made with. */
struct suite_source {
    const struct tokenizer *tokenizer;
    const struct chat_template *chat; /* NULL: prompts are raw text */
    const struct chat_var *args;      /* of the template */
    size_t n_args;
};

struct suite {
    const struct suite_source *source;
    struct tokenizer_encoder *encoder;
    struct probe_case *cases;
    size_t n_cases, cap_cases;
    struct probe_group *groups;
    size_t n_groups, cap_groups;
    struct arena arena; /* of prompts */
};

PREP_MUST_CHECK int suite_open(struct suite *s, const struct suite_source *source,
                               struct prep_error *err);
void suite_close(struct suite *s); /* accepts a zeroed struct */

/* Loops: prompts are the first n_prompt tokens of each window; greedy, then seeds 1 .. n_seeds. */
struct suite_loops {
    const uint32_t *tokens; /* [n_windows, window], borrowed until suite_close() */
    size_t n_windows, window, n_prompt, n_new;
    uint64_t n_seeds;
};
PREP_MUST_CHECK int suite_add_loops(struct suite *s, const struct suite_loops *l,
                                    struct prep_error *err);

/* A case for every length, depth and seed 1 .. n_seeds. */
struct suite_needle {
    const char *text; /* where sentences come from */
    size_t n_text;
    const size_t *lengths;
    size_t n_lengths;
    const double *depths;
    size_t n_depths;
    uint64_t n_seeds;
    size_t n_new;
};
PREP_MUST_CHECK int suite_add_needle(struct suite *s, const struct suite_needle *n,
                                     struct prep_error *err);

/* n problems of seed 1 with so many digits. */
PREP_MUST_CHECK int suite_add_arithmetic(struct suite *s, int digits, size_t n, size_t n_new,
                                         struct prep_error *err);

/* Every prompt of a set, as a group of the set's name. */
PREP_MUST_CHECK int suite_add_prompts(struct suite *s, enum probe_kind kind,
                                      const struct prompt_set *set, size_t n_new,
                                      struct prep_error *err);

struct probe_outcome {
    unsigned char hit;
    unsigned char calls;   /* tools: tool calls in the answer, at most 255 */
    unsigned char fault;   /* tools: enum tool_fault of the format */
    unsigned char period;  /* loops: of the cycle, 0 without one */
    unsigned char stopped; /* ended by itself, below its limit */
    uint32_t n;            /* tokens of the output */
};

/* What came to one case. */
PREP_MUST_CHECK int suite_judge(struct probe_outcome *o, const struct suite *s, size_t i,
                                const uint32_t *tokens, size_t n, struct prep_error *err);

struct suite_asking {
    const struct generator *generator;
    const uint32_t *stop;
    size_t n_stop;
    void (*progress)(void *arg, size_t done, size_t total); /* cases; may be NULL */
    void *arg;
};
/* Ask all cases and judge what comes: outcomes [n_cases]. */
PREP_MUST_CHECK int suite_ask(struct probe_outcome *outcomes, const struct suite *s,
                              const struct suite_asking *asking, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

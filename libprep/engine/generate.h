/* SPDX-License-Identifier: MIT */
/*
 * generate.h - text from a model: several sequences in one batch, each with its own prompt,
 * sampler, end and keys.
 *
 * All texts go through the model together, so weights are read and decoded once for all. A pass
 * takes one token of every text that is writing and as much of the waiting prompts as memory
 * allows; a text that has ended leaves the batch, and one that waits for memory takes its place.
 * A text does not depend on what else is in the batch, on threads, --mem or the instruction set:
 * the runtime's results do not (runtime.h), and a sampler has a stream of its own.
 *
 *    generate(): prompt -> passes -> logits -> sampler -> token -> stop tokens, stop strings, limit
 *                                                           |
 *                                                    g->token(): streaming
 *
 * A generate_memory keeps the keys of a text for later calls: what a new prompt has in common with
 * the tokens in it, from the first on, is not computed again. So a conversation costs its new
 * tokens only.
 *
 * With g->draft the model's MTP layer guesses that many tokens of each text ahead (model.md 5: from
 * the last hidden state and token, then from its own hidden state and guess), and the next pass
 * computes them all. The sampler chooses at each of them as it would have without; what it chooses
 * is the text, and as long as that is what was guessed, one pass gives several tokens. So texts and
 * draws are the same with and without drafts, whatever the MTP layer says.
 *
 * Units      seconds by g->now
 * Ownership  requests, prompts, stop lists and streams are borrowed for the call; results are freed
 *            by generate_results_free(), also after an error; a memory by generate_memory_free(),
 *            before its runtime
 * Errors     those of runtime.h and sampling.h; PREP_EUSAGE for an empty prompt; PREP_EDATA with
 *            POSITION for a prompt longer than max_position_embeddings, with TOKEN_ID for an id
 *            outside the vocabulary; all prompts are checked before anything runs;
 *            PREP_EUSAGE with MTP for drafts from a model without an MTP layer
 * Threads    one call at a time per runtime; callbacks come from the calling thread
 */
#ifndef PREP_ENGINE_GENERATE_H
#define PREP_ENGINE_GENERATE_H

#include "libprep/engine/runtime.h"
#include "libprep/engine/sampling.h"
#include "libprep/engine/stop.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GENERATE_MOST = 64, GENERATE_MOST_DRAFTS = 8 }; /* texts at a time; drafts of each */

enum generate_end {
    GENERATE_RUNNING,
    GENERATE_STOP_TOKEN,  /* the last token is a stop token */
    GENERATE_STOP_STRING, /* the last token completes a stop string */
    GENERATE_LENGTH,      /* n_new tokens */
    GENERATE_CONTEXT,     /* no position is left: max_position_embeddings */
    GENERATE_CALLER,      /* g->token said so */
};
const char *generate_end_name(enum generate_end end); /* "stop", "stop-string", "length", ... */

struct generate_memory;
PREP_MUST_CHECK int generate_memory_new(struct generate_memory **m, struct prep_error *err);
void generate_memory_free(struct generate_memory *m); /* accepts NULL */

struct generate_request {
    const uint32_t *prompt; /* [n_prompt], n_prompt > 0 */
    size_t n_prompt;
    size_t n_new; /* tokens to add, at most */
    struct sampling sampling;
    uint64_t seed, stream; /* of the sampler: sampler_new() */
    const uint32_t *stop;  /* [n_stop]: ends after one of these */
    size_t n_stop;
    struct stop_stream *text;       /* decodes, and ends at its stop strings; NULL: no text */
    struct generate_memory *memory; /* of one request of a call; NULL: keys live for the call */
};

/* A token that was chosen. Borrowed for the call. */
struct generate_token {
    size_t request; /* which one */
    size_t i;       /* tokens of this text before it */
    uint32_t token;
    const float *logits; /* it was chosen from, before any penalty */
    const char *text;    /* what may be shown now, from the request's stream; no NUL */
    size_t n_text;
    enum generate_end end; /* GENERATE_RUNNING: there will be more */
};

/* 0: go on, 1: end this text here, -1: an error. */
typedef int (*generate_fn)(void *arg, const struct generate_token *t, struct prep_error *err);

struct generate {
    struct runtime *runtime;
    const struct generate_request *requests;
    size_t n;
    enum kv_form kv;   /* of the keys that are kept; a memory stays with its first */
    generate_fn token; /* may be NULL */
    void *arg;
    int draft;           /* 0: none, up to GENERATE_MOST_DRAFTS */
    double (*now)(void); /* seconds of any clock that only goes forward; NULL: nothing is timed */
};

struct generate_result {
    struct token_ids tokens; /* what was added, a stop token included */
    enum generate_end end;
    size_t n_reused;            /* tokens of the prompt whose keys the memory held */
    uint64_t drafted, accepted; /* guesses that were computed, and that came true */
};

/* A pass that computes tokens of a prompt is prefill, any other decoding. */
struct generate_stats {
    uint64_t prefill_passes, decode_passes;
    uint64_t prefill_tokens; /* of prompts, computed */
    uint64_t decode_tokens;  /* chosen in decoding passes ... */
    uint64_t decode_turns;   /* ... by texts that took part in them: without drafts as many */
    uint64_t drafted, accepted;
    double prefill_seconds, decode_seconds;
};

/* results: [g->n]; stats may be NULL. */
PREP_MUST_CHECK int generate_run(struct generate_result *results, struct generate_stats *stats,
                                 const struct generate *g, struct prep_error *err);
void generate_results_free(struct generate_result *results, size_t n);

/* The largest logit; equal ones: the lower id. */
size_t greedy_pick(const float *logits, size_t n);

#ifdef __cplusplus
}
#endif
#endif

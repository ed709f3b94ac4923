/* SPDX-License-Identifier: MIT */
/*
 * loops.h - does generated text end in a cycle, and how often does a model do that?
 *
 * An output loops when its last 128 tokens contain a cycle: for some period p of 1 to 32 at least
 * max(3 p, 48) of the final consecutive tokens satisfy t[i] = t[i - p], all within those 128.
 *
 * Shapes     tokens: what was generated, without the prompt and without the stop token
 * Units      tokens
 * Ownership  tokens are borrowed
 * Errors     none
 * Threads    pure functions
 */
#ifndef PREP_ENGINE_LOOPS_H
#define PREP_ENGINE_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/numeric/proportion.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LOOP_WINDOW = 128, LOOP_PERIODS = 32, LOOP_LEAST = 48 };

struct loop_found {
    int period;    /* the shortest that qualifies; 0: the output does not loop */
    size_t repeat; /* how many final tokens satisfy t[i] = t[i - period] */
};

struct loop_found loop_find(const uint32_t *tokens, size_t n);

/* Outputs of one model, counted; and of two models on the same prompts and seeds, compared. */
struct loop_rate {
    uint64_t loops, n;
    struct proportion proportion; /* loop_rate_finish() */
};

static inline void loop_rate_add(struct loop_rate *r, const uint32_t *tokens, size_t n)
{
    r->loops += loop_find(tokens, n).period != 0;
    r->n++;
}

static inline void loop_rate_finish(struct loop_rate *r)
{
    proportion_wilson(&r->proportion, r->loops, r->n);
}

#ifdef __cplusplus
}
#endif
#endif

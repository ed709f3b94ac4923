/* SPDX-License-Identifier: MIT */
/*
 * generate.h - greedy text from a prompt, with a cache that stays.
 *
 * Ownership  out is caller memory
 * Errors     those of runtime.h
 */
#ifndef PREP_ENGINE_GENERATE_H
#define PREP_ENGINE_GENERATE_H

#include "libprep/engine/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest logit; equal ones: the lower id. */
size_t greedy_pick(const float *logits, size_t n);

struct greedy {
    const uint32_t *prompt; /* [n_prompt], n_prompt > 0 */
    size_t n_prompt;
    size_t n_new;         /* at most; ends earlier after a token in stop[] */
    const uint32_t *stop; /* [n_stop] */
    size_t n_stop;
    /* Called with the logits each token is picked from; may be NULL. */
    int (*step)(void *arg, size_t i, const float *logits, struct prep_error *err);
    void *arg;
};

/* out has room for n_new; *n is how many there are, a stop token included. */
PREP_MUST_CHECK int greedy_generate(struct runtime *r, const struct greedy *g, uint32_t *out,
                                    size_t *n, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

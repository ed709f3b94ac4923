/* SPDX-License-Identifier: MIT */
/*
 * generator.h - whatever goes on from a prompt: a model, or what a test plants in its place.
 *
 * Shapes     prompt [n_prompt], tokens [n]
 * Ownership  everything is borrowed for the call
 * Errors     those of the generator; what the callback raises ends the call
 * Threads    one call at a time; the callback comes from the calling thread
 */
#ifndef PREP_PROBE_GENERATOR_H
#define PREP_PROBE_GENERATOR_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"
#include "libprep/engine/sampling.h"

#ifdef __cplusplus
extern "C" {
#endif

struct probe_ask {
    const uint32_t *prompt; /* n_prompt > 0 */
    size_t n_prompt;
    size_t n_new; /* at most */
    struct sampling sampling;
    uint64_t seed, stream; /* of the sampler */
};

/* What came to ask number i, without the stop token. */
typedef int (*probe_answer_fn)(void *arg, size_t i, const uint32_t *tokens, size_t n,
                               struct prep_error *err);

struct generator {
    void *self;
    /* Answer n asks, in any order, each once. Ends at one of stop[n_stop], too. */
    int (*answer)(void *self, const struct probe_ask *asks, size_t n, const uint32_t *stop,
                  size_t n_stop, probe_answer_fn take, void *arg, struct prep_error *err);
};

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * forward.h - run a checkpoint from a test, and compare what it says with a reference.
 *
 * Shapes     logits [sequences * length, vocab_size]
 * Ownership  test_model_open / test_model_close; logits are freed by the caller
 * Errors     what should work and does not fails the running cmocka test
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_FORWARD_H
#define PREP_TESTS_FORWARD_H

#include "libprep/engine/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

struct test_model {
    struct checkpoint *ckpt;
    struct config config;
    struct runtime *runtime;
};

/* Of a folder with config.json and shards. */
void test_model_open(struct test_model *m, const char *dir, const struct runtime_options *options);
/* The same without failing the test: for models that are to be refused. */
PREP_MUST_CHECK int test_model_try(struct test_model *m, const char *dir,
                                   const struct runtime_options *options, struct prep_error *err);
void test_model_close(struct test_model *m); /* accepts a zeroed struct */

/* Every instruction of this machine, two threads, no bound on memory. */
struct runtime_options test_model_options(void);

/* n_sequences texts of `length` tokens, one after the other, as one batch. */
struct batch *test_batch(struct runtime *r, const uint32_t *tokens, size_t n_sequences,
                         size_t length);
/* The batch through all main layers. */
void test_forward(struct runtime *r, struct batch *b);
/* Of all tokens of a batch that went through; layer as runtime_final() wants it. */
float *test_logits(struct runtime *r, const struct batch *b, int layer);
/* All of it. */
float *test_model_logits(struct runtime *r, const uint32_t *tokens, size_t n_sequences,
                         size_t length);

/* log of the sum of exponentials. */
double test_logsumexp(const float *logits, size_t n);
/* Nats of `target` given the row. */
double test_nats(const float *logits, size_t n, uint32_t target);

/* tokens of glm-nano-reference: 8 sequences of 512. */
enum { REFERENCE_SEQUENCES = 8, REFERENCE_LENGTH = 512 };
uint32_t *test_reference_tokens(void); /* free() */

#ifdef __cplusplus
}
#endif
#endif

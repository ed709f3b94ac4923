/* SPDX-License-Identifier: MIT */
/*
 * sampling.h - from a row of logits to the next token, the same on every machine.
 *
 * In this order, all in F64 from F32 logits z:
 *   1. repetition penalty r: tokens of the prompt or the output: z > 0 ? z / r : z * r
 *   2. frequency penalty f: z - f * (times the token is in the output)
 *   3. temperature T: weight w = exp((z - max z) / T); T = 0 takes the largest z
 *   4. top-k: the k largest
 *   5. top-p: of these, largest first, the fewest whose weights add up to at least p of all
 *   6. min-p: of these, those with w >= p * (largest w)
 *   7. one draw: u = (64 random bits >> 11) / 2^53; the first token, by id, at which the running
 *      sum of the kept weights exceeds u times their sum
 * Of equal logits or weights the lower id counts as larger. Sums run by falling weight in 5, by id
 * in 7 and for the whole of 5 without top-k. exp is prep_exp (numeric/elementary). Greedy choices
 * draw nothing.
 *
 * Random bits are splitmix64 (base/random.h); a stream of its own for every sequence, so that a
 * sequence gets the same text alone and in a batch: its state begins as the first output for the
 * state seed, plus the sequence's number, mixed once more by an output. So a seed fixes the text.
 *
 * Shapes     logits [vocab_size] F32
 * Ownership  sampler_new / sampler_free; logits are borrowed for the call
 * Errors     PREP_EUSAGE for options out of range, PREP_EDATA when a logit is NaN or +inf or all
 *            are -inf
 * Threads    a sampler belongs to one thread
 */
#ifndef PREP_ENGINE_SAMPLING_H
#define PREP_ENGINE_SAMPLING_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sampling {
    double temperature;        /* 0: greedy; at least 0 */
    double top_p;              /* over 0, at most 1; 1: off */
    double min_p;              /* 0 to 1; 0: off */
    double repetition_penalty; /* over 0; 1: off */
    double frequency_penalty;  /* -2 to 2; 0: off */
    uint32_t top_k;            /* 0: off */
};

/* Greedy, without penalties. */
#define SAMPLING_GREEDY                                                                            \
    {                                                                                              \
        0, 1, 0, 1, 0, 0                                                                           \
    }

/*
 * By name: "greedy"; "chat" (temperature 0.5, top-p 0.95, frequency 0.3, repetition 1.05) and
 * "strict" (greedy with repetition 1.05), as the family's cards recommend; "loops" (temperature
 * 0.8, top-p 0.95), for measuring repetition. PREP_EUSAGE, naming them, for anything else.
 */
PREP_MUST_CHECK int sampling_preset(struct sampling *s, const char *name, struct prep_error *err);
PREP_MUST_CHECK int sampling_check(const struct sampling *s, struct prep_error *err);

struct sampler;

PREP_MUST_CHECK int sampler_new(struct sampler **s, const struct sampling *options,
                                uint32_t vocab_size, uint64_t seed, uint64_t sequence,
                                struct prep_error *err);
void sampler_free(struct sampler *s); /* accepts NULL */
/* What a sampler holds. */
uint64_t sampler_bytes(uint32_t vocab_size);

/* Tell it the prompt, for the repetition penalty. Ids beyond the vocabulary are PREP_EUSAGE. */
PREP_MUST_CHECK int sampler_see_prompt(struct sampler *s, const uint32_t *tokens, size_t n,
                                       struct prep_error *err);
/* Tell it a token of the output, whether it was chosen here or elsewhere. */
PREP_MUST_CHECK int sampler_see_output(struct sampler *s, uint32_t token, struct prep_error *err);
/* Choose; does not count as seen. */
PREP_MUST_CHECK int sampler_choose(uint32_t *token, struct sampler *s, const float *logits,
                                   struct prep_error *err);
/*
 * The probabilities that the next draw would use: [vocab_size], 0 for what is cut off. For
 * speculative decoding and tests; a greedy sampler gives 1 to its choice.
 */
PREP_MUST_CHECK int sampler_distribution(double *p, struct sampler *s, const float *logits,
                                         struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

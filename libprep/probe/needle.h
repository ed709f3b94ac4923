/* SPDX-License-Identifier: MIT */
/*
 * needle.h - a sentence hidden in a long text: is it found, by length and by depth?
 *
 * A prompt is a short instruction, text cut from a source at sentence ends, one sentence with a
 * number put between two of them, and the question for that number. Its length in tokens stays just
 * below the one asked for; the depth is where the needle stands, as a part of the text's tokens.
 * Everything follows from the seed. The source is repeated when it is too short for the length.
 *
 * Units      tokens as the tokenizer counts them (mode nospecial); depth 0 to 1
 * Ownership  needle_open / needle_close; the encoder is borrowed; a prompt is freed by the caller
 * Errors     PREP_EUSAGE for a depth or a length that cannot be (below about 150 tokens),
 *            PREP_EDATA for a source without sentences; those of tokenizer.h
 * Threads    a source is const; building uses the encoder
 */
#ifndef PREP_PROBE_NEEDLE_H
#define PREP_PROBE_NEEDLE_H

#include "libprep/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

struct needle_sentence {
    size_t at, n; /* bytes in the text */
    size_t tokens;
};

struct needle_source {
    struct arena arena;
    const char *text;
    struct needle_sentence *sentences;
    size_t n, cap;
};

/* The text is copied. Sentences that speak of a "magic number" are left out. */
PREP_MUST_CHECK int needle_open(struct needle_source *s, struct tokenizer_encoder *e,
                                const char *text, size_t n, struct prep_error *err);
void needle_close(struct needle_source *s); /* accepts a zeroed struct */

struct needle_case {
    size_t tokens; /* at most */
    double depth;
    uint64_t seed;
};

struct needle_prompt {
    char *text; /* of the user's message; NUL-terminated */
    size_t n;
    size_t tokens;  /* what it has */
    double depth;   /* where the needle came to stand */
    int repeats;    /* the source was used more than once */
    int64_t number; /* the right answer: seven digits */
};

PREP_MUST_CHECK int needle_build(struct needle_prompt *p, const struct needle_source *s,
                                 struct tokenizer_encoder *e, const struct needle_case *c,
                                 struct prep_error *err);
void needle_free(struct needle_prompt *p);

/* Right: the last number of the answer (answer.h). */
int needle_found(const struct needle_prompt *p, const char *answer, size_t n);

#ifdef __cplusplus
}
#endif
#endif

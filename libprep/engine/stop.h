/* SPDX-License-Identifier: MIT */
/*
 * stop.h - where generated text ends, and what of it may be shown already.
 *
 * Tokens come one by one. A stop token ends the text and is no part of it. A stop string ends it
 * where the string begins, wherever the borders of tokens lie; of several the one that begins
 * first, then the first in the list. Text that may still become a stop string, and bytes that may
 * still become a character, are held back. What all calls append is the text up to its end, the
 * same for any cut into tokens.
 *
 * Ownership  stop_open / stop_close; the tokenizer and the lists are borrowed until then
 * Errors     PREP_EUSAGE for an empty stop string, one over 1 KiB, or more than 64; PREP_ENOMEM
 * Threads    a stream belongs to one thread
 */
#ifndef PREP_ENGINE_STOP_H
#define PREP_ENGINE_STOP_H

#include "libprep/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

enum stop_state { STOP_NOT_YET, STOP_TOKEN, STOP_STRING };

struct stop_stream {
    struct tokenizer_stream decoder;
    const uint32_t *tokens;
    size_t n_tokens;
    const char *const *strings; /* each with a NUL at its end */
    size_t n_strings;
    struct token_text held; /* decoded, not shown yet */
    enum stop_state state;
};

PREP_MUST_CHECK int stop_open(struct stop_stream *s, const struct tokenizer *t, int skip_special,
                              const uint32_t *tokens, size_t n_tokens, const char *const *strings,
                              size_t n_strings, struct prep_error *err);
void stop_close(struct stop_stream *s); /* accepts a zeroed struct */

/* Take a token and append what may be shown; s->state tells whether the text has ended. Tokens
 * after the end change nothing. */
PREP_MUST_CHECK int stop_push(struct token_text *out, struct stop_stream *s, uint32_t token,
                              struct prep_error *err);
/* No more tokens: append what was held back, unless the text has ended before it. */
PREP_MUST_CHECK int stop_finish(struct token_text *out, struct stop_stream *s,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

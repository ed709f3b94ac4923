/* SPDX-License-Identifier: MIT */
/*
 * judge_text.h - the windows of tokens a model is judged on, from whatever they come in.
 *
 *    texts     files, or one in memory: encoded, each document followed by <|endoftext|> where
 *              the tokenizer has it, laid end to end and cut into full windows; a shorter text
 *              is one window
 *    windows   a part of a JSON file (windows.h)
 *    tokens    a file of packed tokens (tokens.h)
 *
 * Of more windows than asked for, i of n are evenly spaced ones: number floor(i m / n) of m.
 *
 * Shapes     tokens [n_windows, window]
 * Ownership  everything lives in the caller's arena
 * Errors     PREP_EUSAGE: not exactly one kind of source; PREP_EDATA, tag JUDGE_TEXT: fewer than
 *            two tokens; those of documents.h, tokenizer.h, windows.h, tokens.h
 * Threads    one call at a time
 */
#ifndef PREP_RELEASE_JUDGE_TEXT_H
#define PREP_RELEASE_JUDGE_TEXT_H

#include "libprep/base/arena.h"
#include "libprep/base/hash.h"
#include "libprep/base/io.h"
#include "libprep/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

struct judge_text_request {
    const char *const *texts;
    size_t n_texts;
    const char *windows, *part; /* part NULL: "evaluation" */
    const char *tokens;
    struct span memory;   /* a text that is at hand, in place of files */
    uint64_t window;      /* of texts */
    uint64_t max_windows; /* 0: all */
};

struct judge_text {
    uint32_t *tokens;
    uint64_t n_windows, window; /* window >= 2 */
    uint64_t n_available;       /* windows there were to choose from */
    char sha256[SHA256_HEX];    /* of the tokens taken, as tokens_text_sha256() */
};

/* t is needed for texts only. */
PREP_MUST_CHECK int judge_text_read(struct judge_text *text, const struct judge_text_request *r,
                                    const struct tokenizer *t, const struct io *io,
                                    struct arena *arena, struct prep_error *err);
/* From tokens [n, window] that are there already; copied when not all are taken. */
PREP_MUST_CHECK int judge_text_take(struct judge_text *text, uint32_t *tokens, uint64_t n,
                                    uint64_t window, uint64_t max_windows, struct arena *arena,
                                    struct prep_error *err);
/* Number among those available of window i of those taken. */
uint64_t judge_text_number(const struct judge_text *text, uint64_t i);

#ifdef __cplusplus
}
#endif
#endif

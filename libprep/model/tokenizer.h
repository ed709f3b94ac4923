/* SPDX-License-Identifier: MIT */
/*
 * tokenizer.h - text to token ids and back, as the tokenizers library does for GLM checkpoints.
 *
 * Byte-level BPE from tokenizer.json: added tokens are cut out of the text, the rest is split into
 * pieces by the GLM-4 pattern, each piece is a token of its own or is merged from its bytes. What
 * the file may hold, and what of it is refused, is in docs/formats/tokenizer.md.
 *
 * Units      text is counted in bytes, NUL is a character; ids are below 2^31
 * Ownership  tokenizer_open / tokenizer_free; an encoder borrows its tokenizer; lists and texts
 *            grow on the heap and are freed by the caller
 * Errors     PREP_EDATA, tag TOK_VOCAB TOK_MERGE TOK_ADDED_ID TOK_VOCAB_SIZE TOK_REGEX TOK_FILE, or
 *            those of json.h; PREP_EUNSUP, tag TOK_NORMALIZER TOK_PRETOKENIZER TOK_POSTPROCESSOR
 *            TOK_DECODER TOK_MODEL; encoding: PREP_EDATA, tag TOK_UTF8, or TOK_REGEX when a pattern
 *            that is not the built-in one gives up. Memory is a few times the file.
 * Threads    a tokenizer is const and shared; an encoder or a stream belongs to one thread
 */
#ifndef PREP_MODEL_TOKENIZER_H
#define PREP_MODEL_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/io.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TOKENIZER_NONE UINT32_MAX
#define TOKENIZER_MAX_TEXT (UINT64_C(1) << 30)

struct tokenizer;
struct tokenizer_encoder;

struct token_ids {
    uint32_t *ids;
    size_t n, cap;
};

struct token_text {
    char *p; /* no NUL at the end */
    size_t n, cap;
    size_t unknown; /* ids met that no token has: they decode to nothing */
};

/*
 * Open tokenizer.json: the file itself, or the folder or hub snapshot that holds it; in a folder,
 * ids are held against the vocab_size of its config.json, if there is one. Warnings go to report.
 */
PREP_MUST_CHECK int tokenizer_open(struct tokenizer **t, const struct io *io, const char *path,
                                   struct report *report, struct prep_error *err);
/* From text; name is for messages. vocab_size 0: any number of ids. */
PREP_MUST_CHECK int tokenizer_parse(struct tokenizer **t, const char *text, size_t n,
                                    const char *name, uint64_t vocab_size, struct report *report,
                                    struct prep_error *err);
void tokenizer_free(struct tokenizer *t); /* accepts NULL */

/* SHA-256 of tokenizer.json, hexadecimal. */
const char *tokenizer_sha256(const struct tokenizer *t);
/* The highest id, plus one. */
uint32_t tokenizer_size(const struct tokenizer *t);
/* The token whose text is exactly this, added tokens first, or TOKENIZER_NONE. */
uint32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t n);

/* How to encode: one of the first three, and any of the others. */
enum {
    TOKENIZER_ALL = 0,       /* every added token is matched in the text */
    TOKENIZER_NOSPECIAL = 1, /* those that are not special: message bodies with tool tags */
    TOKENIZER_RAW = 2,       /* none: text that cannot be trusted */
    TOKENIZER_WRAP = 4,      /* with what the file's post-processor puts before and after */
    TOKENIZER_LOSSY = 8,     /* replace ill-formed UTF-8 by U+FFFD instead of refusing it */
};

PREP_MUST_CHECK int tokenizer_encoder_new(struct tokenizer_encoder **e, const struct tokenizer *t,
                                          struct prep_error *err);
void tokenizer_encoder_free(struct tokenizer_encoder *e); /* accepts NULL */

/* Appends the ids of a text; on failure out is as it was. */
PREP_MUST_CHECK int tokenizer_encode(struct token_ids *out, struct tokenizer_encoder *e,
                                     unsigned how, const char *text, size_t n,
                                     struct prep_error *err);

/* A stretch of a text; it begins where the one before ends. */
struct tokenizer_part {
    size_t end;
    int data; /* cannot be trusted */
};

/*
 * The same for a text with parts that cannot be trusted, such as messages in a rendered chat. Every
 * added token that lies in trusted text, across no border, is matched first; what is left between
 * them is encoded as one, as `how` says. So data can split no marker, and become none unless `how`
 * is TOKENIZER_ALL; where data holds no added token, the ids are those of the whole text.
 * The text is UTF-8.
 */
PREP_MUST_CHECK int tokenizer_encode_mixed(struct token_ids *out, struct tokenizer_encoder *e,
                                           unsigned how, const char *text,
                                           const struct tokenizer_part *parts, size_t n_parts,
                                           struct prep_error *err);
PREP_MUST_CHECK int token_ids_push(struct token_ids *l, uint32_t id, struct prep_error *err);
void token_ids_free(struct token_ids *l);

/* Appends the text of the ids, repaired where their bytes are not UTF-8. */
PREP_MUST_CHECK int tokenizer_decode(struct token_text *out, const struct tokenizer *t,
                                     const uint32_t *ids, size_t n, int skip_special,
                                     struct prep_error *err);
void token_text_free(struct token_text *text);

/*
 * The same, id by id: bytes that may still become a character are held back. What all calls
 * append is what tokenizer_decode() gives.
 */
struct tokenizer_stream {
    const struct tokenizer *t;
    int skip_special;
    unsigned char n_pending;
    char pending[4];
};

PREP_MUST_CHECK int tokenizer_stream_push(struct token_text *out, struct tokenizer_stream *s,
                                          uint32_t id, struct prep_error *err);
/* At the end: an unfinished character becomes one U+FFFD. */
PREP_MUST_CHECK int tokenizer_stream_end(struct token_text *out, struct tokenizer_stream *s,
                                         struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

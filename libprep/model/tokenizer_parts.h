/* SPDX-License-Identifier: MIT */
/*
 * tokenizer_parts.h - what a tokenizer is made of. For tokenizer*.c only.
 *
 * Tokens are kept as the bytes they stand for, not as the characters the file spells bytes with.
 *
 * Ownership  everything lives in the tokenizer's arena, tables on the heap
 * Errors     those of tokenizer.h
 * Threads    const once tokenizer_parse() returned
 */
#ifndef PREP_MODEL_TOKENIZER_PARTS_H
#define PREP_MODEL_TOKENIZER_PARTS_H

#include "libprep/base/hash.h"
#include "libprep/base/json.h"
#include "libprep/base/table.h"
#include "libprep/model/tokenizer.h"
#include "libprep/model/unicode.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    TOKENIZER_MAX_CONTENT = 1024, /* bytes of an added token: bounds the search for them */
    TOKENIZER_SPELLINGS = 0x144,  /* code points that may stand for a byte */
};

struct token {
    uint32_t id;
    uint32_t n; /* bytes */
    const char *bytes;
    uint8_t added, special; /* special ones are skipped on request when decoding */
};

struct added_token {
    const char *content;
    uint32_t n, id;
    uint8_t special, normalized, lstrip, rstrip, single_word;
};

/* Added tokens that are looked for in one pass. */
struct added_set {
    struct added_token *items; /* by bytes of content */
    size_t n;
    size_t first[257]; /* items whose content begins with byte b: first[b] up to first[b + 1] */
};

struct merge {
    uint64_t pair; /* left id << 32 | right id; MERGE_EMPTY: a free slot */
    uint32_t rank, id;
};

#define MERGE_EMPTY UINT64_MAX

struct merge_table {
    struct merge *slots;
    size_t mask; /* slots - 1, a power of two less one */
};

struct tokenizer {
    struct arena arena;
    struct unicode_map classes;
    struct token *tokens; /* by id */
    size_t n_tokens;
    struct name_table vocab; /* bytes to id, for tokens spelled in byte characters */
    uint32_t byte_ids[256];
    struct merge_table merges;
    int ignore_merges;         /* a piece that is a token is not merged from its bytes */
    struct added_set added[2]; /* [1]: those with `normalized`, looked for in what is left */
    struct token_ids wrap[2];  /* what the post-processor puts before and after */
    const char *pattern;       /* NULL: tokenizer_split() */
    size_t pattern_bytes;
    char sha256[SHA256_HEX];
};

/* What reading the file needs beside the tokenizer. */
struct tokenizer_reader {
    struct tokenizer *t;
    const struct json *doc;
    struct report *report;
    struct prep_error *err;
    struct name_table foreign; /* vocabulary entries with characters that stand for no byte */
    size_t n_vocab;
    int16_t byte_of[TOKENIZER_SPELLINGS]; /* what a code point stands for, or -1 */
    char *scratch, *bytes;                /* each has room for two strings of the file */
};

/* Raise a fault at a node: "FILE: byte 12 (line 1): " is put before the text. */
int tokenizer_fault(const struct tokenizer_reader *r, uint32_t node, enum prep_code code,
                    const char *tag, const char *fmt, ...) PREP_PRINTF(5, 6);
/* Value of a key; null counts as absent: JSON_NONE. */
uint32_t tokenizer_key(const struct tokenizer_reader *r, uint32_t object, const char *key);
/* Is `node` an object whose "type" is this? */
int tokenizer_is(const struct tokenizer_reader *r, uint32_t node, const char *type);
/* true and false of a key, or `absent`; -1 when it is something else. */
int tokenizer_flag(const struct tokenizer_reader *r, uint32_t object, const char *key, int absent);

/* The id of a vocabulary entry spelled like this, or NAME_NONE. */
uint32_t tokenizer_spelled(const struct tokenizer_reader *r, const char *s, size_t n);

PREP_MUST_CHECK int tokenizer_read_model(struct tokenizer_reader *r);
PREP_MUST_CHECK int tokenizer_read_added(struct tokenizer_reader *r);
PREP_MUST_CHECK int tokenizer_read_post(struct tokenizer_reader *r);

const struct tokenizer *tokenizer_of(const struct tokenizer_encoder *e);

/* NULL when no token has the id. */
const struct token *tokenizer_token(const struct tokenizer *t, uint32_t id);

struct added_match {
    const struct added_token *token;
    size_t start, end; /* of the content in the text */
};

/* The leftmost added token from `at` on, the longest at its place; 0 when there is none. */
int added_find(const struct added_set *set, const char *s, size_t n, size_t at,
               struct added_match *m);
struct added_walk {
    size_t done;     /* text up to here is behind us */
    size_t blank_to; /* where white space ends that an earlier match swallowed */
};

/*
 * May this match stand? It may not where it wants to be a word of its own and is not. Otherwise
 * the white space it swallows is added to it: to the left no further than what is done.
 */
int added_accept(const struct tokenizer *t, struct added_match *m, const char *s, size_t n,
                 struct added_walk *walk);

/* Where a pair is looked for first. */
static inline size_t merge_slot(const struct merge_table *t, uint64_t pair)
{
    /* 2^64 divided by the golden ratio: spreads neighbouring ids over the table. */
    return (size_t)(pair * UINT64_C(0x9e3779b97f4a7c15) >> 32) & t->mask;
}

/* NULL when the two are never merged. */
static inline const struct merge *merge_find(const struct merge_table *t, uint32_t left,
                                             uint32_t right)
{
    const uint64_t pair = (uint64_t)left << 32 | right;
    size_t i = merge_slot(t, pair);
    while (t->slots[i].pair != pair) {
        if (t->slots[i].pair == MERGE_EMPTY)
            return NULL;
        i = (i + 1) & t->mask;
    }
    return &t->slots[i];
}

#ifdef __cplusplus
}
#endif
#endif

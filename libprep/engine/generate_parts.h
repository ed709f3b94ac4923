/* SPDX-License-Identifier: MIT */
/*
 * generate_parts.h - what the files of generation share. Private to engine/.
 *
 * Ownership  see generate.h
 * Errors     those of generate.h, in x->err
 */
#ifndef PREP_ENGINE_GENERATE_PARTS_H
#define PREP_ENGINE_GENERATE_PARTS_H

#include "libprep/engine/generate.h"
#include "libprep/engine/kv_parts.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The first fed tokens of ids have keys in the cache, the first drafted in that of the MTP layer.
 */
struct generate_memory {
    struct kv_cache *cache, *draft_cache;
    struct token_ids ids;
    size_t fed, drafted;
    int busy; /* a text of the running call uses it */
};

/* A text that is being written. */
struct text {
    const struct generate_request *q;
    struct generate_result *result;
    size_t number; /* of the request */
    struct generate_memory *keys, own;
    struct sampler *sampler;
    uint64_t reserved; /* bytes, of the sampler */
    size_t limit;      /* tokens to add: n_new, or what positions are left */
    uint32_t draft[GENERATE_MOST_DRAFTS];
    size_t n_draft;
    /* Of a pass: known tokens, drafts behind them, those of them that came true; where it begins in
     * the batch; and whether the next token is no longer looked for. */
    size_t n_feed, n_try, n_true, first;
    int closed;
};

struct run {
    const struct generate *g;
    struct runtime *r;
    struct generate_result *results;
    struct generate_stats *stats;
    struct text *texts; /* [n_live] */
    size_t n_live, n_started, turn;
    size_t longest;             /* capacity of those that have begun */
    struct sequence *sequences; /* [GENERATE_MOST] */
    size_t *rows;               /* tokens of the batch whose logits are wanted ... */
    struct text **owners;       /* ... and whose they are */
    float *tile, *logits;       /* z and logits of at most n_tile rows */
    size_t n_tile;
    uint64_t reserved;
    float *z; /* [n_z, hidden_size], of the whole batch, for drafts */
    size_t n_z;
    struct token_text shown; /* of one token */
    struct prep_error *err;
};

/* z of tokens rows[0 .. n) of a batch into the tile: neighbours in one call. layer: as
 * runtime_final() wants it. */
PREP_MUST_CHECK int generate_rows(struct run *x, int layer, const struct batch *b,
                                  const size_t *rows, size_t n);

/* Speculation (speculate.c); nothing of it happens without g->draft. */

PREP_MUST_CHECK int speculate_check(const struct run *x);
/* Bytes per token of a batch, and per text of this capacity, beside those of the main layers. */
uint64_t speculate_token_bytes(const struct run *x);
uint64_t speculate_text_bytes(const struct run *x, size_t capacity);
/* Keys of the MTP layer. */
PREP_MUST_CHECK int speculate_start(struct run *x, struct text *t, size_t capacity);
/* z of every token of the batch. */
PREP_MUST_CHECK int speculate_keep(struct run *x, const struct batch *b);
/* After a pass: the MTP layer sees what is known now, and drafts for the next one. */
PREP_MUST_CHECK int speculate_draft(struct run *x);
void speculate_close(struct run *x);

#ifdef __cplusplus
}
#endif
#endif

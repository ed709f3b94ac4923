/* SPDX-License-Identifier: MIT */
/*
 * reference.h - what a model answered, saved to be compared with later: a safetensors file,
 * docs/formats/reference.md.
 *
 * Of each row of logits the largest are kept, with the log-sum-exp of all, the probability of all
 * others together and the logit of the token that came. That is 1 part in 600 of the rows of a
 * large vocabulary, and enough for perplexity, agreement, and the KL divergence over the tokens
 * kept and "any other" (never above the full one).
 *
 * Shapes     S sequences of N tokens, K = top_k, the smaller of REFERENCE_TOP and vocab_size
 * Units      nats; probabilities from 0 to 1; token ids are below vocab_size
 * Ownership  everything lives in the caller's arena
 * Errors     PREP_EDATA, tag REFERENCE (another kind of file, rows that contradict themselves),
 *            REFERENCE_MODEL, REFERENCE_TOKENIZER (made from another one); those of safetensors.h;
 *            PREP_ENOINPUT, PREP_EIO
 * Threads    const after reading; rows may be set by many threads, each its own
 */
#ifndef PREP_FORMAT_REFERENCE_H
#define PREP_FORMAT_REFERENCE_H

#include "kernels/logits/logits.h"
#include "libprep/base/hash.h"
#include "libprep/format/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { REFERENCE_TOP = 256, REFERENCE_MAX_VOCAB = 1 << 24, REFERENCE_SHAPE = 400 };

/* Which model, as far as pruning and quantizing leave it as it is. */
struct reference_identity {
    char shape[REFERENCE_SHAPE];        /* "glm_moe_dsa vocab 2048 hidden 256 ..." */
    char final_norm_sha256[SHA256_HEX]; /* of the values of model.norm.weight as F32 */
    char tokenizer_sha256[SHA256_HEX];  /* of tokenizer.json, or "none" */
};

struct reference_row {
    uint32_t token;      /* at this place */
    const uint32_t *ids; /* [K], by falling logit, equal ones by rising id */
    const float *logits; /* [K] */
    double logsumexp;    /* over the whole vocabulary */
    double tail;         /* probability of all tokens not in ids */
    int has_next;        /* 0 in the last row of a sequence */
    uint32_t next_token; /* the one that came */
    float next_logit;    /* of it */
};

struct reference {
    uint64_t n_sequences, sequence; /* S, N >= 2 */
    uint32_t vocab_size, top_k;
    uint32_t *tokens;   /* [S, N] */
    uint32_t *top_ids;  /* [S, N, K] */
    float *top_logits;  /* [S, N, K] */
    double *logsumexp;  /* [S, N] */
    double *tail;       /* [S, N] */
    float *next_logits; /* [S, N - 1] */
    struct reference_identity identity;
    struct metadata_pair *metadata; /* as read; when writing: put behind our own */
    size_t n_metadata;
};

/* Room for the rows of S x N tokens (copied), not set yet. PREP_EUSAGE when a size is impossible.
 */
PREP_MUST_CHECK int reference_init(struct reference *r, const uint32_t *tokens,
                                   uint64_t n_sequences, uint64_t sequence, uint64_t vocab_size,
                                   struct arena *arena, struct prep_error *err);
/* Bytes that reference_init() and reference_write() take together. */
uint64_t reference_memory(uint64_t n_sequences, uint64_t sequence, uint64_t vocab_size);

/* Row `at` of sequence s from its logits [vocab_size]; PREP_EDATA when one is not finite. */
PREP_MUST_CHECK int reference_set_row(struct reference *r, const struct logits_kernels *k,
                                      uint64_t s, uint64_t at, const float *logits,
                                      struct prep_error *err);
struct reference_row reference_row(const struct reference *r, uint64_t s, uint64_t at);

/* The bytes of the file: equal rows, identity and metadata give equal bytes. */
PREP_MUST_CHECK int reference_write(struct span *out, const struct reference *r,
                                    struct arena *arena, struct prep_error *err);
/* The whole file, judged. Memory: about twice its size. */
PREP_MUST_CHECK int reference_read(struct reference *r, const struct io *io, const char *path,
                                   struct arena *arena, struct prep_error *err);

/* Is this the model and tokenizer of the reference? path is the reference's, model its name. */
PREP_MUST_CHECK int reference_check(const struct reference *r,
                                    const struct reference_identity *have, const char *path,
                                    const char *model, struct prep_error *err);

/* NULL when there is no such key. */
const char *reference_metadata(const struct reference *r, const char *key);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * runtime_parts.h - what the files of the runtime share. Private to engine/.
 *
 * Ownership  see runtime.h and batch.h
 * Errors     those of runtime.h
 */
#ifndef PREP_ENGINE_RUNTIME_PARTS_H
#define PREP_ENGINE_RUNTIME_PARTS_H

#include "libprep/engine/ops.h"
#include "libprep/engine/runtime.h"
#include "libprep/model/shard.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RUNTIME_PIECE = 512, /* rows of an MLP that are computed at a time */
    RUNTIME_ATTENTION = 256 /* most tokens of an attention chunk */,
    RUNTIME_LEAST = 16 /* least of any chunk */
};

/* Modules of a layer, by number in the pool; WEIGHT_NONE: not there. */
struct runtime_layer_ids {
    uint32_t part[PART_OTHER];
    uint32_t k_norm_bias, router_bias;
    uint32_t *experts; /* [n_experts, 3]: gate, up, down */
    int n_experts;     /* 0: a dense layer */
    int full, dense, mtp;
};

/* Of the shard: of the whole model when alone. */
struct runtime_widths {
    size_t heads, dense, expert, shared;
    struct shard_range vocab; /* rows of embed_tokens and lm_head */
};

struct runtime {
    const struct config *config;
    struct ranks *ranks; /* NULL: alone */
    struct shard shard;
    struct runtime_widths widths;
    float *exchange; /* of logits: [exchange_rows, share], [ranks, exchange_rows, share] */
    size_t exchange_rows;
    uint64_t exchange_bytes, stored_bytes;
    struct source source;
    struct linears linears;
    struct arena arena;
    struct runtime_layer_ids *layers; /* [n_layers] */
    int n_layers;
    uint32_t embed; /* tensor of the source */
    uint32_t final_norm;
    uint32_t *head; /* lm_head by slices of rows */
    size_t n_head;
    float latent_eps;
    enum inputs_scope inputs;
    const float *input_scales; /* [linears.n], 0: as they are; NULL: all are */
    float *inverse_frequency;  /* [qk_rope_head_dim / 2] */

    struct weights *weights;
    struct ops ops;
    uint64_t mem, reserved; /* reserved: batches and caches */
    /* All weights, and those that must be held at once: a linear and the small ones of a layer. Of
     * a split model the most that any rank has, so that all cut and gather alike. */
    uint64_t weights_total, weights_floor;
    size_t longest; /* that the operations have work memory for */
    float *scratch;
    uint64_t n_scratch; /* floats */
    uint32_t *upcoming; /* modules in order of use */
    size_t n_upcoming, cap_upcoming;
};

struct forcing {
    const struct batch *by; /* NULL: own choices */
    size_t sequence;
};

struct batch {
    struct runtime *runtime;
    struct sequence *sequences;
    size_t *first; /* [n_sequences + 1] */
    size_t n_sequences, n_tokens, n_tapped;
    size_t longest;          /* position + n */
    uint64_t bytes;          /* reserved */
    float *hidden;           /* [n_tokens, hidden_size] */
    float *partial;          /* what this rank adds to it, or NULL: alone. Zeros between sums */
    float *cos, *sin;        /* [n_tokens, qk_rope_head_dim / 2] */
    float *keys;             /* of the layer: [n_tokens, kv_lora_rank + qk_rope_head_dim] */
    float *index_keys;       /* [n_tokens, index_head_dim], or NULL */
    int32_t *experts;        /* [n_tokens, num_experts_per_tok] */
    float *gates;            /* the same */
    uint32_t *selected;      /* [n_tokens, index_topk], or NULL: everything is seen */
    struct forcing *forcing; /* [n_sequences] */
    const struct expert_set **sets;    /* [n_sequences] of [n_layers]; NULL: all experts */
    struct ops_run *runs, *index_runs; /* [n_sequences], of a chunk */
    int routed;                        /* the last layer had a router */
    int sparse;                        /* the last layer used selected */
};

/* Scratch for tokens of one chunk. */
struct chunk {
    size_t first, n; /* tokens */
};

/* How a batch is cut: tokens of an attention chunk and of an MLP chunk. */
struct runtime_cut {
    size_t attention, mlp;
    uint64_t scratch; /* floats for the larger of both */
};

/* Bring scratch and pool to what this batch and mem allow. */
PREP_MUST_CHECK int runtime_prepare(struct runtime *r, size_t tokens, size_t longest,
                                    struct runtime_cut *cut, struct prep_error *err);
/* Count bytes against mem; PREP_EUSAGE with the floor when there is no room. */
PREP_MUST_CHECK int runtime_reserve(struct runtime *r, uint64_t bytes, size_t tokens,
                                    size_t longest, struct prep_error *err);
void runtime_unreserve(struct runtime *r, uint64_t bytes);

PREP_MUST_CHECK int runtime_attention(struct runtime *r, int layer, struct batch *b,
                                      const struct chunk *chunk, const struct taps *taps,
                                      struct prep_error *err);
PREP_MUST_CHECK int runtime_mlp(struct runtime *r, int layer, struct batch *b,
                                const struct chunk *chunk, const struct taps *taps,
                                struct prep_error *err);
PREP_MUST_CHECK int runtime_moe(struct runtime *r, int layer, struct batch *b,
                                const struct chunk *chunk, const struct taps *taps,
                                struct prep_error *err);

/* Where a result came from, for NOT_FINITE. b NULL: token is a row of z. */
struct place {
    const struct batch *b;
    int layer;
    size_t first;           /* token of row 0 ... */
    const uint32_t *tokens; /* ... or of each row */
};
PREP_MUST_CHECK int runtime_check(const struct place *at, const char *what, size_t bad,
                                  struct prep_error *err);

/* Of the inputs of a linear; 0: they are not rounded. */
float runtime_input_scale(const struct runtime *r, const struct weight *w);

/* y = x w^T by module id; bad values are an error. */
struct apply {
    float *y;
    const float *x;
    size_t n, ldy, ldx;
    struct place at;
};
PREP_MUST_CHECK int runtime_apply(struct runtime *r, uint32_t id, const struct apply *a,
                                  struct prep_error *err);
/* y = norm(x) with the vector(s) of module id; bias WEIGHT_NONE: RMS norm. */
struct apply_norm {
    float *y;
    const float *x;
    size_t n, cols, ldy, ldx;
    float eps;
    struct place at;
};
PREP_MUST_CHECK int runtime_apply_norm(struct runtime *r, uint32_t id, uint32_t bias,
                                       const struct apply_norm *a, struct prep_error *err);

/* Show rows to a tap, those below n_tapped. */
PREP_MUST_CHECK int runtime_tap(const struct taps *taps, const struct batch *b,
                                const struct tap_rows *rows, struct prep_error *err);

/* Announce modules: begin, add in order of use, send. */
void runtime_upcoming_begin(struct runtime *r);
PREP_MUST_CHECK int runtime_upcoming_add(struct runtime *r, uint32_t id, struct prep_error *err);
PREP_MUST_CHECK int runtime_upcoming_layer(struct runtime *r, int layer, struct prep_error *err);
/* What comes after the layer: the next main layer, or lm_head. */
PREP_MUST_CHECK int runtime_upcoming_next(struct runtime *r, int layer, struct prep_error *err);
PREP_MUST_CHECK int runtime_upcoming_send(struct runtime *r, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - a checkpoint that can be run: opened once, computed layer by layer, within --mem.
 *
 * Any stored form runs (linear.h): codes are decoded a tile of rows at a time, just before their
 * product. Weights stream through a budgeted pool (weights.h), read ahead while others compute;
 * what fits stays. A caller makes a batch of sequences (batch.h), embeds it, takes it through the
 * layers and asks for logits; schedule.h does that for whole sets and for several models at once,
 * generate.h for text.
 *
 *    runtime_embed(b)     for each layer: runtime_layer(l, b)     runtime_final(b) -> z
 *    runtime_logits(z)    MTP: runtime_mtp_embed(l, b, z), runtime_layer(l, b), runtime_final_mtp
 *
 * Every result is defined to the bit (docs/numerics.md): it does not depend on the batch a
 * sequence is in, on threads, the instruction set, --mem, or on how tokens are split between calls
 * (all at once, or some onto a cache).
 *
 * Over several ranks a model is split as the serving engines split it (model/shard.h): each rank
 * reads and holds its heads, its columns of every MLP and its rows of the vocabulary. All ranks
 * make the same calls; hidden states, choices, z and logits are the same bits on each, because sums
 * over ranks are added in rank order. There is one sum for embeddings, and two per layer. A call
 * that fails on one rank fails on all when they next meet: whoever failed must come to
 * ranks_agree().
 *
 * Shapes     hidden states and z: [tokens, hidden_size] F32; logits: [rows, vocab_size] F32
 * Units      mem in bytes: weights, work memory and every batch and cache made with the runtime
 * Ownership  the runtime borrows checkpoint or view and config; runtime_close() frees the rest.
 *            Batches and caches are freed before it
 * Errors     PREP_EDATA: a tensor missing (TENSOR_MISSING) or of another shape (TENSOR_SHAPE) or
 *            dtype (TENSOR_DTYPE), all found at open; a token id outside the vocabulary (TOKEN_ID),
 *            a sequence past max_position_embeddings (POSITION), NaN or infinity (NOT_FINITE, with
 *            layer, tensor and first token); PREP_EUSAGE: mem under the floor, which is printed;
 *            PREP_EUNSUP: what is stored in a form that cannot be run; those of linear.h; PREP_EIO;
 *            TP_DIVISIBILITY: a model that does not split over the ranks
 * Threads    one call at a time per runtime; it starts its own threads
 */
#ifndef PREP_ENGINE_RUNTIME_H
#define PREP_ENGINE_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"
#include "libprep/base/hash.h"
#include "libprep/base/ranks.h"
#include "libprep/engine/batch.h"
#include "libprep/engine/kv_cache.h"
#include "libprep/engine/taps.h"
#include "libprep/model/config.h"
#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One of the two is set. config is that of what is seen: n_routed_experts after pruning. */
struct runtime_source {
    const struct checkpoint *checkpoint;
    const struct view *view;
    const struct config *config;
};

/* Which linears get inputs of 4 bits, as NVFP4 engines multiply (W4A4). */
enum inputs_scope {
    INPUTS_AS_THEY_ARE,
    INPUTS_NVFP4,        /* those stored as NVFP4 */
    INPUTS_NVFP4_EXPERTS /* routed experts, however they are stored */
};

struct runtime_options {
    uint64_t mem;  /* 0: no bound */
    int n_threads; /* 0: prep_default_threads() */
    enum isa isa;
    /* IndexCache: one of F and S per main layer, the first F. NULL: as the config says. */
    const char *index_pattern;
    int dense;       /* main layers attend to everything before them, without an indexer */
    int mtp_dense;   /* the MTP layers do */
    int without_mtp; /* do not ask for their tensors */
    enum inputs_scope inputs;
    double latent_eps;   /* of q_a_layernorm and kv_a_layernorm; 0: 1e-6, engines use 1e-5 */
    struct ranks *ranks; /* the model is split over them; NULL: it is whole. Borrowed */
};

struct runtime;

/* Warnings go to report (may be NULL). */
PREP_MUST_CHECK int runtime_open(struct runtime **r, const struct runtime_source *source,
                                 const struct runtime_options *options, struct report *report,
                                 struct prep_error *err);
void runtime_close(struct runtime *r); /* accepts NULL */
const struct config *runtime_config(const struct runtime *r);
/* Of the config, the table of tensors and how the model is run, not of weights. */
void runtime_fingerprint(const struct runtime *r, unsigned char digest[SHA256_BYTES]);
/* The smallest of what each rank says; alone, x. */
PREP_MUST_CHECK int runtime_least(const struct runtime *r, uint64_t *x, struct prep_error *err);

/*
 * The smallest mem for batches of this many tokens, of sequences this long at most (0 tokens: the
 * weights alone). The largest linear, and the activations of the batch.
 */
uint64_t runtime_floor(const struct runtime *r, size_t tokens, size_t longest);

/* Does the layer run its own indexer; is it one of the MTP layers? */
int runtime_is_full(const struct runtime *r, int layer);
int runtime_is_mtp(const struct runtime *r, int layer);

/* Hidden states become rows of embed_tokens. */
PREP_MUST_CHECK int runtime_embed(struct runtime *r, struct batch *b, struct prep_error *err);

/*
 * Hidden states go through one layer, in place; choices of the layer are left in the batch. A layer
 * that shares its selection (IndexCache) takes what the last full one left there. taps may be NULL.
 */
PREP_MUST_CHECK int runtime_layer(struct runtime *r, int layer, struct batch *b,
                                  const struct taps *taps, struct prep_error *err);

/* z = the final norm of the hidden states [first, first + n); layer: an MTP layer's
 * shared_head.norm, or -1 for model.norm. z is host memory. */
PREP_MUST_CHECK int runtime_final(struct runtime *r, int layer, const struct batch *b, size_t first,
                                  size_t n, float *z, struct prep_error *err);

/* Rows of z times lm_head, host memory. The tap is PART_LM_HEAD with tokens counted from 0. */
PREP_MUST_CHECK int runtime_logits(struct runtime *r, const float *z, size_t n, float *logits,
                                   const struct taps *taps, struct prep_error *err);

/*
 * Hidden states become the input of an MTP layer: eh_proj of [enorm(embedding of b's token),
 * hnorm(z)]. For row t of the model's z the batch holds token t + 1, at position t. z has a row for
 * each token of b, host memory; later heads take the z of the head before.
 */
PREP_MUST_CHECK int runtime_mtp_embed(struct runtime *r, int layer, struct batch *b, const float *z,
                                      const struct taps *taps, struct prep_error *err);

struct runtime_stats {
    uint64_t read_bytes;   /* of tensors */
    uint64_t weight_bytes; /* of all modules, as held */
    uint64_t stored_bytes; /* the same and the embedding, as stored: of this rank's share */
    uint64_t peak_weights; /* most bytes of weights held at once */
    uint64_t zero_scales, overflows; /* met in decoding (linear.h) */
};
void runtime_stats(const struct runtime *r, struct runtime_stats *out);

#ifdef __cplusplus
}
#endif
#endif

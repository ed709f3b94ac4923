/* SPDX-License-Identifier: MIT */
/*
 * batch.h - sequences on their way through the model: hidden states, choices, caches.
 *
 * A batch holds new tokens of one or more sequences, one after the other; a *unit* of statistics is
 * a batch of up to 64 sequences. Sequences do not see each other, so what else is in a batch
 * changes nothing; the same text may be in it several times under different choices.
 *
 * Choices are which experts a token goes to and which positions it attends to. A batch holds those
 * of the last layer it went through. A sequence may be *forced*: it then takes the choices that a
 * sequence of another batch (of another model, at the same layer) or an earlier one of this batch
 * holds, instead of its own; gate values are computed from the model at hand. So two models in
 * lockstep, layer by layer, need one layer's choices only. A layer that runs dense has no choice
 * of positions, forced or not.
 *
 * A sequence may be *restricted*: it is routed as if the model had some experts only. What comes
 * out are the bits of a model pruned to these (its router rows and biases gathered, its experts
 * renumbered), so that many keep sets run side by side on one copy of the weights. Forced choices
 * go before.
 *
 * Prefill and generation are the same: new tokens at `position` onward, with a cache that holds
 * everything before. A cache may be cut back by starting again at a lower position.
 *
 * Shapes     token index: 0 .. n_tokens-1 through all sequences in order
 * Ownership  tokens, caches, forcing batches and expert sets are borrowed; batch_free() frees the
 * rest Errors     PREP_EDATA with TOKEN_ID or POSITION; PREP_EUSAGE when mem has no room, with the
 *            floor; PREP_EBUG when a sequence misses its cache, or is forced by one of another
 *            length; PREP_EUSAGE when choices do not fit the model (an expert it has not), or
 *            when a router cannot choose among so few experts
 * Threads    one at a time
 */
#ifndef PREP_ENGINE_BATCH_H
#define PREP_ENGINE_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { UNIT_SEQUENCES = 64 };

struct runtime;
struct batch;
struct kv_cache;

/* Experts of a layer that a sequence may go to. */
struct expert_set {
    const uint32_t *experts; /* [n] ascending; NULL: all */
    size_t n;
};

struct sequence {
    const uint32_t *tokens; /* [n], n > 0 */
    size_t n;
    size_t position;        /* of tokens[0]; above 0 only with a cache that has all before it */
    struct kv_cache *cache; /* NULL: keys live for a layer */
};

/* hidden starts undefined: runtime_embed() or batch_set_hidden(). */
PREP_MUST_CHECK int batch_new(struct batch **b, struct runtime *r, const struct sequence *sequences,
                              size_t n, struct prep_error *err);
void batch_free(struct batch *b); /* accepts NULL */

size_t batch_n_tokens(const struct batch *b);
size_t batch_n_sequences(const struct batch *b);
/* Token index of a sequence's first token; of sequence n_sequences: n_tokens. */
size_t batch_first(const struct batch *b, size_t sequence);
/* From now on the sequence takes the choices of another one, which has as many tokens at the same
 * positions. by may be b itself, and by_sequence then below sequence; NULL: its own again. */
PREP_MUST_CHECK int batch_force(struct batch *b, size_t sequence, const struct batch *by,
                                size_t by_sequence, struct prep_error *err);
/* From now on the sequence is routed among sets[layer] only, a set for every layer of the model,
 * MTP layers included; NULL: among all experts again. */
PREP_MUST_CHECK int batch_restrict(struct batch *b, size_t sequence, const struct expert_set *sets,
                                   struct prep_error *err);
/* Taps see the tokens below this only; starts as all. */
void batch_set_tapped(struct batch *b, size_t n_tokens);

/* Hidden states of tokens [first, first + n) to and from host memory. */
PREP_MUST_CHECK int batch_get_hidden(const struct batch *b, size_t first, size_t n, float *x,
                                     struct prep_error *err);
PREP_MUST_CHECK int batch_set_hidden(struct batch *b, size_t first, size_t n, const float *x,
                                     struct prep_error *err);

/* Experts of a token in the last layer, [num_experts_per_tok], best first, and their gate values
 * (normalised and scaled); NULL after a dense layer. */
const int32_t *batch_experts(const struct batch *b, size_t token);
const float *batch_gates(const struct batch *b, size_t token);
/* Positions the token attended to, ascending, *n of them; NULL: all up to its own. */
const uint32_t *batch_selected(const struct batch *b, size_t token, size_t *n);

#ifdef __cplusplus
}
#endif
#endif

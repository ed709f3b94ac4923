/* SPDX-License-Identifier: MIT */
/*
 * runtime_ranks.h - a model split over ranks: who holds what, and what they exchange. Private to
 * engine/.
 *
 * Alone every call is nothing, and the runtime is what it was.
 *
 * Ownership  ranks are borrowed from the options
 * Errors     those of ranks.h; of runtime.h on whichever rank
 * Threads    the thread of the ranks
 */
#ifndef PREP_ENGINE_RUNTIME_RANKS_H
#define PREP_ENGINE_RUNTIME_RANKS_H

#include "libprep/engine/runtime_parts.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Is the model split? */
static inline int runtime_is_split(const struct runtime *r)
{
    return r->shard.n > 1;
}
/* mem, weights_total, weights_floor and *n_threads: what all ranks can do with. */
PREP_MUST_CHECK int runtime_agree_memory(struct runtime *r, int *n_threads, struct prep_error *err);
/* Have all ranks opened the same model? */
PREP_MUST_CHECK int runtime_compare_ranks(const struct runtime *r, struct prep_error *err);
/* Before bytes are exchanged: fails on every rank when one has failed. */
PREP_MUST_CHECK int runtime_meet(const struct runtime *r, struct prep_error *err);
/* hidden += sum over ranks of partial; alone nothing. what: for messages. */
PREP_MUST_CHECK int runtime_join(struct runtime *r, int layer, struct batch *b, const char *what,
                                 struct prep_error *err);
/* Rows [first, first + n) of hidden are those of partial, summed over ranks: embeddings. */
PREP_MUST_CHECK int runtime_share_hidden(struct runtime *r, struct batch *b,
                                         struct prep_error *err);
/* Columns of the other ranks into logits [n, vocab_size]. */
PREP_MUST_CHECK int runtime_share_logits(struct runtime *r, float *logits, size_t n,
                                         struct prep_error *err);
/* Who this rank is, what it holds, and memory to exchange logits. */
PREP_MUST_CHECK int runtime_split(struct runtime *r, struct ranks *ranks, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

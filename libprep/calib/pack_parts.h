/* SPDX-License-Identifier: MIT */
/*
 * pack_parts.h - the steps of pack_documents(). For pack*.c only.
 *
 * Ownership  lists on the heap belong to struct packing, freed by packing_fini()
 * Errors     those of pack.h
 * Threads    one packing, one thread, apart from tokenizing
 */
#ifndef PREP_CALIB_PACK_PARTS_H
#define PREP_CALIB_PACK_PARTS_H

#include "libprep/calib/pack.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A document after tokenizing; its ids lie in packing.ids, the separator among them. */
struct pack_document {
    uint64_t begin, n;
    uint64_t record; /* in its source */
    uint32_t source;
};

struct packing {
    const struct pack_options *o;
    const struct tokenizer *t;
    const struct io *io;
    struct pack_result *result;
    struct token_ids ids, prefix;
    struct pack_document *documents; /* by source, then in its order */
    size_t n_documents, cap_documents;
    size_t *chosen; /* documents in the order in which they are laid out */
    size_t n_chosen;
};

/* All sources, tokenized: fills ids, documents and the sources' statistics. */
PREP_MUST_CHECK int pack_tokenize(struct packing *p, struct prep_error *err);

/* Raise PREP_ENOMEM when the tokens, twice over, and `more` bytes do not fit the budget. */
PREP_MUST_CHECK int pack_check_memory(const struct packing *p, uint64_t more,
                                      struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

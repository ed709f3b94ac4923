/* SPDX-License-Identifier: MIT */
/*
 * pack.h - documents to calibration sequences: tokenize, choose, order, cut.
 *
 *   source A: a0 a1 a2 ...  \  choose, then put     | prefix a2 a2 a2 sep b0 b0 | prefix b0 sep ...
 *   source B: b0 b1 ...     /  in order (or shuffle)   sequence 0                 sequence 1
 *
 * Each chosen document is followed by the separator; all are laid end to end and cut into full
 * sequences; what does not fill the last one is dropped. Where each document begins is recorded.
 *
 * With a seed, the documents of each source are shuffled before they are chosen, and those chosen
 * are shuffled again over all sources. A weight is met to the token: the last document that a
 * source gives is cut. Every source draws from its own generator, so that a change
 * of one leaves the choice from the others alone.
 *
 * Units      tokens; memory in bytes
 * Ownership  everything given is borrowed; the result lives in the caller's arena
 * Errors     PREP_EDATA, tag PACK_SHORT: fewer tokens than asked for; PREP_EUSAGE: options that
 *            contradict each other; PREP_ENOMEM: more than `mem`; those of documents.h, tokenizer.h
 * Threads    tokenizing runs on n_threads; the result does not depend on how many
 */
#ifndef PREP_CALIB_PACK_H
#define PREP_CALIB_PACK_H

#include "libprep/base/progress.h"
#include "libprep/base/report.h"
#include "libprep/calib/documents.h"
#include "libprep/format/tokens.h"
#include "libprep/model/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PACK_MAX_SEQUENCE = 1 << 24, PACK_MAX_SOURCES = 4096 };

struct pack_source {
    const char *name; /* for the record: as the user spelled it */
    struct document_source documents;
    uint64_t take; /* documents, 0: all, or what the weight asks for */
    double weight; /* share of all tokens relative to the other sources', 0: none */
    int mode;      /* TOKENIZER_ALL, _NOSPECIAL or _RAW; -1: the options' */
};

struct pack_options {
    const struct pack_source *sources;
    size_t n_sources;
    uint64_t sequence;    /* tokens of each, the prefix included */
    uint64_t n_sequences; /* 0: as many as the documents fill */
    int shuffle;
    uint64_t seed;
    const char *separator; /* one token, "": none */
    const char *prefix;    /* text put before every sequence, with added tokens; "": none */
    int mode;              /* TOKENIZER_ALL, _NOSPECIAL or _RAW */
    int lossy;
    const char *mix_sha256; /* of the mix file, or NULL */
    int n_threads;
    uint64_t mem;
    progress_fn progress; /* or NULL */
    void *progress_arg;
};

struct pack_source_result {
    struct document_stats stats;
    uint64_t documents, empty; /* that passed the filters; of these, how many have no text */
    uint64_t taken;            /* documents */
    uint64_t tokens;           /* of those taken, separators included */
};

struct pack_result {
    struct packed_tokens packed; /* metadata filled in: ready to write */
    struct pack_source_result *sources;
    uint64_t left_over; /* tokens after the last full sequence */
    uint32_t separator; /* TOKENIZER_NONE when there is none */
};

PREP_MUST_CHECK int pack_documents(struct pack_result *result, const struct pack_options *options,
                                   const struct tokenizer *t, const struct io *io,
                                   struct arena *arena, struct report *report,
                                   struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

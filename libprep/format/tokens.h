/* SPDX-License-Identifier: MIT */
/*
 * tokens.h - packed calibration tokens: a safetensors file, docs/formats/tokens.md.
 *
 *   document_start  I64 [documents]            where each document begins: row * sequence + column
 *   document_record I64 [documents]            its number in its source
 *   tokens          I32 [sequences, sequence]
 *   document_source I32 [documents]            index into the sources of the metadata
 *
 * Only `tokens` must be there when reading: a bare file of windows has no documents.
 *
 * Units      token ids are below 2^31
 * Ownership  everything read lives in the caller's arena; what is written is borrowed
 * Errors     PREP_EDATA, tag TOKENS, or those of safetensors.h; PREP_ENOINPUT, PREP_EIO
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_TOKENS_H
#define PREP_FORMAT_TOKENS_H

#include "libprep/base/hash.h"
#include "libprep/format/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

struct packed_document {
    uint64_t start, record;
    uint32_t source;
};

struct packed_tokens {
    uint64_t n_sequences, sequence;
    uint32_t *ids; /* [n_sequences, sequence] */
    struct packed_document *documents;
    size_t n_documents;
    struct metadata_pair *metadata;
    size_t n_metadata;
};

/* The whole file. Memory: about twice its size. */
PREP_MUST_CHECK int tokens_read(struct packed_tokens *t, const struct io *io, const char *path,
                                struct arena *arena, struct prep_error *err);
/* The bytes of the file; text_sha256 is put before the other metadata. */
PREP_MUST_CHECK int tokens_write(struct span *out, const struct packed_tokens *t,
                                 struct arena *arena, struct prep_error *err);

/* SHA-256 of the ids as little-endian 32-bit words, in order. */
void tokens_text_sha256(const struct packed_tokens *t, char hex[SHA256_HEX]);
/* NULL when there is no such key. */
const char *tokens_metadata(const struct packed_tokens *t, const char *key);

#ifdef __cplusplus
}
#endif
#endif

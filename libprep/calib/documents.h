/* SPDX-License-Identifier: MIT */
/*
 * documents.h - the texts of one source: a file, or the files in an archive.
 *
 *   *.jsonl *.ndjson     one document per line, the string under `field`
 *   anything else        one document, the whole file
 *   *.gz of these        the same, unpacked
 *   *.tar *.tar.gz *.tgz *.tar.zst *.tzst *.zip     their members, in the order of the archive:
 *                        those that `members` matches, else *.jsonl *.ndjson *.txt *.md (and .gz)
 *
 * Units      bytes; records are counted from 0 over the whole source
 * Ownership  a text is borrowed until the callback returns
 * Errors     PREP_EDATA, tag DOCUMENT: a line without the text, too long, no member taken; those
 *            of json.h, bundle.h, gunzip.h; PREP_ENOINPUT, PREP_EIO
 * Threads    one reading, one thread
 */
#ifndef PREP_CALIB_DOCUMENTS_H
#define PREP_CALIB_DOCUMENTS_H

#include "libprep/base/hash.h"
#include "libprep/base/io.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DOCUMENT_MAX_BYTES (UINT64_C(1) << 30)

/* A record is taken when its string under `key` is `value`. */
struct document_filter {
    const char *key, *value;
};

struct document_source {
    const char *path;
    const char *members; /* fnmatch(3) pattern for names in an archive, or NULL */
    const char *field;   /* NULL: "text" */
    const struct document_filter *filters;
    size_t n_filters; /* all must hold; for files of one document: none may be given */
};

struct document_stats {
    char sha256[SHA256_HEX]; /* of the file as it is on disk */
    uint64_t bytes;          /* of it */
    uint64_t records;        /* seen, the ones filtered out included */
    uint64_t members_read, members_passed_over;
};

typedef int (*document_fn)(void *arg, uint64_t record, const char *text, size_t n,
                           struct prep_error *err);

PREP_MUST_CHECK int documents_read(const struct document_source *source, const struct io *io,
                                   document_fn fn, void *arg, struct document_stats *stats,
                                   struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

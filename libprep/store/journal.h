/* SPDX-License-Identifier: MIT */
/*
 * journal.h - what of a run is durable: append-only records that a torn tail cannot spoil.
 *
 *   "PREPJRN1"  then records:   | length (le32) | type (le32) | payload | XXH3-64 (le64) |
 *
 * The hash covers length, type and payload, so a half-written record at the end is recognised and
 * cut. The first record is the plan's key; a journal of another key is refused with the lines
 * that differ. A record about a file is synced before the function returns, and all before it with
 * it: what it says is durable. A step's note is written when the step has run, so before the
 * record that its outputs are durable.
 *
 * Units      bytes
 * Ownership  the journal owns its records until journal_close()
 * Errors     PREP_ECREATE tag JOURNAL (another plan's journal), PREP_EIO, PREP_ENOMEM
 * Threads    journal_add_*() from one thread at a time
 */
#ifndef PREP_STORE_JOURNAL_H
#define PREP_STORE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/hash.h"
#include "libprep/base/io.h"

#ifdef __cplusplus
extern "C" {
#endif

enum journal_type {
    JOURNAL_KEY = 1,    /* the plan's key text */
    JOURNAL_EXTENT = 2, /* a file is durable up to an offset */
    JOURNAL_FILE = 3,   /* a file is whole and durable, under its partial or its final name */
    JOURNAL_NOTE = 4,   /* what a step said about its work */
};

/* The progress of one file, as the last records say. */
struct journal_file {
    uint64_t durable;       /* bytes; a multiple of the block size unless complete */
    uint64_t extent_offset; /* the newest extent ... */
    uint64_t extent_hash;   /* ... and the XXH3-64 of its bytes */
    unsigned char sha_state[SHA256_STATE_BYTES]; /* after `durable` bytes */
    unsigned char sha256[SHA256_BYTES];          /* when complete */
    int complete;
};

/* What the plan has of everything. */
struct journal_sizes {
    size_t n_files, n_tensors;
    uint64_t note_bytes;
};

struct journal {
    const struct io *io;
    const char *path;
    int fd;
    uint64_t end;               /* where the next record goes */
    struct journal_file *files; /* by file number of the plan */
    size_t n_files;
    struct hash128 *tensors; /* by tensor number of the plan; valid below the durable offset */
    size_t n_tensors;
    unsigned char *notes; /* of the plan's steps, back to back, each a multiple of 8 bytes */
    unsigned char *noted; /* [note_bytes / 8]: is this part there? */
    uint64_t note_bytes;
    int resumed; /* records of an earlier run were found */
    struct arena arena;
};

/*
 * Open or create. With fresh an existing journal is discarded. Records that name what the plan
 * does not have are refused as damaged.
 */
PREP_MUST_CHECK int journal_open(struct journal *j, const struct io *io, const char *path,
                                 struct span key, const struct journal_sizes *sizes, int fresh,
                                 struct prep_error *err);
/* As journal_open for reading only (--assemble): a missing journal is PREP_ENOINPUT. */
PREP_MUST_CHECK int journal_read(struct journal *j, const struct io *io, const char *path,
                                 struct span key, const struct journal_sizes *sizes,
                                 struct prep_error *err);
void journal_close(struct journal *j); /* accepts a zeroed struct */

/* File is durable up to f->durable; tensors [first, first + n) end inside the new extent. */
PREP_MUST_CHECK int journal_add_extent(struct journal *j, uint32_t file,
                                       const struct journal_file *f, uint32_t first_tensor,
                                       uint32_t n_tensors, struct prep_error *err);
/* File is whole; its last tensors [first, first + n) ended behind the last extent. */
PREP_MUST_CHECK int journal_add_file(struct journal *j, uint32_t file,
                                     const unsigned char sha256[SHA256_BYTES],
                                     uint32_t first_tensor, uint32_t n_tensors,
                                     struct prep_error *err);
/* j->notes[at .. at + n) have been set; durable with the next record about a file. */
PREP_MUST_CHECK int journal_add_note(struct journal *j, uint64_t at, uint32_t n,
                                     struct prep_error *err);
/* Take over every note that another journal of the plan holds. */
void journal_adopt_notes(struct journal *j, const struct journal *other);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.h - a folder of safetensors shards as one table of tensors.
 *
 * Opening reads and judges index and headers, nothing else; data is read by whoever needs it
 * with pread at `file` and `offset`. A folder may be plain or a hub cache snapshot whose files
 * are links; "ORG/NAME[@rev]" is resolved in the local hub cache and never downloaded.
 *
 * Units      bytes
 * Ownership  the checkpoint owns everything reachable from it until checkpoint_close()
 * Errors     those of safetensors.h and of the index: PREP_EDATA with INDEX_JSON INDEX_TYPE
 *            INDEX_MISMATCH DUPLICATE_KEY LFS_POINTER SHARD_NAME SHARD_KIND; PREP_ENOINPUT with
 *            NO_INDEX NO_CHECKPOINT SHARD_MISSING, or without a tag for a missing folder. Later
 *            reads: PREP_EDATA with SOURCE_CHANGED when a shard is not the one opened
 * Threads    const after open
 */
#ifndef PREP_STORE_CHECKPOINT_H
#define PREP_STORE_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"
#include "libprep/base/report.h"
#include "libprep/base/table.h"
#include "libprep/format/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A file of the source, with the identity it had when its header was read. */
struct source_file {
    const char *name; /* inside the folder */
    const char *path; /* to open it */
    uint64_t bytes, dev, ino;
    int64_t mtime_ns;
    uint64_t header_hi, header_lo; /* XXH3-128 of the safetensors header, 0 for other files */
};

struct checkpoint_tensor {
    struct tensor_info info; /* offset: in the file */
    uint32_t file;           /* index into files */
};

struct checkpoint {
    const struct io *io;
    const char *dir;
    struct source_file *files; /* shards first, in name order, then every other regular file
                                  of the folder in name order; stray shards, *.partial, .prep
                                  and dot files are left out */
    size_t n_files, n_shards;
    struct checkpoint_tensor *tensors; /* by file, then by offset */
    size_t n_tensors;
    struct name_table names; /* tensor name -> index */
    int single_file;         /* model.safetensors without an index */
    struct span index_text;  /* the index as read, empty when single_file */
    uint64_t tensor_bytes;   /* sum over tensors */
    const char *revision;    /* hub snapshot revision, or NULL */
    struct arena arena;
};

/*
 * Warnings go to report (may be NULL): TOTAL_SIZE TOTAL_SIZE_MISSING TOTAL_SIZE_FLOAT
 * SHARD_NAMING STRAY_SHARD DANGLING_LINK (a file other than a shard) and the header lints of
 * safetensors.h, each with its file.
 */
PREP_MUST_CHECK int checkpoint_open(struct checkpoint **ckpt, const struct io *io, const char *path,
                                    struct report *report, struct prep_error *err);
/*
 * The same, without believing the index, for mending it: the shards that it names and that are
 * there, or every shard of the folder when it cannot be read; every tensor they hold. index_text is
 * empty.
 */
PREP_MUST_CHECK int checkpoint_open_shards(struct checkpoint **ckpt, const struct io *io,
                                           const char *path, struct report *report,
                                           struct prep_error *err);
/* Is this error of checkpoint_open() about the index alone? The shards may be opened without it. */
int checkpoint_is_index_fault(const struct prep_error *err);
void checkpoint_close(struct checkpoint *ckpt); /* accepts NULL */

/* NULL when absent. */
const struct checkpoint_tensor *checkpoint_find(const struct checkpoint *ckpt, const char *name);
/* Index of a file of the folder by name, or -1. */
int checkpoint_file(const struct checkpoint *ckpt, const char *name);

/* A small file of the folder, whole; PREP_ENOINPUT when it is not there. */
PREP_MUST_CHECK int checkpoint_read_file(const struct checkpoint *ckpt, const char *name,
                                         struct arena *arena, struct span *out,
                                         struct prep_error *err);
/*
 * A file of the table for reading, through ckpt->io; SOURCE_CHANGED when it is not the one that
 * was judged. Close it with io_close_read().
 */
PREP_MUST_CHECK int checkpoint_reopen(const struct checkpoint *ckpt, const struct source_file *file,
                                      int *fd, struct prep_error *err);
/* Bytes [offset, offset + n) of a tensor into buf. Opens and closes the shard: for small uses. */
PREP_MUST_CHECK int checkpoint_read(const struct checkpoint *ckpt,
                                    const struct checkpoint_tensor *t, uint64_t offset, void *buf,
                                    size_t n, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

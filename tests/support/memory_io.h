/* SPDX-License-Identifier: MIT */
/*
 * memory_io.h - a struct io that serves files from memory, read only.
 *
 * Files are made of parts, so that a file of 100 MB of spaces costs nothing; folders are implied
 * by the paths. Reads may be made short or interrupted. What writes, fails with EROFS.
 *
 * Ownership  paths and parts are borrowed
 * Errors     as the calls they stand for; the table itself cannot fail
 * Threads    reading is safe from many threads
 */
#ifndef PREP_TESTS_MEMORY_IO_H
#define PREP_TESTS_MEMORY_IO_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/io.h"

#ifdef __cplusplus
extern "C" {
#endif

struct memory_part {
    const unsigned char *p; /* NULL: n times `byte` */
    unsigned char byte;
    uint64_t n;
};

struct memory_file {
    const char *path;
    const struct memory_part *parts;
    size_t n_parts;
    uint64_t claimed; /* size told by stat when not 0 */
};

struct memory_io {
    struct io io;
    const struct memory_file *files;
    size_t n_files;
    size_t max_transfer;  /* most bytes of one read, 0: any */
    unsigned interrupts;  /* reads that fail with EINTR before each that does not */
    unsigned interrupted; /* of these, how many in a row so far */
    unsigned n_open;      /* descriptors not closed yet */
};

/* Hand out &m->io; the descriptor of files[i] is i. */
void memory_io_init(struct memory_io *m, const struct memory_file *files, size_t n_files);

uint64_t memory_file_size(const struct memory_file *f);

#ifdef __cplusplus
}
#endif
#endif

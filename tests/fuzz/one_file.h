/* SPDX-License-Identifier: MIT */
/*
 * one_file.h - a struct io that serves one file from memory, whatever its path.
 *
 * Ownership  the bytes are borrowed; the table is a local of the fuzz target
 * Errors     none
 * Threads    any
 */
#ifndef PREP_TESTS_FUZZ_ONE_FILE_H
#define PREP_TESTS_FUZZ_ONE_FILE_H

#include <string.h>

#include "libprep/base/io.h"

static int one_file_open(void *self, const char *path, int flags, unsigned mode)
{
    (void)self;
    (void)path;
    (void)flags;
    (void)mode;
    return 0;
}

static int one_file_close(void *self, int fd)
{
    (void)self;
    (void)fd;
    return 0;
}

static ssize_t one_file_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    const struct span *file = self;
    (void)fd;
    if (offset >= file->n)
        return 0;
    if (n > file->n - offset)
        n = file->n - (size_t)offset;
    memcpy(buf, file->p + offset, n);
    return (ssize_t)n;
}

static int one_file_stat(void *self, const char *path, struct io_stat *st)
{
    const struct span *file = self;
    (void)path;
    *st = (struct io_stat){.size = file->n, .kind = IO_REGULAR};
    return 0;
}

static int one_file_fstat(void *self, int fd, struct io_stat *st)
{
    (void)fd;
    return one_file_stat(self, "", st);
}

static inline struct io one_file_io(struct span *file)
{
    return (struct io){.self = file,
                       .open = one_file_open,
                       .close = one_file_close,
                       .pread = one_file_pread,
                       .stat = one_file_stat,
                       .fstat = one_file_fstat};
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * io.h - the table of functions through which libprep touches the outside world.
 *
 * Every read, write, rename and sync goes through a struct io, so that tests can fail the n-th
 * call, cut the power, or serve a synthetic checkpoint without a disk. Table entries return a
 * value >= 0 or -errno and may be short or interrupted like the calls they stand for; the
 * io_*() helpers below retry EINTR and short transfers and raise prep_errors that name the file.
 *
 * Units      bytes; offsets from the start of the file
 * Ownership  file descriptors belong to the table that opened them
 * Errors     PREP_ENOINPUT (missing, unreadable), PREP_EDATA (shorter than it should be, not a
 *            regular file), PREP_ECREATE (cannot create, no room), PREP_EIO
 * Threads    a table may be used by many threads at once; no two threads share one offset
 */
#ifndef PREP_BASE_IO_H
#define PREP_BASE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum io_kind { IO_REGULAR, IO_DIRECTORY, IO_OTHER };

struct io_stat {
    uint64_t size;
    uint64_t dev, ino; /* identity of the file behind all links */
    int64_t mtime_ns;
    enum io_kind kind;
};

enum io_advice { IO_SEQUENTIAL, IO_DONTNEED };

typedef int (*io_name_fn)(void *arg, const char *name); /* non-zero ends the listing */

struct io {
    void *self; /* first argument of every entry */
    int (*open)(void *self, const char *path, int flags, unsigned mode); /* descriptor */
    int (*close)(void *self, int fd);
    ssize_t (*pread)(void *self, int fd, void *buf, size_t n, uint64_t offset);
    ssize_t (*pwrite)(void *self, int fd, const void *buf, size_t n, uint64_t offset);
    /* Copy without moving bytes through this process; -EXDEV, -EINVAL, -EOPNOTSUPP or -ENOSYS: use
     * pread and pwrite. n = 0 asks whether it is worth trying between these two files. */
    ssize_t (*copy_range)(void *self, int in, uint64_t in_offset, int out, uint64_t out_offset,
                          size_t n);
    int (*sync)(void *self, int fd);                     /* data and size are durable */
    int (*allocate)(void *self, int fd, uint64_t bytes); /* reserve room, set the size */
    int (*truncate)(void *self, int fd, uint64_t bytes);
    int (*advise)(void *self, int fd, uint64_t offset, uint64_t n, enum io_advice advice);
    int (*lock)(void *self, int fd, int exclusive); /* never waits: -EWOULDBLOCK */
    int (*fstat)(void *self, int fd, struct io_stat *st);
    int (*stat)(void *self, const char *path, struct io_stat *st); /* follows links */
    int (*rename)(void *self, const char *from, const char *to);
    int (*unlink)(void *self, const char *path);
    int (*mkdir)(void *self, const char *path, unsigned mode);
    int (*rmdir)(void *self, const char *path);
    int (*sync_dir)(void *self, const char *path); /* renames in it are durable */
    int (*list)(void *self, const char *path, io_name_fn each, void *arg);
    int (*free_space)(void *self, const char *path, uint64_t *bytes);
};

extern const struct io io_posix;

/*
 * Open an existing regular file for reading, without blocking on a FIFO. st may be NULL.
 * PREP_ENOINPUT when it is missing, PREP_EDATA when it is not a regular file.
 */
PREP_MUST_CHECK int io_open_read(const struct io *io, const char *path, int *fd, struct io_stat *st,
                                 struct prep_error *err);
/* Accepts fd < 0. Failing to close a file that was only read is not an error. */
void io_close_read(const struct io *io, int fd);

/* Exactly n bytes at offset, or PREP_EDATA (file too short) or PREP_EIO; path is for messages. */
PREP_MUST_CHECK int io_read_exact(const struct io *io, int fd, void *buf, size_t n, uint64_t offset,
                                  const char *path, struct prep_error *err);
PREP_MUST_CHECK int io_write_exact(const struct io *io, int fd, const void *buf, size_t n,
                                   uint64_t offset, const char *path, struct prep_error *err);

/* The same for direct I/O: a short write is taken up again at a multiple of align. */
PREP_MUST_CHECK int io_write_aligned(const struct io *io, int fd, const void *buf, size_t n,
                                     uint64_t offset, size_t align, const char *path,
                                     struct prep_error *err);

/* The whole file into the arena, NUL-terminated after out->n; PREP_EDATA when over limit. */
PREP_MUST_CHECK int io_read_file(const struct io *io, const char *path, uint64_t limit,
                                 struct arena *arena, struct span *out, struct prep_error *err);

/* Write path through path.partial: synced, renamed, the folder synced. */
PREP_MUST_CHECK int io_write_file(const struct io *io, const char *path, const void *bytes,
                                  size_t n, struct prep_error *err);

/* "dir/name" in the arena. */
char *io_join(struct arena *arena, const char *dir, const char *name, struct prep_error *err);

/* Names in a folder, sorted by bytes, without "." and "..". PREP_ENOINPUT when missing. */
PREP_MUST_CHECK int io_list_sorted(const struct io *io, const char *dir, struct arena *arena,
                                   char ***names, size_t *n, struct prep_error *err);

/* Raise a creation failure: no room, no permission and read-only are PREP_ECREATE, else EIO. */
int io_fail_create(struct prep_error *err, int sys, const char *path, const char *verb);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
#include "tests/support/fault_io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/support.h"

const char *fault_call_name(enum fault_call call)
{
    static const char *const names[] = {"open",  "close",    "pread",    "pwrite",    "copy_range",
                                        "sync",  "allocate", "truncate", "advise",    "lock",
                                        "fstat", "stat",     "rename",   "unlink",    "mkdir",
                                        "rmdir", "sync_dir", "list",     "free_space"};
    return names[call];
}

/* Every call ends here: count it, and decide. Holds the lock unless the result is negative.
 * 0: go on; 1: be short; negative: fail with that. */
static int enter(struct fault_io *f, enum fault_call call)
{
    pthread_mutex_lock(&f->lock);
    int rc = 0;
    if (f->cut) {
        rc = -EIO;
        goto out;
    }
    f->counts[call]++;
    if (f->mode == FAULT_NONE || !(f->mask & FAULT_BIT(call)) || ++f->matched != f->at)
        goto out;
    f->fired = 1;
    f->fired_call = call;
    f->cut = f->mode == FAULT_CUT;
    rc = f->mode == FAULT_SHORT ? 1 : f->mode == FAULT_CUT ? -EIO : -f->error;
out:
    if (rc < 0)
        pthread_mutex_unlock(&f->lock);
    return rc;
}

static void leave(struct fault_io *f)
{
    pthread_mutex_unlock(&f->lock);
}

static size_t shortened(const struct fault_io *f, size_t n, int is_short)
{
    if (!is_short || n <= 1)
        return n;
    return n > f->short_by ? n - f->short_by : 1;
}

static int logging(const struct fault_io *f)
{
    return f->mode == FAULT_CUT;
}

static struct fault_op *log_data(struct fault_io *f, enum fault_change kind, int fd,
                                 uint64_t offset, uint64_t n)
{
    return logging(f) ? fault_log_data(&f->log, kind, fd, offset, n) : NULL;
}

static void log_data_end(struct fault_io *f, struct fault_op *op, ssize_t done)
{
    if (op)
        fault_log_data_end(&f->log, op, done);
}

static int fault_open(void *self, const char *path, int flags, unsigned mode)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_OPEN);
    if (rc < 0)
        return rc;
    int existed = test_exists(path);
    int fd = io_posix.open(NULL, path, flags & ~O_TRUNC, mode);
    if (fd >= 0 && (flags & O_TRUNC)) {
        struct fault_op *op = log_data(f, FAULT_SIZED, fd, 0, UINT64_MAX);
        log_data_end(f, op, io_posix.truncate(NULL, fd, 0));
    }
    if (fd >= 0 && !existed && logging(f))
        fault_log_name(&f->log, FAULT_CREATED, path, NULL, fault_log_grave(&f->log));
    leave(f);
    return fd;
}

static int fault_close(void *self, int fd)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_CLOSE);
    /* As on Linux, the descriptor is gone even when close() fails. */
    int real = io_posix.close(NULL, fd);
    if (rc < 0)
        return rc;
    leave(f);
    return real;
}

static ssize_t fault_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_PREAD);
    if (rc < 0)
        return rc;
    n = shortened(f, n, rc);
    leave(f);
    return io_posix.pread(NULL, fd, buf, n, offset);
}

static ssize_t fault_pwrite(void *self, int fd, const void *buf, size_t n, uint64_t offset)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_PWRITE);
    if (rc < 0)
        return rc;
    n = shortened(f, n, rc);
    struct fault_op *op = log_data(f, FAULT_WRITTEN, fd, offset, n);
    ssize_t done = io_posix.pwrite(NULL, fd, buf, n, offset);
    log_data_end(f, op, done);
    leave(f);
    return done;
}

static ssize_t fault_copy_range(void *self, int in, uint64_t in_offset, int out,
                                uint64_t out_offset, size_t n)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_COPY_RANGE);
    if (rc < 0)
        return rc;
    n = shortened(f, n, rc);
    struct fault_op *op = log_data(f, FAULT_WRITTEN, out, out_offset, n);
    ssize_t done = io_posix.copy_range(NULL, in, in_offset, out, out_offset, n);
    log_data_end(f, op, done);
    leave(f);
    return done;
}

static int fault_sync(void *self, int fd)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_SYNC);
    if (rc < 0)
        return rc;
    struct stat st;
    rc = fstat(fd, &st) ? -errno : 0;
    /* The real call would only make tests slow. */
    if (!rc)
        fault_log_sync(&f->log, &st);
    leave(f);
    return rc;
}

static int change_size(struct fault_io *f, enum fault_call call, int fd, uint64_t bytes)
{
    int rc = enter(f, call);
    if (rc < 0)
        return rc;
    struct fault_op *op = log_data(f, FAULT_SIZED, fd, bytes, UINT64_MAX);
    rc = call == FAULT_ALLOCATE ? io_posix.allocate(NULL, fd, bytes)
                                : io_posix.truncate(NULL, fd, bytes);
    log_data_end(f, op, rc < 0 ? rc : 0);
    leave(f);
    return rc;
}

static int fault_allocate(void *self, int fd, uint64_t bytes)
{
    return change_size(self, FAULT_ALLOCATE, fd, bytes);
}

static int fault_truncate(void *self, int fd, uint64_t bytes)
{
    return change_size(self, FAULT_TRUNCATE, fd, bytes);
}

static int fault_advise(void *self, int fd, uint64_t offset, uint64_t n, enum io_advice advice)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_ADVISE);
    if (rc < 0)
        return rc;
    leave(f);
    return io_posix.advise(NULL, fd, offset, n, advice);
}

static int fault_lock(void *self, int fd, int exclusive)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_LOCK);
    if (rc < 0)
        return rc;
    leave(f);
    return io_posix.lock(NULL, fd, exclusive);
}

static int fault_fstat(void *self, int fd, struct io_stat *st)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_FSTAT);
    if (rc < 0)
        return rc;
    leave(f);
    return io_posix.fstat(NULL, fd, st);
}

static int fault_stat(void *self, const char *path, struct io_stat *st)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_STAT);
    if (rc < 0)
        return rc;
    leave(f);
    return io_posix.stat(NULL, path, st);
}

static int fault_rename(void *self, const char *from, const char *to)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_RENAME);
    if (rc < 0)
        return rc;
    char *grave = logging(f) && test_exists(to) ? fault_log_grave(&f->log) : NULL;
    if (grave && link(to, grave)) {
        free(grave); /* a folder: the log cannot bring back what it replaces */
        grave = NULL;
    }
    rc = io_posix.rename(NULL, from, to);
    if (rc >= 0 && logging(f)) {
        fault_log_name(&f->log, FAULT_RENAMED, from, to, grave);
        grave = NULL;
    }
    free(grave);
    leave(f);
    return rc;
}

static int fault_unlink(void *self, const char *path)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_UNLINK);
    if (rc < 0)
        return rc;
    char *grave = logging(f) ? fault_log_grave(&f->log) : NULL;
    int kept = grave && !link(path, grave);
    rc = io_posix.unlink(NULL, path);
    if (rc >= 0 && kept) {
        fault_log_name(&f->log, FAULT_UNLINKED, path, NULL, grave);
        grave = NULL;
    }
    free(grave);
    leave(f);
    return rc;
}

static int fault_mkdir(void *self, const char *path, unsigned mode)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_MKDIR);
    if (rc < 0)
        return rc;
    rc = io_posix.mkdir(NULL, path, mode);
    if (rc >= 0 && logging(f))
        fault_log_name(&f->log, FAULT_FOLDER_MADE, path, NULL, fault_log_grave(&f->log));
    leave(f);
    return rc;
}

static int fault_rmdir(void *self, const char *path)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_RMDIR);
    if (rc < 0)
        return rc;
    rc = io_posix.rmdir(NULL, path);
    if (rc >= 0 && logging(f))
        fault_log_name(&f->log, FAULT_FOLDER_REMOVED, path, NULL, NULL);
    leave(f);
    return rc;
}

static int fault_sync_dir(void *self, const char *path)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_SYNC_DIR);
    if (rc < 0)
        return rc;
    struct stat st;
    rc = stat(path, &st) ? -errno : 0;
    if (!rc)
        fault_log_sync(&f->log, &st);
    leave(f);
    return rc;
}

static int fault_list(void *self, const char *path, io_name_fn each, void *arg)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_LIST);
    if (rc < 0)
        return rc;
    leave(f);
    return io_posix.list(NULL, path, each, arg);
}

static int fault_free_space(void *self, const char *path, uint64_t *bytes)
{
    struct fault_io *f = self;
    int rc = enter(f, FAULT_FREE_SPACE);
    if (rc < 0)
        return rc;
    leave(f);
    return io_posix.free_space(NULL, path, bytes);
}

void fault_io_init(struct fault_io *f)
{
    *f = (struct fault_io){
        .io = {f,
               fault_open,
               fault_close,
               fault_pread,
               fault_pwrite,
               fault_copy_range,
               fault_sync,
               fault_allocate,
               fault_truncate,
               fault_advise,
               fault_lock,
               fault_fstat,
               fault_stat,
               fault_rename,
               fault_unlink,
               fault_mkdir,
               fault_rmdir,
               fault_sync_dir,
               fault_list,
               fault_free_space},
    };
    fault_log_init(&f->log);
    pthread_mutex_init(&f->lock, NULL);
}

void fault_io_forget(struct fault_io *f)
{
    fault_log_forget(&f->log);
}

void fault_io_fini(struct fault_io *f)
{
    fault_io_forget(f);
    pthread_mutex_destroy(&f->lock);
}

static void arm(struct fault_io *f, enum fault_mode mode, unsigned mask, uint64_t n)
{
    fault_io_forget(f);
    memset(f->counts, 0, sizeof f->counts);
    f->mode = mode;
    f->mask = mask;
    f->at = n;
    f->matched = 0;
    f->fired = f->cut = 0;
}

void fault_io_fail(struct fault_io *f, unsigned mask, uint64_t n, int error)
{
    arm(f, FAULT_ERROR, mask, n);
    f->error = error;
}

void fault_io_short(struct fault_io *f, unsigned mask, uint64_t n, size_t by)
{
    arm(f, FAULT_SHORT, mask, n);
    f->short_by = by;
}

void fault_io_cut(struct fault_io *f, unsigned mask, uint64_t n)
{
    arm(f, FAULT_CUT, mask, n);
}

void fault_io_settle(struct fault_io *f, uint64_t seed)
{
    fault_log_settle(&f->log, seed);
}

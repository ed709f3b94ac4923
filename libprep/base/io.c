/* SPDX-License-Identifier: MIT */
#include "libprep/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

static int posix_open(void *self, const char *path, int flags, unsigned mode)
{
    (void)self;
    int fd = open(path, flags | O_CLOEXEC, (mode_t)mode);
    return fd < 0 ? -errno : fd;
}

static int posix_close(void *self, int fd)
{
    (void)self;
    return close(fd) ? -errno : 0;
}

static ssize_t posix_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    (void)self;
    ssize_t got = pread(fd, buf, n, (off_t)offset);
    return got < 0 ? -errno : got;
}

static ssize_t posix_pwrite(void *self, int fd, const void *buf, size_t n, uint64_t offset)
{
    (void)self;
    ssize_t put = pwrite(fd, buf, n, (off_t)offset);
    return put < 0 ? -errno : put;
}

/*
 * File systems on which copy_file_range moves no bytes through this machine: extents are shared
 * or the server copies. Elsewhere it is a buffered copy, several times slower than direct I/O.
 */
static int shares_extents(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs))
        return 0;
    switch ((uint32_t)fs.f_type) {
    case 0x9123683e: /* btrfs */
    case 0x58465342: /* xfs */
    case 0xca451a4e: /* bcachefs */
    case 0x6969:     /* nfs 4.2 */
    case 0xff534d42: /* cifs */
    case 0xfe534d42: /* smb2 */
        return 1;
    default:
        return 0;
    }
}

static ssize_t posix_copy_range(void *self, int in, uint64_t in_offset, int out,
                                uint64_t out_offset, size_t n)
{
    (void)self;
    if (!shares_extents(in) || !shares_extents(out))
        return -EOPNOTSUPP;
    if (n == 0)
        return 0;
    off_t from = (off_t)in_offset, to = (off_t)out_offset;
    ssize_t done = copy_file_range(in, &from, out, &to, n, 0);
    return done < 0 ? -errno : done;
}

static int posix_sync(void *self, int fd)
{
    (void)self;
    return fdatasync(fd) ? -errno : 0;
}

static int posix_allocate(void *self, int fd, uint64_t bytes)
{
    (void)self;
    if (bytes == 0)
        return 0;
    /* fallocate, not posix_fallocate: glibc would write zeros where it is not supported. */
    if (!fallocate(fd, 0, 0, (off_t)bytes))
        return 0;
    if (errno == EOPNOTSUPP || errno == ENOSYS)
        return ftruncate(fd, (off_t)bytes) ? -errno : 0;
    return -errno;
}

static int posix_truncate(void *self, int fd, uint64_t bytes)
{
    (void)self;
    return ftruncate(fd, (off_t)bytes) ? -errno : 0;
}

static int posix_advise(void *self, int fd, uint64_t offset, uint64_t n, enum io_advice advice)
{
    (void)self;
    int kind = advice == IO_DONTNEED ? POSIX_FADV_DONTNEED : POSIX_FADV_SEQUENTIAL;
    return -posix_fadvise(fd, (off_t)offset, (off_t)n, kind);
}

static int posix_lock(void *self, int fd, int exclusive)
{
    (void)self;
    return flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) ? -errno : 0;
}

static void from_stat(struct io_stat *out, const struct stat *st)
{
    out->size = (uint64_t)st->st_size;
    out->dev = (uint64_t)st->st_dev;
    out->ino = (uint64_t)st->st_ino;
    out->mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
    out->kind = S_ISREG(st->st_mode) ? IO_REGULAR : S_ISDIR(st->st_mode) ? IO_DIRECTORY : IO_OTHER;
}

static int posix_fstat(void *self, int fd, struct io_stat *out)
{
    (void)self;
    struct stat st;
    if (fstat(fd, &st))
        return -errno;
    from_stat(out, &st);
    return 0;
}

static int posix_stat(void *self, const char *path, struct io_stat *out)
{
    (void)self;
    struct stat st;
    if (stat(path, &st))
        return -errno;
    from_stat(out, &st);
    return 0;
}

static int posix_rename(void *self, const char *from, const char *to)
{
    (void)self;
    return rename(from, to) ? -errno : 0;
}

static int posix_unlink(void *self, const char *path)
{
    (void)self;
    return unlink(path) ? -errno : 0;
}

static int posix_mkdir(void *self, const char *path, unsigned mode)
{
    (void)self;
    return mkdir(path, (mode_t)mode) ? -errno : 0;
}

static int posix_rmdir(void *self, const char *path)
{
    (void)self;
    return rmdir(path) ? -errno : 0;
}

static int posix_sync_dir(void *self, const char *path)
{
    (void)self;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) ? -errno : 0;
    close(fd);
    /* Some network file systems cannot sync a folder and say EINVAL; a rename is durable there. */
    return rc == -EINVAL ? 0 : rc;
}

static int posix_list(void *self, const char *path, io_name_fn each, void *arg)
{
    (void)self;
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    int rc = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e) {
            rc = -errno;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (each(arg, e->d_name))
            break;
    }
    closedir(dir);
    return rc;
}

static int posix_free_space(void *self, const char *path, uint64_t *bytes)
{
    (void)self;
    struct statvfs vfs;
    if (statvfs(path, &vfs))
        return -errno;
    return prep_mul(bytes, vfs.f_bavail, vfs.f_frsize) ? -EOVERFLOW : 0;
}

const struct io io_posix = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .copy_range = posix_copy_range,
    .sync = posix_sync,
    .allocate = posix_allocate,
    .truncate = posix_truncate,
    .advise = posix_advise,
    .lock = posix_lock,
    .fstat = posix_fstat,
    .stat = posix_stat,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .sync_dir = posix_sync_dir,
    .list = posix_list,
    .free_space = posix_free_space,
};

int io_open_read(const struct io *io, const char *path, int *fd, struct io_stat *st,
                 struct prep_error *err)
{
    struct io_stat own;
    if (!st)
        st = &own;
    /* A FIFO would block in open(), a device may act on it: look first. */
    int rc = io->stat(io->self, path, st);
    if (rc < 0)
        return prep_fail_sys(err, PREP_ENOINPUT, -rc, "%s: cannot read", path);
    if (st->kind != IO_REGULAR)
        return prep_fail(err, PREP_EDATA, "%s: is %s, want a regular file", path,
                         st->kind == IO_DIRECTORY ? "a folder" : "not a regular file");
    do
        rc = io->open(io->self, path, O_RDONLY | O_NONBLOCK, 0);
    while (rc == -EINTR);
    if (rc < 0)
        return prep_fail_sys(err, PREP_ENOINPUT, -rc, "%s: cannot read", path);
    *fd = rc;
    rc = io->fstat(io->self, *fd, st);
    if (rc < 0 || st->kind != IO_REGULAR) {
        io->close(io->self, *fd);
        *fd = -1;
        return rc < 0 ? prep_fail_sys(err, PREP_EIO, -rc, "%s: cannot stat", path)
                      : prep_fail(err, PREP_EDATA, "%s: is not a regular file", path);
    }
    return 0;
}

void io_close_read(const struct io *io, int fd)
{
    if (fd >= 0)
        io->close(io->self, fd);
}

int io_read_exact(const struct io *io, int fd, void *buf, size_t n, uint64_t offset,
                  const char *path, struct prep_error *err)
{
    unsigned char *p = buf;
    size_t done = 0;
    while (done < n) {
        ssize_t got = io->pread(io->self, fd, p + done, n - done, offset + done);
        if (got == -EINTR)
            continue;
        if (got < 0)
            return prep_fail_sys(err, PREP_EIO, (int)-got, "%s: cannot read %zu bytes at %llu",
                                 path, n - done, (unsigned long long)(offset + done));
        if (got == 0)
            return prep_fail_tag(err, PREP_EDATA, "SHORT_DATA",
                                 "%s: ends at byte %llu, want %zu more there", path,
                                 (unsigned long long)(offset + done), n - done);
        done += (size_t)got;
    }
    return 0;
}

int io_fail_create(struct prep_error *err, int sys, const char *path, const char *verb)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EACCES:
    case EPERM:
    case EROFS:
    case EEXIST:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
        return prep_fail_sys(err, PREP_ECREATE, sys, "%s: cannot %s", path, verb);
    default:
        return prep_fail_sys(err, PREP_EIO, sys, "%s: cannot %s", path, verb);
    }
}

int io_write_aligned(const struct io *io, int fd, const void *buf, size_t n, uint64_t offset,
                     size_t align, const char *path, struct prep_error *err)
{
    const unsigned char *p = buf;
    size_t done = 0;
    int stuck = 0;
    while (done < n) {
        ssize_t put = io->pwrite(io->self, fd, p + done, n - done, offset + done);
        if (put == -EINTR)
            continue;
        if (put < 0)
            return io_fail_create(err, (int)-put, path, "write");
        size_t step = (size_t)put == n - done ? (size_t)put : (size_t)put / align * align;
        stuck = step ? 0 : stuck + 1;
        if (stuck > 3)
            return prep_fail(err, PREP_EIO, "%s: wrote nothing at byte %llu", path,
                             (unsigned long long)(offset + done));
        done += step;
    }
    return 0;
}

int io_write_exact(const struct io *io, int fd, const void *buf, size_t n, uint64_t offset,
                   const char *path, struct prep_error *err)
{
    return io_write_aligned(io, fd, buf, n, offset, 1, path, err);
}

int io_read_file(const struct io *io, const char *path, uint64_t limit, struct arena *arena,
                 struct span *out, struct prep_error *err)
{
    int fd = -1;
    struct io_stat st;
    if (io_open_read(io, path, &fd, &st, err))
        return -1;
    int rc = -1;
    if (st.size > limit) {
        prep_fail(err, PREP_EDATA, "%s: has %llu bytes, want at most %llu", path,
                  (unsigned long long)st.size, (unsigned long long)limit);
        goto out;
    }
    unsigned char *p = arena_alloc(arena, (size_t)st.size + 1, err);
    if (!p || io_read_exact(io, fd, p, (size_t)st.size, 0, path, err))
        goto out;
    p[st.size] = 0;
    *out = (struct span){p, (size_t)st.size};
    rc = 0;
out:
    io_close_read(io, fd);
    return rc;
}

int io_write_file(const struct io *io, const char *path, const void *bytes, size_t n,
                  struct prep_error *err)
{
    struct arena tmp;
    arena_init(&tmp, 0);
    int rc = -1, fd = -1, sys;
    char *part = arena_printf(&tmp, err, "%s.partial", path);
    char *dir = part ? arena_strndup(&tmp, path, strlen(path), err) : NULL;
    if (!dir)
        goto out;
    char *slash = strrchr(dir, '/');
    const char *folder = slash ? (*slash = 0, slash == dir ? "/" : dir) : ".";

    do
        fd = io->open(io->self, part, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    while (fd == -EINTR);
    if (fd < 0) {
        io_fail_create(err, -fd, part, "create");
        goto out;
    }
    if (io_write_exact(io, fd, bytes, n, 0, part, err))
        goto out;
    if ((sys = io->sync(io->self, fd)) < 0) {
        io_fail_create(err, -sys, part, "sync");
        goto out;
    }
    sys = io->close(io->self, fd);
    fd = -1;
    if (sys < 0 && sys != -EINTR) {
        io_fail_create(err, -sys, part, "close");
        goto out;
    }
    if ((sys = io->rename(io->self, part, path)) < 0 ||
        (sys = io->sync_dir(io->self, folder)) < 0) {
        io_fail_create(err, -sys, path, "rename into place");
        goto out;
    }
    rc = 0;
out:
    if (fd >= 0)
        io->close(io->self, fd);
    if (rc && part)
        io->unlink(io->self, part);
    arena_fini(&tmp);
    return rc;
}

char *io_join(struct arena *arena, const char *dir, const char *name, struct prep_error *err)
{
    size_t n = strlen(dir);
    return arena_printf(arena, err, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name);
}

struct listing {
    struct arena *arena;
    char **names;
    size_t n, cap;
    struct prep_error *err;
    int failed;
};

static int add_name(void *arg, const char *name)
{
    struct listing *l = arg;
    char *copy = arena_strndup(l->arena, name, strlen(name), l->err);
    if (!copy || prep_grow(&l->names, &l->cap, l->n, sizeof *l->names, l->err)) {
        l->failed = 1;
        return 1;
    }
    l->names[l->n++] = copy;
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int io_list_sorted(const struct io *io, const char *dir, struct arena *arena, char ***names,
                   size_t *n, struct prep_error *err)
{
    struct listing l = {.arena = arena, .err = err};
    int sys = io->list(io->self, dir, add_name, &l), rc = -1;
    if (sys < 0)
        prep_fail_sys(err, PREP_ENOINPUT, -sys, "%s: cannot list", dir);
    if (sys < 0 || l.failed)
        goto out;
    char **sorted = arena_calloc(arena, l.n, sizeof *sorted, err);
    if (!sorted)
        goto out;
    if (l.n) {
        memcpy(sorted, l.names, l.n * sizeof *sorted);
        qsort(sorted, l.n, sizeof *sorted, by_bytes);
    }
    *names = sorted;
    *n = l.n;
    rc = 0;
out:
    free(l.names);
    return rc;
}

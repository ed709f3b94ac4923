/* SPDX-License-Identifier: MIT */
#include "tests/support/memory_io.h"

#include <errno.h>
#include <string.h>

uint64_t memory_file_size(const struct memory_file *f)
{
    uint64_t n = 0;
    for (size_t i = 0; i < f->n_parts; i++)
        n += f->parts[i].n;
    return n;
}

static int find(const struct memory_io *m, const char *path)
{
    for (size_t i = 0; i < m->n_files; i++)
        if (strcmp(m->files[i].path, path) == 0)
            return (int)i;
    return -ENOENT;
}

static void tell(const struct memory_io *m, int file, struct io_stat *st)
{
    const struct memory_file *f = &m->files[file];
    *st = (struct io_stat){
        .size = f->claimed ? f->claimed : memory_file_size(f),
        .dev = 1,
        .ino = (uint64_t)file + 1,
        .kind = IO_REGULAR,
    };
}

static int memory_open(void *self, const char *path, int flags, unsigned mode)
{
    struct memory_io *m = self;
    (void)flags;
    (void)mode;
    int fd = find(m, path);
    if (fd >= 0)
        __atomic_add_fetch(&m->n_open, 1, __ATOMIC_RELAXED);
    return fd;
}

static int memory_close(void *self, int fd)
{
    struct memory_io *m = self;
    (void)fd;
    __atomic_sub_fetch(&m->n_open, 1, __ATOMIC_RELAXED);
    return 0;
}

static ssize_t memory_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    struct memory_io *m = self;
    const struct memory_file *f = &m->files[fd];
    unsigned char *out = buf;
    size_t done = 0;
    if (m->interrupted < m->interrupts) {
        m->interrupted++;
        return -EINTR;
    }
    if (m->interrupts)
        m->interrupted = 0;
    if (m->max_transfer && n > m->max_transfer)
        n = m->max_transfer;
    for (size_t i = 0; i < f->n_parts && done < n; i++) {
        const struct memory_part *part = &f->parts[i];
        if (offset >= part->n) {
            offset -= part->n;
            continue;
        }
        size_t k = n - done;
        if (k > part->n - offset)
            k = (size_t)(part->n - offset);
        if (part->p)
            memcpy(out + done, part->p + offset, k);
        else
            memset(out + done, part->byte, k);
        done += k;
        offset = 0;
    }
    return (ssize_t)done;
}

static int memory_fstat(void *self, int fd, struct io_stat *st)
{
    tell(self, fd, st);
    return 0;
}

static int is_inside(const char *path, const char *dir, const char **rest)
{
    size_t n = strlen(dir);
    *rest = path + n + 1;
    return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static int memory_stat(void *self, const char *path, struct io_stat *st)
{
    const struct memory_io *m = self;
    const char *rest;
    int file = find(m, path);
    if (file >= 0) {
        tell(m, file, st);
        return 0;
    }
    for (size_t i = 0; i < m->n_files; i++) {
        if (is_inside(m->files[i].path, path, &rest)) {
            *st = (struct io_stat){.dev = 1, .kind = IO_DIRECTORY};
            return 0;
        }
    }
    return -ENOENT;
}

static int memory_list(void *self, const char *path, io_name_fn each, void *arg)
{
    const struct memory_io *m = self;
    const char *rest;
    for (size_t i = 0; i < m->n_files; i++)
        if (is_inside(m->files[i].path, path, &rest) && !strchr(rest, '/') && each(arg, rest))
            break;
    return 0;
}

static int no_path(void *self, const char *path)
{
    (void)self;
    (void)path;
    return -EROFS;
}

static int no_rename(void *self, const char *from, const char *to)
{
    (void)from;
    return no_path(self, to);
}

static int no_mkdir(void *self, const char *path, unsigned mode)
{
    (void)mode;
    return no_path(self, path);
}

static ssize_t no_pwrite(void *self, int fd, const void *buf, size_t n, uint64_t offset)
{
    (void)self;
    (void)fd;
    (void)buf;
    (void)n;
    (void)offset;
    return -EROFS;
}

static int no_advise(void *self, int fd, uint64_t offset, uint64_t n, enum io_advice advice)
{
    (void)self;
    (void)fd;
    (void)offset;
    (void)n;
    (void)advice;
    return 0;
}

void memory_io_init(struct memory_io *m, const struct memory_file *files, size_t n_files)
{
    *m = (struct memory_io){.files = files, .n_files = n_files};
    m->io = (struct io){
        .self = m,
        .open = memory_open,
        .close = memory_close,
        .pread = memory_pread,
        .pwrite = no_pwrite,
        .advise = no_advise,
        .fstat = memory_fstat,
        .stat = memory_stat,
        .rename = no_rename,
        .unlink = no_path,
        .mkdir = no_mkdir,
        .rmdir = no_path,
        .sync_dir = no_path,
        .list = memory_list,
    };
}

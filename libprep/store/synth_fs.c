/* SPDX-License-Identifier: MIT */
#include "libprep/store/synth_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"

enum { MAX_DESCRIPTORS = 1 << 16, MAX_NODES = 1 << 20 };
#define FREE_SPACE ((uint64_t)1 << 60)

/* ---- names ---- */

/* Length without slashes at the end; the root has length 0. */
static size_t path_length(const char *path)
{
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/')
        n--;
    return n;
}

struct synth_node *synth_find(const struct synth *s, const char *path, size_t n)
{
    uint64_t hash = hash64(path, n);
    for (size_t i = s->n_nodes; i-- > 0;) {
        struct synth_node *d = s->nodes[i];
        if (!d->gone && d->hash == hash && strncmp(d->path, path, n) == 0 && d->path[n] == 0)
            return d;
    }
    return NULL;
}

static struct synth_node *find(const struct synth *s, const char *path)
{
    return synth_find(s, path, path_length(path));
}

/* Length of the path of the folder that holds it. */
static size_t folder_length(const char *path, size_t n)
{
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 0 && path[n - 1] == '/')
        n--;
    return n;
}

struct synth_node *synth_add_node(struct synth *s, const char *path, size_t n, enum io_kind kind)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    if (s->n_nodes >= MAX_NODES ||
        prep_grow(&s->nodes, &s->cap_nodes, s->n_nodes, sizeof(struct synth_node *), &ignored))
        return NULL;
    struct synth_node *d = calloc(1, sizeof *d);
    char *copy = arena_strndup(&s->arena, path, n, &ignored);
    if (!d || !copy) {
        free(d);
        return NULL;
    }
    *d = (struct synth_node){.path = copy, .hash = hash64(path, n), .kind = kind};
    s->nodes[s->n_nodes++] = d;
    return d;
}

/* A new name needs a folder to be in. The root and "." are always there. */
static int may_add(const struct synth *s, const char *path, size_t n)
{
    size_t up = folder_length(path, n);
    if (up == 0)
        return 0;
    const struct synth_node *folder = synth_find(s, path, up);
    if (!folder)
        return -ENOENT;
    if (folder->kind != IO_DIRECTORY)
        return -ENOTDIR;
    return folder->source ? -EACCES : 0;
}

/* ---- descriptors and data ---- */

static int take_descriptor(struct synth *s, struct synth_node *d)
{
    struct prep_error ignored = PREP_ERROR_INIT;
    size_t fd = 0;
    while (fd < s->n_open && s->open[fd])
        fd++;
    if (fd >= MAX_DESCRIPTORS)
        return -EMFILE;
    if (fd == s->n_open) {
        if (prep_grow(&s->open, &s->cap_open, s->n_open, sizeof(struct synth_node *), &ignored))
            return -ENOMEM;
        s->n_open++;
    }
    s->open[fd] = d;
    if (++s->stats.open > s->stats.most_open)
        s->stats.most_open = s->stats.open;
    return (int)fd;
}

static int open_node(struct synth *s, const char *path, int flags)
{
    size_t n = path_length(path);
    struct synth_node *d = synth_find(s, path, n);
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    if (d && (flags & O_CREAT) && (flags & O_EXCL))
        return -EEXIST;
    if (d && writes && d->kind == IO_DIRECTORY)
        return -EISDIR;
    if (d && writes && d->source)
        return -EACCES;
    if (!d) {
        int rc = (flags & O_CREAT) ? may_add(s, path, n) : -ENOENT;
        if (rc)
            return rc;
        d = synth_add_node(s, path, n, IO_REGULAR);
        if (!d)
            return -ENOMEM;
    } else if (writes && (flags & O_TRUNC)) {
        d->size = d->n_kept = 0;
        d->swallowed = 0;
    }
    return take_descriptor(s, d);
}

static int synth_open(void *self, const char *path, int flags, unsigned mode)
{
    struct synth *s = self;
    (void)mode;
    pthread_mutex_lock(&s->lock);
    int fd = open_node(s, path, flags);
    pthread_mutex_unlock(&s->lock);
    return fd;
}

/* The node of a descriptor, or NULL; takes the lock and keeps it. */
static struct synth_node *lock_node(struct synth *s, int fd)
{
    pthread_mutex_lock(&s->lock);
    return fd >= 0 && (size_t)fd < s->n_open ? s->open[fd] : NULL;
}

static int synth_close(void *self, int fd)
{
    struct synth *s = self;
    int rc = -EBADF;
    if (lock_node(s, fd)) {
        s->open[fd] = NULL;
        s->stats.open--;
        rc = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* Bytes of [offset, offset + n) before the end of the file. */
static size_t clip(uint64_t size, uint64_t offset, size_t n)
{
    if (offset >= size)
        return 0;
    return size - offset < n ? (size_t)(size - offset) : n;
}

static ssize_t read_kept(const struct synth_node *d, void *buf, size_t n, uint64_t offset)
{
    if (d->kind == IO_DIRECTORY)
        return -EISDIR;
    if (d->swallowed)
        return -EIO;
    size_t have = clip(d->n_kept, offset, n);
    if (have)
        memcpy(buf, d->kept + offset, have);
    memset((char *)buf + have, 0, n - have);
    return (ssize_t)n;
}

static ssize_t synth_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    struct synth *s = self;
    const struct synth_node *d = lock_node(s, fd);
    const struct synth_shard *shard = NULL;
    ssize_t got = -EBADF;
    if (d) {
        n = clip(d->size, offset, n);
        s->stats.read_bytes += n;
        shard = d->shard;
        got = shard ? (ssize_t)n : read_kept(d, buf, n, offset);
    }
    pthread_mutex_unlock(&s->lock);
    if (shard)
        synth_shard_read(shard, buf, offset, n); /* shards never change */
    return got;
}

static void swallow(struct synth_node *d)
{
    free(d->kept);
    d->kept = NULL;
    d->n_kept = d->cap_kept = 0;
    d->swallowed = 1;
}

/* Put bytes where a small file keeps them, or give its bytes up. */
static int keep(struct synth_node *d, const void *buf, size_t n, uint64_t offset)
{
    uint64_t end = offset + n;
    if (end > d->size)
        d->size = end;
    if (d->size > SYNTH_KEEP_BYTES)
        swallow(d);
    if (d->swallowed)
        return 0;
    if (end > d->cap_kept) {
        size_t cap = end > 2 * d->cap_kept ? (size_t)end : 2 * d->cap_kept;
        unsigned char *p = realloc(d->kept, cap);
        if (!p)
            return -ENOMEM;
        d->kept = p;
        d->cap_kept = cap;
    }
    if (offset > d->n_kept)
        memset(d->kept + d->n_kept, 0, (size_t)(offset - d->n_kept));
    if (n)
        memcpy(d->kept + offset, buf, n);
    if (end > d->n_kept)
        d->n_kept = (size_t)end;
    return 0;
}

static ssize_t synth_pwrite(void *self, int fd, const void *buf, size_t n, uint64_t offset)
{
    struct synth *s = self;
    struct synth_node *d = lock_node(s, fd);
    int rc = !d ? -EBADF : d->source ? -EACCES : offset > UINT64_MAX - n ? -EFBIG : 0;
    const char *path = d ? d->path : NULL;
    pthread_mutex_unlock(&s->lock);
    if (rc == 0 && s->watch)
        rc = s->watch(s->watch_arg, path, offset, buf, n);
    if (rc)
        return rc;
    pthread_mutex_lock(&s->lock);
    rc = keep(d, buf, n, offset);
    s->stats.written_bytes += n;
    pthread_mutex_unlock(&s->lock);
    return rc ? rc : (ssize_t)n;
}

static ssize_t synth_copy_range(void *self, int in, uint64_t in_offset, int out,
                                uint64_t out_offset, size_t n)
{
    (void)self, (void)in, (void)in_offset, (void)out, (void)out_offset, (void)n;
    return -EXDEV;
}

static int synth_sync(void *self, int fd)
{
    struct synth *s = self;
    int rc = lock_node(s, fd) ? 0 : -EBADF;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int resize(struct synth *s, int fd, uint64_t bytes, int may_shrink)
{
    struct synth_node *d = lock_node(s, fd);
    int rc = !d ? -EBADF : d->source ? -EACCES : 0;
    if (!rc && (may_shrink || bytes > d->size)) {
        d->size = bytes;
        if (bytes < d->n_kept)
            d->n_kept = (size_t)bytes;
        if (bytes > SYNTH_KEEP_BYTES)
            swallow(d);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int synth_allocate(void *self, int fd, uint64_t bytes)
{
    return resize(self, fd, bytes, 0);
}

static int synth_truncate(void *self, int fd, uint64_t bytes)
{
    return resize(self, fd, bytes, 1);
}

static int synth_advise(void *self, int fd, uint64_t offset, uint64_t n, enum io_advice advice)
{
    (void)self, (void)fd, (void)offset, (void)n, (void)advice;
    return 0;
}

static int synth_lock(void *self, int fd, int exclusive)
{
    (void)exclusive;
    return synth_sync(self, fd);
}

static void tell(const struct synth *s, const struct synth_node *d, struct io_stat *st)
{
    *st = (struct io_stat){.size = d->size, .dev = (uint64_t)(uintptr_t)s, .kind = d->kind};
    st->ino = (uint64_t)(uintptr_t)d;
}

static int synth_fstat(void *self, int fd, struct io_stat *st)
{
    struct synth *s = self;
    const struct synth_node *d = lock_node(s, fd);
    if (d)
        tell(s, d, st);
    pthread_mutex_unlock(&s->lock);
    return d ? 0 : -EBADF;
}

static int synth_stat(void *self, const char *path, struct io_stat *st)
{
    struct synth *s = self;
    pthread_mutex_lock(&s->lock);
    const struct synth_node *d = find(s, path);
    if (d)
        tell(s, d, st);
    pthread_mutex_unlock(&s->lock);
    return d ? 0 : -ENOENT;
}

static int rename_node(struct synth *s, const char *from, const char *to)
{
    size_t n = path_length(to);
    struct synth_node *d = find(s, from), *old = synth_find(s, to, n);
    if (!d)
        return -ENOENT;
    if (d->source || (old && old->source))
        return -EACCES;
    if (d->kind == IO_DIRECTORY || (old && old->kind == IO_DIRECTORY))
        return -EOPNOTSUPP; /* names below it would have to follow */
    int rc = may_add(s, to, n);
    if (rc)
        return rc;
    struct prep_error ignored = PREP_ERROR_INIT;
    char *path = arena_strndup(&s->arena, to, n, &ignored);
    if (!path)
        return -ENOMEM;
    if (old && old != d)
        old->gone = 1;
    d->path = path;
    d->hash = hash64(path, n);
    return 0;
}

static int synth_rename(void *self, const char *from, const char *to)
{
    struct synth *s = self;
    pthread_mutex_lock(&s->lock);
    int rc = rename_node(s, from, to);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int is_inside(const struct synth_node *d, const char *folder, size_t n)
{
    return !d->gone && strncmp(d->path, folder, n) == 0 && d->path[n] == '/' &&
           !strchr(d->path + n + 1, '/');
}

static int remove_node(struct synth *s, const char *path, enum io_kind kind)
{
    struct synth_node *d = find(s, path);
    if (!d)
        return -ENOENT;
    if (d->source)
        return -EACCES;
    if (d->kind != kind)
        return kind == IO_DIRECTORY ? -ENOTDIR : -EISDIR;
    for (size_t i = 0; kind == IO_DIRECTORY && i < s->n_nodes; i++)
        if (is_inside(s->nodes[i], d->path, strlen(d->path)))
            return -ENOTEMPTY;
    d->gone = 1;
    return 0;
}

static int synth_unlink(void *self, const char *path)
{
    struct synth *s = self;
    pthread_mutex_lock(&s->lock);
    int rc = remove_node(s, path, IO_REGULAR);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int synth_rmdir(void *self, const char *path)
{
    struct synth *s = self;
    pthread_mutex_lock(&s->lock);
    int rc = remove_node(s, path, IO_DIRECTORY);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int synth_mkdir(void *self, const char *path, unsigned mode)
{
    struct synth *s = self;
    size_t n = path_length(path);
    (void)mode;
    pthread_mutex_lock(&s->lock);
    int rc = synth_find(s, path, n) ? -EEXIST : may_add(s, path, n);
    if (!rc && !synth_add_node(s, path, n, IO_DIRECTORY))
        rc = -ENOMEM;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int synth_sync_dir(void *self, const char *path)
{
    struct io_stat st;
    if (path_length(path) == 0 || strcmp(path, ".") == 0)
        return 0;
    return synth_stat(self, path, &st);
}

static int synth_list(void *self, const char *path, io_name_fn each, void *arg)
{
    struct synth *s = self;
    size_t n = path_length(path);
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    const struct synth_node *folder = synth_find(s, path, n);
    if (n && !folder)
        rc = -ENOENT;
    else if (n && folder->kind != IO_DIRECTORY)
        rc = -ENOTDIR;
    for (size_t i = 0; i < s->n_nodes && !rc; i++)
        if (is_inside(s->nodes[i], path, n) && each(arg, s->nodes[i]->path + n + 1))
            break;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int synth_free_space(void *self, const char *path, uint64_t *bytes)
{
    (void)self, (void)path;
    *bytes = FREE_SPACE;
    return 0;
}

const struct io synth_table = {
    .open = synth_open,
    .close = synth_close,
    .pread = synth_pread,
    .pwrite = synth_pwrite,
    .copy_range = synth_copy_range,
    .sync = synth_sync,
    .allocate = synth_allocate,
    .truncate = synth_truncate,
    .advise = synth_advise,
    .lock = synth_lock,
    .fstat = synth_fstat,
    .stat = synth_stat,
    .rename = synth_rename,
    .unlink = synth_unlink,
    .mkdir = synth_mkdir,
    .rmdir = synth_rmdir,
    .sync_dir = synth_sync_dir,
    .list = synth_list,
    .free_space = synth_free_space,
};

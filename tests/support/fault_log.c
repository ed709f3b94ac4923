/* SPDX-License-Identifier: MIT */
#include "tests/support/fault_log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/support.h"

struct identity {
    dev_t dev;
    ino_t ino;
};

/* A file with bytes that are not durable, held open by a descriptor of our own. */
struct fault_file {
    struct fault_file *next;
    struct identity id;
    int fd;
    int n_ops;
};

struct fault_op {
    struct fault_op *older, *newer;
    enum fault_change kind;
    int lost;
    /* FAULT_WRITTEN, FAULT_SIZED: bytes before and after */
    struct fault_file *file;
    off_t offset, size_before, size_after;
    unsigned char *old_bytes, *new_bytes;
    size_t old_n, new_n;
    /* the others: names, the folders they are in, where a removed file is kept */
    char *path, *to, *grave;
    struct identity dir, to_dir;
    int dir_pending, to_dir_pending;
};

static void *need(void *p)
{
    if (!p)
        fail_msg("fault_log: out of memory");
    return p;
}

static void check(int ok, const char *what)
{
    if (!ok)
        fail_msg("fault_log: %s: %s", what, strerror(errno));
}

static int same(struct identity a, struct identity b)
{
    return a.dev == b.dev && a.ino == b.ino;
}

static struct identity identity_of(const struct stat *st)
{
    return (struct identity){st->st_dev, st->st_ino};
}

static struct identity folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 1;
    char *dir = need(slash ? strndup(path, n ? n : 1) : strdup("."));
    struct stat st;
    check(!stat(dir, &st), dir);
    free(dir);
    return identity_of(&st);
}

static struct fault_op *add_op(struct fault_log *log, enum fault_change kind)
{
    struct fault_op *op = need(calloc(1, sizeof *op));
    op->kind = kind;
    op->older = log->newest;
    if (log->newest)
        log->newest->newer = op;
    log->newest = op;
    return op;
}

static void release_file(struct fault_log *log, struct fault_file *file)
{
    if (--file->n_ops > 0)
        return;
    struct fault_file **at = &log->files;
    while (*at != file)
        at = &(*at)->next;
    *at = file->next;
    close(file->fd);
    free(file);
}

static void drop_op(struct fault_log *log, struct fault_op *op)
{
    if (op->newer)
        op->newer->older = op->older;
    else
        log->newest = op->older;
    if (op->older)
        op->older->newer = op->newer;
    if (op->file)
        release_file(log, op->file);
    free(op->old_bytes);
    free(op->new_bytes);
    free(op->path);
    free(op->to);
    free(op->grave);
    free(op);
}

static struct fault_file *hold_file(struct fault_log *log, int fd, struct stat *st)
{
    check(!fstat(fd, st), "fstat");
    struct fault_file *file = log->files;
    while (file && !same(file->id, identity_of(st)))
        file = file->next;
    if (!file) {
        char self[64];
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        file = need(calloc(1, sizeof *file));
        *file = (struct fault_file){log->files, identity_of(st), open(self, O_RDWR | O_CLOEXEC), 0};
        check(file->fd >= 0, "cannot open a file again to log it");
        log->files = file;
    }
    file->n_ops++;
    return file;
}

void fault_log_init(struct fault_log *log)
{
    *log = (struct fault_log){.grave = test_temp_dir()};
}

void fault_log_forget(struct fault_log *log)
{
    while (log->newest)
        drop_op(log, log->newest);
}

char *fault_log_grave(struct fault_log *log)
{
    char text[32];
    int n = snprintf(text, sizeof text, "/%llu", (unsigned long long)log->n_graves++);
    size_t head = strlen(log->grave);
    char *path = need(malloc(head + (size_t)n + 1));
    memcpy(path, log->grave, head);
    memcpy(path + head, text, (size_t)n + 1);
    return path;
}

void fault_log_name(struct fault_log *log, enum fault_change kind, const char *path, const char *to,
                    char *grave)
{
    struct fault_op *op = add_op(log, kind);
    op->path = need(strdup(path));
    op->dir = folder_of(path);
    op->dir_pending = 1;
    op->grave = grave;
    if (to) {
        op->to = need(strdup(to));
        op->to_dir = folder_of(to);
        op->to_dir_pending = !same(op->dir, op->to_dir);
    }
}

struct fault_op *fault_log_data(struct fault_log *log, enum fault_change kind, int fd,
                                uint64_t offset, uint64_t n)
{
    struct stat st;
    struct fault_op *op = add_op(log, kind);
    op->file = hold_file(log, fd, &st);
    op->size_before = st.st_size;
    op->offset = (off_t)offset;
    if (op->offset < st.st_size) {
        uint64_t rest = (uint64_t)(st.st_size - op->offset);
        op->old_n = (size_t)(n < rest ? n : rest);
    }
    op->old_bytes = need(malloc(op->old_n + 1));
    check(pread(op->file->fd, op->old_bytes, op->old_n, op->offset) == (ssize_t)op->old_n, "pread");
    return op;
}

void fault_log_data_end(struct fault_log *log, struct fault_op *op, ssize_t done)
{
    struct stat st;
    if (done < 0) {
        drop_op(log, op);
        return;
    }
    op->new_n = (size_t)done;
    op->new_bytes = need(malloc(op->new_n + 1));
    check(pread(op->file->fd, op->new_bytes, op->new_n, op->offset) == done, "pread");
    check(!fstat(op->file->fd, &st), "fstat");
    op->size_after = st.st_size;
}

static void file_is_durable(struct fault_log *log, struct identity id)
{
    for (struct fault_op *o = log->newest, *older; o; o = older) {
        older = o->older;
        if (o->file && same(o->file->id, id))
            drop_op(log, o);
    }
}

static void folder_is_durable(struct fault_log *log, struct identity id)
{
    for (struct fault_op *o = log->newest, *older; o; o = older) {
        older = o->older;
        if (o->file)
            continue;
        o->dir_pending &= !same(o->dir, id);
        o->to_dir_pending &= !same(o->to_dir, id);
        if (!o->dir_pending && !o->to_dir_pending)
            drop_op(log, o);
    }
}

void fault_log_sync(struct fault_log *log, const struct stat *st)
{
    if (S_ISDIR(st->st_mode))
        folder_is_durable(log, identity_of(st));
    else
        file_is_durable(log, identity_of(st));
}

static void undo(const struct fault_op *op)
{
    int fd = op->file ? op->file->fd : -1;
    switch (op->kind) {
    case FAULT_WRITTEN:
    case FAULT_SIZED:
        check(pwrite(fd, op->old_bytes, op->old_n, op->offset) == (ssize_t)op->old_n, "pwrite");
        check(!ftruncate(fd, op->size_before), "ftruncate");
        break;
    case FAULT_CREATED:
    case FAULT_FOLDER_MADE:
        check(!rename(op->path, op->grave), op->path);
        break;
    case FAULT_RENAMED:
        check(!rename(op->to, op->path), op->to);
        check(!op->grave || !rename(op->grave, op->to), op->to);
        break;
    case FAULT_UNLINKED:
        check(!rename(op->grave, op->path), op->path);
        break;
    case FAULT_FOLDER_REMOVED:
        check(!mkdir(op->path, 0777), op->path);
        break;
    }
}

static void grow_to(int fd, off_t size)
{
    struct stat st;
    check(!fstat(fd, &st), "fstat");
    check(st.st_size >= size || !ftruncate(fd, size), "ftruncate");
}

/* Where the file that op->path named at the time is now: a lost create left it in its grave. */
static const char *find_source(const struct fault_op *op)
{
    if (test_exists(op->path))
        return op->path;
    for (const struct fault_op *o = op->older; o; o = o->older)
        if (o->kind == FAULT_CREATED && o->lost && strcmp(o->path, op->path) == 0 &&
            test_exists(o->grave))
            return o->grave;
    return NULL;
}

/* This change reached the disk although others before it may not have: what it needs may be
 * missing, and then it is lost as well. */
static void redo(struct fault_op *op)
{
    int fd = op->file ? op->file->fd : -1;
    const char *source = op->kind == FAULT_RENAMED ? find_source(op) : NULL;
    switch (op->kind) {
    case FAULT_WRITTEN:
        check(pwrite(fd, op->new_bytes, op->new_n, op->offset) == (ssize_t)op->new_n, "pwrite");
        break;
    case FAULT_SIZED:
        if (op->size_after < op->size_before)
            check(!ftruncate(fd, op->size_after), "ftruncate");
        grow_to(fd, op->size_after);
        break;
    case FAULT_CREATED:
    case FAULT_FOLDER_MADE:
        op->lost = test_exists(op->path) || rename(op->grave, op->path);
        break;
    case FAULT_RENAMED:
        op->lost = !source || rename(source, op->to);
        break;
    case FAULT_UNLINKED:
        op->lost = unlink(op->path) != 0;
        break;
    case FAULT_FOLDER_REMOVED:
        op->lost = rmdir(op->path) != 0;
        break;
    }
}

void fault_log_settle(struct fault_log *log, uint64_t seed)
{
    struct test_random r = {seed};
    struct fault_op *oldest = NULL;
    for (struct fault_op *o = log->newest; o; o = o->older) {
        undo(o);
        o->lost = 1;
        oldest = o;
    }
    for (struct fault_op *o = oldest; o && seed; o = o->newer) {
        uint64_t chance = test_random_u64(&r);
        if (chance & 1)
            redo(o);
        else if (o->kind == FAULT_WRITTEN && (chance & 2))
            grow_to(o->file->fd, o->size_after);
    }
    fault_log_forget(log);
}

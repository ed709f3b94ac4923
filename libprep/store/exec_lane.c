/* SPDX-License-Identifier: MIT */
/* The life of one output file: opened or resumed, recorded while it grows, renamed when whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/store/exec_engine.h"

enum { VERIFY_BYTES = 1 << 20 };

int exec_path(char *buf, size_t size, const char *dir, const char *name, const char *suffix,
              struct prep_error *err)
{
    int n = snprintf(buf, size, "%s/%s%s", dir, name, suffix);
    if (n < 0 || (size_t)n >= size)
        return prep_fail(err, PREP_EUSAGE, "%s: path is longer than %zu bytes", dir, size);
    return 0;
}

uint64_t lane_offset(const struct engine *e, const struct lane *l, uint64_t block)
{
    return l->base + block * e->block_bytes;
}

/* Feed [from, to) of a file to whatever must be rebuilt after a restart. */
static int reread(const struct io *io, const char *path, uint64_t from, uint64_t to,
                  struct xxh128 *hash, struct prep_error *err)
{
    int fd = -1, rc = -1;
    unsigned char *buf = malloc(VERIFY_BYTES);
    if (!buf)
        return prep_fail(err, PREP_ENOMEM, "out of memory checking %s", path);
    if (io_open_read(io, path, &fd, NULL, err))
        goto out;
    for (uint64_t at = from; at < to;) {
        size_t n = to - at < VERIFY_BYTES ? (size_t)(to - at) : VERIFY_BYTES;
        if (io_read_exact(io, fd, buf, n, at, path, err))
            goto out;
        xxh128_update(hash, buf, n);
        at += n;
    }
    rc = 0;
out:
    io_close_read(io, fd);
    free(buf);
    return rc;
}

/* Does the newest recorded extent still hold the bytes that were hashed? 1 yes, 0 no, -1 error. */
static int extent_is_intact(const struct exec_options *opt, const struct journal_file *j,
                            const char *path, struct prep_error *err)
{
    struct sha256 sha;
    if (opt->no_hashes)
        return 1;
    if (sha256_restore(&sha, j->sha_state))
        return 0;
    struct xxh128 *hash = xxh128_new();
    if (!hash)
        return prep_fail(err, PREP_ENOMEM, "out of memory checking %s", path);
    int rc = reread(opt->io, path, j->extent_offset, j->durable, hash, err);
    if (!rc)
        rc = xxh128_digest(hash).lo == j->extent_hash;
    xxh128_free(hash);
    return rc;
}

int engine_verify_durable(const struct plan *plan, const struct exec_options *opt,
                          struct journal *journal, uint32_t file, struct prep_error *err)
{
    const struct plan_file *f = &plan->files[file];
    struct journal_file *j = &journal->files[file];
    char partial[EXEC_PATH_BYTES], final[EXEC_PATH_BYTES];
    struct io_stat st;
    if (exec_path(partial, sizeof partial, opt->dir, f->name, ".partial", err) ||
        exec_path(final, sizeof final, opt->dir, f->name, "", err))
        return -1;
    if (j->complete) {
        if (opt->io->stat(opt->io->self, final, &st) >= 0 && st.size == f->bytes)
            return 0;
        /* Killed between the last sync and the rename. */
        if (opt->io->stat(opt->io->self, partial, &st) >= 0 && st.size == f->bytes)
            return exec_rename(opt, f->name, err);
        *j = (struct journal_file){0};
        return 0;
    }
    int intact = j->durable > 0 && j->durable <= f->bytes && j->extent_offset <= j->durable &&
                 opt->io->stat(opt->io->self, partial, &st) >= 0 && st.size >= j->durable;
    if (intact)
        intact = extent_is_intact(opt, j, partial, err);
    if (intact < 0)
        return -1;
    if (!intact)
        *j = (struct journal_file){0};
    return 0;
}

/* Continue behind what engine_verify_durable() believed. */
static int resume_lane(struct engine *e, struct lane *l, const char *path, struct prep_error *err)
{
    const struct plan_file *f = &e->plan->files[l->file];
    const struct journal_file *j = &e->journal->files[l->file];
    const struct plan_tensor *t = e->plan->tensors;
    uint32_t last = f->first_tensor + f->n_tensors;
    l->base = j->durable;
    while (l->tensor < last && t[l->tensor].offset + t[l->tensor].bytes <= l->base)
        l->tensor++;
    if (e->opt->no_hashes)
        return 0;
    if (sha256_restore(&l->sha, j->sha_state))
        return prep_fail(err, PREP_EBUG, "%s: unchecked journal state", path);
    /* The tensor that straddles the border: hash its first part again. */
    if (l->tensor < last && t[l->tensor].offset < l->base)
        return reread(e->io, path, t[l->tensor].offset, l->base, l->tensor_hash, err);
    return 0;
}

static int open_partial(struct engine *e, struct lane *l, const char *path, struct prep_error *err)
{
    int flags = O_RDWR | O_CREAT | (l->base ? 0 : O_TRUNC);
    l->direct = !e->kernel_copy;
    l->fd = e->io->open(e->io->self, path, flags | (l->direct ? O_DIRECT : 0), 0666);
    if (l->fd == -EINVAL && l->direct) {
        l->direct = 0; /* tmpfs and some network file systems have no direct I/O */
        l->fd = e->io->open(e->io->self, path, flags, 0666);
    }
    if (l->fd < 0)
        return io_fail_create(err, -l->fd, path, "create");
    /* Reserve all of it now: a full disk is found before the work, not after. */
    int sys = e->io->allocate(e->io->self, l->fd, e->plan->files[l->file].bytes);
    return sys < 0 ? io_fail_create(err, -sys, path, "reserve room") : 0;
}

int engine_open_lane(struct engine *e, struct lane *l, struct prep_error *err)
{
    const struct plan_file *f = &e->plan->files[l->file];
    char path[EXEC_PATH_BYTES];
    if (exec_path(path, sizeof path, e->opt->dir, f->name, ".partial", err))
        return -1;
    l->base = 0;
    l->tensor = f->first_tensor;
    xxh128_reset(l->tensor_hash);
    sha256_init(&l->sha);
    if (e->journal->files[l->file].durable && resume_lane(e, l, path, err))
        return -1;
    xxh128_reset(l->extent_hash);
    if (open_partial(e, l, path, err))
        return -1;
    l->n_blocks = (f->bytes - l->base + e->block_bytes - 1) / e->block_bytes;
    l->next_fill = l->next_hash = l->n_written = 0;
    l->recorded = l->base;
    l->recorded_at = time(NULL);
    l->snap_first_tensor = l->tensor;
    l->snap_set = 0;
    return 0;
}

static int sync_file(struct engine *e, const struct lane *l, struct prep_error *err)
{
    int sys = e->io->sync(e->io->self, l->fd);
    if (sys < 0)
        /* The kernel may have dropped the pages: what was written since the last record is lost
         * and must not be recorded. */
        return io_fail_create(err, -sys, e->plan->files[l->file].name, "sync");
    if (!l->direct)
        e->io->advise(e->io->self, l->fd, 0, 0, IO_DONTNEED);
    return 0;
}

int engine_record(struct engine *e, struct lane *l, struct prep_error *err)
{
    if (sync_file(e, l, err))
        return -1;
    pthread_mutex_lock(&e->journal_lock);
    int rc = journal_add_extent(e->journal, l->file, &l->snap, l->snap_first_tensor,
                                l->snap_tensor - l->snap_first_tensor, err);
    pthread_mutex_unlock(&e->journal_lock);
    if (!rc)
        l->snap_first_tensor = l->snap_tensor;
    return rc;
}

int exec_rename(const struct exec_options *opt, const char *name, struct prep_error *err)
{
    char from[EXEC_PATH_BYTES], to[EXEC_PATH_BYTES];
    if (exec_path(from, sizeof from, opt->dir, name, ".partial", err) ||
        exec_path(to, sizeof to, opt->dir, name, "", err))
        return -1;
    int sys = opt->io->rename(opt->io->self, from, to);
    if (sys >= 0)
        sys = opt->io->sync_dir(opt->io->self, opt->dir);
    return sys < 0 ? io_fail_create(err, -sys, to, "rename into place") : 0;
}

int engine_finish_lane(struct engine *e, struct lane *l, struct prep_error *err)
{
    const struct plan_file *f = &e->plan->files[l->file];
    int sys = e->io->truncate(e->io->self, l->fd, f->bytes);
    if (sys < 0)
        return io_fail_create(err, -sys, f->name, "cut to size");
    if (sync_file(e, l, err))
        return -1;
    sys = e->io->close(e->io->self, l->fd);
    l->fd = -1;
    if (sys < 0 && sys != -EINTR)
        return io_fail_create(err, -sys, f->name, "close");

    unsigned char sha[SHA256_BYTES] = {0};
    if (!e->opt->no_hashes)
        sha256_final(&l->sha, sha);
    uint32_t last = f->first_tensor + f->n_tensors;
    pthread_mutex_lock(&e->journal_lock);
    struct journal_file *j = &e->journal->files[l->file];
    int rc = journal_add_file(e->journal, l->file, sha, l->snap_first_tensor,
                              last - l->snap_first_tensor, err);
    if (!rc) {
        memcpy(j->sha256, sha, SHA256_BYTES);
        j->complete = 1;
    }
    pthread_mutex_unlock(&e->journal_lock);
    return rc || exec_rename(e->opt, f->name, err) ? -1 : 0;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/store/verify.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/parallel.h"

static const uint64_t default_mem = (uint64_t)256 << 20;
static const uint64_t default_block = (uint64_t)4 << 20;
static const uint64_t least_block = 4096;

/* Memory of one task at a time: two blocks and two hash states. */
struct slot {
    unsigned char *a, *b;
    struct xxh128 *a_hash, *b_hash;
};

struct crew {
    const struct verify_options *opt;
    int n_slots, n_free;
    struct slot *slots;
    struct slot **free;
    size_t block;
    struct progress progress;
    pthread_mutex_t lock; /* free slots and progress */
};

static void crew_fini(struct crew *w)
{
    for (int i = 0; w->slots && i < w->n_slots; i++) {
        free(w->slots[i].a);
        xxh128_free(w->slots[i].a_hash);
        xxh128_free(w->slots[i].b_hash);
    }
    free(w->slots);
    free(w->free);
    pthread_mutex_destroy(&w->lock);
}

static uint64_t block_bytes(const struct verify_options *opt, int n_threads)
{
    uint64_t want = opt->block_bytes ? opt->block_bytes : default_block;
    uint64_t fair = (opt->mem ? opt->mem : default_mem) / (2 * (uint64_t)n_threads);
    if (fair < least_block)
        fair = least_block;
    return want < fair ? want : fair;
}

static int crew_init(struct crew *w, const struct verify_options *opt, size_t n_tasks,
                     const char *phase, struct prep_error *err)
{
    int n = opt->n_threads > 0 ? opt->n_threads : prep_default_threads();
    if ((size_t)n > n_tasks)
        n = n_tasks ? (int)n_tasks : 1;
    *w = (struct crew){.opt = opt, .n_slots = n, .progress.phase = phase};
    w->block = (size_t)block_bytes(opt, n);
    pthread_mutex_init(&w->lock, NULL);
    w->slots = calloc((size_t)n, sizeof *w->slots);
    w->free = calloc((size_t)n, sizeof *w->free);
    for (int i = 0; w->slots && w->free && i < n; i++) {
        struct slot *s = &w->slots[i];
        s->a = malloc(2 * w->block);
        s->a_hash = xxh128_new();
        s->b_hash = xxh128_new();
        if (!s->a || !s->a_hash || !s->b_hash)
            break;
        s->b = s->a + w->block;
        w->free[w->n_free++] = s;
    }
    if (w->n_free == n)
        return 0;
    crew_fini(w);
    return prep_fail(err, PREP_ENOMEM, "out of memory for %d blocks of %zu bytes", 2 * n, w->block);
}

static struct slot *take_slot(struct crew *w)
{
    pthread_mutex_lock(&w->lock);
    struct slot *s = w->free[--w->n_free];
    pthread_mutex_unlock(&w->lock);
    return s;
}

static void give_slot(struct crew *w, struct slot *s)
{
    pthread_mutex_lock(&w->lock);
    w->free[w->n_free++] = s;
    pthread_mutex_unlock(&w->lock);
}

/* Counts what was read and shows it; says whether to stop. */
static int advance(struct crew *w, uint64_t bytes, uint64_t files, struct prep_error *err)
{
    pthread_mutex_lock(&w->lock);
    w->progress.done_bytes += bytes;
    w->progress.done_files += files;
    if (w->opt->progress)
        w->opt->progress(w->opt->progress_arg, &w->progress);
    pthread_mutex_unlock(&w->lock);
    if (w->opt->stop && *w->opt->stop)
        return prep_fail(err, PREP_ESTOPPED, "stopped by a signal while reading");
    return 0;
}

static size_t smaller(uint64_t left, size_t block)
{
    return left < block ? (size_t)left : block;
}

/* ---- whole files ---- */

struct file_job {
    struct crew crew;
    const struct checkpoint *c;
    struct file_hash *files;
    struct hash128 *tensors;
    const uint32_t *queue;
    const size_t *first_tensor; /* [n_shards + 1] */
};

/* The part of a tensor that lies in block [at, at + n) of its file; 0 when the tensor ends later */
static int hash_part(struct xxh128 *h, const struct tensor_info *t, const unsigned char *block,
                     uint64_t at, size_t n)
{
    uint64_t from = t->offset > at ? t->offset : at, to = t->offset + t->bytes;
    if (to > at + n)
        to = at + n;
    if (from < to)
        xxh128_update(h, block + (from - at), (size_t)(to - from));
    return t->offset + t->bytes <= at + n;
}

static int hash_file(size_t i, void *arg, struct prep_error *err)
{
    struct file_job *j = arg;
    const struct checkpoint *c = j->c;
    uint32_t file = j->queue[i];
    const struct source_file *f = &c->files[file];
    size_t t = 0, end = 0;
    struct sha256 sha;
    int fd = -1, rc = -1;
    if (file < c->n_shards) {
        t = j->first_tensor[file];
        end = j->first_tensor[file + 1];
    }
    struct slot *s = take_slot(&j->crew);
    sha256_init(&sha);
    xxh128_reset(s->a_hash);
    if (checkpoint_reopen(c, f, &fd, err))
        goto out;
    if (c->io->advise)
        c->io->advise(c->io->self, fd, 0, f->bytes, IO_SEQUENTIAL);
    for (uint64_t at = 0; at < f->bytes;) {
        size_t n = smaller(f->bytes - at, j->crew.block);
        if (io_read_exact(c->io, fd, s->a, n, at, f->path, err))
            goto out;
        sha256_update(&sha, s->a, n);
        for (; t < end && hash_part(s->a_hash, &c->tensors[t].info, s->a, at, n); t++) {
            j->tensors[t] = xxh128_digest(s->a_hash);
            xxh128_reset(s->a_hash);
        }
        at += n;
        if (advance(&j->crew, n, at == f->bytes, err))
            goto out;
    }
    sha256_final(&sha, j->files[file].sha256);
    rc = 0;
out:
    io_close_read(c->io, fd);
    give_slot(&j->crew, s);
    return rc;
}

/* Which files, and where each shard's tensors begin. */
static int plan_files(struct file_job *j, uint32_t **queue, size_t *n_queue, size_t **first,
                      struct prep_error *err)
{
    const struct checkpoint *c = j->c;
    *queue = malloc((c->n_files + 1) * sizeof **queue);
    *first = calloc(c->n_shards + 1, sizeof **first);
    if (!*queue || !*first)
        return prep_fail(err, PREP_ENOMEM, "out of memory for %zu files", c->n_files);
    for (uint32_t i = 0; i < c->n_files; i++)
        if (j->files[i].wanted)
            (*queue)[(*n_queue)++] = i;
    for (size_t t = 0; t < c->n_tensors; t++)
        (*first)[c->tensors[t].file + 1]++;
    for (size_t i = 0; i < c->n_shards; i++)
        (*first)[i + 1] += (*first)[i];
    j->queue = *queue;
    j->first_tensor = *first;
    return 0;
}

int verify_files(struct file_hash *files, struct hash128 *tensors, const struct checkpoint *c,
                 const struct verify_options *opt, struct prep_error *err)
{
    struct file_job j = {.c = c, .files = files, .tensors = tensors};
    uint32_t *queue = NULL;
    size_t *first = NULL, n = 0;
    int rc = -1;
    if (plan_files(&j, &queue, &n, &first, err) || crew_init(&j.crew, opt, n, "hash", err))
        goto out;
    j.crew.progress.total_files = n;
    for (size_t i = 0; i < n; i++)
        j.crew.progress.total_bytes += c->files[queue[i]].bytes;
    rc = prep_parallel_for(n, j.crew.n_slots, hash_file, &j, err);
    crew_fini(&j.crew);
out:
    free(queue);
    free(first);
    return rc;
}

/* ---- pairs of tensors ---- */

/* Bytes [at, at + n) of a tensor as the view shows it; rows that follow each other in one read. */
static int read_shown(const struct checkpoint *c, const struct view_tensor *t, int fd, uint64_t at,
                      unsigned char *to, size_t n, struct prep_error *err)
{
    const struct checkpoint_tensor *from = &c->tensors[t->tensor];
    const char *path = c->files[from->file].path;
    if (!t->rows)
        return io_read_exact(c->io, fd, to, n, from->info.offset + at, path, err);
    uint64_t row_bytes = from->info.bytes / from->info.shape[0];
    while (n) {
        uint64_t row = at / row_bytes, inside = at % row_bytes, run = 1;
        while (row + run < t->n_rows && run * row_bytes < n + inside &&
               t->rows[row + run] == t->rows[row] + (int)run)
            run++;
        size_t part = smaller(run * row_bytes - inside, n);
        uint64_t where = from->info.offset + (uint64_t)t->rows[row] * row_bytes + inside;
        if (io_read_exact(c->io, fd, to, part, where, path, err))
            return -1;
        at += part;
        to += part;
        n -= part;
    }
    return 0;
}

struct pair_job {
    struct crew crew;
    struct verify_pair *pairs;
    const struct view *view;
    const struct checkpoint *b;
};

static size_t first_difference(const unsigned char *a, const unsigned char *b, size_t n)
{
    size_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

static int read_pair(struct pair_job *j, struct verify_pair *p, struct slot *s, int a_fd, int b_fd,
                     struct prep_error *err)
{
    const struct checkpoint *a = j->view->sources[p->a->source], *b = j->b;
    uint64_t bytes = p->a->info.bytes;
    p->difference = VERIFY_EQUAL;
    for (uint64_t at = 0; at < bytes;) {
        size_t n = smaller(bytes - at, j->crew.block);
        if (read_shown(a, p->a, a_fd, at, s->a, n, err))
            return -1;
        xxh128_update(s->a_hash, s->a, n);
        if (p->b) {
            if (io_read_exact(b->io, b_fd, s->b, n, p->b->info.offset + at,
                              b->files[p->b->file].path, err))
                return -1;
            xxh128_update(s->b_hash, s->b, n);
            if (p->difference == VERIFY_EQUAL && memcmp(s->a, s->b, n) != 0)
                p->difference = at + first_difference(s->a, s->b, n);
        }
        at += n;
        if (advance(&j->crew, p->b ? 2 * (uint64_t)n : n, 0, err))
            return -1;
    }
    p->a_hash = xxh128_digest(s->a_hash);
    p->b_hash = xxh128_digest(s->b_hash);
    return 0;
}

static int compare_pair(size_t i, void *arg, struct prep_error *err)
{
    struct pair_job *j = arg;
    struct verify_pair *p = &j->pairs[i];
    const struct checkpoint *a = j->view->sources[p->a->source], *b = j->b;
    const struct checkpoint_tensor *from = view_source(j->view, p->a);
    int a_fd = -1, b_fd = -1, rc = -1;
    if (p->b && p->b->info.bytes != p->a->info.bytes)
        return prep_fail(err, PREP_EBUG, "%s: pair of unequal sizes", p->a->info.name);
    struct slot *s = take_slot(&j->crew);
    xxh128_reset(s->a_hash);
    xxh128_reset(s->b_hash);
    if (checkpoint_reopen(a, &a->files[from->file], &a_fd, err) ||
        (p->b && checkpoint_reopen(b, &b->files[p->b->file], &b_fd, err)))
        goto out;
    rc = read_pair(j, p, s, a_fd, b_fd, err);
out:
    io_close_read(a->io, a_fd);
    if (p->b)
        io_close_read(b->io, b_fd);
    give_slot(&j->crew, s);
    return rc;
}

int verify_pairs(struct verify_pair *pairs, size_t n, const struct view *a,
                 const struct checkpoint *b, const struct verify_options *opt,
                 struct prep_error *err)
{
    struct pair_job j = {.pairs = pairs, .view = a, .b = b};
    if (crew_init(&j.crew, opt, n, "compare", err))
        return -1;
    for (size_t i = 0; i < n; i++)
        j.crew.progress.total_bytes += pairs[i].a->info.bytes * (pairs[i].b ? 2 : 1);
    int rc = prep_parallel_for(n, j.crew.n_slots, compare_pair, &j, err);
    crew_fini(&j.crew);
    return rc;
}

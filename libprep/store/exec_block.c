/* SPDX-License-Identifier: MIT */
/* One block of one file: where its bytes come from, its hashes, its way to the disk. */
#include <errno.h>
#include <string.h>

#include "libprep/store/exec_engine.h"

/* Below this a kernel copy costs more than it saves, and file systems share whole blocks only. */
enum { KERNEL_COPY_MIN = 64 << 10 };

/* Three hashes see each byte: pieces that stay in the first cache from one to the next. */
enum { HASH_PIECE = 16 << 10 };

/* A piece of a block: bytes in memory, or a range of a source. */
struct piece {
    const unsigned char *bytes; /* NULL: range */
    struct plan_range range;
    size_t at, n; /* in the block */
};

typedef int (*piece_fn)(struct engine *e, struct lane *l, struct block *b, const struct piece *p,
                        struct prep_error *err);

/* The last one that begins at or before it. */
uint32_t engine_find_extent(const struct plan *plan, const struct plan_file *f, uint64_t offset)
{
    uint32_t lo = f->first_extent, hi = f->first_extent + f->n_extents;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (plan->extents[mid].offset <= offset)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Cut bytes [skip, skip + n) of a copy step at its input ranges. */
static int copy_pieces(struct engine *e, struct lane *l, struct block *b, const struct plan_step *s,
                       uint64_t skip, size_t at, size_t n, piece_fn fn, struct prep_error *err)
{
    const struct plan_range *r = e->plan->inputs + s->first_input;
    for (; n > 0; r++) {
        if (skip >= r->bytes) {
            skip -= r->bytes;
            continue;
        }
        size_t take = r->bytes - skip < n ? (size_t)(r->bytes - skip) : n;
        struct piece p = {NULL, {r->source, r->offset + skip, take}, at, take};
        if (fn(e, l, b, &p, err))
            return -1;
        at += take;
        n -= take;
        skip = 0;
    }
    return 0;
}

static int each_piece(struct engine *e, struct lane *l, struct block *b, piece_fn fn,
                      struct prep_error *err)
{
    const struct plan *plan = e->plan;
    const struct plan_file *f = &plan->files[l->file];
    uint64_t offset = lane_offset(e, l, b->number);
    uint32_t x = engine_find_extent(plan, f, offset);
    for (size_t at = 0; at < b->bytes; x++) {
        const struct plan_extent *ext = &plan->extents[x];
        const struct plan_step *s = &plan->steps[ext->step];
        uint64_t skip = offset + at - ext->offset;
        size_t n = b->bytes - at;
        if (ext->bytes - skip < n)
            n = (size_t)(ext->bytes - skip);
        int rc;
        if (s->kind == PLAN_COPY) {
            rc = copy_pieces(e, l, b, s, skip, at, n, fn, err);
        } else {
            const unsigned char *bytes = s->arg;
            if (s->kind == PLAN_CALL) {
                const struct call *c = &e->calls[e->call_of_step[ext->step]];
                bytes = c->memory + c->output_at[ext->output];
            }
            struct piece p = {bytes + skip, {0, 0, 0}, at, n};
            rc = fn(e, l, b, &p, err);
        }
        if (rc)
            return -1;
        at += n;
    }
    return 0;
}

/* An open descriptor of a source; the engine keeps a few dozen open. */
static int take_source(struct engine *e, uint32_t source, struct source_slot **out,
                       struct prep_error *err)
{
    struct source_slot *slot = NULL;
    pthread_mutex_lock(&e->lock);
    for (int i = 0; i < ENGINE_OPEN_SOURCES; i++) {
        struct source_slot *s = &e->sources[i];
        if (s->users >= 0 && s->source == source) {
            slot = s;
            break;
        }
        /* Otherwise the emptiest: a free slot, or the idle one used longest ago. */
        if (s->users <= 0 && (!slot || s->users < slot->users ||
                              (s->users == slot->users && s->last_use < slot->last_use)))
            slot = s;
    }
    int rc = 0;
    const struct plan_source *p = &e->plan->sources[source];
    if (slot->users < 0 || slot->source != source) {
        if (slot->users == 0)
            e->plan->sources[slot->source].io->close(e->plan->sources[slot->source].io->self,
                                                     slot->fd);
        slot->users = -1;
        struct io_stat st;
        rc = io_open_read(p->io, p->file->path, &slot->fd, &st, err);
        if (!rc && (st.size != p->file->bytes || st.mtime_ns != p->file->mtime_ns)) {
            io_close_read(p->io, slot->fd);
            rc = prep_fail_tag(err, PREP_EDATA, "SOURCE_CHANGED",
                               "%s: has %llu bytes or another time stamp than the %llu bytes "
                               "planned with; start again",
                               p->file->path, (unsigned long long)st.size,
                               (unsigned long long)p->file->bytes);
        }
        if (!rc) {
            slot->users = 0;
            slot->source = source;
            p->io->advise(p->io->self, slot->fd, 0, 0, IO_SEQUENTIAL);
        }
    }
    if (!rc) {
        slot->users++;
        slot->last_use = ++e->source_clock;
        *out = slot;
    }
    pthread_mutex_unlock(&e->lock);
    return rc;
}

static void give_source(struct engine *e, struct source_slot *slot)
{
    pthread_mutex_lock(&e->lock);
    slot->users--;
    pthread_mutex_unlock(&e->lock);
}

int engine_read_range(struct engine *e, const struct plan_range *r, uint64_t skip,
                      unsigned char *to, size_t n, struct prep_error *err)
{
    struct source_slot *slot;
    const struct plan_source *p = &e->plan->sources[r->source];
    if (take_source(e, r->source, &slot, err))
        return -1;
    int rc = io_read_exact(p->io, slot->fd, to, n, r->offset + skip, p->file->path, err);
    if (!rc && e->drop_behind)
        p->io->advise(p->io->self, slot->fd, r->offset + skip, n, IO_DONTNEED);
    give_source(e, slot);
    pthread_mutex_lock(&e->lock);
    e->read_bytes += n;
    pthread_mutex_unlock(&e->lock);
    return rc;
}

static int kernel_copies(const struct engine *e, const struct piece *p)
{
    return e->kernel_copy && !p->bytes && p->n >= KERNEL_COPY_MIN;
}

static int fill_piece(struct engine *e, struct lane *l, struct block *b, const struct piece *p,
                      struct prep_error *err)
{
    (void)l;
    if (p->bytes) {
        memcpy(b->data + p->at, p->bytes, p->n);
        return 0;
    }
    /* Bytes that the kernel copies are read for their hash alone. */
    if (e->opt->no_hashes && kernel_copies(e, p))
        return 0;
    return engine_read_range(e, &p->range, 0, b->data + p->at, p->n, err);
}

int engine_fill(struct engine *e, struct lane *l, struct block *b, struct prep_error *err)
{
    if (each_piece(e, l, b, fill_piece, err))
        return prep_note(err, "%s", e->plan->files[l->file].name);
    return 0;
}

/* 0: copied, 1: not possible here, -1: failed. */
static int kernel_copy_piece(struct engine *e, const struct lane *l, const struct piece *p,
                             uint64_t to, struct prep_error *err)
{
    struct source_slot *slot;
    if (take_source(e, p->range.source, &slot, err))
        return -1;
    int rc = 0;
    for (size_t done = 0; done < p->n && !rc;) {
        ssize_t n = e->io->copy_range(e->io->self, slot->fd, p->range.offset + done, l->fd,
                                      to + done, p->n - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0)
            rc = prep_fail_tag(err, PREP_EDATA, "SHORT_DATA", "%s: ends at byte %llu",
                               e->plan->sources[p->range.source].file->path,
                               (unsigned long long)(p->range.offset + done));
        else if (n == -EXDEV || n == -EINVAL || n == -EOPNOTSUPP || n == -ENOSYS)
            rc = 1;
        else if (n != -EINTR)
            rc = io_fail_create(err, (int)-n, e->plan->files[l->file].name, "copy into");
    }
    give_source(e, slot);
    return rc;
}

static int write_piece(struct engine *e, struct lane *l, struct block *b, const struct piece *p,
                       struct prep_error *err)
{
    uint64_t to = lane_offset(e, l, b->number) + p->at;
    const char *name = e->plan->files[l->file].name;
    if (kernel_copies(e, p)) {
        int rc = kernel_copy_piece(e, l, p, to, err);
        if (rc <= 0)
            return rc;
        if (e->opt->no_hashes && engine_read_range(e, &p->range, 0, b->data + p->at, p->n, err))
            return -1;
    }
    return io_write_exact(e->io, l->fd, b->data + p->at, p->n, to, name, err);
}

int engine_write(struct engine *e, struct lane *l, struct block *b, struct prep_error *err)
{
    if (e->kernel_copy)
        return each_piece(e, l, b, write_piece, err);
    size_t n = b->bytes;
    if (l->direct && n % 4096) {
        /* Direct I/O writes whole pages; the file is cut to its size before it is renamed. */
        size_t padded = n + 4096 - n % 4096;
        memset(b->data + n, 0, padded - n);
        n = padded;
    }
    return io_write_aligned(e->io, l->fd, b->data, n, lane_offset(e, l, b->number),
                            l->direct ? 4096 : 1, e->plan->files[l->file].name, err);
}

/* Bytes [at, at + n) of the file, to all three hashes. */
static void hash_piece(struct engine *e, struct lane *l, const unsigned char *p, uint64_t at,
                       size_t n)
{
    const struct plan_file *f = &e->plan->files[l->file];
    uint64_t end = at + n;
    sha256_update(&l->sha, p, n);
    xxh128_update(l->extent_hash, p, n);

    uint32_t last = f->first_tensor + f->n_tensors;
    for (; l->tensor < last; l->tensor++) {
        const struct plan_tensor *t = &e->plan->tensors[l->tensor];
        uint64_t from = t->offset > at ? t->offset : at;
        uint64_t to = t->offset + t->bytes < end ? t->offset + t->bytes : end;
        if (t->offset >= end && t->bytes)
            return;
        if (from < to)
            xxh128_update(l->tensor_hash, p + (from - at), (size_t)(to - from));
        if (t->offset + t->bytes > end)
            return;
        e->journal->tensors[l->tensor] = xxh128_digest(l->tensor_hash);
        xxh128_reset(l->tensor_hash);
    }
}

void engine_hash(struct engine *e, struct lane *l, const struct block *b)
{
    uint64_t at = lane_offset(e, l, b->number);
    for (size_t done = 0; done < b->bytes; done += HASH_PIECE) {
        size_t n = b->bytes - done < HASH_PIECE ? b->bytes - done : HASH_PIECE;
        hash_piece(e, l, b->data + done, at + done, n);
    }
}

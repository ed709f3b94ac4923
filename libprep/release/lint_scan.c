/* SPDX-License-Identifier: MIT */
#include "libprep/release/lint_scan.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"
#include "libprep/base/parallel.h"

/* A multiple of every element size. Small tensors lie side by side: one read takes several. */
enum { BUFFER = 1 << 20, SMALL_READ = 4096 };

struct scanning {
    struct scan *scans;
    const struct checkpoint *ckpt;
    const uint32_t *first; /* [n_shards + 1] tensor of each shard */
};

/* A window of the shard. */
struct window {
    unsigned char *p;
    uint64_t offset;
    size_t n;
};

static void note(uint64_t *count, uint64_t *first, uint64_t at)
{
    if ((*count)++ == 0)
        *first = at;
}

static void scan_e4m3(struct scan *s, const unsigned char *p, size_t n, uint64_t at)
{
    for (size_t i = 0; i < n; i++) {
        if ((p[i] & 0x7f) == 0x7f)
            note(&s->wrong, &s->first_wrong, at + i);
        else if (p[i] > 0x80)
            note(&s->negative, &s->first_negative, at + i);
        else if ((p[i] & 0x7f) == 0)
            note(&s->zero, &s->first_zero, at + i);
    }
}

static void scan_float(struct scan *s, float v, uint64_t at)
{
    if (!isfinite(v))
        note(&s->wrong, &s->first_wrong, at);
    else if (v < 0)
        note(&s->negative, &s->first_negative, at);
    else if (v == 0)
        note(&s->zero, &s->first_zero, at);
}

static void scan_floats(struct scan *s, enum dtype t, const unsigned char *p, size_t n, uint64_t at)
{
    if (t == DTYPE_F32)
        for (size_t i = 0; i < n; i++)
            scan_float(s, f32_from_bits(load_le32(p + 4 * i)), at + i);
    else if (t == DTYPE_BF16)
        for (size_t i = 0; i < n; i++)
            scan_float(s, f32_from_bf16(load_le16(p + 2 * i)), at + i);
    else if (t == DTYPE_F16)
        for (size_t i = 0; i < n; i++)
            scan_float(s, f32_from_f16(load_le16(p + 2 * i)), at + i);
}

static void scan_words(struct scan *s, const unsigned char *p, size_t n, uint64_t at)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t v = load_le32(p + 4 * i);
        uint64_t want = s->kind == SCAN_GROUPS ? (at + i) / s->want : s->want;
        if (v == want)
            continue;
        if (!s->wrong)
            s->word = v;
        note(&s->wrong, &s->first_wrong, at + i);
    }
}

static void scan_piece(struct scan *s, enum dtype t, const unsigned char *p, size_t n, uint64_t at)
{
    switch (s->kind) {
    case SCAN_ONE:
        s->value = f32_from_bits(load_le32(p));
        break;
    case SCAN_E4M3:
        scan_e4m3(s, p, n, at);
        break;
    case SCAN_FLOATS:
        scan_floats(s, t, p, n, at);
        break;
    case SCAN_WORDS:
    case SCAN_GROUPS:
        scan_words(s, p, n, at);
        break;
    case SCAN_NOTHING:
        break;
    }
}

/* n bytes at offset, inside the window; n <= BUFFER. */
static int fill(struct window *w, const struct checkpoint *c, const struct source_file *f, int fd,
                uint64_t offset, size_t n, struct prep_error *err)
{
    if (w->n && offset >= w->offset && offset + n <= w->offset + w->n)
        return 0;
    size_t take = n < SMALL_READ ? SMALL_READ : n;
    if (offset + take > f->bytes)
        take = (size_t)(f->bytes - offset);
    w->n = 0;
    if (io_read_exact(c->io, fd, w->p, take, offset, f->path, err))
        return -1;
    w->offset = offset;
    w->n = take;
    return 0;
}

static int scan_tensor(struct scan *s, const struct checkpoint *c, const struct tensor_info *t,
                       const struct source_file *f, int fd, struct window *w,
                       struct prep_error *err)
{
    const unsigned size = dtype_bits((enum dtype)t->dtype) / 8;
    for (uint64_t done = 0; done < t->bytes;) {
        size_t n = t->bytes - done < BUFFER ? (size_t)(t->bytes - done) : BUFFER;
        if (fill(w, c, f, fd, t->offset + done, n, err))
            return -1;
        scan_piece(s, (enum dtype)t->dtype, w->p + (t->offset + done - w->offset), n / size,
                   done / size);
        done += n;
    }
    return 0;
}

static int scan_shard(size_t i, void *arg, struct prep_error *err)
{
    const struct scanning *k = arg;
    const struct checkpoint *c = k->ckpt;
    const struct source_file *f = &c->files[i];
    struct window w = {0};
    int fd = -1, rc = -1;
    uint32_t at = k->first[i];
    while (at < k->first[i + 1] && k->scans[at].kind == SCAN_NOTHING)
        at++;
    if (at == k->first[i + 1])
        return 0;
    w.p = malloc(BUFFER);
    if (!w.p)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a buffer of %d bytes", BUFFER);
    if (checkpoint_reopen(c, f, &fd, err))
        goto out;
    for (; at < k->first[i + 1]; at++)
        if (k->scans[at].kind != SCAN_NOTHING &&
            scan_tensor(&k->scans[at], c, &c->tensors[at].info, f, fd, &w, err))
            goto out;
    rc = 0;
out:
    io_close_read(c->io, fd);
    free(w.p);
    return rc;
}

int lint_scan(struct scan *scans, const struct checkpoint *ckpt, int n_threads,
              struct prep_error *err)
{
    uint32_t *first = calloc(ckpt->n_shards + 1, sizeof *first), at = 0;
    if (!first)
        return prep_fail(err, PREP_ENOMEM, "out of memory for %zu shards", ckpt->n_shards);
    for (size_t i = 0; i <= ckpt->n_shards; i++) {
        while (at < ckpt->n_tensors && ckpt->tensors[at].file < i)
            at++;
        first[i] = at;
    }
    struct scanning k = {scans, ckpt, first};
    int rc = prep_parallel_for(ckpt->n_shards, n_threads, scan_shard, &k, err);
    free(first);
    return rc;
}

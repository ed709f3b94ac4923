/* SPDX-License-Identifier: MIT */
#include "libprep/engine/source.h"

#include <stdlib.h>
#include <string.h>

/*
 * Pieces with at most GAP bytes between them are read together, BOUNCE bytes at a time: the pages
 * between are fetched by the system anyway, and a call per row of a small expert costs more.
 */
enum { GAP = 16 << 10, BOUNCE = 1 << 20 };

size_t source_count(const struct source *s)
{
    return s->view ? s->view->n_tensors : s->checkpoint->n_tensors;
}

const struct tensor_info *source_info(const struct source *s, size_t tensor)
{
    return s->view ? &s->view->tensors[tensor].info : &s->checkpoint->tensors[tensor].info;
}

void source_reader_init(struct source_reader *r, const struct source *s)
{
    *r = (struct source_reader){.source = s, .fd = -1};
}

static void close_file(struct source_reader *r)
{
    if (r->open)
        io_close_read(r->open->io, r->fd);
    r->open = NULL;
}

void source_reader_fini(struct source_reader *r)
{
    close_file(r);
    free(r->bounce);
    r->bounce = NULL;
}

static int open_file(struct source_reader *r, const struct checkpoint *c, uint32_t file,
                     struct prep_error *err)
{
    if (r->open == c && r->file == file)
        return 0;
    close_file(r);
    if (checkpoint_reopen(c, &c->files[file], &r->fd, err))
        return -1;
    r->open = c;
    r->file = file;
    return 0;
}

static int read_stored(struct source_reader *r, const struct checkpoint *c,
                       const struct checkpoint_tensor *t, uint64_t offset, void *buf, size_t n,
                       struct prep_error *err)
{
    if (open_file(r, c, t->file, err) ||
        io_read_exact(c->io, r->fd, buf, n, t->info.offset + offset, c->files[t->file].path, err))
        return -1;
    r->read_bytes += n;
    return 0;
}

/* Rows that follow each other in the source are read at once. */
static int read_rows(struct source_reader *r, const struct view_tensor *t, uint64_t offset,
                     unsigned char *buf, size_t n, struct prep_error *err)
{
    const struct view *v = r->source->view;
    const struct checkpoint *c = v->sources[t->source];
    const struct checkpoint_tensor *stored = view_source(v, t);
    const uint64_t row_bytes = t->n_rows ? t->info.bytes / t->n_rows : 0;
    if (row_bytes == 0)
        return 0;
    if (offset % row_bytes || n % row_bytes)
        return prep_fail(err, PREP_EBUG, "%s: part of a row asked for", t->info.name);
    const size_t end = (size_t)((offset + n) / row_bytes);
    for (size_t i = (size_t)(offset / row_bytes), k; i < end; i += k) {
        for (k = 1; i + k < end && t->rows[i + k] == t->rows[i] + (int)k;)
            k++;
        if (read_stored(r, c, stored, (uint64_t)t->rows[i] * row_bytes, buf, k * row_bytes, err))
            return -1;
        buf += k * row_bytes;
    }
    return 0;
}

int source_read(struct source_reader *r, size_t tensor, uint64_t offset, void *buf, size_t n,
                struct prep_error *err)
{
    const struct source *s = r->source;
    const struct tensor_info *info = source_info(s, tensor);
    if (offset > info->bytes || n > info->bytes - offset)
        return prep_fail(err, PREP_EBUG, "%s: bytes %llu + %zu of %llu", info->name,
                         (unsigned long long)offset, n, (unsigned long long)info->bytes);
    if (!s->view)
        return read_stored(r, s->checkpoint, &s->checkpoint->tensors[tensor], offset, buf, n, err);
    const struct view_tensor *t = &s->view->tensors[tensor];
    if (t->rows)
        return read_rows(r, t, offset, buf, n, err);
    return read_stored(r, s->view->sources[t->source], view_source(s->view, t), offset, buf, n,
                       err);
}

static int read_each(struct source_reader *r, size_t tensor, const struct linear_piece *p,
                     unsigned char *to, struct prep_error *err)
{
    for (uint64_t i = 0; i < p->n; i++)
        if (source_read(r, tensor, p->offset + i * p->stride, to + i * p->bytes, p->bytes, err))
            return -1;
    return 0;
}

int source_read_pieces(struct source_reader *r, size_t tensor, const struct linear_piece *p,
                       void *buf, struct prep_error *err)
{
    unsigned char *to = buf;
    if (p->n == 1 || p->stride - p->bytes > GAP || p->stride > BOUNCE / 2)
        return read_each(r, tensor, p, to, err);
    if (!r->bounce && !(r->bounce = malloc(BOUNCE)))
        return prep_fail(err, PREP_ENOMEM, "%s: no memory to read rows",
                         source_info(r->source, tensor)->name);
    const uint64_t most = BOUNCE / p->stride;
    for (uint64_t i = 0; i < p->n; i += most) {
        const uint64_t n = p->n - i < most ? p->n - i : most;
        if (source_read(r, tensor, p->offset + i * p->stride, r->bounce,
                        (n - 1) * p->stride + p->bytes, err))
            return -1;
        for (uint64_t k = 0; k < n; k++)
            memcpy(to + (i + k) * p->bytes, r->bounce + k * p->stride, p->bytes);
    }
    return 0;
}

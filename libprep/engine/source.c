/* SPDX-License-Identifier: MIT */
#include "libprep/engine/source.h"

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

void source_reader_fini(struct source_reader *r)
{
    if (r->open)
        io_close_read(r->open->io, r->fd);
    r->open = NULL;
}

static int open_file(struct source_reader *r, const struct checkpoint *c, uint32_t file,
                     struct prep_error *err)
{
    if (r->open == c && r->file == file)
        return 0;
    source_reader_fini(r);
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

/* SPDX-License-Identifier: MIT */
#include "libprep/engine/schedule_store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/engine/runtime_parts.h"

enum { BUFFER_FLOATS = 1 << 20 };

int store_open(struct store *s, const struct io *io, const char *path, const uint64_t *floats,
               size_t n, size_t hidden, struct prep_error *err)
{
    *s = (struct store){.io = io, .path = path, .fd = -1, .n_slots = n, .hidden = hidden};
    s->offsets = calloc(n + 1, sizeof *s->offsets);
    if (!s->offsets)
        return prep_fail(err, PREP_ENOMEM, "no memory for %zu units", n);
    for (size_t i = 0; i < n; i++)
        s->offsets[i + 1] = s->offsets[i] + floats[i];
    if (!path) {
        s->memory = malloc(s->offsets[n] * sizeof *s->memory + 1);
        return s->memory ? 0
                         : prep_fail(err, PREP_ENOMEM, "no memory for %llu hidden values",
                                     (unsigned long long)s->offsets[n]);
    }
    s->rows = BUFFER_FLOATS / hidden ? BUFFER_FLOATS / hidden : 1;
    s->buffer = malloc(s->rows * hidden * sizeof *s->buffer);
    if (!s->buffer)
        return prep_fail(err, PREP_ENOMEM, "no memory for a buffer of %zu rows", s->rows);
    s->fd = io->open(io->self, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return s->fd < 0 ? io_fail_create(err, -s->fd, path, "create") : 0;
}

void store_close(struct store *s)
{
    if (s->path && s->fd >= 0) {
        (void)s->io->close(s->io->self, s->fd);
        (void)s->io->unlink(s->io->self, s->path);
    }
    free(s->memory);
    free(s->buffer);
    free(s->offsets);
    *s = (struct store){.fd = -1};
}

/* Selections outlive a layer where another one shares them. */
static int shares(const struct runtime *r)
{
    for (int i = 0; i < r->n_layers; i++)
        if (!r->layers[i].full && !r->layers[i].dense)
            return 1;
    return 0;
}

static uint64_t selected_words(const struct runtime *r, size_t tokens, size_t longest)
{
    const size_t top_k = (size_t)r->config->index_topk;
    return shares(r) && longest > top_k ? (uint64_t)tokens * top_k : 0;
}

uint64_t store_floats(const struct runtime *r, size_t tokens, size_t longest)
{
    return (uint64_t)tokens * (uint64_t)r->config->hidden_size + selected_words(r, tokens, longest);
}

/* Rows [i, i + n) of slot's hidden states: in memory in place, else the buffer. */
static float *rows_at(const struct store *s, size_t slot, size_t i)
{
    return s->memory ? s->memory + s->offsets[slot] + i * s->hidden : s->buffer;
}

static uint64_t byte_of(const struct store *s, size_t slot, uint64_t floats)
{
    return (s->offsets[slot] + floats) * sizeof(float);
}

static uint64_t selected_bytes(const struct batch *b)
{
    return b->selected ? sizeof *b->selected * selected_words(b->runtime, b->n_tokens, b->longest)
                       : 0;
}

int store_put(struct store *s, size_t slot, const struct batch *b, struct prep_error *err)
{
    const size_t step = s->memory ? b->n_tokens : s->rows;
    for (size_t i = 0, n; i < b->n_tokens; i += n) {
        n = b->n_tokens - i < step ? b->n_tokens - i : step;
        if (batch_get_hidden(b, i, n, rows_at(s, slot, i), err))
            return -1;
        if (!s->memory && io_write_exact(s->io, s->fd, s->buffer, n * s->hidden * sizeof(float),
                                         byte_of(s, slot, i * s->hidden), s->path, err))
            return -1;
    }
    const uint64_t bytes = selected_bytes(b), at = (uint64_t)b->n_tokens * s->hidden;
    if (bytes && s->memory)
        memcpy(s->memory + s->offsets[slot] + at, b->selected, bytes);
    else if (bytes)
        return io_write_exact(s->io, s->fd, b->selected, bytes, byte_of(s, slot, at), s->path, err);
    return 0;
}

int store_get(struct store *s, size_t slot, struct batch *b, struct prep_error *err)
{
    const size_t step = s->memory ? b->n_tokens : s->rows;
    for (size_t i = 0, n; i < b->n_tokens; i += n) {
        n = b->n_tokens - i < step ? b->n_tokens - i : step;
        if (!s->memory && io_read_exact(s->io, s->fd, s->buffer, n * s->hidden * sizeof(float),
                                        byte_of(s, slot, i * s->hidden), s->path, err))
            return -1;
        if (batch_set_hidden(b, i, n, rows_at(s, slot, i), err))
            return -1;
    }
    const uint64_t bytes = selected_bytes(b), at = (uint64_t)b->n_tokens * s->hidden;
    if (bytes && s->memory)
        memcpy(b->selected, s->memory + s->offsets[slot] + at, bytes);
    else if (bytes)
        return io_read_exact(s->io, s->fd, b->selected, bytes, byte_of(s, slot, at), s->path, err);
    return 0;
}

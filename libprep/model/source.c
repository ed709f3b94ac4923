/* SPDX-License-Identifier: MIT */
#include "libprep/model/source.h"

#include <string.h>

#include "libprep/model/gguf_source.h"

#define MAX_CONFIG (UINT64_C(64) << 20)

/* A single file has no index: its header, length field included, stands for it. */
static int hash_index(struct source *s, struct prep_error *err)
{
    const struct checkpoint *c = s->ckpt;
    if (!c->single_file) {
        sha256_hex(c->index_text.p, c->index_text.n, s->index_sha256);
        return 0;
    }
    const struct source_file *f = &c->files[0];
    uint64_t n = c->n_tensors ? c->tensors[0].info.offset : f->bytes;
    struct arena tmp;
    arena_init(&tmp, 0);
    int fd = -1, rc = -1;
    unsigned char *header = arena_alloc(&tmp, (size_t)n, err);
    if (header && !io_open_read(c->io, f->path, &fd, NULL, err) &&
        !io_read_exact(c->io, fd, header, (size_t)n, 0, f->path, err)) {
        sha256_hex(header, (size_t)n, s->index_sha256);
        rc = 0;
    }
    io_close_read(c->io, fd);
    arena_fini(&tmp);
    return rc;
}

static int parse_map(struct source *s, struct span text, const char *name, struct prep_error *err)
{
    if (keep_map_parse(&s->map, (const char *)text.p, text.n, name, err))
        return -1;
    sha256_hex(text.p, text.n, s->map_sha256);
    s->has_map = 1;
    return 0;
}

/* The config is the one the keys imply, and their file's table stands for the index. */
static int open_gguf(struct source *s, const struct io *io, const char *path, struct report *report,
                     struct prep_error *err)
{
    struct span text;
    if (gguf_source_open(&s->ckpt, &text, io, path, report, err) ||
        config_parse(&s->config, (const char *)text.p, text.n, path, NULL, err))
        return -1;
    sha256_hex(text.p, text.n, s->config_sha256);
    struct sha256 h;
    unsigned char digest[SHA256_BYTES], part[16];
    sha256_init(&h);
    for (size_t i = 0; i < s->ckpt->n_files; i++) {
        store_le64(part, s->ckpt->files[i].header_hi);
        store_le64(part + 8, s->ckpt->files[i].header_lo);
        sha256_update(&h, part, sizeof part);
    }
    sha256_final(&h, digest);
    sha256_to_hex(digest, s->index_sha256);
    return 0;
}

int source_open(struct source *s, const struct io *io, const char *path, struct report *report,
                struct prep_error *err)
{
    *s = (struct source){.path = path};
    if (gguf_source_is(io, path))
        return open_gguf(s, io, path, report, err);
    if (checkpoint_open(&s->ckpt, io, path, report, err) ||
        config_load(&s->config, io, s->ckpt->dir, report, err))
        return -1;
    sha256_hex(s->config.text.p, s->config.text.n, s->config_sha256);
    if (hash_index(s, err))
        return -1;
    if (checkpoint_file(s->ckpt, KEEP_MAP_NAME) < 0)
        return 0;
    struct arena tmp;
    struct span text;
    arena_init(&tmp, 0);
    int rc = checkpoint_read_file(s->ckpt, KEEP_MAP_NAME, &tmp, &text, err) ||
             parse_map(s, text, KEEP_MAP_NAME, err);
    arena_fini(&tmp);
    return rc ? prep_note(err, "%s", path) : 0;
}

int source_read_map(struct source *s, const struct io *io, const char *path, struct prep_error *err)
{
    if (s->has_map)
        return prep_fail(err, PREP_EUSAGE, "%s: has a %s already", s->path, KEEP_MAP_NAME);
    struct arena tmp;
    struct span text;
    arena_init(&tmp, 0);
    int rc = io_read_file(io, path, MAX_CONFIG, &tmp, &text, err) || parse_map(s, text, path, err);
    arena_fini(&tmp);
    return rc ? -1 : 0;
}

void source_close(struct source *s)
{
    checkpoint_close(s->ckpt);
    config_free(&s->config);
    keep_map_free(&s->map);
    *s = (struct source){0};
}

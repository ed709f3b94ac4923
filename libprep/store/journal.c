/* SPDX-License-Identifier: MIT */
/*
 * A record of type JOURNAL_EXTENT:
 *
 *   0     4              8         16              24           32          144      148
 *   | file | first tensor | durable | extent offset | extent hash | SHA state | tensors | hi lo ...
 *
 * and of JOURNAL_FILE:
 *
 *   0     4              8         40        44
 *   | file | first tensor | SHA-256 | tensors | hi lo ...
 *
 * and of JOURNAL_NOTE:
 *
 *   0    8
 *   | at | bytes ...
 *
 * All integers little-endian.
 */
#include "libprep/store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'P', 'R', 'E', 'P', 'J', 'R', 'N', '1'};

enum { HEAD = 8, TAIL = 8, EXTENT_FIXED = 148, FILE_FIXED = 44, NOTE_FIXED = 8 };
/* Larger than any journal of a real run (a record per 256 MB, a hash per tensor). */
#define MAX_JOURNAL (UINT64_C(1) << 30)

static int append_lazily(struct journal *j, enum journal_type type, const void *payload, size_t n,
                         struct prep_error *err)
{
    unsigned char *rec = malloc(HEAD + n + TAIL);
    if (!rec)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a journal record");
    store_le32(rec, (uint32_t)n);
    store_le32(rec + 4, (uint32_t)type);
    memcpy(rec + HEAD, payload, n);
    store_le64(rec + HEAD + n, hash64(rec, HEAD + n));
    int rc = io_write_exact(j->io, j->fd, rec, HEAD + n + TAIL, j->end, j->path, err);
    free(rec);
    if (!rc)
        j->end += HEAD + n + TAIL;
    return rc;
}

static int append(struct journal *j, enum journal_type type, const void *payload, size_t n,
                  struct prep_error *err)
{
    if (append_lazily(j, type, payload, n, err))
        return -1;
    int sys = j->io->sync(j->io->self, j->fd);
    return sys < 0 ? io_fail_create(err, -sys, j->path, "sync") : 0;
}

/* The tensor hashes that end a record: `at` is where their count stands. */
static int replay_tensors(struct journal *j, uint32_t first, const unsigned char *p, size_t n,
                          size_t at)
{
    uint32_t count = load_le32(p + at);
    const unsigned char *v = p + at + 4;
    if ((uint64_t)first + count > j->n_tensors || n != at + 4 + (size_t)count * 16)
        return -1;
    for (uint32_t i = 0; i < count; i++, v += 16)
        j->tensors[first + i] = (struct hash128){load_le64(v), load_le64(v + 8)};
    return 0;
}

static int replay_note(struct journal *j, const unsigned char *p, size_t n)
{
    uint64_t at = n > NOTE_FIXED ? load_le64(p) : 0, bytes = n - NOTE_FIXED;
    if (n <= NOTE_FIXED || at % 8 || at > j->note_bytes || bytes > j->note_bytes - at)
        return -1;
    memcpy(j->notes + at, p + NOTE_FIXED, (size_t)bytes);
    memset(j->noted + at / 8, 1, (size_t)(bytes + 7) / 8);
    return 0;
}

/* -1 when a record that is intact does not fit this plan. */
static int replay(struct journal *j, uint32_t type, const unsigned char *p, size_t n)
{
    if (type == JOURNAL_NOTE)
        return replay_note(j, p, n);
    if (n < FILE_FIXED || load_le32(p) >= j->n_files)
        return -1;
    struct journal_file *f = &j->files[load_le32(p)];
    uint32_t first = load_le32(p + 4);
    if (type == JOURNAL_FILE) {
        if (replay_tensors(j, first, p, n, 40))
            return -1;
        memcpy(f->sha256, p + 8, SHA256_BYTES);
        f->complete = 1;
        return 0;
    }
    if (type != JOURNAL_EXTENT || n < EXTENT_FIXED || replay_tensors(j, first, p, n, 144))
        return -1;
    f->durable = load_le64(p + 8);
    f->extent_offset = load_le64(p + 16);
    f->extent_hash = load_le64(p + 24);
    memcpy(f->sha_state, p + 32, SHA256_STATE_BYTES);
    f->complete = 0; /* begun again after its complete form was lost */
    return 0;
}

static size_t line_end(struct span s, size_t at)
{
    while (at < s.n && s.p[at] != '\n')
        at++;
    return at;
}

/* Is this line (without its end) one of the lines of text? */
static int has_line(struct span text, const unsigned char *line, size_t n)
{
    for (size_t at = 0; at < text.n;) {
        size_t end = line_end(text, at);
        if (end - at == n && memcmp(text.p + at, line, n) == 0)
            return 1;
        at = end + 1;
    }
    return 0;
}

/* Name the first few lines that the journal's key has and ours has not. */
static int refuse_key(const struct journal *j, struct span want, struct span got,
                      struct prep_error *err)
{
    char changed[480];
    size_t n = 0;
    for (size_t at = 0; at < want.n && n + 8 < sizeof changed;) {
        size_t end = line_end(want, at), len = end - at;
        if (!has_line(got, want.p + at, len)) {
            if (len > sizeof changed - n - 8)
                len = sizeof changed - n - 8;
            memcpy(changed + n, n ? "; " : "", n ? 2 : 0);
            n += n ? 2 : 0;
            memcpy(changed + n, want.p + at, len);
            n += len;
        }
        at = end + 1;
    }
    changed[n] = 0;
    return prep_fail_tag(err, PREP_ECREATE, "JOURNAL",
                         "%s: belongs to another run; now different: %s; finish that run, or "
                         "discard it with --fresh",
                         j->path, n ? changed : "lines removed");
}

/* Replays every intact record; j->end is then where the torn tail begins. */
static int load(struct journal *j, struct span text, struct span key, struct prep_error *err)
{
    j->end = sizeof magic;
    for (;;) {
        const unsigned char *p = text.p + j->end;
        size_t left = text.n - (size_t)j->end;
        uint32_t n = left >= HEAD + TAIL ? load_le32(p) : 0;
        if (left < HEAD + TAIL || n > left - HEAD - TAIL ||
            load_le64(p + HEAD + n) != hash64(p, HEAD + n))
            return 0;
        uint32_t type = load_le32(p + 4);
        struct span payload = {p + HEAD, n};
        if (j->end == sizeof magic) {
            if (type != JOURNAL_KEY || n != key.n || memcmp(payload.p, key.p, n) != 0)
                return refuse_key(j, key, payload, err);
        } else {
            if (replay(j, type, payload.p, n))
                return prep_fail_tag(err, PREP_ECREATE, "JOURNAL",
                                     "%s: record at byte %llu does not fit this plan; discard it "
                                     "with --fresh",
                                     j->path, (unsigned long long)j->end);
            j->resumed = 1;
        }
        j->end += HEAD + n + TAIL;
    }
}

static int prepare(struct journal *j, const struct io *io, const char *path,
                   const struct journal_sizes *sizes, struct prep_error *err)
{
    *j = (struct journal){.io = io,
                          .fd = -1,
                          .n_files = sizes->n_files,
                          .n_tensors = sizes->n_tensors,
                          .note_bytes = sizes->note_bytes};
    arena_init(&j->arena, 0);
    j->path = arena_strndup(&j->arena, path, strlen(path), err);
    j->files = arena_calloc(&j->arena, j->n_files, sizeof *j->files, err);
    j->tensors = arena_calloc(&j->arena, j->n_tensors, sizeof *j->tensors, err);
    j->notes = arena_calloc(&j->arena, (size_t)j->note_bytes, 1, err);
    j->noted = arena_calloc(&j->arena, (size_t)j->note_bytes / 8, 1, err);
    return j->path && j->files && j->tensors && j->notes && j->noted ? 0 : -1;
}

static int load_file(struct journal *j, struct span key, struct prep_error *err)
{
    struct arena tmp;
    arena_init(&tmp, 0);
    struct span text;
    int rc = io_read_file(j->io, j->path, MAX_JOURNAL, &tmp, &text, err);
    if (!rc && text.n >= sizeof magic && memcmp(text.p, magic, sizeof magic) == 0)
        rc = load(j, text, key, err);
    arena_fini(&tmp);
    return rc;
}

static int start_new(struct journal *j, struct span key, struct prep_error *err)
{
    if (io_write_exact(j->io, j->fd, magic, sizeof magic, 0, j->path, err))
        return -1;
    j->end = sizeof magic;
    return append(j, JOURNAL_KEY, key.p, key.n, err);
}

int journal_open(struct journal *j, const struct io *io, const char *path, struct span key,
                 const struct journal_sizes *sizes, int fresh, struct prep_error *err)
{
    struct io_stat st;
    if (prepare(j, io, path, sizes, err))
        return -1;
    if (!fresh && io->stat(io->self, path, &st) == 0 && load_file(j, key, err))
        return -1;
    int fd = io->open(io->self, path, O_RDWR | O_CREAT, 0666);
    if (fd < 0)
        return io_fail_create(err, -fd, path, "create");
    j->fd = fd;
    /* j->end stays 0 when there was no journal, or none with even its first record whole. */
    uint64_t keep = j->end > sizeof magic ? j->end : 0;
    int sys = io->truncate(io->self, fd, keep);
    if (sys < 0)
        return io_fail_create(err, -sys, path, "truncate");
    return keep ? 0 : start_new(j, key, err);
}

int journal_read(struct journal *j, const struct io *io, const char *path, struct span key,
                 const struct journal_sizes *sizes, struct prep_error *err)
{
    return prepare(j, io, path, sizes, err) || load_file(j, key, err) ? -1 : 0;
}

void journal_close(struct journal *j)
{
    if (j->io && j->fd >= 0)
        j->io->close(j->io->self, j->fd);
    arena_fini(&j->arena);
    *j = (struct journal){.fd = -1};
}

/* Fixed part, then the hashes of the tensors that ended since the last record. */
static int append_with_tensors(struct journal *j, enum journal_type type, const void *fixed,
                               size_t n_fixed, uint32_t first, uint32_t count,
                               struct prep_error *err)
{
    size_t n = n_fixed + 4 + (size_t)count * 16;
    unsigned char *p = malloc(n);
    if (!p)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a journal record");
    memcpy(p, fixed, n_fixed);
    store_le32(p + n_fixed, count);
    unsigned char *v = p + n_fixed + 4;
    for (uint32_t i = 0; i < count; i++, v += 16) {
        store_le64(v, j->tensors[first + i].hi);
        store_le64(v + 8, j->tensors[first + i].lo);
    }
    int rc = append(j, type, p, n, err);
    free(p);
    return rc;
}

int journal_add_extent(struct journal *j, uint32_t file, const struct journal_file *f,
                       uint32_t first_tensor, uint32_t n_tensors, struct prep_error *err)
{
    unsigned char p[EXTENT_FIXED - 4];
    store_le32(p, file);
    store_le32(p + 4, first_tensor);
    store_le64(p + 8, f->durable);
    store_le64(p + 16, f->extent_offset);
    store_le64(p + 24, f->extent_hash);
    memcpy(p + 32, f->sha_state, SHA256_STATE_BYTES);
    return append_with_tensors(j, JOURNAL_EXTENT, p, sizeof p, first_tensor, n_tensors, err);
}

int journal_add_file(struct journal *j, uint32_t file, const unsigned char sha256[SHA256_BYTES],
                     uint32_t first_tensor, uint32_t n_tensors, struct prep_error *err)
{
    unsigned char p[FILE_FIXED - 4];
    store_le32(p, file);
    store_le32(p + 4, first_tensor);
    memcpy(p + 8, sha256, SHA256_BYTES);
    return append_with_tensors(j, JOURNAL_FILE, p, sizeof p, first_tensor, n_tensors, err);
}

int journal_add_note(struct journal *j, uint64_t at, uint32_t n, struct prep_error *err)
{
    unsigned char *p = malloc(NOTE_FIXED + (size_t)n);
    if (!p)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a journal record");
    store_le64(p, at);
    memcpy(p + NOTE_FIXED, j->notes + at, n);
    int rc = append_lazily(j, JOURNAL_NOTE, p, NOTE_FIXED + (size_t)n, err);
    free(p);
    if (!rc)
        memset(j->noted + at / 8, 1, (n + 7) / 8);
    return rc;
}

void journal_adopt_notes(struct journal *j, const struct journal *other)
{
    for (uint64_t i = 0; i < j->note_bytes / 8; i++) {
        if (!other->noted[i])
            continue;
        memcpy(j->notes + 8 * i, other->notes + 8 * i, 8);
        j->noted[i] = 1;
    }
}

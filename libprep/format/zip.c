/* SPDX-License-Identifier: MIT */
/*
 *   | local header, name, extra | data | descriptor | ...  one per member
 *   | central header, name, extra, comment | ...           the central directory
 *   | zip64 end record | zip64 locator |                   when the writer likes ZIP64
 *   | end record, comment |                                the last bytes of the file
 *
 *   end record      0 "PK\5\6"  4 disk  6 disk  8 n here  10 n  12 bytes  16 offset  20 comment n
 *   zip64 locator   0 "PK\6\7"  4 disk  8 offset of the zip64 end record  16 disks
 *   zip64 end       0 "PK\6\6"  4 bytes after this field  16 disk  20 disk  24 n here  32 n
 *                   40 bytes  48 offset
 *   central header  0 "PK\1\2"  8 flags  10 method  16 crc  20 packed  24 size  28 name n
 *                   30 extra n  32 comment n  34 disk  42 offset of the local header
 *   local header    0 "PK\3\4"  6 flags  8 method  14 crc  18 packed  22 size  26 name n  28 extra
 * n descriptor      optional "PK\7\10", crc, packed, size; the sizes have 4 or, in ZIP64, 8 bytes
 *
 * A 32-bit field of all ones in a central header stands for a 64-bit one in extra field 1.
 */
#include "libprep/format/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "libprep/base/hash.h"

enum {
    END_BYTES = 22,
    LOCATOR_BYTES = 20,
    END64_BYTES = 56,
    CENTRAL_BYTES = 46,
    LOCAL_BYTES = 30,
    MAX_COMMENT = 65535,
    FLAG_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13,
    FLAG_DESCRIPTOR = 1 << 3,
};

#define SIG_LOCAL 0x04034b50u
#define SIG_CENTRAL 0x02014b50u
#define SIG_END 0x06054b50u
#define SIG_END64 0x06064b50u
#define SIG_LOCATOR 0x07064b50u
#define SIG_DESCRIPTOR 0x08074b50u
#define ONES 0xffffffffu

#define corrupt(err, ...) prep_fail_tag(err, PREP_EDATA, "OBS_ZIP_CORRUPT", __VA_ARGS__)

/* The central directory: where it is and what it claims to hold. */
struct directory {
    uint64_t offset, bytes, n;
};

/* One central header, its ZIP64 values filled in. */
struct central {
    const char *name;
    size_t name_n;
    unsigned flags, method;
    uint32_t crc32;
    uint64_t packed, size, at;
    size_t next; /* offset of the header after it */
};

/* Everything a walk over the archive needs. */
struct walk {
    struct span file;
    const char *path;
    struct directory dir;
    struct prep_error *err;
};

/* The end record is the last thing in the file, behind nothing but its own comment. */
static int find_end(const struct walk *w, size_t *at)
{
    const unsigned char *p = w->file.p;
    size_t n = w->file.n;
    size_t back = n < END_BYTES + MAX_COMMENT ? n : END_BYTES + MAX_COMMENT;
    for (size_t i = END_BYTES; i <= back; i++) {
        const unsigned char *q = p + n - i;
        if (load_le32(q) == SIG_END && load_le16(q + 20) == i - END_BYTES) {
            *at = n - i;
            return 0;
        }
    }
    return corrupt(w->err, "%s: has no end of central directory, the file is cut or damaged",
                   w->path);
}

static int read_end64(struct walk *w, size_t locator)
{
    const unsigned char *p = w->file.p;
    uint64_t at = load_le64(p + locator + 8);
    if (at > locator || locator - at < END64_BYTES || load_le32(p + at) != SIG_END64)
        return corrupt(w->err,
                       "%s: the ZIP64 locator at byte %zu points to byte %llu, where no "
                       "ZIP64 end record is",
                       w->path, locator, (unsigned long long)at);
    const unsigned char *q = p + at;
    if (load_le32(q + 16) || load_le32(q + 20) || load_le64(q + 24) != load_le64(q + 32))
        return corrupt(w->err, "%s: is one part of a split archive", w->path);
    w->dir = (struct directory){load_le64(q + 48), load_le64(q + 40), load_le64(q + 32)};
    return 0;
}

/* A 16- or 32-bit field is all ones or equal to its ZIP64 counterpart. */
static int agrees(uint64_t small, uint64_t ones, uint64_t large)
{
    return small == ones || small == large;
}

static int read_end(struct walk *w)
{
    size_t end = 0, limit;
    if (find_end(w, &end))
        return -1;
    const unsigned char *q = w->file.p + end;
    uint64_t n = load_le16(q + 10), bytes = load_le32(q + 12), offset = load_le32(q + 16);
    if (load_le16(q + 4) || load_le16(q + 6) || load_le16(q + 8) != n)
        return corrupt(w->err, "%s: is one part of a split archive", w->path);
    w->dir = (struct directory){offset, bytes, n};
    limit = end;
    if (end >= LOCATOR_BYTES && load_le32(q - LOCATOR_BYTES) == SIG_LOCATOR) {
        limit = end - LOCATOR_BYTES;
        if (read_end64(w, limit))
            return -1;
        if (!agrees(n, 0xffff, w->dir.n) || !agrees(bytes, ONES, w->dir.bytes) ||
            !agrees(offset, ONES, w->dir.offset))
            return corrupt(w->err, "%s: the two end records contradict each other", w->path);
    }
    if (w->dir.offset > limit || w->dir.bytes > limit - w->dir.offset)
        return corrupt(w->err,
                       "%s: central directory at byte %llu with %llu bytes, want it to end "
                       "before byte %zu",
                       w->path, (unsigned long long)w->dir.offset, (unsigned long long)w->dir.bytes,
                       limit);
    if (w->dir.n > w->dir.bytes / CENTRAL_BYTES || w->dir.n > ZIP_MAX_MEMBERS)
        return corrupt(w->err, "%s: central directory claims %llu members in %llu bytes", w->path,
                       (unsigned long long)w->dir.n, (unsigned long long)w->dir.bytes);
    return 0;
}

/* The values of extra field 1, in this order, for the fields that are all ones. */
static int read_extra64(const struct walk *w, struct central *c, const unsigned char *extra,
                        size_t n)
{
    uint64_t *want[3];
    size_t n_want = 0;
    if (c->size == ONES)
        want[n_want++] = &c->size;
    if (c->packed == ONES)
        want[n_want++] = &c->packed;
    if (c->at == ONES)
        want[n_want++] = &c->at;
    while (n_want && n >= 4) {
        size_t id = load_le16(extra), len = load_le16(extra + 2);
        extra += 4;
        n -= 4;
        if (len > n)
            break;
        if (id == 1) {
            if (len < 8 * n_want)
                break;
            for (size_t i = 0; i < n_want; i++)
                *want[i] = load_le64(extra + 8 * i);
            return 0;
        }
        extra += len;
        n -= len;
    }
    return n_want == 0 ? 0
                       : corrupt(w->err, "%s: %.*s: has no ZIP64 sizes where its header says so",
                                 w->path, (int)c->name_n, c->name);
}

/* What is wrong with a member's name, or NULL. */
static const char *name_fault(const char *s, size_t n)
{
    if (n == 0 || n > ZIP_MAX_NAME)
        return n ? "is too long" : "is empty";
    size_t start = 0;
    for (size_t i = 0; i <= n; i++) {
        unsigned char c = i < n ? (unsigned char)s[i] : '/';
        if (c < 0x20 || c == 0x7f || c == '\\')
            return "holds a control character or a backslash";
        if (c != '/')
            continue;
        size_t len = i - start;
        if ((len == 0 && i < n) || (len == 1 && s[start] == '.') ||
            (len == 2 && s[start] == '.' && s[start + 1] == '.'))
            return "is not a plain relative path";
        start = i + 1;
    }
    return NULL;
}

static int read_central(const struct walk *w, size_t at, struct central *c)
{
    const unsigned char *p = w->file.p + at;
    size_t left = (size_t)(w->dir.offset + w->dir.bytes) - at;
    if (left < CENTRAL_BYTES || load_le32(p) != SIG_CENTRAL)
        return corrupt(w->err, "%s: want a central header at byte %zu", w->path, at);
    size_t name_n = load_le16(p + 28), extra_n = load_le16(p + 30);
    size_t bytes = CENTRAL_BYTES + name_n + extra_n + load_le16(p + 32);
    if (left < bytes)
        return corrupt(w->err, "%s: central header at byte %zu has %zu bytes, %zu are left",
                       w->path, at, bytes, left);
    *c = (struct central){.name = (const char *)p + CENTRAL_BYTES,
                          .name_n = name_n,
                          .flags = load_le16(p + 8),
                          .method = load_le16(p + 10),
                          .crc32 = load_le32(p + 16),
                          .packed = load_le32(p + 20),
                          .size = load_le32(p + 24),
                          .at = load_le32(p + 42),
                          .next = at + bytes};
    const char *fault = name_fault(c->name, name_n);
    if (fault)
        return corrupt(w->err, "%s: name of the member at byte %zu %s", w->path, at, fault);
    if (load_le16(p + 34))
        return corrupt(w->err, "%s: is one part of a split archive", w->path);
    return read_extra64(w, c, p + CENTRAL_BYTES + name_n, extra_n);
}

/* One of the four spellings of a descriptor that fits in the n bytes at p. */
static int has_descriptor(const unsigned char *p, uint64_t n, const struct central *c)
{
    for (int spelling = 0; spelling < 4; spelling++) {
        int sig = spelling & 1 ? 0 : 4, wide = spelling & 2 ? 4 : 8;
        if (n < (uint64_t)(sig + 4 + 2 * wide) || (sig && load_le32(p) != SIG_DESCRIPTOR))
            continue;
        const unsigned char *q = p + sig;
        uint64_t packed = wide == 8 ? load_le64(q + 4) : load_le32(q + 4);
        uint64_t size = wide == 8 ? load_le64(q + 12) : load_le32(q + 8);
        if (load_le32(q) == c->crc32 && packed == c->packed && size == c->size)
            return 1;
    }
    return 0;
}

/* A local field is 0 when a descriptor follows, all ones with ZIP64, else the central value. */
static int local_field_fits(uint32_t local, uint64_t central, unsigned flags)
{
    return local == central || local == ONES || (local == 0 && (flags & FLAG_DESCRIPTOR));
}

/* Find the data behind the local header, and see that both headers tell the same story. */
static int locate(const struct walk *w, const struct central *c, struct span *data)
{
    uint64_t limit = w->dir.offset;
    int name_n = (int)c->name_n;
    const unsigned char *p = w->file.p + (c->at < limit ? c->at : 0);
    if (c->at > limit || limit - c->at < LOCAL_BYTES || load_le32(p) != SIG_LOCAL)
        return corrupt(w->err, "%s: %.*s: want a local header at byte %llu", w->path, name_n,
                       c->name, (unsigned long long)c->at);
    uint64_t left = limit - c->at,
             head = (uint64_t)LOCAL_BYTES + load_le16(p + 26) + load_le16(p + 28);
    if (left < head || left - head < c->size)
        return corrupt(w->err, "%s: %.*s: %llu bytes at byte %llu pass the central directory",
                       w->path, name_n, c->name, (unsigned long long)c->size,
                       (unsigned long long)c->at);
    unsigned flags = load_le16(p + 6);
    if (load_le16(p + 26) != c->name_n || memcmp(p + LOCAL_BYTES, c->name, c->name_n) != 0 ||
        load_le16(p + 8) != c->method || ((flags ^ c->flags) & FLAG_ENCRYPTED) ||
        !(load_le32(p + 14) == c->crc32 || (flags & FLAG_DESCRIPTOR)) ||
        !local_field_fits(load_le32(p + 18), c->packed, flags) ||
        !local_field_fits(load_le32(p + 22), c->size, flags))
        return corrupt(w->err, "%s: %.*s: local header at byte %llu contradicts the central one",
                       w->path, name_n, c->name, (unsigned long long)c->at);
    *data = (struct span){p + head, (size_t)c->size};
    if ((flags & FLAG_DESCRIPTOR) && !has_descriptor(data->p + data->n, left - head - c->size, c))
        return corrupt(w->err, "%s: %.*s: its data descriptor contradicts the central header",
                       w->path, name_n, c->name);
    return 0;
}

static int read_member(const struct walk *w, const struct central *c, struct zip_member *m,
                       struct arena *arena)
{
    int name_n = (int)c->name_n;
    if (c->flags & FLAG_ENCRYPTED)
        return corrupt(w->err, "%s: %.*s: is encrypted", w->path, name_n, c->name);
    if (c->method != 0)
        return prep_fail_tag(w->err, PREP_EDATA, "OBS_ZIP_COMPRESSED",
                             "%s: %.*s: is compressed with method %u, want 0 (stored)", w->path,
                             name_n, c->name, c->method);
    if (c->packed != c->size)
        return corrupt(w->err, "%s: %.*s: is stored, but has %llu bytes packed and %llu unpacked",
                       w->path, name_n, c->name, (unsigned long long)c->packed,
                       (unsigned long long)c->size);
    if (locate(w, c, &m->bytes))
        return -1;
    m->name = arena_strndup(arena, c->name, c->name_n, w->err);
    m->at = c->at;
    m->crc32 = c->crc32;
    return m->name ? 0 : -1;
}

static int by_place(const void *a, const void *b)
{
    const struct zip_member *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

static int by_name(const void *a, const void *b)
{
    const struct zip_member *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int check_disjoint(const struct walk *w, struct zip *zip)
{
    qsort(zip->members, zip->n_members, sizeof *zip->members, by_place);
    for (size_t i = 1; i < zip->n_members; i++) {
        const struct zip_member *a = &zip->members[i - 1], *b = &zip->members[i];
        uint64_t end = (uint64_t)(a->bytes.p - w->file.p) + a->bytes.n;
        if (b->at < end)
            return corrupt(w->err, "%s: %s and %s overlap at byte %llu", w->path, a->name, b->name,
                           (unsigned long long)b->at);
    }
    qsort(zip->members, zip->n_members, sizeof *zip->members, by_name);
    for (size_t i = 1; i < zip->n_members; i++) {
        if (by_name(&zip->members[i - 1], &zip->members[i]) == 0)
            return corrupt(w->err, "%s: %s: occurs twice", w->path, zip->members[i].name);
    }
    return 0;
}

int zip_open(struct zip *zip, struct span file, const char *path, struct arena *arena,
             struct prep_error *err)
{
    struct walk w = {.file = file, .path = path, .err = err};
    *zip = (struct zip){.path = path};
    if (file.n < 4 || (load_le32(file.p) != SIG_LOCAL && load_le32(file.p) != SIG_END))
        return prep_fail_tag(err, PREP_EDATA, "OBS_NOT_PT",
                             "%s: does not begin like a ZIP archive (PK\\3\\4)", path);
    if (read_end(&w))
        return -1;
    zip->members = arena_calloc(arena, (size_t)w.dir.n, sizeof *zip->members, err);
    if (!zip->members)
        return -1;
    size_t at = (size_t)w.dir.offset;
    for (; zip->n_members < w.dir.n; zip->n_members++) {
        struct central c;
        if (read_central(&w, at, &c) || read_member(&w, &c, &zip->members[zip->n_members], arena))
            return -1;
        at = c.next;
    }
    if (at != w.dir.offset + w.dir.bytes)
        return corrupt(err, "%s: central directory ends at byte %zu, want byte %llu", path, at,
                       (unsigned long long)(w.dir.offset + w.dir.bytes));
    return check_disjoint(&w, zip);
}

const struct zip_member *zip_find(const struct zip *zip, const char *name)
{
    struct zip_member key = {.name = name};
    if (zip->n_members == 0)
        return NULL;
    return bsearch(&key, zip->members, zip->n_members, sizeof key, by_name);
}

int zip_verify(const struct zip *zip, const struct zip_member *member, struct prep_error *err)
{
    uint32_t crc = (uint32_t)crc32_z(0, member->bytes.p, member->bytes.n);
    if (crc == member->crc32)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "OBS_ZIP_CRC",
                         "%s: %s: CRC-32 of its %zu bytes is %08x, want %08x", zip->path,
                         member->name, member->bytes.n, crc, member->crc32);
}

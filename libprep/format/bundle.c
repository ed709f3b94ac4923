/* SPDX-License-Identifier: MIT */
#include "libprep/format/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/table.h"

enum { PIECE = 64 << 10 };

/* An open bundle; also the context of libarchive's callbacks, whose first error wins. */
struct bundle {
    const struct io *io;
    const char *path;
    struct archive *archive;
    struct bundle_limits limits;
    uint64_t size, at; /* of the archive file */
    uint64_t members, bytes;
    int fd;
    struct name_table names;
    struct arena arena; /* names */
    struct prep_error *err;
    unsigned char piece[PIECE]; /* packed bytes, libarchive's until its next read */
    unsigned char data[PIECE];  /* unpacked bytes for the caller */
};

#define bad(b, ...) prep_fail_tag((b)->err, PREP_EDATA, "BUNDLE", __VA_ARGS__)

static la_ssize_t on_read(struct archive *a, void *arg, const void **buf)
{
    struct bundle *b = arg;
    (void)a;
    size_t n = b->size - b->at < PIECE ? (size_t)(b->size - b->at) : PIECE;
    *buf = b->piece;
    if (io_read_exact(b->io, b->fd, b->piece, n, b->at, b->path, b->err))
        return ARCHIVE_FATAL;
    b->at += n;
    return (la_ssize_t)n;
}

static la_int64_t on_skip(struct archive *a, void *arg, la_int64_t request)
{
    struct bundle *b = arg;
    (void)a;
    uint64_t left = b->size - b->at;
    uint64_t n = request < 0 ? 0 : (uint64_t)request < left ? (uint64_t)request : left;
    b->at += n;
    return (la_int64_t)n;
}

static la_int64_t on_seek(struct archive *a, void *arg, la_int64_t offset, int whence)
{
    struct bundle *b = arg;
    (void)a;
    uint64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? b->at : b->size;
    la_int64_t to;
    if (__builtin_add_overflow((la_int64_t)base, offset, &to) || to < 0 || (uint64_t)to > b->size)
        return ARCHIVE_FATAL;
    b->at = (uint64_t)to;
    return to;
}

/* libarchive's own complaint, unless one of ours is behind it. */
static int archive_failed(struct bundle *b, const char *name)
{
    const char *why = archive_error_string(b->archive);
    return bad(b, "%s: %s%s%s", b->path, name ? name : "", name ? ": " : "",
               why ? why : "cannot be unpacked");
}

static int open_archive(struct bundle *b)
{
    b->archive = archive_read_new();
    if (!b->archive)
        return prep_fail(b->err, PREP_ENOMEM, "out of memory opening %s", b->path);
    /* ARCHIVE_WARN here would mean that libarchive wants to run an external program. */
    if (archive_read_support_filter_gzip(b->archive) != ARCHIVE_OK ||
        archive_read_support_filter_zstd(b->archive) != ARCHIVE_OK ||
        archive_read_support_format_tar(b->archive) != ARCHIVE_OK ||
        archive_read_support_format_zip(b->archive) != ARCHIVE_OK)
        return prep_fail(b->err, PREP_EUNSUP,
                         "%s: this libarchive cannot read tar, zip, gzip and "
                         "zstd by itself",
                         b->path);
    if (archive_read_set_read_callback(b->archive, on_read) != ARCHIVE_OK ||
        archive_read_set_skip_callback(b->archive, on_skip) != ARCHIVE_OK ||
        archive_read_set_seek_callback(b->archive, on_seek) != ARCHIVE_OK ||
        archive_read_set_callback_data(b->archive, b) != ARCHIVE_OK ||
        archive_read_open1(b->archive) != ARCHIVE_OK)
        return archive_failed(b, NULL);
    return 0;
}

/* What is wrong with a name, or NULL. */
static const char *name_fault(const char *s)
{
    size_t start = 0, n = strlen(s);
    if (n == 0 || n > BUNDLE_MAX_NAME)
        return n ? "is too long" : "is empty";
    for (size_t i = 0; i <= n; i++) {
        unsigned char c = i < n ? (unsigned char)s[i] : '/';
        if (c < 0x20 || c == 0x7f || c == '\\')
            return "holds a control character or a backslash";
        if (c != '/')
            continue;
        size_t len = i - start;
        if (len == 0)
            return i == 0 ? "is an absolute path" : "has an empty part";
        if (len <= 2 && s[start] == '.' && s[start + len - 1] == '.')
            return "has a part \".\" or \"..\"";
        start = i + 1;
    }
    return NULL;
}

/* tar writes "./a/b" for "a/b" and "a/" for the folder a. */
static int clean_name(struct bundle *b, struct archive_entry *e, char **name)
{
    const char *s = archive_entry_pathname(e);
    if (!s)
        return bad(b, "%s: member %llu has a name that cannot be read", b->path,
                   (unsigned long long)b->members);
    while (s[0] == '.' && s[1] == '/')
        s += 2;
    *name = arena_strndup(&b->arena, s, strlen(s), b->err);
    if (!*name)
        return -1;
    size_t n = strlen(*name);
    if (archive_entry_filetype(e) == AE_IFDIR && n > 0 && (*name)[n - 1] == '/')
        (*name)[n - 1] = 0;
    return 0;
}

static int check_name(struct bundle *b, const char *name)
{
    uint32_t old;
    const char *fault = name_fault(name);
    if (fault)
        return bad(b, "%s: name of member \"%.200s\" %s", b->path, name, fault);
    if (name_table_add(&b->names, name, strlen(name), 0, &old, b->err))
        return -1;
    return old == NAME_NONE ? 0 : bad(b, "%s: %s: occurs twice", b->path, name);
}

static int check_kind(struct bundle *b, struct archive_entry *e, const char *name)
{
    if (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e))
        return bad(b, "%s: %s: is a link or a special file, want regular files", b->path, name);
    if (archive_entry_is_encrypted(e))
        return bad(b, "%s: %s: is encrypted", b->path, name);
    if (archive_entry_sparse_count(e) > 0)
        return bad(b, "%s: %s: is sparse", b->path, name);
    return 0;
}

static int pass_on(struct bundle *b, const char *name, bundle_fn fn, void *arg)
{
    uint64_t bytes = 0;
    for (;;) {
        la_ssize_t got = archive_read_data(b->archive, b->data, PIECE);
        if (got < 0)
            return archive_failed(b, name);
        if (got == 0)
            return fn(arg, name, b->data, 0, b->err);
        bytes += (uint64_t)got;
        b->bytes += (uint64_t)got;
        if (bytes > b->limits.member_bytes || b->bytes > b->limits.total_bytes)
            return bad(b, "%s: %s: unpacks to more than %llu bytes (%llu in all)", b->path, name,
                       (unsigned long long)b->limits.member_bytes,
                       (unsigned long long)b->limits.total_bytes);
        if (fn(arg, name, b->data, (size_t)got, b->err))
            return -1;
    }
}

/* *done is set behind the last member. */
static int next_member(struct bundle *b, bundle_fn fn, void *arg, int *done)
{
    struct archive_entry *e;
    char *name = NULL;
    int rc = archive_read_next_header(b->archive, &e);
    if (rc == ARCHIVE_EOF) {
        *done = 1;
        return 0;
    }
    if (rc != ARCHIVE_OK)
        return archive_failed(b, NULL);
    if (++b->members > b->limits.members)
        return bad(b, "%s: has more than %llu members", b->path,
                   (unsigned long long)b->limits.members);
    if (clean_name(b, e, &name))
        return -1;
    if (archive_entry_filetype(e) == AE_IFDIR)
        return *name ? check_name(b, name) : 0;
    return check_name(b, name) || check_kind(b, e, name) || pass_on(b, name, fn, arg) ? -1 : 0;
}

/*
 * libarchive converts names to the charset of the thread's locale and would refuse what plain "C"
 * cannot spell. Without such a locale on the machine only ASCII names remain readable.
 */
static locale_t enter_utf8(locale_t *before)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    *before = utf8 ? uselocale(utf8) : (locale_t)0;
    return utf8;
}

static void leave_utf8(locale_t utf8, locale_t before)
{
    if (!utf8)
        return;
    uselocale(before);
    freelocale(utf8);
}

int bundle_each(const struct io *io, const char *path, const struct bundle_limits *limits,
                bundle_fn fn, void *arg, struct prep_error *err)
{
    struct io_stat st;
    int rc = -1, done = 0;
    locale_t before;
    struct bundle *b = calloc(1, sizeof *b);
    if (!b)
        return prep_fail(err, PREP_ENOMEM, "out of memory opening %s", path);
    locale_t utf8 = enter_utf8(&before);
    b->io = io;
    b->path = path;
    b->limits = *limits;
    b->fd = -1;
    b->err = err;
    arena_init(&b->arena, 0);
    if (io_open_read(io, path, &b->fd, &st, err) || name_table_init(&b->names, 64, err))
        goto out;
    b->size = st.size;
    if (open_archive(b))
        goto out;
    while (!done) {
        if (next_member(b, fn, arg, &done))
            goto out;
    }
    rc = 0;
out:
    archive_read_free(b->archive);
    leave_utf8(utf8, before);
    io_close_read(io, b->fd);
    name_table_free(&b->names);
    arena_fini(&b->arena);
    free(b);
    return rc;
}

/* Files gathered by bundle_load(); the one in progress grows in buf. */
struct load {
    int (*want)(const char *name);
    struct arena *arena;
    struct bundle_file *files;
    size_t n, cap;
    unsigned char *buf;
    size_t buf_n, buf_cap;
};

static int grow_buffer(struct load *l, size_t n, struct prep_error *err)
{
    if (n <= l->buf_cap - l->buf_n)
        return 0;
    size_t cap = l->buf_cap * 2 > l->buf_n + n ? l->buf_cap * 2 : l->buf_n + n;
    unsigned char *grown = realloc(l->buf, cap);
    if (!grown)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a file of %zu bytes", cap);
    l->buf = grown;
    l->buf_cap = cap;
    return 0;
}

static int keep_file(struct load *l, const char *name, struct prep_error *err)
{
    if (prep_grow(&l->files, &l->cap, l->n, sizeof *l->files, err))
        return -1;
    char *copy = arena_strndup(l->arena, name, strlen(name), err);
    char *bytes = arena_strndup(l->arena, (const char *)l->buf, l->buf_n, err);
    if (!copy || !bytes)
        return -1;
    l->files[l->n++] = (struct bundle_file){copy, {(const unsigned char *)bytes, l->buf_n}};
    l->buf_n = 0;
    return 0;
}

static int load_piece(void *arg, const char *name, const void *p, size_t n, struct prep_error *err)
{
    struct load *l = arg;
    if (l->want && !l->want(name))
        return 0;
    if (n == 0)
        return keep_file(l, name, err);
    if (grow_buffer(l, n, err))
        return -1;
    memcpy(l->buf + l->buf_n, p, n);
    l->buf_n += n;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct bundle_file *)a)->name, ((const struct bundle_file *)b)->name);
}

int bundle_load(const struct io *io, const char *path, const struct bundle_limits *limits,
                int (*want)(const char *name), struct arena *arena, struct bundle_file **files,
                size_t *n_files, struct prep_error *err)
{
    struct load l = {.want = want, .arena = arena};
    int rc = -1;
    if (bundle_each(io, path, limits, load_piece, &l, err))
        goto out;
    *files = arena_calloc(arena, l.n, sizeof **files, err);
    if (!*files)
        goto out;
    if (l.n) {
        memcpy(*files, l.files, l.n * sizeof **files);
        qsort(*files, l.n, sizeof **files, by_name);
    }
    *n_files = l.n;
    rc = 0;
out:
    free(l.files);
    free(l.buf);
    return rc;
}

int bundle_has_name(const char *path)
{
    static const char *const tails[] = {".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".zip"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        size_t k = strlen(tails[i]);
        if (n > k && strcmp(path + n - k, tails[i]) == 0)
            return 1;
    }
    return 0;
}

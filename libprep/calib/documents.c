/* SPDX-License-Identifier: MIT */
#include "libprep/calib/documents.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libprep/base/json.h"
#include "libprep/format/bundle.h"
#include "libprep/format/gunzip.h"

enum { PIECE = 1 << 20 };

static const struct bundle_limits limits = {
    .members = 1000000, .member_bytes = UINT64_C(1) << 36, .total_bytes = UINT64_C(1) << 40};

/* One file on its way: bytes come in, documents go out. */
struct reader {
    const struct document_source *source;
    document_fn fn;
    void *arg;
    struct document_stats *stats;
    char name[BUNDLE_MAX_NAME + 1]; /* of the file, or of the archive's member */
    int open, wanted, by_line;
    int refused; /* fn raised the error, so that the place is no news */
    uint64_t line;
    char *buf; /* the unfinished line or document */
    size_t n, cap;
    struct gunzip *gunzip;
    struct arena arena; /* one record's strings */
};

static int has_ending(const char *name, size_t n, const char *ending)
{
    size_t k = strlen(ending);
    return n > k && strncasecmp(name + n - k, ending, k) == 0;
}

/* Length of the name without ".gz". */
static size_t plain_length(const char *name)
{
    size_t n = strlen(name);
    return has_ending(name, n, ".gz") ? n - 3 : n;
}

static int is_json_lines(const char *name)
{
    size_t n = plain_length(name);
    return has_ending(name, n, ".jsonl") || has_ending(name, n, ".ndjson");
}

static int is_wanted(const struct document_source *source, const char *name)
{
    size_t n = plain_length(name);
    if (source->members)
        return fnmatch(source->members, name, 0) == 0;
    return is_json_lines(name) || has_ending(name, n, ".txt") || has_ending(name, n, ".md");
}

static int passes(const struct document_source *source, const struct json *doc)
{
    for (size_t i = 0; i < source->n_filters; i++) {
        uint32_t node = json_get(doc, 0, source->filters[i].key);
        if (node == JSON_NONE || json_type(doc, node) != JSON_STRING ||
            !json_equal(doc, node, source->filters[i].value))
            return 0;
    }
    return 1;
}

static int hand_out(struct reader *r, const char *text, size_t n, struct prep_error *err)
{
    r->refused = r->fn(r->arg, r->stats->records, text, n, err) != 0;
    return r->refused ? -1 : 0;
}

static int take_record(struct reader *r, const struct json *doc, struct prep_error *err)
{
    const char *field = r->source->field ? r->source->field : "text";
    uint32_t node = JSON_NONE;
    size_t n;
    if (json_type(doc, 0) != JSON_OBJECT)
        return prep_fail_tag(err, PREP_EDATA, "DOCUMENT", "%s: not an object", r->name);
    if (!passes(r->source, doc))
        return 0;
    node = json_get(doc, 0, field);
    if (node == JSON_NONE || json_type(doc, node) != JSON_STRING)
        return prep_fail_tag(err, PREP_EDATA, "DOCUMENT", "%s: no text under \"%s\"", r->name,
                             field);
    arena_reset(&r->arena);
    const char *text = json_string(doc, node, &r->arena, &n, err);
    return text ? hand_out(r, text, n, err) : -1;
}

/* A line of JSON; blank ones are passed over. */
static int take_line(struct reader *r, const char *s, size_t n, struct prep_error *err)
{
    struct json doc = {0};
    r->line++;
    if (strspn(s, " \t\r") >= n)
        return 0;
    int rc = json_parse(&doc, s, n, r->name, err) || take_record(r, &doc, err) ? -1 : 0;
    json_free(&doc);
    r->stats->records++;
    if (rc && !r->refused)
        prep_note(err, "line %llu", (unsigned long long)r->line);
    return rc;
}

static int append(struct reader *r, const char *s, size_t n, struct prep_error *err)
{
    if (n > DOCUMENT_MAX_BYTES - r->n)
        return prep_fail_tag(err, PREP_EDATA, "DOCUMENT",
                             "%s: a document has more than %llu bytes, want less", r->name,
                             (unsigned long long)DOCUMENT_MAX_BYTES);
    if (r->n + n + 1 > r->cap) {
        size_t cap = 2 * r->cap > r->n + n + 1 ? 2 * r->cap : r->n + n + 1;
        char *buf = realloc(r->buf, cap);
        if (!buf)
            return prep_fail(err, PREP_ENOMEM, "out of memory for a document of %zu bytes",
                             r->n + n);
        r->buf = buf;
        r->cap = cap;
    }
    if (n)
        memcpy(r->buf + r->n, s, n);
    r->n += n;
    r->buf[r->n] = 0; /* take_line() counts blanks up to here */
    return 0;
}

/* Unpacked bytes of the open file. */
static int take_bytes(void *arg, const void *p, size_t n, struct prep_error *err)
{
    struct reader *r = arg;
    const char *s = p, *end = s + n;
    while (r->by_line && s < end) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        if (!stop)
            break;
        if (append(r, s, (size_t)(stop - s), err) || take_line(r, r->buf, r->n, err))
            return -1;
        r->n = 0;
        s = stop + 1;
    }
    return append(r, s, (size_t)(end - s), err);
}

static int begin_file(struct reader *r, const char *name, int wanted, struct prep_error *err)
{
    r->open = 1;
    snprintf(r->name, sizeof r->name, "%s", name);
    r->wanted = wanted;
    r->line = 0;
    r->n = 0;
    r->by_line = is_json_lines(name);
    if (!wanted)
        return 0;
    if (!r->by_line && r->source->n_filters > 0)
        return prep_fail_tag(err, PREP_EDATA, "DOCUMENT",
                             "%s: records of a text file cannot be chosen by their fields", name);
    if (name[plain_length(name)])
        return gunzip_new(&r->gunzip, r->name, take_bytes, r, err);
    return 0;
}

static int end_file(struct reader *r, struct prep_error *err)
{
    int rc = 0;
    r->open = 0;
    if (!r->wanted)
        return 0;
    if (r->gunzip)
        rc = gunzip_end(r->gunzip, err);
    gunzip_free(r->gunzip);
    r->gunzip = NULL;
    if (rc || append(r, "", 0, err))
        return -1;
    if (r->by_line)
        return r->n ? take_line(r, r->buf, r->n, err) : 0;
    rc = hand_out(r, r->buf, r->n, err);
    r->stats->records++;
    return rc;
}

static int push(struct reader *r, const void *p, size_t n, struct prep_error *err)
{
    if (!r->wanted)
        return 0;
    return r->gunzip ? gunzip_push(r->gunzip, p, n, err) : take_bytes(r, p, n, err);
}

/* A bundle_fn. */
static int take_member(void *arg, const char *name, const void *p, size_t n, struct prep_error *err)
{
    struct reader *r = arg;
    if (!r->open) {
        int wanted = is_wanted(r->source, name);
        r->stats->members_read += wanted ? 1 : 0;
        r->stats->members_passed_over += wanted ? 0 : 1;
        if (begin_file(r, name, wanted, err))
            return -1;
    }
    return n ? push(r, p, n, err) : end_file(r, err);
}

/* The file's bytes in order: to a hash, and to the reader unless it is NULL. */
static int read_file(struct reader *r, const struct io *io, const char *path,
                     struct document_stats *stats, struct prep_error *err)
{
    struct sha256 hash;
    unsigned char digest[SHA256_BYTES];
    struct io_stat st;
    int fd = -1, rc = -1;
    char *piece = malloc(PIECE);
    if (!piece) {
        prep_fail(err, PREP_ENOMEM, "out of memory reading %s", path);
        goto out;
    }
    if (io_open_read(io, path, &fd, &st, err))
        goto out;
    sha256_init(&hash);
    for (uint64_t at = 0, n; at < st.size; at += n) {
        n = st.size - at < PIECE ? st.size - at : PIECE;
        if (io_read_exact(io, fd, piece, (size_t)n, at, path, err))
            goto out;
        sha256_update(&hash, piece, (size_t)n);
        if (r && push(r, piece, (size_t)n, err))
            goto out;
    }
    sha256_final(&hash, digest);
    sha256_to_hex(digest, stats->sha256);
    stats->bytes = st.size;
    rc = 0;
out:
    io_close_read(io, fd);
    free(piece);
    return rc;
}

static int read_bundle(struct reader *r, const struct io *io, struct prep_error *err)
{
    const char *path = r->source->path;
    if (read_file(NULL, io, path, r->stats, err))
        return -1;
    if (bundle_each(io, path, &limits, take_member, r, err)) {
        /* What bundle.h raises names the archive; what a member raises does not. */
        return r->refused || strstr(err->msg, path) ? -1 : prep_note(err, "%s", path);
    }
    if (r->stats->members_read == 0)
        return prep_fail_tag(err, PREP_EDATA, "DOCUMENT", "%s: no member is %s%s", path,
                             r->source->members ? "matched by " : "a .jsonl, .ndjson, .txt or .md",
                             r->source->members ? r->source->members : "");
    return 0;
}

int documents_read(const struct document_source *source, const struct io *io, document_fn fn,
                   void *arg, struct document_stats *stats, struct prep_error *err)
{
    struct reader r = {.source = source, .fn = fn, .arg = arg, .stats = stats};
    int rc = -1;
    *stats = (struct document_stats){{0}, 0, 0, 0, 0};
    arena_init(&r.arena, 0);
    if (bundle_has_name(source->path))
        rc = read_bundle(&r, io, err);
    else if (begin_file(&r, source->path, 1, err) || read_file(&r, io, source->path, stats, err) ||
             end_file(&r, err))
        rc = -1;
    else
        rc = 0;
    gunzip_free(r.gunzip);
    free(r.buf);
    arena_fini(&r.arena);
    return rc;
}

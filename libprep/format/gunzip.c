/* SPDX-License-Identifier: MIT */
#include "libprep/format/gunzip.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

enum { PIECE = 64 << 10, GZIP_ONLY = 16 + MAX_WBITS };

struct gunzip {
    z_stream z;
    const char *name;
    gunzip_fn fn;
    void *arg;
    int complete; /* a member has ended, and nothing has come since */
    unsigned char piece[PIECE];
};

int gunzip_new(struct gunzip **out, const char *name, gunzip_fn fn, void *arg,
               struct prep_error *err)
{
    *out = NULL;
    struct gunzip *g = calloc(1, sizeof *g);
    if (!g || inflateInit2(&g->z, GZIP_ONLY) != Z_OK) {
        free(g);
        return prep_fail(err, PREP_ENOMEM, "out of memory unpacking %s", name);
    }
    g->name = name;
    g->fn = fn;
    g->arg = arg;
    *out = g;
    return 0;
}

void gunzip_free(struct gunzip *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    free(g);
}

/* Inflate until the input is used up and nothing more comes out. */
static int inflate_some(struct gunzip *g, struct prep_error *err)
{
    int rc = Z_OK;
    do {
        if (g->complete && inflateReset(&g->z) != Z_OK)
            return prep_fail(err, PREP_EBUG, "%s: zlib cannot start over", g->name);
        g->complete = 0;
        g->z.next_out = g->piece;
        g->z.avail_out = PIECE;
        rc = inflate(&g->z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR)
            return prep_fail(err, PREP_ENOMEM, "out of memory unpacking %s", g->name);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return prep_fail_tag(err, PREP_EDATA, "GZIP", "%s: is no gzip file or is damaged: %s",
                                 g->name, g->z.msg ? g->z.msg : "unknown format");
        size_t n = PIECE - g->z.avail_out;
        if (n > 0 && g->fn(g->arg, g->piece, n, err))
            return -1;
        g->complete = rc == Z_STREAM_END;
    } while (g->z.avail_in > 0 || (rc == Z_OK && g->z.avail_out == 0));
    return 0;
}

int gunzip_push(struct gunzip *g, const void *p, size_t n, struct prep_error *err)
{
    const unsigned char *at = p;
    while (n > 0) {
        unsigned some = n < INT_MAX ? (unsigned)n : INT_MAX;
        g->z.next_in = (unsigned char *)(size_t)at; /* zlib reads, but does not say const */
        g->z.avail_in = some;
        if (inflate_some(g, err))
            return -1;
        at += some;
        n -= some;
    }
    return 0;
}

int gunzip_end(struct gunzip *g, struct prep_error *err)
{
    if (g->complete)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "GZIP", "%s: is cut short", g->name);
}

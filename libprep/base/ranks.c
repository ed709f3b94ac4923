/* SPDX-License-Identifier: MIT */
/* What is the same for every transport. */
#include "libprep/base/ranks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Elements of a sum that one rank adds at a time: 64 KiB, so that they stay in its cache. */
enum { SLICE = 16384 };

int ranks_init(struct ranks *r, const struct ranks_calls *calls, void *self, int rank, int size,
               struct prep_error *err)
{
    *r = (struct ranks){.rank = rank, .size = size, .calls = calls, .self = self};
    r->work = malloc(2 * (size_t)size * SLICE * sizeof *r->work);
    if (!r->work)
        return prep_fail(err, PREP_ENOMEM, "out of memory joining %d ranks", size);
    return 0;
}

void ranks_close(struct ranks *r)
{
    if (r->size > 1)
        r->calls->close(r);
    free(r->work);
    *r = (struct ranks){0};
}

void ranks_abort(struct ranks *r, int exit_code)
{
    if (r->size > 1)
        r->calls->end_all(r, exit_code);
}

/* Is there anybody to talk to? 1 or 0; -1 when it is no use any more. */
static int together(const struct ranks *r, struct prep_error *err)
{
    if (r->size <= 1)
        return 0;
    if (r->failed || r->broken)
        return prep_fail(err, PREP_EBUG, "rank %d: a call after the ranks parted", r->rank);
    return 1;
}

static int check_peer(const struct ranks *r, int peer, int self_allowed, struct prep_error *err)
{
    const int size = r->size > 1 ? r->size : 1;
    if (peer < 0 || peer >= size || (peer == r->rank && !self_allowed))
        return prep_fail(err, PREP_EBUG, "rank %d of %d: no rank %d to talk to", r->rank, size,
                         peer);
    return 0;
}

static int check_bytes(size_t n, struct prep_error *err)
{
    if (n > RANKS_MOST)
        return prep_fail(err, PREP_EBUG, "%zu bytes per rank in one call, at most %zu are allowed",
                         n, RANKS_MOST);
    return 0;
}

/* An error of the transport is an end. */
static int said(struct ranks *r, int rc)
{
    r->broken |= rc != 0;
    return rc;
}

int ranks_barrier(struct ranks *r, struct prep_error *err)
{
    const int more = together(r, err);
    return more <= 0 ? more : said(r, r->calls->barrier(r, err));
}

int ranks_send(struct ranks *r, const void *bytes, size_t n, int to, struct prep_error *err)
{
    if (check_peer(r, to, 0, err) || together(r, err) < 0)
        return -1;
    return said(r, r->calls->send(r, bytes, n, to, err));
}

int ranks_receive(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err)
{
    if (check_peer(r, from, 0, err) || together(r, err) < 0)
        return -1;
    return said(r, r->calls->receive(r, bytes, n, from, err));
}

int ranks_broadcast(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err)
{
    if (check_peer(r, from, 1, err))
        return -1;
    const int more = together(r, err);
    return more <= 0 ? more : said(r, r->calls->broadcast(r, bytes, n, from, err));
}

/* Alone, what comes from all ranks comes from here. */
static int copy_or_fail(int more, void *to, const void *bytes, size_t n)
{
    if (!more && n)
        memcpy(to, bytes, n);
    return more;
}

int ranks_gather(struct ranks *r, void *to, const void *bytes, size_t n, int at,
                 struct prep_error *err)
{
    if (check_peer(r, at, 1, err) || check_bytes(n, err))
        return -1;
    const int more = copy_or_fail(together(r, err), to, bytes, n);
    return more <= 0 ? more : said(r, r->calls->gather(r, to, bytes, n, at, err));
}

int ranks_all_gather(struct ranks *r, void *to, const void *bytes, size_t n, struct prep_error *err)
{
    if (check_bytes(n, err))
        return -1;
    const int more = copy_or_fail(together(r, err), to, bytes, n);
    return more <= 0 ? more : said(r, r->calls->all_gather(r, to, bytes, n, err));
}

int ranks_exchange(struct ranks *r, void *to, const void *bytes, size_t n, struct prep_error *err)
{
    if (check_bytes(n, err))
        return -1;
    const int more = copy_or_fail(together(r, err), to, bytes, n);
    return more <= 0 ? more : said(r, r->calls->exchange(r, to, bytes, n, err));
}

/* One piece, cut into as many slices as there are ranks; each rank adds one and shares the sum. */
static int sum_piece(struct ranks *r, float *x, size_t n, struct prep_error *err)
{
    const size_t size = (size_t)r->size, slice = (n + size - 1) / size;
    float *const a = r->work, *const b = a + size * SLICE;
    memcpy(a, x, n * sizeof *a);
    memset(a + n, 0, (size * slice - n) * sizeof *a);
    if (ranks_exchange(r, b, a, slice * sizeof *a, err))
        return -1;
    for (size_t i = 0; i < slice; i++) {
        float sum = b[i];
        for (size_t k = 1; k < size; k++)
            sum += b[k * slice + i];
        a[i] = sum;
    }
    if (ranks_all_gather(r, b, a, slice * sizeof *a, err))
        return -1;
    memcpy(x, b, n * sizeof *x);
    return 0;
}

int ranks_sum_f32(struct ranks *r, float *x, size_t n, struct prep_error *err)
{
    const int more = together(r, err);
    if (more <= 0)
        return more;
    const size_t piece = (size_t)r->size * SLICE;
    for (size_t at = 0; at < n; at += piece)
        if (sum_piece(r, x + at, n - at < piece ? n - at : piece, err))
            return -1;
    return 0;
}

void ranks_raise(struct ranks *r)
{
    if (r->size > 1 && !r->has_raised && !r->failed && !r->broken)
        r->calls->raise(r);
    r->has_raised = 1;
}

int ranks_raised(struct ranks *r)
{
    return r->size > 1 && !r->failed && !r->broken && r->calls->raised(r);
}

/* ---- agreement ---- */

/* What a rank says of itself. */
struct verdict {
    int32_t code; /* enum prep_code */
    unsigned char has_raised;
    unsigned char zero[3];
};

/* An error as it travels: pointers mean nothing elsewhere. */
struct message {
    int32_t code, sys, line;
    char tag[RANKS_TAG_BYTES];
    char text[sizeof((struct prep_error *)0)->msg];
};

/* The lowest rank that failed; of one that was only stopped when there is no other. -1: none. */
static int first_failure(const struct verdict *v, int size)
{
    int stopped = -1;
    for (int i = 0; i < size; i++) {
        if (v[i].code != PREP_OK && v[i].code != PREP_ESTOPPED)
            return i;
        if (v[i].code == PREP_ESTOPPED && stopped < 0)
            stopped = i;
    }
    return stopped;
}

/* The error of `from`, on every rank. */
static int share_error(struct ranks *r, int from, struct prep_error *err)
{
    struct message m = {0};
    if (r->rank == from) {
        m.code = (int32_t)err->code;
        m.sys = err->sys;
        m.line = err->line;
        snprintf(m.tag, sizeof m.tag, "%s", err->tag);
        snprintf(m.text, sizeof m.text, "%s", err->msg);
    }
    struct prep_error transport = PREP_ERROR_INIT;
    if (ranks_broadcast(r, &m, sizeof m, from, &transport)) {
        if (err->code == PREP_OK)
            *err = transport;
        return -1;
    }
    if (r->rank != from) {
        snprintf(r->tag, sizeof r->tag, "%s", m.tag);
        prep_error_clear(err);
        prep_raise(err, (enum prep_code)m.code, 0, r->tag, "another rank", m.line, "%s", m.text);
        err->sys = m.sys;
    }
    if (from)
        prep_note(err, "rank %d", from);
    return -1;
}

static int gather_verdicts(struct ranks *r, struct verdict *all, unsigned char *raised,
                           const struct verdict *mine, struct prep_error *err)
{
    if (ranks_all_gather(r, all, mine, sizeof *mine, err))
        return -1;
    for (int i = 0; i < r->size; i++)
        raised[i] = all[i].has_raised;
    return said(r, r->calls->settle(r, raised, err));
}

int ranks_agree(struct ranks *r, int rc, struct prep_error *err)
{
    if (r->size <= 1 || r->broken)
        return rc ? -1 : 0;
    if (r->failed)
        return -1;
    struct verdict mine = {.code = rc ? (int32_t)err->code : PREP_OK,
                           .has_raised = (unsigned char)r->has_raised};
    struct verdict *all = calloc((size_t)r->size, sizeof *all + 1);
    if (!all) { /* the others wait for us: there is no way to meet them */
        r->broken = 1;
        return prep_fail(err, PREP_ENOMEM, "out of memory on rank %d", r->rank);
    }
    struct prep_error transport = PREP_ERROR_INIT;
    int from = -1;
    int bad = gather_verdicts(r, all, (unsigned char *)(all + r->size), &mine, &transport);
    if (bad && !rc)
        *err = transport;
    r->has_raised = 0;
    if (!bad)
        from = first_failure(all, r->size);
    if (from >= 0) {
        bad = share_error(r, from, err);
        r->failed = 1;
    }
    free(all);
    return bad ? -1 : 0;
}

/* ---- what is built from meetings ---- */

int ranks_least(struct ranks *r, uint64_t *x, struct prep_error *err)
{
    if (ranks_agree(r, 0, err))
        return -1;
    if (r->size <= 1)
        return 0;
    uint64_t *all = (uint64_t *)(void *)r->work;
    if (ranks_all_gather(r, all, x, sizeof *x, err))
        return -1;
    for (int i = 0; i < r->size; i++)
        *x = all[i] < *x ? all[i] : *x;
    return 0;
}

int ranks_add_u64(struct ranks *r, uint64_t *x, size_t n, struct prep_error *err)
{
    if (ranks_agree(r, 0, err))
        return -1;
    uint64_t *all = (uint64_t *)(void *)r->work; /* 2 SLICE floats per rank are SLICE of these */
    for (size_t at = 0; at < n && r->size > 1; at += SLICE) {
        const size_t k = n - at < SLICE ? n - at : SLICE;
        if (ranks_all_gather(r, all, x + at, k * sizeof *x, err))
            return -1;
        memcpy(x + at, all, k * sizeof *x);
        for (size_t from = 1; from < (size_t)r->size; from++)
            for (size_t i = 0; i < k; i++)
                x[at + i] += all[from * k + i];
    }
    return 0;
}

int ranks_same(struct ranks *r, const void *bytes, size_t n, const char *text,
               struct prep_error *err)
{
    unsigned char first[RANKS_SAME];
    if (n > RANKS_SAME)
        return prep_fail(err, PREP_EBUG, "%zu bytes to compare, at most %d", n, (int)RANKS_SAME);
    if (ranks_agree(r, 0, err))
        return -1;
    memcpy(first, bytes, n);
    if (ranks_broadcast(r, first, n, 0, err))
        return -1;
    const int rc = memcmp(first, bytes, n) ? prep_fail(err, PREP_EDATA, "%s", text) : 0;
    return ranks_agree(r, rc, err);
}

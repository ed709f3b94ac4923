/* SPDX-License-Identifier: MIT */
/*
 * Ranks by MPI. Only its byte transport is used, none of its arithmetic. Every call is the
 * non-blocking one with a wait of our own: at first it asks all the time, for the exchange of a
 * layer takes microseconds; then it sleeps, for the end of another rank's work may take hours.
 */
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "libprep/base/ranks.h"

enum { TAG_BYTES = 1, TAG_RAISED = 2 };
enum { SPIN_NS = 2000000, SLEEP_NS = 200000, LONGEST_SLEEP_NS = 20000000 };

struct world {
    MPI_Comm comm;
    MPI_Request *notes; /* [size], sent by raise */
    int n_heard;        /* notes received */
    unsigned char *heard;
};

const char *ranks_transport(void)
{
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#ifdef OMPI_MAJOR_VERSION
    return "mpi (Open MPI " TEXT(OMPI_MAJOR_VERSION) "." TEXT(OMPI_MINOR_VERSION) "." TEXT(
        OMPI_RELEASE_VERSION) ")";
#else
    return "mpi (MPI " TEXT(MPI_VERSION) "." TEXT(MPI_SUBVERSION) ")";
#endif
}

static int fail(const struct ranks *r, int code, const char *what, struct prep_error *err)
{
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS)
        n = 0;
    return prep_fail(err, PREP_EIO, "rank %d of %d: MPI cannot %s: %.*s", r->rank, r->size, what, n,
                     text);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* `started` is what the call that made the request returned. */
static int finish(const struct ranks *r, MPI_Request *request, int started, const char *what,
                  struct prep_error *err)
{
    const int64_t start = now_ns();
    int done = 0, code = started;
    struct timespec pause = {0, SLEEP_NS};
    while (code == MPI_SUCCESS) {
        code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done)
            break;
        if (now_ns() - start < SPIN_NS) {
            sched_yield(); /* there may be more ranks than processors */
            continue;
        }
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < LONGEST_SLEEP_NS)
            pause.tv_nsec += pause.tv_nsec / 8;
    }
    return code == MPI_SUCCESS ? 0 : fail(r, code, what, err);
}

static MPI_Comm comm_of(const struct ranks *r)
{
    return ((const struct world *)r->self)->comm;
}

static int mpi_barrier(struct ranks *r, struct prep_error *err)
{
    MPI_Request q;
    return finish(r, &q, MPI_Ibarrier(comm_of(r), &q), "meet", err);
}

/* Counts are int: longer messages go in pieces. */
static int piece_of(size_t left)
{
    return (int)(left < RANKS_MOST ? left : RANKS_MOST);
}

static int mpi_send(struct ranks *r, const void *bytes, size_t n, int to, struct prep_error *err)
{
    for (size_t at = 0; at < n; at += RANKS_MOST) {
        MPI_Request q;
        const int code = MPI_Isend((const char *)bytes + at, piece_of(n - at), MPI_BYTE, to,
                                   TAG_BYTES, comm_of(r), &q);
        if (finish(r, &q, code, "send", err))
            return -1;
    }
    return 0;
}

static int mpi_receive(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err)
{
    for (size_t at = 0; at < n; at += RANKS_MOST) {
        MPI_Request q;
        const int code = MPI_Irecv((char *)bytes + at, piece_of(n - at), MPI_BYTE, from, TAG_BYTES,
                                   comm_of(r), &q);
        if (finish(r, &q, code, "receive", err))
            return -1;
    }
    return 0;
}

static int mpi_broadcast(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err)
{
    for (size_t at = 0; at < n; at += RANKS_MOST) {
        MPI_Request q;
        const int code =
            MPI_Ibcast((char *)bytes + at, piece_of(n - at), MPI_BYTE, from, comm_of(r), &q);
        if (finish(r, &q, code, "broadcast", err))
            return -1;
    }
    return 0;
}

static int mpi_gather(struct ranks *r, void *to, const void *bytes, size_t n, int at,
                      struct prep_error *err)
{
    MPI_Request q;
    const int code = MPI_Igather(bytes, (int)n, MPI_BYTE, to, (int)n, MPI_BYTE, at, comm_of(r), &q);
    return finish(r, &q, code, "gather", err);
}

static int mpi_all_gather(struct ranks *r, void *to, const void *bytes, size_t n,
                          struct prep_error *err)
{
    MPI_Request q;
    const int code = MPI_Iallgather(bytes, (int)n, MPI_BYTE, to, (int)n, MPI_BYTE, comm_of(r), &q);
    return finish(r, &q, code, "gather", err);
}

static int mpi_exchange(struct ranks *r, void *to, const void *bytes, size_t n,
                        struct prep_error *err)
{
    MPI_Request q;
    const int code = MPI_Ialltoall(bytes, (int)n, MPI_BYTE, to, (int)n, MPI_BYTE, comm_of(r), &q);
    return finish(r, &q, code, "exchange", err);
}

/* A note that cannot be sent is not worth another error: the others learn of it when they meet. */
static void mpi_raise(struct ranks *r)
{
    struct world *w = r->self;
    for (int i = 0; i < r->size; i++)
        if (i != r->rank && MPI_Isend(NULL, 0, MPI_BYTE, i, TAG_RAISED, w->comm, &w->notes[i]))
            w->notes[i] = MPI_REQUEST_NULL;
}

static int mpi_raised(struct ranks *r)
{
    struct world *w = r->self;
    MPI_Status status;
    int there = 0;
    while (!MPI_Iprobe(MPI_ANY_SOURCE, TAG_RAISED, w->comm, &there, &status) && there) {
        if (MPI_Recv(NULL, 0, MPI_BYTE, status.MPI_SOURCE, TAG_RAISED, w->comm, MPI_STATUS_IGNORE))
            break;
        w->heard[status.MPI_SOURCE] = 1;
        w->n_heard++;
    }
    return w->n_heard > 0;
}

static int mpi_settle(struct ranks *r, const unsigned char *did_raise, struct prep_error *err)
{
    struct world *w = r->self;
    for (int i = 0; i < r->size; i++) {
        MPI_Request q;
        if (did_raise[i] && i != r->rank && !w->heard[i] &&
            finish(r, &q, MPI_Irecv(NULL, 0, MPI_BYTE, i, TAG_RAISED, w->comm, &q), "settle", err))
            return -1;
        w->heard[i] = 0;
    }
    w->n_heard = 0;
    for (int i = 0; i < r->size; i++)
        if (w->notes[i] != MPI_REQUEST_NULL && finish(r, &w->notes[i], MPI_SUCCESS, "settle", err))
            return -1;
    return 0;
}

static void free_world(struct world *w)
{
    if (!w)
        return;
    free(w->notes);
    free(w->heard);
    free(w);
}

static void mpi_close(struct ranks *r)
{
    struct world *w = r->self;
    MPI_Comm_free(&w->comm);
    MPI_Finalize();
    free_world(w);
}

static void mpi_abort(struct ranks *r, int exit_code)
{
    MPI_Abort(comm_of(r), exit_code);
}

static const struct ranks_calls CALLS = {
    mpi_barrier,  mpi_send,  mpi_receive, mpi_broadcast, mpi_gather, mpi_all_gather,
    mpi_exchange, mpi_raise, mpi_raised,  mpi_settle,    mpi_close,  mpi_abort,
};

static struct world *new_world(int size)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->notes = calloc((size_t)size, sizeof *w->notes);
    w->heard = calloc((size_t)size, 1);
    if (!w->notes || !w->heard) {
        free_world(w);
        return NULL;
    }
    for (int i = 0; i < size; i++)
        w->notes[i] = MPI_REQUEST_NULL;
    return w;
}

/* What a launcher leaves in the environment of its processes. Without, MPI is not even started. */
static int is_launched(void)
{
    return getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMI_SIZE") || getenv("PMI_RANK") ||
           getenv("PMIX_RANK");
}

int ranks_open(struct ranks *r, struct prep_error *err)
{
    int rank, size, level;
    *r = (struct ranks){.size = 1};
    if (!is_launched())
        return 0;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    if (code != MPI_SUCCESS)
        return fail(r, code, "start", err);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (level < MPI_THREAD_FUNNELED || size == 1) {
        MPI_Finalize();
        return size == 1 ? 0
                         : prep_fail(err, PREP_EUNSUP, "this MPI does not allow threads beside it");
    }
    struct world *w = new_world(size);
    if (!w)
        return prep_fail(err, PREP_ENOMEM, "out of memory joining %d ranks", size);
    code = MPI_Comm_dup(MPI_COMM_WORLD, &w->comm);
    if (code != MPI_SUCCESS) {
        free_world(w);
        return fail(r, code, "join the others", err);
    }
    MPI_Comm_set_errhandler(w->comm, MPI_ERRORS_RETURN);
    if (ranks_init(r, &CALLS, w, rank, size, err)) {
        free_world(w);
        *r = (struct ranks){.size = 1};
        return -1;
    }
    return 0;
}

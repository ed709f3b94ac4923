/* SPDX-License-Identifier: MIT */
/*
 * ranks.h - several processes, on one machine or many, that work on one thing.
 *
 * One small interface between the suite and whatever carries bytes between processes: MPI
 * (ranks_mpi.c), nobody (ranks_alone.c, when built without MPI), between GPUs NCCL. A transport is
 * a table of functions; what is built from them, above all sums in a fixed order, is the same for
 * all and lives in ranks.c. A process that was not started as one of several is alone: rank 0 of
 * 1, and every call below is a copy or nothing.
 *
 * All ranks make the same calls in the same order, except for send and receive, which meet in
 * pairs, and raise. How a run fails: the rank that fails calls ranks_raise(); the others see
 * ranks_raised() in their loops and stop early; all meet in ranks_agree(), which gives every rank
 * the same error, that of the lowest rank that failed. A rank that dies takes the others with it
 * (mpirun sees to that), and what is durable stays.
 *
 * Shapes     gather, all_gather: `to` [size, n] bytes by rank; exchange: both [size, n]
 * Units      n counts bytes, of ranks_sum_f32() elements; at most RANKS_MOST bytes per rank in
 *            gather, all_gather and exchange, any number elsewhere
 * Ownership  buffers are the caller's and do not overlap
 * Errors     PREP_EIO: the transport failed; the ranks can no longer agree, so end with
 *            ranks_abort(). PREP_EUNSUP: started as one of several but built without MPI.
 * Threads    the thread that called ranks_open() only
 */
#ifndef PREP_BASE_RANKS_H
#define PREP_BASE_RANKS_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RANKS_MOST ((size_t)1 << 30)

struct ranks;

/* A transport. Called with size > 1 and checked arguments only. */
struct ranks_calls {
    int (*barrier)(struct ranks *r, struct prep_error *err);
    int (*send)(struct ranks *r, const void *bytes, size_t n, int to, struct prep_error *err);
    int (*receive)(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err);
    int (*broadcast)(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err);
    int (*gather)(struct ranks *r, void *to, const void *bytes, size_t n, int at,
                  struct prep_error *err);
    int (*all_gather)(struct ranks *r, void *to, const void *bytes, size_t n,
                      struct prep_error *err);
    int (*exchange)(struct ranks *r, void *to, const void *bytes, size_t n, struct prep_error *err);
    void (*raise)(struct ranks *r);
    int (*raised)(struct ranks *r);
    /* Every rank's note is taken out of the transport: did rank i raise? */
    int (*settle)(struct ranks *r, const unsigned char *did_raise, struct prep_error *err);
    void (*close)(struct ranks *r);
    void (*end_all)(struct ranks *r, int exit_code);
};

enum { RANKS_TAG_BYTES = 48 };

struct ranks {
    int rank, size;
    const struct ranks_calls *calls; /* NULL when alone */
    void *self;                      /* the transport's */
    float *work;                     /* for sums, [2, size, slice] */
    int has_raised;
    int failed;                /* ranks_agree() found an error: nothing is shared any more */
    int broken;                /* the transport failed */
    char tag[RANKS_TAG_BYTES]; /* of the error that another rank raised */
};

/* What the program was built with: "mpi (Open MPI v4.1.4)", "no mpi". */
const char *ranks_transport(void);

/* Join those this process was started with. A zeroed struct is a process alone. */
PREP_MUST_CHECK int ranks_open(struct ranks *r, struct prep_error *err);
/* Leave, after all have met. Accepts a zeroed struct. */
void ranks_close(struct ranks *r);
/* End every rank at once; the exit code is mpirun's. Returns when alone. */
void ranks_abort(struct ranks *r, int exit_code);

PREP_MUST_CHECK int ranks_barrier(struct ranks *r, struct prep_error *err);
/* From one rank to another; n must be the same on both sides. */
PREP_MUST_CHECK int ranks_send(struct ranks *r, const void *bytes, size_t n, int to,
                               struct prep_error *err);
PREP_MUST_CHECK int ranks_receive(struct ranks *r, void *bytes, size_t n, int from,
                                  struct prep_error *err);
PREP_MUST_CHECK int ranks_broadcast(struct ranks *r, void *bytes, size_t n, int from,
                                    struct prep_error *err);
/* `to` is used on rank `at` only. */
PREP_MUST_CHECK int ranks_gather(struct ranks *r, void *to, const void *bytes, size_t n, int at,
                                 struct prep_error *err);
PREP_MUST_CHECK int ranks_all_gather(struct ranks *r, void *to, const void *bytes, size_t n,
                                     struct prep_error *err);
/* Piece i of `bytes` goes to rank i; piece i of `to` came from rank i. */
PREP_MUST_CHECK int ranks_exchange(struct ranks *r, void *to, const void *bytes, size_t n,
                                   struct prep_error *err);

/*
 * x[i] = ((x_0[i] + x_1[i]) + x_2[i]) + ..., added in rank order in binary32, in place on every
 * rank: the same bits on every rank, in every run, on any machine.
 */
PREP_MUST_CHECK int ranks_sum_f32(struct ranks *r, float *x, size_t n, struct prep_error *err);

/* Tell the others that this rank has failed, without waiting for them. */
void ranks_raise(struct ranks *r);
/* Has another rank? To be asked in long loops; quick. */
int ranks_raised(struct ranks *r);

/*
 * The meeting point. rc is 0, or -1 with err set. When any rank failed, all return -1 with the
 * error of the lowest one ("rank 2: ..." unless it is rank 0); one that was only stopped counts
 * last. From then on the ranks share nothing, and this returns -1 without meeting.
 */
PREP_MUST_CHECK int ranks_agree(struct ranks *r, int rc, struct prep_error *err);

/* These meet first (ranks_agree()), so that a rank that failed on the way here is not waited for.
 */

/* *x becomes the smallest that any rank has. */
PREP_MUST_CHECK int ranks_least(struct ranks *r, uint64_t *x, struct prep_error *err);
/* x[i] becomes the sum over ranks, modulo 2^64. */
PREP_MUST_CHECK int ranks_add_u64(struct ranks *r, uint64_t *x, size_t n, struct prep_error *err);
/* PREP_EDATA on every rank, "rank 2: TEXT", when the n bytes (RANKS_SAME at most) of a rank are not
 * those of rank 0. */
enum { RANKS_SAME = 64 };
PREP_MUST_CHECK int ranks_same(struct ranks *r, const void *bytes, size_t n, const char *text,
                               struct prep_error *err);

/* For transports: fill in *r and find memory. On failure the caller keeps self. */
PREP_MUST_CHECK int ranks_init(struct ranks *r, const struct ranks_calls *calls, void *self,
                               int rank, int size, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

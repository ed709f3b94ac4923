/* SPDX-License-Identifier: MIT */
/*
 * fault_io.h - a struct io over the real file system that counts calls, makes one of them fail,
 * or loses power.
 *
 * Hand out &f->io. Calls are counted by kind; the n-th call among the kinds of a mask fails with
 * an errno, moves fewer bytes than asked, or cuts the power: that call and all later ones do
 * nothing and return -EIO. After a cut the files are as a killed process leaves them;
 * fault_io_settle() then does what a power loss does to whatever was not synced:
 *
 *   - bytes written to a file since its last sync are undone;
 *   - names made, renamed or removed in a folder since its last sync_dir are undone.
 *
 * With a seed each of these survives or not by chance, independently of order, and a lost write
 * that made its file longer may leave zeros.
 *
 * Units      n counts from 1
 * Ownership  fault_io_init / fault_io_fini; the log keeps what it needs to undo until then
 * Errors     when the bookkeeping itself fails, so does the running cmocka test
 * Threads    any; logged calls are made one at a time
 */
#ifndef PREP_TESTS_FAULT_IO_H
#define PREP_TESTS_FAULT_IO_H

#include <pthread.h>
#include <stdint.h>

#include "libprep/base/io.h"
#include "tests/support/fault_log.h"

#ifdef __cplusplus
extern "C" {
#endif

enum fault_call {
    FAULT_OPEN,
    FAULT_CLOSE,
    FAULT_PREAD,
    FAULT_PWRITE,
    FAULT_COPY_RANGE,
    FAULT_SYNC,
    FAULT_ALLOCATE,
    FAULT_TRUNCATE,
    FAULT_ADVISE,
    FAULT_LOCK,
    FAULT_FSTAT,
    FAULT_STAT,
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_MKDIR,
    FAULT_RMDIR,
    FAULT_SYNC_DIR,
    FAULT_LIST,
    FAULT_FREE_SPACE,
    FAULT_N_CALLS
};

#define FAULT_BIT(call) (1u << (call))
#define FAULT_ANY (FAULT_BIT(FAULT_N_CALLS) - 1)
/* Calls that change the disk or make a change durable. An open counts only when it creates or
 * truncates, which the mask cannot say: leave it out here. */
#define FAULT_WRITES                                                                               \
    (FAULT_BIT(FAULT_PWRITE) | FAULT_BIT(FAULT_COPY_RANGE) | FAULT_BIT(FAULT_SYNC) |               \
     FAULT_BIT(FAULT_ALLOCATE) | FAULT_BIT(FAULT_TRUNCATE) | FAULT_BIT(FAULT_RENAME) |             \
     FAULT_BIT(FAULT_UNLINK) | FAULT_BIT(FAULT_MKDIR) | FAULT_BIT(FAULT_RMDIR) |                   \
     FAULT_BIT(FAULT_SYNC_DIR))

const char *fault_call_name(enum fault_call call);

enum fault_mode { FAULT_NONE, FAULT_ERROR, FAULT_SHORT, FAULT_CUT };

struct fault_io {
    struct io io;
    pthread_mutex_t lock;
    enum fault_mode mode;
    unsigned mask;
    uint64_t at, matched; /* fire at the at-th match */
    int error;            /* errno */
    size_t short_by;
    int fired; /* the fault happened */
    int cut;   /* the power is off */
    enum fault_call fired_call;
    uint64_t counts[FAULT_N_CALLS];
    struct fault_log log; /* kept while a cut is awaited */
};

/* Counts only, until one of the three below is called; each starts counting anew. */
void fault_io_init(struct fault_io *f);
void fault_io_fini(struct fault_io *f);

void fault_io_fail(struct fault_io *f, unsigned mask, uint64_t n, int error);
/* Transfers at least 1 byte: a short write of 1 byte is a full one. */
void fault_io_short(struct fault_io *f, unsigned mask, uint64_t n, size_t by);
void fault_io_cut(struct fault_io *f, unsigned mask, uint64_t n);

/* Lose what was not durable: all of it when seed is 0. Every descriptor must be closed. */
void fault_io_settle(struct fault_io *f, uint64_t seed);
/* Forget the log: the process was killed, the power stayed on. */
void fault_io_forget(struct fault_io *f);

#ifdef __cplusplus
}
#endif
#endif

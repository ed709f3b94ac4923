/* SPDX-License-Identifier: MIT */
/*
 * executor.h - carries out any plan: in bounded memory, in parallel, resumable, verified.
 *
 * Files are written as NAME.partial in a locked folder, hashed as the bytes pass (XXH3-128 per
 * tensor, SHA-256 per file), synced and renamed; stages appear in order, prep-manifest.json last.
 * What is durable stands in .prep/journal, so a killed run goes on by itself when the same
 * command is given again, and ends with the same bytes. It also takes over the whole files of runs
 * that were split otherwise, by parts or ranks.
 *
 * Units      bytes
 * Ownership  everything is borrowed for the duration of the call
 * Errors     PREP_ECREATE (73): output is finished, in the way, locked, its own input, another
 *            plan's, or there is no room; PREP_EUSAGE: mem under the floor (printed);
 *            PREP_EDATA: a source is shorter or other than when the plan was made;
 *            PREP_ESTOPPED: *stop was set, what is done is durable; PREP_EIO, PREP_ENOMEM, and
 *            whatever a step raises. Nothing incomplete is ever left under a final name.
 * Threads    one call at a time per output folder (flock), many folders at once
 */
#ifndef PREP_STORE_EXECUTOR_H
#define PREP_STORE_EXECUTOR_H

#include <signal.h>
#include <stdint.h>

#include "libprep/base/progress.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EXEC_MANIFEST "prep-manifest.json"
#define EXEC_STATE_DIR ".prep"

struct exec_options {
    const struct io *io;  /* for the output; sources are read through the table they came from */
    const char *dir;      /* output folder, created when missing (its parent must exist) */
    int n_threads;        /* 0: prep_default_threads() */
    uint64_t mem;         /* budget for blocks and steps; 0: 4 GiB */
    int no_hashes;        /* neither SHA-256 nor XXH3: the manifest then has none */
    uint64_t sync_bytes;  /* of a file between durable records; 0: 256 MiB */
    uint64_t block_bytes; /* 0: 8 MiB, less when mem asks for it; a multiple of 4096 */
    int part, n_parts;    /* n_parts > 0: only this part's shards and sidecars, 1 <= part */
    int assemble;         /* check the parts' journals, write what is left, finish; n_parts 0:
                             as many as journals say */
    int fresh;            /* discard an earlier run's state */
    int force;            /* replace a finished output */
    progress_fn progress; /* may be NULL; called from the calling thread */
    void *progress_arg;
    const volatile sig_atomic_t *stop; /* may be NULL; set by a signal handler */
};

struct exec_result {
    uint64_t written_bytes; /* by this call */
    uint64_t resumed_bytes; /* found durable */
    uint64_t read_bytes;    /* from sources */
    uint32_t written_files;
    int resumed;          /* an earlier run was continued */
    int finished;         /* the manifest is there: the output is complete */
    uint64_t floor_bytes; /* the smallest mem this plan runs under */
    uint64_t peak_bytes;  /* blocks and steps, held at once at most */
};

/* Every check that plan_execute() makes before its first write, and the floor. Writes nothing.
 * Without a dir only the memory is checked. */
PREP_MUST_CHECK int plan_check(const struct plan *plan, const struct exec_options *opt,
                               struct exec_result *result, struct prep_error *err);

/*
 * What one rank does before all ranks run their parts at once, without fresh and force: every
 * check, the folder, and what fresh and force take away. result->finished: nothing is left to do.
 */
PREP_MUST_CHECK int plan_prepare(const struct plan *plan, const struct exec_options *opt,
                                 struct exec_result *result, struct prep_error *err);

PREP_MUST_CHECK int plan_execute(const struct plan *plan, const struct exec_options *opt,
                                 struct exec_result *result, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

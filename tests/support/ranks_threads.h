/* SPDX-License-Identifier: MIT */
/*
 * ranks_threads.h - ranks that are threads of a test: several ranks without MPI.
 *
 * Every call of base/ranks.h but send and receive. A rank's function that fails is taken to
 * ranks_agree(), as cli_main() does it.
 *
 * Ownership  everything is borrowed for the call
 * Errors     fail the running test when a thread cannot be made
 * Threads    one per rank; cmocka may not be called from them
 */
#ifndef PREP_TESTS_RANKS_THREADS_H
#define PREP_TESTS_RANKS_THREADS_H

#include "libprep/base/ranks.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int (*rank_fn)(struct ranks *r, void *arg, struct prep_error *err);

/* fn(rank i, arg) on `size` ranks; errs[i] is what the ranks agreed on. */
void ranks_run_threads(int size, rank_fn fn, void *arg, struct prep_error *errs);

#ifdef __cplusplus
}
#endif
#endif

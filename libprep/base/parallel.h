/* SPDX-License-Identifier: MIT */
/*
 * parallel.h - the one place where OpenMP is used.
 *
 * Errors     the error of the lowest failing index is returned, whatever the thread count
 * Threads    tasks write disjoint outputs; shared data is const
 */
#ifndef PREP_BASE_PARALLEL_H
#define PREP_BASE_PARALLEL_H

#include <stddef.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int (*prep_task_fn)(size_t i, void *arg, struct prep_error *err);

/* Calls fn(0..n-1) on up to n_threads threads (0: prep_default_threads), handing out in order. */
PREP_MUST_CHECK int prep_parallel_for(size_t n, int n_threads, prep_task_fn fn, void *arg,
                                      struct prep_error *err);

/* CPUs this process may use: affinity mask and cgroup quota, at least 1. */
int prep_default_threads(void);

#ifdef __cplusplus
}
#endif
#endif

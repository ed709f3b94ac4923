/* SPDX-License-Identifier: MIT */
#include "libprep/base/parallel.h"

#include <omp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>

int prep_parallel_for(size_t n, int n_threads, prep_task_fn fn, void *arg, struct prep_error *err)
{
    if (n_threads < 1)
        n_threads = prep_default_threads();
    if ((size_t)n_threads > n)
        n_threads = n ? (int)n : 1;

    size_t failed = SIZE_MAX;
    struct prep_error first = PREP_ERROR_INIT;
    /* Indices are handed out in ascending order: once i failed, everything below i was started
     * and finishes, so the lowest failing index is found. */
#pragma omp parallel for schedule(monotonic : dynamic, 1) num_threads(n_threads)
    for (size_t i = 0; i < n; i++) {
        size_t seen;
#pragma omp atomic read
        seen = failed;
        if (i > seen)
            continue;
        struct prep_error mine = PREP_ERROR_INIT;
        if (fn(i, arg, &mine)) {
#pragma omp critical(prep_parallel_error)
            if (i < failed) {
#pragma omp atomic write
                failed = i;
                first = mine;
            }
        }
    }
    if (failed == SIZE_MAX)
        return 0;
    if (err->code == PREP_OK)
        *err = first;
    return -1;
}

/* cgroup v2 says "max 100000" or "quota period" in microseconds. */
static int cgroup_quota(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f)
        return 0;
    long long quota = 0, period = 0;
    int got = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (got != 2 || quota <= 0 || period <= 0)
        return 0;
    return (int)((quota + period - 1) / period);
}

int prep_default_threads(void)
{
    cpu_set_t set;
    int n = 1;
    if (!sched_getaffinity(0, sizeof set, &set))
        n = CPU_COUNT(&set);
    int quota = cgroup_quota();
    if (quota > 0 && quota < n)
        n = quota;
    return n > 0 ? n : 1;
}

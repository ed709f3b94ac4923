/* SPDX-License-Identifier: MIT */
/*
 * fault_alloc.h - make the n-th allocation fail.
 *
 * Only programs linked with -Wl,--wrap= of malloc, calloc, realloc, aligned_alloc and mmap
 * (tests/faults) hold this. It sees what our own objects allocate, and cJSON through its hooks; the
 * C library and other shared libraries allocate unseen.
 *
 * Units      n counts from 1, from the call of fault_alloc_at()
 * Threads    any; allocations are counted in the order in which they happen
 */
#ifndef PREP_TESTS_FAULT_ALLOC_H
#define PREP_TESTS_FAULT_ALLOC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The n-th allocation from now fails, once; 0 only counts. */
void fault_alloc_at(uint64_t n);
/* Stop failing; how many allocations there were since fault_alloc_at(). */
uint64_t fault_alloc_stop(void);

#ifdef __cplusplus
}
#endif
#endif

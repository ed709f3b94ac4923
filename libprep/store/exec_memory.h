/* SPDX-License-Identifier: MIT */
/*
 * exec_memory.h - the memory of steps: pages taken from the system, used again, given back.
 *
 * Steps come and go on several threads with tens of megabytes each. malloc keeps what they free
 * in one heap per thread, out of reach of the next step and of the budget. So their memory is
 * mapped here: a piece that is given back is kept for the next step of the same size, as the
 * experts of a model have, and unmapped as soon as other pieces need the room.
 *
 *    mapped = taken + idle <= limit, as long as no more than the limit is taken
 *
 * Who may take is decided by the engine; a step it lets in gets its memory, whatever the limit.
 *
 * Units      bytes, whole pages
 * Ownership  pieces live until they are given back; exec_memory_fini() wants all of them back
 * Errors     PREP_ENOMEM
 * Threads    any
 */
#ifndef PREP_STORE_EXEC_MEMORY_H
#define PREP_STORE_EXEC_MEMORY_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct exec_piece {
    unsigned char *p;
    uint64_t bytes;
    uint64_t idle_since; /* a count of calls; 0: taken */
};

struct exec_memory {
    pthread_mutex_t lock;
    struct exec_piece *pieces;
    size_t n, cap;
    uint64_t limit, mapped, peak; /* peak: of mapped */
    uint64_t clock;
};

void exec_memory_init(struct exec_memory *m, uint64_t limit);
void exec_memory_fini(struct exec_memory *m);

/* Page-aligned, of any content. bytes may be 0. NULL with err set on failure. */
unsigned char *exec_memory_take(struct exec_memory *m, uint64_t bytes, struct prep_error *err);
void exec_memory_give(struct exec_memory *m, unsigned char *p); /* accepts NULL */

#ifdef __cplusplus
}
#endif
#endif

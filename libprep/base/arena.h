/* SPDX-License-Identifier: MIT */
/*
 * arena.h - memory that is freed all at once, and growable arrays inside libprep.
 *
 * An arena hands out 64-byte or naturally aligned pieces from chunks and is reset or freed as a
 * whole. A limit turns runaway input into PREP_ENOMEM instead of a dead machine.
 *
 * Units      bytes
 * Ownership  pieces live until arena_reset() or arena_fini(); arena_fini() accepts a zeroed struct
 * Errors     PREP_ENOMEM when the limit or the machine is exhausted
 * Threads    one arena, one thread at a time
 */
#ifndef PREP_BASE_ARENA_H
#define PREP_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A view of bytes owned elsewhere. */
struct span {
    const unsigned char *p;
    size_t n;
};

struct arena_chunk;

struct arena {
    struct arena_chunk *head; /* newest first */
    size_t used;              /* bytes handed out, padding included */
    size_t limit;             /* 0: no limit */
};

void arena_init(struct arena *a, size_t limit);
void arena_fini(struct arena *a);
/* Forget every piece but keep the newest chunk for reuse. */
void arena_reset(struct arena *a);

/* Uninitialised memory aligned to 16 bytes; NULL with err set on failure. bytes may be 0. */
void *arena_alloc(struct arena *a, size_t bytes, struct prep_error *err);
/* n elements of size bytes, zeroed; the product is checked. */
void *arena_calloc(struct arena *a, size_t n, size_t size, struct prep_error *err);
/* A NUL-terminated copy of n bytes. */
char *arena_strndup(struct arena *a, const char *s, size_t n, struct prep_error *err);
char *arena_printf(struct arena *a, struct prep_error *err, const char *fmt, ...) PREP_PRINTF(3, 4);

/* Checked arithmetic on sizes from files: 0, or -1 on overflow. */
PREP_MUST_CHECK int prep_mul(uint64_t *out, uint64_t a, uint64_t b);
PREP_MUST_CHECK int prep_add(uint64_t *out, uint64_t a, uint64_t b);

/*
 * Make room for one more element in a heap array: *items holds *cap elements of size bytes, of
 * which n are used. Grows by doubling. The caller frees *items with free().
 */
PREP_MUST_CHECK int prep_grow(void *items, size_t *cap, size_t n, size_t size,
                              struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * progress.h - how far a long run is, told to whoever shows it.
 *
 * Units      bytes and files, or what `unit` says in place of bytes; what an earlier run finished
 *            counts as done from the start
 * Ownership  the struct is borrowed for the call; phase is a string literal
 * Threads    the caller makes one call at a time; a callback must be quick and cannot fail
 */
#ifndef PREP_BASE_PROGRESS_H
#define PREP_BASE_PROGRESS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct progress {
    const char *phase; /* "copy", "hash": a new phase starts a new measurement of the rate */
    uint64_t done_bytes, total_bytes;
    uint64_t done_files, total_files; /* total_files 0: not counted in files */
    const char *unit;                 /* NULL: bytes; else what is counted: "tokens" */
};

typedef void (*progress_fn)(void *arg, const struct progress *p);

#ifdef __cplusplus
}
#endif
#endif

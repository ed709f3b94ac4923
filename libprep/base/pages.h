/* SPDX-License-Identifier: MIT */
/*
 * pages.h - large memory taken from the system and given back to it at once.
 *
 * What malloc keeps of freed memory counts against --mem without being of use
 * (docs/decisions/0008). Under the address sanitizer this is malloc's memory: it sees a
 * user that runs past its memory only on its own heap, and one that comes too late only when the
 * memory is not handed out again.
 *
 * Units      bytes, rounded up to whole pages
 * Ownership  the caller gives back what it took, with the size it asked for
 * Errors     NULL when there is none
 * Threads    any
 */
#ifndef PREP_BASE_PAGES_H
#define PREP_BASE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__SANITIZE_ADDRESS__)
#define PAGES_WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PAGES_WATCHED 1
#endif
#endif
#ifndef PAGES_WATCHED
#define PAGES_WATCHED 0 /* 1: under the address sanitizer */
#endif

enum { PAGES_ALIGN = 4096 };

/* Aligned to PAGES_ALIGN; bytes may be 0. */
unsigned char *pages_take(uint64_t bytes);
void pages_give(unsigned char *p, uint64_t bytes); /* accepts NULL */

#ifdef __cplusplus
}
#endif
#endif

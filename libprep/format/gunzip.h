/* SPDX-License-Identifier: MIT */
/*
 * gunzip.h - inflate a .gz stream as its bytes arrive; several members follow each other.
 *
 * Units      bytes
 * Ownership  gunzip_new / gunzip_free; bytes handed to fn are borrowed until it returns
 * Errors     PREP_EDATA, tag GZIP: not gzip, damaged, cut short; PREP_ENOMEM; what fn raises
 * Threads    one stream, one thread
 */
#ifndef PREP_FORMAT_GUNZIP_H
#define PREP_FORMAT_GUNZIP_H

#include <stddef.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gunzip;

typedef int (*gunzip_fn)(void *arg, const void *p, size_t n, struct prep_error *err);

/* name is for messages, borrowed. */
PREP_MUST_CHECK int gunzip_new(struct gunzip **g, const char *name, gunzip_fn fn, void *arg,
                               struct prep_error *err);
void gunzip_free(struct gunzip *g); /* accepts NULL */

PREP_MUST_CHECK int gunzip_push(struct gunzip *g, const void *p, size_t n, struct prep_error *err);
/* No more bytes come: PREP_EDATA unless the last member is complete. */
PREP_MUST_CHECK int gunzip_end(struct gunzip *g, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

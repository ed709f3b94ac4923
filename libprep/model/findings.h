/* SPDX-License-Identifier: MIT */
/*
 * findings.h - what a check of a checkpoint found wrong: code, place, one line.
 *
 * A broken file can be wrong in a hundred thousand places at once; after FINDINGS_PER_CODE of one
 * code the rest is counted, and findings_finish() says how many there were.
 *
 * Ownership  findings_init / findings_fini; codes are literals, texts live in the arena
 * Errors     PREP_ENOMEM is remembered and returned by findings_finish()
 * Threads    one thread at a time
 */
#ifndef PREP_MODEL_FINDINGS_H
#define PREP_MODEL_FINDINGS_H

#include <stddef.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FINDINGS_PER_CODE = 20, FINDINGS_MAX_CODES = 64 };

enum severity {
    FINDING_ERROR,   /* the checkpoint is not what its config says */
    FINDING_WARNING, /* it can be used, but somebody will stumble */
};

struct finding {
    const char *code;  /* "EXPERT_COUNT" */
    const char *place; /* a tensor name, "layer 5", or the name of a file */
    const char *text;  /* found and wanted */
    enum severity severity;
};

struct findings {
    struct finding *items;
    size_t n, cap;
    struct {
        const char *code;
        size_t n;
    } codes[FINDINGS_MAX_CODES];
    size_t n_codes;
    size_t n_errors, n_warnings; /* the ones left out included */
    struct arena arena;
    int failed;
};

void findings_init(struct findings *f);
void findings_fini(struct findings *f); /* accepts a zeroed struct */

void findings_add(struct findings *f, enum severity severity, const char *code, const char *place,
                  const char *fmt, ...) PREP_PRINTF(5, 6);
/* How many of a code there were, shown or not. */
size_t findings_count(const struct findings *f, const char *code);
/* Adds "and N more" where findings were left out. Call once, at the end. */
PREP_MUST_CHECK int findings_finish(struct findings *f, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

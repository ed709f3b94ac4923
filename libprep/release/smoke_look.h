/* SPDX-License-Identifier: MIT */
/*
 * smoke_look.h - the stages of smoke.h that only look: open, check, lint.
 *
 * Ownership  plain structs
 * Errors     what is wrong with the model is found, and no error; those of the machine are raised
 * Threads    one call at a time
 */
#ifndef PREP_RELEASE_SMOKE_LOOK_H
#define PREP_RELEASE_SMOKE_LOOK_H

#include "libprep/base/io.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SMOKE_MESSAGE = 512 };

struct smoke_found {
    int failed;
    double value; /* tensors, or faults */
    char message[SMOKE_MESSAGE];
};

struct smoke_look {
    const struct io *io;
    const char *path;
    unsigned engines; /* of lint.h; 0: all */
    int n_threads;
    struct report *report; /* warnings; may be NULL */
};

/* Is this the model's fault, and not that of the request or the machine? Then it is found: 0. */
PREP_MUST_CHECK int smoke_error(struct smoke_found *f, const struct prep_error *found,
                                struct prep_error *err);

/* Does config.json name an MTP layer? */
PREP_MUST_CHECK int smoke_look_open(struct smoke_found *f, int *has_mtp, const struct smoke_look *l,
                                    struct prep_error *err);
PREP_MUST_CHECK int smoke_look_check(struct smoke_found *f, const struct smoke_look *l,
                                     struct prep_error *err);
PREP_MUST_CHECK int smoke_look_lint(struct smoke_found *f, const struct smoke_look *l,
                                    struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * bundle.h - the regular files inside a .tar, .tar.gz, .tar.zst or .zip, one after the other.
 *
 * The archive is decoded by libarchive, told to know these formats and no other. Folders are
 * passed over; links, devices, sparse and encrypted members, odd or repeated names are errors, and
 * so is an archive that unpacks to more than the limits say.
 *
 * Units      bytes, unpacked
 * Ownership  name and bytes of a call are borrowed until it returns; bundle_load() copies
 * Errors     PREP_EDATA, tag BUNDLE; PREP_ENOINPUT, PREP_EIO from reading; whatever fn raises
 * Threads    one bundle, one thread
 */
#ifndef PREP_FORMAT_BUNDLE_H
#define PREP_FORMAT_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BUNDLE_MAX_NAME = 1024 };

struct bundle_limits {
    uint64_t members;      /* folders count too */
    uint64_t member_bytes; /* of one file */
    uint64_t total_bytes;  /* of all files */
};

/*
 * Called with the pieces of a file in order, and once more with n == 0 at its end. Names are
 * relative, without ".", "..", empty parts, backslashes and control characters. Non-zero stops;
 * raise an error for it.
 */
typedef int (*bundle_fn)(void *arg, const char *name, const void *p, size_t n,
                         struct prep_error *err);

PREP_MUST_CHECK int bundle_each(const struct io *io, const char *path,
                                const struct bundle_limits *limits, bundle_fn fn, void *arg,
                                struct prep_error *err);

struct bundle_file {
    const char *name;
    struct span bytes;
};

/* The files that want() accepts (NULL: all), sorted by name, in the arena. */
PREP_MUST_CHECK int bundle_load(const struct io *io, const char *path,
                                const struct bundle_limits *limits, int (*want)(const char *name),
                                struct arena *arena, struct bundle_file **files, size_t *n_files,
                                struct prep_error *err);

/* Does the name end like a bundle: .tar .tar.gz .tgz .tar.zst .tzst .zip? */
int bundle_has_name(const char *path);

#ifdef __cplusplus
}
#endif
#endif

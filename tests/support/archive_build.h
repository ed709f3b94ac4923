/* SPDX-License-Identifier: MIT */
/*
 * archive_build.h - small .tar, .tar.gz, .tar.zst and .zip archives in memory, links and all.
 *
 * Ownership  archive_build() returns malloc'ed bytes
 * Errors     fail the running cmocka test
 * Threads    any
 */
#ifndef PREP_TESTS_ARCHIVE_BUILD_H
#define PREP_TESTS_ARCHIVE_BUILD_H

#include <stddef.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum archive_build_kind {
    ARCHIVE_BUILD_FILE,
    ARCHIVE_BUILD_FOLDER,
    ARCHIVE_BUILD_SYMLINK, /* to "target" */
    ARCHIVE_BUILD_HARDLINK,
    ARCHIVE_BUILD_FIFO,
};

struct archive_build_member {
    const char *name;
    struct span bytes;
    enum archive_build_kind kind;
};

/* ending: "tar", "tar.gz", "tar.zst", "zip", or "pax" for a tar whose names are marked as UTF-8 */
struct span archive_build(const char *ending, const struct archive_build_member *members, size_t n);

#ifdef __cplusplus
}
#endif
#endif

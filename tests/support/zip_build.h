/* SPDX-License-Identifier: MIT */
/*
 * zip_build.h - small stored ZIP archives in memory, right ones and, by patching, wrong ones.
 *
 * Ownership  zip_build() returns malloc'ed bytes
 * Errors     out of memory fails the running cmocka test
 * Threads    any
 */
#ifndef PREP_TESTS_ZIP_BUILD_H
#define PREP_TESTS_ZIP_BUILD_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ZIP_BUILD_DESCRIPTOR = 1, /* sizes and CRC behind the data, as torch writes them */
    ZIP_BUILD_BARE = 2,       /* ... without the signature */
    ZIP_BUILD_WIDE = 4,       /* ZIP64 sizes */
};

struct zip_build_member {
    const char *name;
    struct span bytes;
    unsigned flags;
};

enum { ZIP_BUILD_END64 = 1 }; /* ZIP64 end record and locator */

/* The archive, with comment behind the end record. */
struct span zip_build(const struct zip_build_member *members, size_t n, unsigned flags,
                      const char *comment);

/* Offset of the k-th (from 0) record that begins with "PK" and these two bytes. */
size_t zip_build_find(struct span zip, char a, char b, size_t k);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * zip.h - the table of a ZIP archive whose members are stored, not compressed.
 *
 * This is the container of torch files. The central directory says what there is, each member's
 * local header where its bytes lie; the two must agree, members must not overlap, nothing is
 * inflated, so an archive never holds more than its own size. Source: APPNOTE.TXT 6.3.9,
 * sections 4.3 to 4.5.
 *
 * Units      bytes
 * Ownership  the table lives in the caller's arena and borrows the archive's bytes
 * Errors     PREP_EDATA with tag OBS_NOT_PT (does not begin like a ZIP archive), OBS_ZIP_CORRUPT,
 *            OBS_ZIP_COMPRESSED, OBS_ZIP_CRC; the message names file, member and byte
 * Threads    const after opening
 */
#ifndef PREP_FORMAT_ZIP_H
#define PREP_FORMAT_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ZIP_MAX_MEMBERS = 1 << 20, ZIP_MAX_NAME = 4096 };

struct zip_member {
    const char *name; /* NUL-terminated, printable, relative, without ".." */
    struct span bytes;
    uint64_t at; /* where its local header begins */
    uint32_t crc32;
};

struct zip {
    const char *path;           /* for messages, borrowed */
    struct zip_member *members; /* sorted by name, all different */
    size_t n_members;
};

/* Judge the whole table of file; path is for messages. The bytes are not read yet. */
PREP_MUST_CHECK int zip_open(struct zip *zip, struct span file, const char *path,
                             struct arena *arena, struct prep_error *err);
/* NULL when absent. */
const struct zip_member *zip_find(const struct zip *zip, const char *name);
/* OBS_ZIP_CRC when the bytes are not those that were stored. */
PREP_MUST_CHECK int zip_verify(const struct zip *zip, const struct zip_member *member,
                               struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

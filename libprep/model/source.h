/* SPDX-License-Identifier: MIT */
/*
 * source.h - a model folder opened whole: its table, its config, its keep-map if it has one.
 *
 * Units      SHA-256 in hex, as the keep-map records them
 * Ownership  the source owns all of it until source_close()
 * Errors     those of checkpoint.h, config.h and keep_map.h
 * Threads    const after opening
 */
#ifndef PREP_MODEL_SOURCE_H
#define PREP_MODEL_SOURCE_H

#include "libprep/base/hash.h"
#include "libprep/format/keep_map.h"
#include "libprep/model/config.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KEEP_MAP_NAME "keep_map.json"

struct source {
    const char *path; /* as given, borrowed */
    struct checkpoint *ckpt;
    struct config config;
    int has_map;
    struct keep_map map;
    char config_sha256[SHA256_HEX];
    char index_sha256[SHA256_HEX]; /* of the index; of the header of a single file */
    char map_sha256[SHA256_HEX];
};

/* Warnings of table and config go to report, which may be NULL. */
PREP_MUST_CHECK int source_open(struct source *s, const struct io *io, const char *path,
                                struct report *report, struct prep_error *err);
void source_close(struct source *s); /* accepts a zeroed struct */

/*
 * Without a keep-map of its own, take the one in this file. Its SHA-256 becomes the source's.
 * PREP_EUSAGE when the folder has one already.
 */
PREP_MUST_CHECK int source_read_map(struct source *s, const struct io *io, const char *path,
                                    struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

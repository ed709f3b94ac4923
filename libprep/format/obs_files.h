/* SPDX-License-Identifier: MIT */
/*
 * obs_files.h - which files make up a run, and what the run is called.
 *
 *   run-a/observations_1024_cosine.pt                           one file; the run is "run-a"
 *   run-a/layerwise_intermediate/block_NNN_metrics.pt           one file per layer
 *   run-a/layerwise_intermediate/group_GGG/block_NNN_metrics.pt ... cumulative, so only the
 *                                                               highest group counts
 *
 * Ownership  strings live in the caller's arena
 * Errors     PREP_EDATA, tag OBS_NOT_PT: no run where one was expected, or more than one
 * Threads    any
 */
#ifndef PREP_FORMAT_OBS_FILES_H
#define PREP_FORMAT_OBS_FILES_H

#include "libprep/base/io.h"
#include "libprep/format/bundle.h"

#ifdef __cplusplus
extern "C" {
#endif

enum obs_form {
    OBS_FORM_PT,
    OBS_FORM_BLOCK, /* block_NNN_metrics.pt */
    OBS_FORM_NATIVE,
    OBS_FORM_JSON,
    OBS_FORM_JSONL,
};

/* By the file name alone; what is not known is a torch file. */
enum obs_form obs_form_of(const char *path);
/* NNN of .../block_NNN_metrics.pt, or -1. */
int obs_block_layer(const char *path);

/* Paths of the block files of a folder, in name order, at least one. */
PREP_MUST_CHECK int obs_list_blocks(const struct io *io, const char *dir, struct arena *arena,
                                    char ***files, size_t *n, struct prep_error *err);

/* Is this member of a bundle an observation file? */
int obs_is_wanted(const char *name);
/* Narrow the sorted files down to those of one run: one file, or the blocks of one folder. */
PREP_MUST_CHECK int obs_choose_run(const char *path, struct bundle_file **files, size_t *n,
                                   struct prep_error *err);

/* "run-a" of the paths above, else the file name without its ending; NULL when out of memory. */
const char *obs_label(struct arena *arena, const char *path, struct prep_error *err);
/* A bundle stands for the folder it was made from. */
const char *obs_label_in_bundle(struct arena *arena, const char *path, const char *name,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

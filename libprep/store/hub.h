/* SPDX-License-Identifier: MIT */
/*
 * hub.h - where a checkpoint lies: a folder, or a repository in the local hub cache.
 *
 *   CACHE/models--ORG--NAME/refs/main               text: a revision
 *   CACHE/models--ORG--NAME/snapshots/REVISION/     links into ../../blobs
 *
 * CACHE is $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
 * $HOME/.cache/huggingface/hub. Nothing is ever downloaded.
 *
 * Ownership  results live in the caller's arena
 * Errors     PREP_ENOINPUT when there is no such folder
 */
#ifndef PREP_STORE_HUB_H
#define PREP_STORE_HUB_H

#include "libprep/base/arena.h"
#include "libprep/base/io.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The folder meant by `path`, an existing folder or "ORG/NAME[@revision]" (a ref or a commit,
 * "main" by default). *revision is the commit when the folder is a snapshot, else NULL.
 */
PREP_MUST_CHECK int hub_resolve(const struct io *io, const char *path, struct arena *arena,
                                const char **dir, const char **revision, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

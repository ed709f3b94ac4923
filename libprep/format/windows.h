/* SPDX-License-Identifier: MIT */
/*
 * windows.h - token windows in a JSON file, as evaluation sets are published.
 *
 *   {"format": 1, "evaluation": {"length": 256, "tokens": [[480, 340, ...], ...]}, ...}
 *
 * Each part holds windows of one length; every other member is passed over.
 *
 * Shapes     tokens [n_windows, length]
 * Units      token ids are below 2^31
 * Ownership  everything read lives in the caller's arena
 * Errors     PREP_EDATA, tag WINDOWS, or those of json.h; PREP_EUSAGE for a part that is not there;
 *            PREP_ENOINPUT, PREP_EIO
 * Threads    const after reading
 */
#ifndef PREP_FORMAT_WINDOWS_H
#define PREP_FORMAT_WINDOWS_H

#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/io.h"

#ifdef __cplusplus
extern "C" {
#endif

struct token_windows {
    uint32_t *tokens;
    uint64_t n_windows, length; /* at least 1 and 2 */
};

PREP_MUST_CHECK int windows_parse(struct token_windows *w, const char *text, size_t n,
                                  const char *part, const char *name, struct arena *arena,
                                  struct prep_error *err);
/* Memory: up to 10 times the file. */
PREP_MUST_CHECK int windows_read(struct token_windows *w, const struct io *io, const char *path,
                                 const char *part, struct arena *arena, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

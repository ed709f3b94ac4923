/* SPDX-License-Identifier: MIT */
/*
 * mix.h - a mix file: which documents make up a calibration set.
 *
 *   {"format": "prep-mix", "version": 1, "note": "..", "seed": 1, "sequences": 64,
 *    "separator": "<|endoftext|>", "prefix": "", "mode": "all",
 *    "sources": [{"path": "a.tar.zst", "members": "*.jsonl", "field": "text",
 *                 "where": {"kind": "code"}, "documents": 40, "weight": 1.5, "mode": "raw",
 *                 "note": ".."}]}
 *
 * Only format, version, sources and path must be there. Paths count from the mix's folder. What
 * the file does not say is left in the options as it is.
 *
 * Ownership  everything read lives in the caller's arena
 * Errors     PREP_EDATA, tag MIX: a key that is unknown, of another type or out of range; those
 *            of json.h; PREP_ENOINPUT, PREP_EIO
 * Threads    no state
 */
#ifndef PREP_CALIB_MIX_H
#define PREP_CALIB_MIX_H

#include "libprep/calib/pack.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills sources, mix_sha256 and whatever else the file says. */
PREP_MUST_CHECK int mix_read(struct pack_options *options, const struct io *io, const char *path,
                             struct arena *arena, struct prep_error *err);
/* From text; `folder` is put before relative paths, name is for messages. */
PREP_MUST_CHECK int mix_parse(struct pack_options *options, const char *text, size_t n,
                              const char *name, const char *folder, struct arena *arena,
                              struct prep_error *err);

/* TOKENIZER_ALL, _NOSPECIAL, _RAW from "all", "nospecial", "raw", or -1. */
int mix_mode(const char *name);

#ifdef __cplusplus
}
#endif
#endif

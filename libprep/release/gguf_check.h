/* SPDX-License-Identifier: MIT */
/*
 * gguf_check.h - is a GGUF file, or a set of parts, right in itself?
 *
 * Opening has found what is short, missing or out of place. Here the architecture's counts are held
 * against the tensors, files against a manifest beside them, and with read_data every value that
 * can be no number is looked at: floats, and the scales of blocks.
 *
 * Findings   UTF8 RANK_0 LAST_PADDING TRAILING_BYTES as warnings; errors NONFINITE (tensor and
 *            block), GGUF_BLOCKS (block_count is not the layers there are), GGUF_EXPERTS
 *            (expert_count is not what the stacked tensors have), MANIFEST_FILE, MANIFEST_SIZE,
 *            FILE_SHA256; warning NO_MANIFEST
 * Ownership  findings copy what they quote
 * Errors     those of store/verify.h; PREP_EDATA with SOURCE_CHANGED; PREP_ENOMEM
 */
#ifndef PREP_RELEASE_GGUF_CHECK_H
#define PREP_RELEASE_GGUF_CHECK_H

#include "libprep/release/inspect_check.h"

#ifdef __cplusplus
extern "C" {
#endif

PREP_MUST_CHECK int gguf_check(struct findings *out, const struct inspected *it,
                               const struct check_options *opt, struct prep_error *err);

/* A value of a key in one line, arrays shortened: "[3 strings: a, b, c]". */
const char *gguf_value_text(const struct gguf_kv *kv, struct arena *arena, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

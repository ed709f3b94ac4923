/* SPDX-License-Identifier: MIT */
/*
 * exclude.h - tell a quantization config that one layer is not quantized.
 *
 * Each method has its own list and its own way to name modules. An MTP layer is known to engines
 * under two names, its own ("model.layers.78") and that of the draft model ("model.decoder"), and
 * is listed under both where names are matched at run time:
 *
 *   compressed-tensors   ignore: regular expressions with "re:"
 *   modelopt             ignore or exclude_modules: globs; as "hf_quant_config" its old file
 *   gptq                 dynamic: "-:" and a regular expression, with an empty object
 *   auto-round           extra_config: a regular expression with 16 bits
 *   fp8                  modules_to_not_convert or ignored_layers: module paths
 *
 * Ownership  as in json_patch.h
 * Errors     PREP_ENOMEM
 * Threads    one patch, one thread
 */
#ifndef PREP_QUANT_EXCLUDE_H
#define PREP_QUANT_EXCLUDE_H

#include "libprep/base/json_patch.h"
#include "libprep/base/report.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * object is the quantization config's node, or JSON_NONE: nothing happens. prefix is what stands
 * before "layers." in the checkpoint's names. Entries that are there already are not repeated.
 * Warnings as in stitch.h.
 */
PREP_MUST_CHECK int exclude_layer(struct json_patch *p, uint32_t object, const char *quant_method,
                                  const char *prefix, int layer, struct report *report,
                                  struct prep_error *err);

enum { EXCLUDE_MAX_ENTRIES = 3 };

/*
 * The entries alone, for whoever writes a list anew: pointers into the arena. *value is what each
 * has in a dictionary, JSON text, or NULL for a list. PREP_EBUG for a method not in the table.
 */
PREP_MUST_CHECK int exclude_entries(const char *entries[EXCLUDE_MAX_ENTRIES], size_t *n,
                                    const char **value, const char *quant_method,
                                    const char *prefix, int layer, struct arena *arena,
                                    struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * generation_config.h - what a model folder says about sampling and about where text ends.
 *
 * generation_config.json of the transformers library. "do_sample" that is false or absent means
 * greedy, as in that library; what is absent else is off (its default of 50 for top_k is a habit of
 * that library, not of the model, and serving engines do not follow it).
 *
 * Ownership  a plain struct
 * Errors     PREP_ENOINPUT when the file is missing, PREP_EDATA tag GEN_CONFIG for a member of the
 *            wrong kind or range, or those of json.h
 * Threads    pure functions
 */
#ifndef PREP_ENGINE_GENERATION_CONFIG_H
#define PREP_ENGINE_GENERATION_CONFIG_H

#include "libprep/base/io.h"
#include "libprep/engine/sampling.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GENERATION_MAX_EOS = 16 };

struct generation_config {
    struct sampling sampling;
    uint32_t eos[GENERATION_MAX_EOS]; /* text ends at any of them */
    size_t n_eos;
    uint32_t pad; /* UINT32_MAX: none given */
};

PREP_MUST_CHECK int generation_config_parse(struct generation_config *c, const char *text, size_t n,
                                            const char *name, struct prep_error *err);
/* The file in a model folder. */
PREP_MUST_CHECK int generation_config_read(struct generation_config *c, const struct io *io,
                                           const char *folder, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

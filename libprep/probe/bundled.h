/* SPDX-License-Identifier: MIT */
/*
 * bundled.h - the prompt sets of probes/, carried inside the program: "facts" and "tool-chat".
 *
 * Ownership  as prompt_set_parse()
 * Errors     PREP_EUSAGE, naming them, for a set that is not there; those of prompt_set.h
 * Threads    pure functions
 */
#ifndef PREP_PROBE_BUNDLED_H
#define PREP_PROBE_BUNDLED_H

#include "libprep/probe/prompt_set.h"

#ifdef __cplusplus
extern "C" {
#endif

PREP_MUST_CHECK int prompt_set_bundled(struct prompt_set *s, const char *name,
                                       struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

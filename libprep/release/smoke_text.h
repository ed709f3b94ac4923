/* SPDX-License-Identifier: MIT */
/*
 * smoke_text.h - a short text of prose, code and data for when none is at hand: about 600 tokens.
 *
 * Ownership  a literal
 * Errors     none
 * Threads    a pure function
 */
#ifndef PREP_RELEASE_SMOKE_TEXT_H
#define PREP_RELEASE_SMOKE_TEXT_H

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

struct span smoke_text(void);

#ifdef __cplusplus
}
#endif
#endif

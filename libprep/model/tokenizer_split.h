/* SPDX-License-Identifier: MIT */
/*
 * tokenizer_split.h - the GLM-4 pre-tokenizer: where the next piece of a text ends.
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
 *   \s*[\r\n]+|\s+(?!\S)|\s+
 *
 * Pieces cover the text without gaps; the first alternative that matches wins, as with any
 * backtracking matcher. Every piece is found in one walk over it and at most one code point more,
 * except white space before a letter, which is looked at twice.
 *
 * Units      bytes of well-formed UTF-8
 * Ownership  borrowed
 * Errors     none
 * Threads    no state
 */
#ifndef PREP_MODEL_TOKENIZER_SPLIT_H
#define PREP_MODEL_TOKENIZER_SPLIT_H

#include "libprep/model/unicode.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const char tokenizer_split_pattern[];

/* Bytes (at least 1) of the piece at the start of a text of n > 0 bytes. */
size_t tokenizer_split(const struct unicode_map *map, const char *s, size_t n);

#ifdef __cplusplus
}
#endif
#endif

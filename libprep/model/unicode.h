/* SPDX-License-Identifier: MIT */
/*
 * unicode.h - which code points are letters, numbers, white space or word characters.
 *
 * Unicode 16.0, from tests/data-src/unicode/classes.tsv. The ranges are spread into pages of 256
 * code points when a map is made; all code points of most pages are alike and share storage.
 *
 * Units      a code point is 0 to 0x10FFFF
 * Ownership  the map's pages live in the caller's arena
 * Errors     PREP_ENOMEM
 * Threads    const after unicode_map_init()
 */
#ifndef PREP_MODEL_UNICODE_H
#define PREP_MODEL_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    UNICODE_LETTER = 1, /* \p{L} */
    UNICODE_NUMBER = 2, /* \p{N} */
    UNICODE_SPACE = 4,  /* \s */
    UNICODE_WORD = 8,   /* \w */
};

enum { UNICODE_PAGES = 0x110000 / 256 };

struct unicode_range {
    uint32_t first, last;
    uint8_t classes; /* of every code point from first to last */
};

/* Ascending, without overlap; what lies between has class 0. */
extern const struct unicode_range unicode_ranges[];
extern const size_t unicode_n_ranges;

struct unicode_map {
    const uint8_t *pages[UNICODE_PAGES]; /* each 256 classes */
};

PREP_MUST_CHECK int unicode_map_init(struct unicode_map *map, struct arena *arena,
                                     struct prep_error *err);

static inline unsigned unicode_class(const struct unicode_map *map, uint32_t c)
{
    return map->pages[c >> 8][c & 0xff];
}

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - well-formed UTF-8 (Unicode, table 3-7) and what to do with the rest.
 *
 * A maximal ill-formed subpart is what one U+FFFD stands for when text is repaired: the longest
 * beginning of a well-formed sequence, or else one byte (Unicode, section 3.9; WHATWG Encoding).
 *
 * Units      bytes
 * Ownership  texts are borrowed, none needs a NUL
 * Errors     told by the return value
 * Threads    no state
 */
#ifndef PREP_BASE_UTF8_H
#define PREP_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Bytes (2 to 4) of the well-formed sequence at s that is not ASCII, or 0; s < end. */
size_t utf8_length(const char *s, const char *end);

/* Where the first ill-formed sequence begins, or n. */
size_t utf8_valid(const char *s, size_t n);

/*
 * Bytes (1 to 3) of the maximal ill-formed subpart at s, where utf8_length() is 0 and the byte is
 * not ASCII. *cut tells whether it ends with the text and more bytes could make it well-formed.
 */
size_t utf8_subpart(const char *s, const char *end, int *cut);

/* Replace every maximal ill-formed subpart. out has room for 3 n bytes; returns those used. */
size_t utf8_repair(const char *s, size_t n, char *out);

/* The code point at s, a place in well-formed text; *n is its length. */
static inline uint32_t utf8_decode(const char *s, size_t *n)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80) {
        *n = 1;
        return u[0];
    }
    if (u[0] < 0xe0) {
        *n = 2;
        return (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu);
    }
    if (u[0] < 0xf0) {
        *n = 3;
        return (u[0] & 0xfu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
    }
    *n = 4;
    return (u[0] & 7u) << 18 | (u[1] & 0x3fu) << 12 | (u[2] & 0x3fu) << 6 | (u[3] & 0x3fu);
}

/* Bytes (1 to 4) of a code point as UTF-8; c is no surrogate and at most 0x10FFFF. */
size_t utf8_encode(uint32_t c, char out[4]);

#ifdef __cplusplus
}
#endif
#endif

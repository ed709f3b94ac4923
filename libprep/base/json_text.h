/* SPDX-License-Identifier: MIT */
/*
 * json_text.h - places, escapes, decoding. For json*.c only.
 *
 * Ownership  texts are borrowed, none needs a NUL
 * Errors     told by the return value
 * Threads    no state
 */
#ifndef PREP_BASE_JSON_TEXT_H
#define PREP_BASE_JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline int is_json_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The line, from 1, of a byte of the text. */
size_t json_line(const char *text, size_t at);

/* The value of four hex digits, or -1. */
int json_hex4(const char *s);

static inline int is_high_surrogate(int v)
{
    return v >= 0xd800 && v < 0xdc00;
}

static inline int is_low_surrogate(int v)
{
    return v >= 0xdc00 && v < 0xe000;
}

/*
 * Decode what stands between the quotes of a string that was found valid. out has room for
 * end - s bytes, which is always enough. Returns the decoded length.
 */
size_t json_unescape(const char *s, const char *end, char *out);

/* Reads the decoded bytes of a valid string one by one. */
struct json_reader {
    const char *s, *end; /* between the quotes */
    char pending[4];
    int n, at;
};

/* The next byte, or -1 at the end. */
int json_next_byte(struct json_reader *r);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
#include "libprep/model/tokenizer_split.h"

#include "libprep/base/utf8.h"

const char tokenizer_split_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* Classes of the code point at s, whose length goes to *n. */
static unsigned class_at(const struct unicode_map *map, const char *s, size_t *n)
{
    return unicode_class(map, utf8_decode(s, n));
}

static int is_line_end(char c)
{
    return c == '\r' || c == '\n';
}

/* 's 't 're 've 'm 'll 'd in either case, or 0. U+017F, the long s, folds to s. */
static size_t contraction(const char *s, size_t n)
{
    char a = n > 1 ? (char)(s[1] | 0x20) : 0, b = n > 2 ? (char)(s[2] | 0x20) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return 3;
    return n > 2 && s[1] == '\xc5' && s[2] == '\xbf' ? 3 : 0;
}

/* The end of the run of code points from `at` that have one of these classes. */
static size_t run_of(const struct unicode_map *map, const char *s, size_t n, size_t at,
                     unsigned classes)
{
    size_t len;
    while (at < n && class_at(map, s + at, &len) & classes)
        at += len;
    return at;
}

static size_t run_without(const struct unicode_map *map, const char *s, size_t n, size_t at,
                          unsigned classes)
{
    size_t len;
    while (at < n && !(class_at(map, s + at, &len) & classes))
        at += len;
    return at;
}

static size_t numbers(const struct unicode_map *map, const char *s, size_t n)
{
    size_t at = 0, len;
    for (int i = 0; i < 3 && at < n && class_at(map, s + at, &len) & UNICODE_NUMBER; i++)
        at += len;
    return at;
}

/* White space that no letter, and no space before other characters, makes part of their piece. */
static size_t spaces(const struct unicode_map *map, const char *s, size_t n)
{
    size_t at = 0, last = 0, after_line = 0, len;
    while (at < n && class_at(map, s + at, &len) & UNICODE_SPACE) {
        if (is_line_end(s[at]))
            after_line = at + 1;
        last = at;
        at += len;
    }
    if (after_line)
        return after_line;
    return at == n || last == 0 ? at : last;
}

size_t tokenizer_split(const struct unicode_map *map, const char *s, size_t n)
{
    const unsigned neither = UNICODE_SPACE | UNICODE_LETTER | UNICODE_NUMBER;
    size_t first, next = 0;
    if (*s == '\'' && (next = contraction(s, n)))
        return next;
    unsigned classes = class_at(map, s, &first);
    if (classes & UNICODE_LETTER)
        return run_of(map, s, n, first, UNICODE_LETTER);
    if (classes & UNICODE_NUMBER)
        return numbers(map, s, n);
    if (first < n && !is_line_end(*s) && class_at(map, s + first, &next) & UNICODE_LETTER)
        return run_of(map, s, n, first + next, UNICODE_LETTER);
    size_t begin = *s == ' ' ? 1 : 0, end = run_without(map, s, n, begin, neither);
    if (end == begin)
        return spaces(map, s, n);
    while (end < n && is_line_end(s[end]))
        end++;
    return end;
}

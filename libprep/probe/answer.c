/* SPDX-License-Identifier: MIT */
#include "libprep/probe/answer.h"

#include <string.h>

static int is_blank(unsigned char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

static int is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c + 32) : c;
}

/* Of ASCII: in Chinese text a number may stand between letters. */
static int is_letter(unsigned char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

struct span answer_visible(const char *text, size_t n)
{
    static const char open[] = "<think>", close[] = "</think>";
    struct span s = {(const unsigned char *)text, n};
    const void *hit;
    while (s.n && (hit = memmem(s.p, s.n, close, sizeof close - 1)) != NULL) {
        size_t skip = (size_t)((const unsigned char *)hit - s.p) + sizeof close - 1;
        s.p += skip;
        s.n -= skip;
    }
    if (s.n && memmem(s.p, s.n, open, sizeof open - 1))
        s.n = 0;
    while (s.n && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Do three digits, and no fourth, stand at i? */
static int is_group(struct span s, size_t i)
{
    return i + 3 <= s.n && is_digit(s.p[i]) && is_digit(s.p[i + 1]) && is_digit(s.p[i + 2]) &&
           (i + 3 == s.n || !is_digit(s.p[i + 3]));
}

static int is_minus(struct span s, size_t digits)
{
    return (digits >= 1 && s.p[digits - 1] == '-') ||
           (digits >= 3 && memcmp(s.p + digits - 3, "\xe2\x88\x92", 3) == 0);
}

/* The number whose digits begin at `at`; behind it. */
static size_t read_number(struct answer_number *to, struct span s, size_t at)
{
    const int negative = is_minus(s, at);
    size_t i = at, first = at;
    *to = (struct answer_number){0, 1};
    for (; i < s.n; i++) {
        int comma = s.p[i] == ',' && i - first <= 3 && is_group(s, i + 1);
        if (!is_digit(s.p[i]) && !comma)
            break;
        if (comma) {
            first = i + 1;
            continue;
        }
        /* Downwards, so that the lowest integer fits too. */
        int64_t digit = s.p[i] - '0';
        if (__builtin_mul_overflow(to->value, 10, &to->value) ||
            __builtin_sub_overflow(to->value, digit, &to->value)) {
            to->whole = 0;
            to->value = 0;
        }
    }
    if (i + 1 < s.n && s.p[i] == '.' && is_digit(s.p[i + 1]))
        for (i++; i < s.n && is_digit(s.p[i]); i++)
            to->whole &= s.p[i] == '0';
    if (!negative && to->value == INT64_MIN)
        to->whole = 0;
    else if (!negative)
        to->value = -to->value;
    return i;
}

int answer_next_number(struct answer_number *number, struct span s, size_t *at)
{
    for (size_t i = *at; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            continue;
        if (i > 0 && is_letter(s.p[i - 1])) {
            while (i < s.n && (is_digit(s.p[i]) || is_letter(s.p[i])))
                i++;
            i--;
            continue;
        }
        *at = read_number(number, s, i);
        return 1;
    }
    *at = s.n;
    return 0;
}

int answer_is_number(const char *text, size_t n, int64_t want)
{
    const struct span s = answer_visible(text, n);
    struct answer_number number, last = {0, 0};
    size_t at = 0;
    while (answer_next_number(&number, s, &at))
        last = number;
    return last.whole && last.value == want;
}

static int same_words(const unsigned char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (lower(a[i]) != lower((unsigned char)b[i]))
            return 0;
    return 1;
}

static int touches(unsigned char c)
{
    return is_digit(c) || is_letter(c);
}

int answer_has_words(const char *text, size_t n, const char *words)
{
    const struct span s = answer_visible(text, n);
    const size_t len = strlen(words);
    for (size_t i = 0; len && i + len <= s.n; i++)
        if (same_words(s.p + i, words, len) && (i == 0 || !touches(s.p[i - 1])) &&
            (i + len == s.n || !touches(s.p[i + len])))
            return 1;
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/base/utf8.h"

#include <string.h>

/* What a lead byte wants: the length, 0 when it is none, and the bounds of the second byte. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (c == 0xe0)
        *low = 0xa0; /* overlong */
    else if (c == 0xed)
        *high = 0x9f; /* surrogates */
    else if (c == 0xf0)
        *low = 0x90; /* overlong */
    else if (c == 0xf4)
        *high = 0x8f; /* beyond U+10FFFF */
    return c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

/* How many bytes at s, at most `want`, continue as a sequence must. */
static size_t matching(const char *s, const char *end, size_t *want)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned char low, high;
    size_t n = lead(u[0], &low, &high), i = 1;
    *want = n;
    for (; i < n && i < (size_t)(end - s); i++)
        if (i == 1 ? u[1] < low || u[1] > high : (u[i] & 0xc0) != 0x80)
            break;
    return n ? i : 0;
}

size_t utf8_length(const char *s, const char *end)
{
    size_t want, n = matching(s, end, &want);
    return n == want ? n : 0;
}

size_t utf8_subpart(const char *s, const char *end, int *cut)
{
    size_t want, n = matching(s, end, &want);
    *cut = n > 0 && s + n == end;
    return n ? n : 1;
}

size_t utf8_valid(const char *s, size_t n)
{
    const char *p = s, *end = s + n;
    while (p < end) {
        uint64_t eight;
        if (end - p >= 8) {
            memcpy(&eight, p, sizeof eight);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                p += 8;
                continue;
            }
        }
        size_t len = (unsigned char)*p < 0x80 ? 1 : utf8_length(p, end);
        if (len == 0)
            break;
        p += len;
    }
    return (size_t)(p - s);
}

size_t utf8_repair(const char *s, size_t n, char *out)
{
    const char *end = s + n;
    char *o = out;
    int cut;
    while (s < end) {
        size_t good = utf8_valid(s, (size_t)(end - s));
        memcpy(o, s, good);
        s += good;
        o += good;
        if (s < end) {
            memcpy(o, UTF8_REPLACEMENT, 3);
            o += 3;
            s += utf8_subpart(s, end, &cut);
        }
    }
    return (size_t)(o - out);
}

size_t utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(((0xf00 >> n) & 0xff) | c);
    return n;
}

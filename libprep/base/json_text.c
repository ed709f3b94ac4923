/* SPDX-License-Identifier: MIT */
#include "libprep/base/json_text.h"

#include <string.h>

size_t json_line(const char *text, size_t at)
{
    size_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
}

/* Unicode, table 3-7: only the second byte has bounds of its own. */
size_t utf8_length(const char *s, const char *end)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned char low = 0x80, high = 0xbf;
    size_t n = u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf5 ? 4 : 0;
    if (n == 0 || (size_t)(end - s) < n)
        return 0;
    if (u[0] == 0xe0)
        low = 0xa0; /* overlong */
    else if (u[0] == 0xed)
        high = 0x9f; /* surrogates */
    else if (u[0] == 0xf0)
        low = 0x90; /* overlong */
    else if (u[0] == 0xf4)
        high = 0x8f; /* beyond U+10FFFF */
    if (u[1] < low || u[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int json_hex4(const char *s)
{
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(s[i]);
        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

static int encode_utf8(int v, char out[4])
{
    if (v < 0x80) {
        out[0] = (char)v;
        return 1;
    }
    if (v < 0x800) {
        out[0] = (char)(0xc0 | v >> 6);
        out[1] = (char)(0x80 | (v & 0x3f));
        return 2;
    }
    if (v < 0x10000) {
        out[0] = (char)(0xe0 | v >> 12);
        out[1] = (char)(0x80 | (v >> 6 & 0x3f));
        out[2] = (char)(0x80 | (v & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | v >> 18);
    out[1] = (char)(0x80 | (v >> 12 & 0x3f));
    out[2] = (char)(0x80 | (v >> 6 & 0x3f));
    out[3] = (char)(0x80 | (v & 0x3f));
    return 4;
}

/* The bytes of one escape; *s moves behind it. */
static int unescape_one(const char **s, char out[4])
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *at = *s + 1;
    if (*at != 'u') {
        const char *k = strchr(from, *at);
        out[0] = k ? to[k - from] : *at;
        *s = at + 1;
        return 1;
    }
    int v = json_hex4(at + 1);
    *s = at + 5;
    if (is_high_surrogate(v)) {
        v = 0x10000 + ((v - 0xd800) << 10) + (json_hex4(at + 7) - 0xdc00);
        *s = at + 11;
    }
    return encode_utf8(v, out);
}

size_t json_unescape(const char *s, const char *end, char *out)
{
    char *o = out;
    while (s < end) {
        const char *slash = memchr(s, '\\', (size_t)(end - s));
        size_t n = (size_t)((slash ? slash : end) - s);
        memcpy(o, s, n);
        o += n;
        s += n;
        if (slash) {
            char unit[4];
            int k = unescape_one(&s, unit);
            memcpy(o, unit, (size_t)k);
            o += k;
        }
    }
    return (size_t)(o - out);
}

int json_next_byte(struct json_reader *r)
{
    if (r->at < r->n)
        return (unsigned char)r->pending[r->at++];
    if (r->s == r->end)
        return -1;
    if (*r->s != '\\')
        return (unsigned char)*r->s++;
    r->n = unescape_one(&r->s, r->pending);
    r->at = 1;
    return (unsigned char)r->pending[0];
}

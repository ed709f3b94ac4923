/* SPDX-License-Identifier: MIT */
#include "libprep/base/json_text.h"

#include <string.h>

#include "libprep/base/utf8.h"

size_t json_line(const char *text, size_t at)
{
    size_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += text[i] == '\n';
    return line;
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
    return (int)utf8_encode((uint32_t)v, out);
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

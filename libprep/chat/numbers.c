/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/chat/convert.h"
#include "libprep/chat/value.h"

static int is_digit(const struct tpl_str *s, size_t i)
{
    return i < s->n && s->p[i] >= '0' && s->p[i] <= '9';
}

/* Copies digits, each underscore between two of them left out; how many there were. */
static size_t copy_digits(const struct tpl_str *s, size_t *i, char *out, size_t *n)
{
    size_t count = 0;
    while (is_digit(s, *i) || (count && *i < s->n && s->p[*i] == '_' && is_digit(s, *i + 1))) {
        if (s->p[*i] != '_') {
            out[(*n)++] = s->p[*i];
            count++;
        }
        ++*i;
    }
    return count;
}

/* Python's spelling of a number made JSON's: "+01_0.5" -> "10.5". 0 when it is none. out has room
 * for the text and 4 bytes more. */
static int plain_number(const struct tpl_str *s, int whole, char *out)
{
    size_t i = 0, n = 0, zeros = 0, digits;
    if (s->n && (s->p[0] == '+' || s->p[0] == '-') && s->p[i++] == '-')
        out[n++] = '-';
    size_t first = n;
    digits = copy_digits(s, &i, out, &n);
    while (zeros + 1 < n - first && out[first + zeros] == '0')
        zeros++;
    memmove(out + first, out + first + zeros, n - first - zeros);
    n -= zeros;
    if (!whole && i < s->n && s->p[i] == '.') {
        i++;
        if (!digits)
            out[n++] = '0';
        out[n++] = '.';
        size_t fraction = copy_digits(s, &i, out, &n);
        if (!fraction)
            out[n++] = '0';
        digits += fraction;
    }
    if (!whole && digits && i < s->n && (s->p[i] | 0x20) == 'e') {
        out[n++] = 'e';
        i++;
        if (i < s->n && (s->p[i] == '+' || s->p[i] == '-'))
            out[n++] = s->p[i++];
        if (!copy_digits(s, &i, out, &n))
            return 0;
    }
    out[n] = 0;
    return digits && i == s->n;
}

int tpl_read_number(struct tpl_run *r, struct tpl_value *out, const struct tpl_str *given,
                    int whole)
{
    char text[512], word[16] = "";
    struct json doc;
    struct tpl_str *s = tpl_str_strip(r, given, NULL, TPL_LEFT | TPL_RIGHT);
    *out = tpl_none();
    if (!s)
        return -1;
    for (size_t i = 0; i < s->n; i++)
        if ((unsigned char)s->p[i] >= 0x80)
            return tpl_unsupported(r, "a number in characters outside ASCII");
    size_t sign = s->n && (s->p[0] == '-' || s->p[0] == '+');
    for (size_t i = sign; i < s->n && i - sign < sizeof word - 1; i++) {
        word[i - sign] = (char)(s->p[i] >= 'A' && s->p[i] <= 'Z' ? s->p[i] + 32 : s->p[i]);
        word[i - sign + 1] = 0;
    }
    if (!whole && (!strcmp(word, "inf") || !strcmp(word, "infinity") || !strcmp(word, "nan"))) {
        double v = word[0] == 'n' ? (double)NAN : (double)INFINITY;
        *out = tpl_float(s->p[0] == '-' ? -v : v);
        return 0;
    }
    if (s->n >= sizeof text - 8)
        return tpl_unsupported(r, "a number of more than 500 digits");
    if (!plain_number(s, whole, text))
        return 0;
    if (json_parse(&doc, text, strlen(text), r->t->name, r->err))
        return -1;
    *out = whole ? tpl_int(0) : tpl_float(0);
    int failed = whole ? json_i64(&doc, 0, &out->u.i) : json_f64(&doc, 0, &out->u.f);
    json_free(&doc);
    return failed ? tpl_unsupported(r, "an integer beyond 64 bits") : 0;
}

int tpl_to_float(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
                 struct tpl_value otherwise)
{
    struct tpl_value number = v;
    if (v.kind == TPL_UNDEFINED)
        return tpl_type(r, "%s", v.u.why);
    if (v.kind == TPL_BIG || v.kind == TPL_MARKUP)
        return tpl_unsupported(r, "a float of a %s", tpl_kind_name(v));
    if (v.kind == TPL_STRING && tpl_read_number(r, &number, v.u.s, 0))
        return -1;
    if (number.kind == TPL_INT || number.kind == TPL_BOOL)
        number = tpl_float((double)number.u.i);
    *out = number.kind == TPL_FLOAT ? number : otherwise;
    return 0;
}

/* int(), and where that fails int(float()), and where that fails the default. */
int tpl_to_int(struct tpl_run *r, struct tpl_value *out, struct tpl_value v,
               struct tpl_value otherwise)
{
    struct tpl_value number = v;
    if (v.kind == TPL_UNDEFINED)
        return tpl_type(r, "%s", v.u.why);
    if (v.kind == TPL_BIG) {
        *out = v;
        return 0;
    }
    if (v.kind == TPL_STRING && tpl_read_number(r, &number, v.u.s, 1))
        return -1;
    if (number.kind == TPL_INT || number.kind == TPL_BOOL) {
        *out = tpl_int(number.u.i);
        return 0;
    }
    if (tpl_to_float(r, &number, v, tpl_none()))
        return -1;
    if (number.kind != TPL_FLOAT || isnan(number.u.f) || isinf(number.u.f)) {
        if (v.kind == TPL_FLOAT && isinf(v.u.f))
            return tpl_unsupported(r, "an integer of infinity");
        *out = otherwise;
        return 0;
    }
    if (number.u.f >= 0x1p63 || number.u.f < -0x1p63)
        return tpl_unsupported(r, "an integer beyond 64 bits");
    *out = tpl_int((int64_t)number.u.f);
    return 0;
}

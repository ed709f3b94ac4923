/* SPDX-License-Identifier: MIT */
#include "libprep/chat/text.h"

#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/chat/value.h"

unsigned tpl_classes(uint32_t c)
{
    size_t low = 0, high = tpl_n_class_ranges;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (tpl_class_ranges[mid].last < c)
            low = mid + 1;
        else
            high = mid;
    }
    return low < tpl_n_class_ranges && tpl_class_ranges[low].first <= c
               ? tpl_class_ranges[low].classes
               : 0;
}

int tpl_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* ---- buffers ---- */

static int make_room(struct tpl_run *r, struct tpl_buf *b, size_t n)
{
    if (n > TPL_MAX_TEXT || b->n > TPL_MAX_TEXT - n)
        return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "a text grows beyond 64 MiB");
    if (tpl_step(r, n / 256))
        return -1;
    if (b->p && b->n + n <= b->cap)
        return 0;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < b->n + n)
        cap *= 2;
    char *p = tpl_alloc(r, cap, 2);
    if (!p)
        return -1;
    if (b->n) {
        memcpy(p, b->p, b->n);
        memcpy(p + cap, b->from, b->n);
    }
    b->p = p;
    b->from = (uint8_t *)p + cap;
    b->cap = cap;
    return 0;
}

int tpl_put(struct tpl_run *r, struct tpl_buf *b, const char *p, size_t n, int data)
{
    if (make_room(r, b, n))
        return -1;
    if (n) {
        memcpy(b->p + b->n, p, n);
        memset(b->from + b->n, data, n);
    }
    b->n += n;
    return 0;
}

int tpl_put_part(struct tpl_run *r, struct tpl_buf *b, const struct tpl_str *s, size_t at, size_t n)
{
    if (!s->from)
        return tpl_put(r, b, s->p + at, n, s->data);
    if (make_room(r, b, n))
        return -1;
    if (n) {
        memcpy(b->p + b->n, s->p + at, n);
        memcpy(b->from + b->n, s->from + at, n);
    }
    b->n += n;
    return 0;
}

int tpl_put_str(struct tpl_run *r, struct tpl_buf *b, const struct tpl_str *s)
{
    return tpl_put_part(r, b, s, 0, s->n);
}

/* ---- strings ---- */

struct tpl_str *tpl_str_new(struct tpl_run *r, const char *p, size_t n, int data)
{
    struct tpl_str *s = tpl_alloc(r, 1, sizeof *s);
    if (s)
        *s = (struct tpl_str){.p = p, .n = n, .data = (uint8_t)data};
    return s;
}

struct tpl_str *tpl_str_from_buf(struct tpl_run *r, struct tpl_buf *b)
{
    struct tpl_str *s = tpl_str_new(r, b->n ? b->p : "", b->n, 0);
    struct tpl_buf *owned = tpl_alloc(r, 1, sizeof *owned);
    if (!s || !owned)
        return NULL;
    *owned = *b;
    s->from = b->from;
    s->buf = owned;
    return s;
}

struct tpl_str *tpl_str_part(struct tpl_run *r, const struct tpl_str *s, size_t at, size_t n)
{
    struct tpl_str *part = tpl_str_new(r, s->p + at, n, s->data);
    if (part && s->from)
        part->from = s->from + at;
    return part;
}

struct tpl_str *tpl_str_join(struct tpl_run *r, const struct tpl_str *a, const struct tpl_str *b)
{
    struct tpl_buf fresh = {NULL, NULL, 0, 0};
    /* Where `a` is the newest text of its buffer, the rest is written behind it. */
    if (a->buf && a->buf->n == a->n && a->buf->p == a->p) {
        struct tpl_str *s;
        if (tpl_put_str(r, a->buf, b) || !(s = tpl_str_new(r, a->buf->p, a->buf->n, 0)))
            return NULL;
        s->from = a->buf->from;
        s->buf = a->buf;
        return s;
    }
    if (tpl_put_str(r, &fresh, a) || tpl_put_str(r, &fresh, b))
        return NULL;
    return tpl_str_from_buf(r, &fresh);
}

int tpl_str_is(const struct tpl_str *s, const char *literal)
{
    return s->n == strlen(literal) && memcmp(s->p, literal, s->n) == 0;
}

int tpl_str_compare(const struct tpl_str *a, const struct tpl_str *b)
{
    /* The order of UTF-8 bytes is the order of code points. */
    size_t n = a->n < b->n ? a->n : b->n;
    int order = n ? memcmp(a->p, b->p, n) : 0;
    if (!order && a->n != b->n)
        return a->n < b->n ? -1 : 1;
    return (order > 0) - (order < 0);
}

size_t tpl_str_length(const struct tpl_str *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->n; i++)
        count += ((unsigned char)s->p[i] & 0xc0) != 0x80;
    return count;
}

size_t tpl_str_offset(const struct tpl_str *s, size_t i)
{
    size_t at = 0, len;
    for (; i > 0 && at < s->n; i--) {
        utf8_decode(s->p + at, &len);
        at += len;
    }
    return at;
}

size_t tpl_str_find(const struct tpl_str *s, const struct tpl_str *what, size_t at)
{
    if (at > s->n || what->n > s->n - at)
        return SIZE_MAX;
    if (!what->n)
        return at;
    const char *hit = memmem(s->p + at, s->n - at, what->p, what->n);
    return hit ? (size_t)(hit - s->p) : SIZE_MAX;
}

/* Is the code point at s one to be stripped? */
static int is_in(const struct tpl_str *set, const char *s, size_t *len)
{
    uint32_t c = utf8_decode(s, len);
    if (!set)
        return tpl_is_space(c);
    for (size_t i = 0, n; i < set->n; i += n) {
        n = 1;
        if (utf8_decode(set->p + i, &n) == c)
            return 1;
    }
    return 0;
}

struct tpl_str *tpl_str_strip(struct tpl_run *r, const struct tpl_str *s, const struct tpl_str *set,
                              int ends)
{
    size_t at = 0, end = s->n, len;
    if (tpl_step(r, s->n / 256))
        return NULL;
    while ((ends & TPL_LEFT) && at < end && is_in(set, s->p + at, &len))
        at += len;
    while ((ends & TPL_RIGHT) && at < end) {
        size_t last = end - 1;
        while (((unsigned char)s->p[last] & 0xc0) == 0x80)
            last--;
        if (!is_in(set, s->p + last, &len))
            break;
        end = last;
    }
    return tpl_str_part(r, s, at, end - at);
}

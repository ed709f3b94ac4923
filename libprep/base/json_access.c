/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/base/json_text.h"

size_t json_count(const struct json *d, uint32_t node)
{
    size_t n = 0;
    for (uint32_t i = json_first(d, node); i != JSON_NONE; i = d->nodes[i].next)
        n++;
    return d->nodes[node].type == JSON_OBJECT ? n / 2 : n;
}

int json_equal(const struct json *d, uint32_t node, const char *s)
{
    return json_equal_n(d, node, s, strlen(s));
}

int json_equal_n(const struct json *d, uint32_t node, const char *s, size_t n)
{
    const struct json_node *k = &d->nodes[node];
    if (k->type != JSON_STRING)
        return 0;
    if (!k->escaped)
        return k->end - k->start - 2 == n && memcmp(d->text + k->start + 1, s, n) == 0;
    struct json_reader u = {.s = d->text + k->start + 1, .end = d->text + k->end - 1};
    for (size_t i = 0; i < n; i++)
        if (json_next_byte(&u) != (unsigned char)s[i])
            return 0;
    return json_next_byte(&u) < 0;
}

int json_same_string(const struct json *a, uint32_t x, const struct json *b, uint32_t y)
{
    const struct json_node *k = &a->nodes[x], *l = &b->nodes[y];
    if (k->type != JSON_STRING || l->type != JSON_STRING)
        return 0;
    struct json_reader u = {.s = a->text + k->start + 1, .end = a->text + k->end - 1};
    struct json_reader v = {.s = b->text + l->start + 1, .end = b->text + l->end - 1};
    int c;
    while ((c = json_next_byte(&u)) == json_next_byte(&v))
        if (c < 0)
            return 1;
    return 0;
}

uint32_t json_get(const struct json *d, uint32_t object, const char *key)
{
    if (d->nodes[object].type != JSON_OBJECT)
        return JSON_NONE;
    for (uint32_t k = json_first(d, object); k != JSON_NONE;) {
        uint32_t value = d->nodes[k].next;
        if (json_equal(d, k, key))
            return value;
        k = d->nodes[value].next;
    }
    return JSON_NONE;
}

size_t json_decode(const struct json *d, uint32_t node, char *out)
{
    const struct json_node *k = &d->nodes[node];
    const char *s = d->text + k->start + 1, *end = d->text + k->end - 1;
    if (k->escaped)
        return json_unescape(s, end, out);
    memcpy(out, s, (size_t)(end - s));
    return (size_t)(end - s);
}

char *json_string(const struct json *d, uint32_t node, struct arena *arena, size_t *n,
                  struct prep_error *err)
{
    const struct json_node *k = &d->nodes[node];
    if (k->type != JSON_STRING) {
        prep_fail(err, PREP_EBUG, "%s: byte %u: asked for a string", d->name, k->start);
        return NULL;
    }
    char *out = arena_alloc(arena, k->end - k->start - 1, err);
    if (!out)
        return NULL;
    size_t len = json_decode(d, node, out);
    out[len] = 0;
    if (n)
        *n = len;
    return out;
}

/* Digits up to the end of the token; -1 on any other byte and beyond 64 bits. */
static int magnitude(const char *s, const char *end, uint64_t *v)
{
    uint64_t sum = 0;
    ptrdiff_t n = end - s;
    if (n > 20) /* there are no leading zeros */
        return -1;
    const char *safe = n > 19 ? end - 1 : end;
    for (; s < safe; s++) {
        if (!is_json_digit(*s))
            return -1;
        sum = sum * 10 + (uint64_t)(*s - '0');
    }
    if (s < end && (!is_json_digit(*s) || prep_mul(&sum, sum, 10) ||
                    prep_add(&sum, sum, (uint64_t)(*s - '0'))))
        return -1;
    *v = sum;
    return 0;
}

int json_u64(const struct json *d, uint32_t node, uint64_t *v)
{
    const struct json_node *k = &d->nodes[node];
    uint64_t u;
    if (k->type != JSON_NUMBER || magnitude(d->text + k->start, d->text + k->end, &u))
        return -1;
    *v = u;
    return 0;
}

int json_i64(const struct json *d, uint32_t node, int64_t *v)
{
    const struct json_node *k = &d->nodes[node];
    uint64_t u;
    if (k->type != JSON_NUMBER)
        return -1;
    unsigned minus = d->text[k->start] == '-';
    if (magnitude(d->text + k->start + minus, d->text + k->end, &u) ||
        u > (uint64_t)INT64_MAX + minus)
        return -1;
    *v = (int64_t)(minus ? 0 - u : u);
    return 0;
}

int json_f64(const struct json *d, uint32_t node, double *v)
{
    const struct json_node *k = &d->nodes[node];
    if (k->type != JSON_NUMBER)
        return -1;
    /* A byte that is no part of a number follows every token, except at the very end. */
    const char *s = d->text + k->start;
    char *copy = NULL;
    if (k->end == d->n)
        s = copy = strndup(s, k->end - k->start);
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    int rc = s && c ? 0 : -1;
    if (!rc)
        *v = strtod_l(s, NULL, c);
    if (c)
        freelocale(c);
    free(copy);
    return rc;
}

const char *json_where(const struct json *d, uint32_t node, char *buf, size_t size)
{
    size_t at = d->nodes[node].start;
    snprintf(buf, size, "%s: byte %zu (line %zu)", d->name, at, json_line(d->text, at));
    return buf;
}

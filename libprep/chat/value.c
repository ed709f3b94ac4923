/* SPDX-License-Identifier: MIT */
#include "libprep/chat/value.h"
#include "libprep/chat/call.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_STEPS = 10000000 };

int tpl_at_line(struct tpl_run *r)
{
    return prep_note(r->err, "%s: line %u", r->t->name, r->line);
}

int tpl_step(struct tpl_run *r, uint64_t n)
{
    r->steps += n;
    if (r->steps <= MAX_STEPS)
        return 0;
    return tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "the template takes more than 10^7 steps");
}

void *tpl_alloc(struct tpl_run *r, size_t n, size_t size)
{
    if (r->arena->limit &&
        (n > r->arena->limit / size || r->arena->used + n * size > r->arena->limit)) {
        tpl_fail(r, PREP_EDATA, "TPL_LIMIT", "the template takes more than %zu MiB of memory",
                 r->arena->limit >> 20);
        return NULL;
    }
    return arena_calloc(r->arena, n, size, r->err);
}

int tpl_undefined(struct tpl_run *r, struct tpl_value *out, const char *fmt, ...)
{
    char text[160];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    size_t bytes = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    char *copy = tpl_alloc(r, bytes + 1, 1);
    if (!copy)
        return -1;
    memcpy(copy, text, bytes);
    *out = (struct tpl_value){.kind = TPL_UNDEFINED, .u.why = copy};
    return 0;
}

int tpl_wrap(struct tpl_value *out, struct tpl_str *s)
{
    if (!s)
        return -1;
    *out = tpl_string(s);
    return 0;
}

int tpl_list_new(struct tpl_run *r, struct tpl_value *out, size_t n, enum tpl_flavor flavor)
{
    struct tpl_list *l = tpl_alloc(r, 1, sizeof *l);
    if (!l || tpl_step(r, n / 16) || !(l->items = tpl_alloc(r, n, sizeof *l->items)))
        return -1;
    l->n = n;
    l->flavor = (uint8_t)flavor;
    *out = (struct tpl_value){.kind = TPL_LIST, .u.l = l};
    return 0;
}

int tpl_dict_new(struct tpl_run *r, struct tpl_value *out, enum tpl_kind kind, size_t cap)
{
    struct tpl_dict *d = tpl_alloc(r, 1, sizeof *d);
    if (!d || !(d->keys = tpl_alloc(r, cap, sizeof *d->keys)) ||
        !(d->values = tpl_alloc(r, cap, sizeof *d->values)))
        return -1;
    d->cap = cap;
    *out = (struct tpl_value){.kind = kind, .u.d = d};
    return 0;
}

/* Where a key is: 1 and its place, 0, or -1. */
static int find(struct tpl_run *r, size_t *at, const struct tpl_dict *d, struct tpl_value key)
{
    if (tpl_step(r, d->n / 16))
        return -1;
    for (size_t i = 0; i < d->n; i++) {
        /* Nearly all keys are strings. */
        if (key.kind == TPL_STRING && d->keys[i].kind == TPL_STRING &&
            key.u.s->n != d->keys[i].u.s->n)
            continue;
        int same = tpl_equal(r, d->keys[i], key);
        if (same < 0)
            return -1;
        if (same) {
            *at = i;
            return 1;
        }
    }
    return 0;
}

int tpl_dict_get(struct tpl_run *r, struct tpl_value *out, const struct tpl_dict *d,
                 struct tpl_value key)
{
    size_t at;
    int found = find(r, &at, d, key);
    if (found > 0)
        *out = d->values[at];
    return found;
}

int tpl_dict_set(struct tpl_run *r, struct tpl_dict *d, struct tpl_value key,
                 struct tpl_value value)
{
    size_t at;
    int found = find(r, &at, d, key);
    if (found < 0)
        return -1;
    if (found) {
        d->values[at] = value;
        return 0;
    }
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 4;
        struct tpl_value *keys = tpl_alloc(r, cap, sizeof *keys);
        struct tpl_value *values = tpl_alloc(r, cap, sizeof *values);
        if (!keys || !values)
            return -1;
        if (d->n) {
            memcpy(keys, d->keys, d->n * sizeof *keys);
            memcpy(values, d->values, d->n * sizeof *values);
        }
        d->keys = keys;
        d->values = values;
        d->cap = cap;
    }
    d->keys[d->n] = key;
    d->values[d->n++] = value;
    return 0;
}

int tpl_argument(struct tpl_value *out, const struct tpl_args *args, size_t place, const char *name)
{
    int found = 0;
    for (size_t i = 0; i < args->n; i++) {
        const struct tpl_str *given = args->names[i];
        if (given ? !tpl_str_is(given, name) : i != place)
            continue;
        *out = args->values[i];
        if (found++)
            return -1;
    }
    return found;
}

int tpl_check_args(struct tpl_run *r, const struct tpl_args *args, size_t places,
                   const char *const *names, const char *what)
{
    for (size_t i = 0; i < args->n; i++) {
        const struct tpl_str *given = args->names[i];
        size_t k = 0;
        if (!given && i >= places)
            return tpl_type(r, "%s takes at most %zu arguments", what, places);
        while (given && names[k] && !tpl_str_is(given, names[k]))
            k++;
        if (given && !names[k])
            return tpl_type(r, "%s has no argument \"%.*s\"", what,
                            given->n > 60 ? 60 : (int)given->n, given->p);
    }
    for (size_t k = 0; names[k]; k++) {
        struct tpl_value v;
        if (tpl_argument(&v, args, k < places ? k : SIZE_MAX, names[k]) < 0)
            return tpl_type(r, "%s is given \"%s\" twice", what, names[k]);
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/base/table.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"

int name_table_init(struct name_table *t, size_t n, struct prep_error *err)
{
    size_t cap = 16;
    while (cap / 3 * 2 <= n) {
        if (cap > SIZE_MAX / 2 / sizeof *t->slots)
            return prep_fail(err, PREP_ENOMEM, "out of memory indexing %zu names", n);
        cap *= 2;
    }
    struct name_slot *slots = calloc(cap, sizeof *slots);
    if (!slots)
        return prep_fail(err, PREP_ENOMEM, "out of memory indexing %zu names", n);
    *t = (struct name_table){slots, cap, 0};
    return 0;
}

void name_table_free(struct name_table *t)
{
    free(t->slots);
    *t = (struct name_table){NULL, 0, 0};
}

/* The slot that holds the name, or the empty one where it belongs. */
static struct name_slot *find(const struct name_table *t, const char *name, size_t n, uint64_t hash)
{
    for (size_t i = hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        struct name_slot *s = &t->slots[i];
        if (!s->name || (s->hash == hash && s->n == n && memcmp(s->name, name, n) == 0))
            return s;
    }
}

static int grow(struct name_table *t, struct prep_error *err)
{
    struct name_table bigger;
    if (name_table_init(&bigger, t->cap, err))
        return -1;
    for (size_t i = 0; i < t->cap; i++) {
        const struct name_slot *s = &t->slots[i];
        if (s->name)
            *find(&bigger, s->name, s->n, s->hash) = *s;
    }
    bigger.used = t->used;
    free(t->slots);
    *t = bigger;
    return 0;
}

int name_table_add(struct name_table *t, const char *name, size_t n, uint32_t value, uint32_t *old,
                   struct prep_error *err)
{
    if (t->used >= t->cap / 3 * 2 && grow(t, err))
        return -1;
    uint64_t hash = hash64(name, n);
    struct name_slot *s = find(t, name, n, hash);
    *old = s->name ? s->value : NAME_NONE;
    if (!s->name) {
        *s = (struct name_slot){name, (uint32_t)n, value, hash};
        t->used++;
    }
    return 0;
}

uint32_t name_table_get(const struct name_table *t, const char *name, size_t n)
{
    if (!t->cap)
        return NAME_NONE;
    const struct name_slot *s = find(t, name, n, hash64(name, n));
    return s->name ? s->value : NAME_NONE;
}

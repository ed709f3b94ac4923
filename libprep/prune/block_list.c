/* SPDX-License-Identifier: MIT */
#include "libprep/prune/block_list.h"

#include <string.h>

#include "libprep/base/table.h"

enum { GONE = -1, NO_EXPERT = -2 };

static const char word[] = "experts.";

struct blocks {
    struct json_patch *p;
    const struct renumber *r;
    struct name_table names;  /* every entry */
    struct name_table places; /* entries with an empty id: 1 when all experts are named there */
    int n_before, n_after;    /* most experts of a layer */
};

/* An entry cut at its expert id. */
struct entry {
    const char *text;
    int prefix_n, id; /* bytes before the id; NO_EXPERT */
    const char *rest;
};

static struct entry cut(const char *text)
{
    struct entry e = {text, 0, NO_EXPERT, ""};
    const char *at = strstr(text, word);
    if (!at || (at > text && at[-1] != '.'))
        return e;
    at += sizeof word - 1;
    const size_t n = strspn(at, "0123456789");
    if (n == 0 || n > 6 || (at[n] && at[n] != '.'))
        return e;
    e.prefix_n = (int)(at - text);
    e.id = 0;
    for (size_t i = 0; i < n; i++)
        e.id = 10 * e.id + (at[i] - '0');
    e.rest = at + n;
    return e;
}

/* The same place of another expert. */
static const char *with_id(const struct blocks *b, const struct entry *e, int id,
                           struct prep_error *err)
{
    return arena_printf(b->p->arena, err, "%.*s%d%s", e->prefix_n, e->text, id, e->rest);
}

static int names_all(struct blocks *b, const struct entry *e, int *all, struct prep_error *err)
{
    const char *place = arena_printf(b->p->arena, err, "%.*s%s", e->prefix_n, e->text, e->rest);
    uint32_t known = place ? name_table_get(&b->places, place, strlen(place)) : 0;
    *all = known == 1;
    if (!place || known != NAME_NONE)
        return place ? 0 : -1;
    *all = 1;
    for (int id = 0; id < b->n_before && *all; id++) {
        const char *name = with_id(b, e, id, err);
        if (!name)
            return -1;
        *all = name_table_get(&b->names, name, strlen(name)) != NAME_NONE;
    }
    return name_table_add(&b->places, place, strlen(place), (uint32_t)*all, &known, err);
}

/* Where the expert goes, in every layer; GONE. */
static int one_fate(const struct blocks *b, const struct entry *e, int *id, struct prep_error *err)
{
    int first = -1;
    for (int i = 0; i < b->r->n_layers; i++) {
        const struct renumber_layer *l = &b->r->layers[i];
        if (l->n_parent == 0 || renumber_drops_layer(b->r, i))
            continue;
        const int to = e->id >= l->n_parent ? GONE : l->new_id ? l->new_id[e->id] : e->id;
        if (first >= 0 && to != *id)
            return prep_fail_tag(err, PREP_EDATA, "APPLY_PATTERN_EXPERT_ID",
                                 "modules_in_block_to_quantize names %s for every layer, but its "
                                 "expert becomes %d in layer %d and %d in layer %d (-1: dropped); "
                                 "name all experts, or take the key out",
                                 e->text, *id, first, to, i);
        *id = to;
        first = i;
    }
    return 0;
}

/* The new id of an entry, GONE or NO_EXPERT. */
static int judge(struct blocks *b, const struct entry *e, int *id, struct prep_error *err)
{
    int all;
    *id = e->id;
    if (e->id == NO_EXPERT)
        return 0;
    if (names_all(b, e, &all, err))
        return -1;
    if (!all)
        return one_fate(b, e, id, err);
    *id = e->id < b->n_after ? e->id : GONE;
    return 0;
}

/* One group. *left: how many of its children stay. */
static int edit_group(struct blocks *b, uint32_t group, int write, size_t *left,
                      struct prep_error *err)
{
    const struct json *d = b->p->doc;
    *left = 0;
    for (uint32_t c = json_first(d, group); c != JSON_NONE; c = json_next(d, c)) {
        size_t n;
        int id;
        (*left)++;
        if (json_type(d, c) != JSON_STRING)
            continue;
        const char *text = json_string(d, c, b->p->arena, &n, err);
        if (!text)
            return -1;
        const struct entry e = cut(text);
        if (judge(b, &e, &id, err))
            return -1;
        *left -= id == GONE;
        if (!write || id == e.id)
            continue;
        const char *name = id == GONE ? NULL : with_id(b, &e, id, err);
        if (id == GONE ? json_patch_remove(b->p, group, c, err)
                       : !name || json_patch_replace_string(b->p, c, name, err))
            return -1;
    }
    return 0;
}

static int collect(struct blocks *b, uint32_t list, struct prep_error *err)
{
    const struct json *d = b->p->doc;
    for (uint32_t c = json_first(d, list); c != JSON_NONE; c = json_next(d, c)) {
        uint32_t old;
        size_t n;
        if (json_type(d, c) == JSON_ARRAY && collect(b, c, err))
            return -1;
        if (json_type(d, c) != JSON_STRING)
            continue;
        const char *text = json_string(d, c, b->p->arena, &n, err);
        if (!text || name_table_add(&b->names, text, strlen(text), 0, &old, err))
            return -1;
    }
    return 0;
}

static void count_experts(struct blocks *b)
{
    for (int i = 0; i < b->r->n_layers; i++) {
        const struct renumber_layer *l = &b->r->layers[i];
        if (l->n_parent > b->n_before)
            b->n_before = l->n_parent;
        if (l->n_kept > b->n_after && !renumber_drops_layer(b->r, i))
            b->n_after = l->n_kept;
    }
}

int edit_block_list(struct json_patch *p, uint32_t list, const struct renumber *r,
                    struct prep_error *err)
{
    const struct json *d = p->doc;
    struct blocks b = {.p = p, .r = r};
    size_t left, total = 0;
    if (list == JSON_NONE || json_type(d, list) != JSON_ARRAY)
        return 0;
    for (uint32_t c = json_first(d, list); c != JSON_NONE; c = json_next(d, c))
        total += json_type(d, c) == JSON_ARRAY ? json_count(d, c) : 1;
    count_experts(&b);
    int rc = name_table_init(&b.names, total, err) || name_table_init(&b.places, 16, err) ||
             collect(&b, list, err) || edit_group(&b, list, 1, &left, err);
    for (uint32_t c = json_first(d, list); c != JSON_NONE && !rc; c = json_next(d, c)) {
        if (json_type(d, c) != JSON_ARRAY)
            continue;
        rc = edit_group(&b, c, 0, &left, err);
        if (!rc && left)
            rc = edit_group(&b, c, 1, &left, err);
        else if (!rc && json_count(d, c))
            rc = json_patch_remove(p, list, c, err);
    }
    name_table_free(&b.names);
    name_table_free(&b.places);
    return rc ? -1 : 0;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/prune/module_list.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/pattern.h"
#include "libprep/base/table.h"

void module_list_fini(struct module_list *l)
{
    arena_fini(&l->arena);
    *l = (struct module_list){0};
}

static int add_module(struct module_list *l, struct name_table *seen, const char *name, size_t n,
                      struct prep_error *err)
{
    if (name_table_get(seen, name, n) != NAME_NONE)
        return 0;
    char *copy = arena_strndup(&l->arena, name, n, err);
    uint32_t old;
    if (!copy || name_table_add(seen, copy, n, (uint32_t)l->n, &old, err))
        return -1;
    struct module *m = &l->modules[l->n++];
    *m = (struct module){.name = copy, .n = n, .inside = ""};
    renumber_module(&m->fate, l->renumber, copy, n);
    m->order = name_order(&m->fate.parts);
    if (m->fate.parts.role == ROLE_EXPERT)
        m->inside = copy + m->fate.parts.expert_at + m->fate.parts.expert_n;
    return 0;
}

static int by_order(const void *a, const void *b)
{
    const struct module *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Names equal but for the expert id compare as 0. */
static int compare_places(const struct module *x, const struct module *y)
{
    const struct name_parts *p = &x->fate.parts, *q = &y->fate.parts;
    if (p->layer != q->layer)
        return p->layer < q->layer ? -1 : 1;
    if (p->expert_at != q->expert_at)
        return p->expert_at < q->expert_at ? -1 : 1;
    int c = memcmp(x->name, y->name, p->expert_at);
    return c ? c : strcmp(x->inside, y->inside);
}

static int by_place_inside(const void *a, const void *b, void *modules)
{
    const struct module *x = (const struct module *)modules + *(const uint32_t *)a;
    const struct module *y = (const struct module *)modules + *(const uint32_t *)b;
    int c = compare_places(x, y);
    if (c)
        return c;
    return x->fate.parts.expert < y->fate.parts.expert
               ? -1
               : x->fate.parts.expert > y->fate.parts.expert;
}

/* Link every module of an expert to the expert, and list those in pruned layers. */
static int index_experts(struct module_list *l, struct name_table *seen, struct prep_error *err)
{
    for (size_t i = 0; i < l->n; i++) {
        uint32_t old;
        if (!*l->modules[i].inside && l->modules[i].fate.parts.role == ROLE_EXPERT &&
            name_table_add(seen, l->modules[i].name, l->modules[i].n, (uint32_t)i, &old, err))
            return -1;
    }
    l->hit = arena_calloc(&l->arena, l->n, 1, err);
    l->cut = arena_calloc(&l->arena, l->n, sizeof *l->cut, err);
    if (!l->hit || !l->cut)
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        struct module *m = &l->modules[i];
        const struct name_parts *p = &m->fate.parts;
        if (p->role != ROLE_EXPERT)
            continue;
        m->expert = name_table_get(seen, m->name, p->expert_at + p->expert_n);
        if (m->fate.layer)
            l->cut[l->n_cut++] = (uint32_t)i;
    }
    if (l->n_cut)
        qsort_r(l->cut, l->n_cut, sizeof *l->cut, by_place_inside, l->modules);
    return 0;
}

static int collect(struct module_list *l, struct name_table *seen, const char *const *tensors,
                   size_t n_tensors, struct prep_error *err)
{
    for (size_t i = 0; i < n_tensors; i++) {
        const char *name = tensors[i];
        struct name_parts p = name_parse(name, strlen(name));
        if (add_module(l, seen, name, (size_t)(p.module - name) + p.module_n, err))
            return -1;
        if (p.role == ROLE_EXPERT && add_module(l, seen, name, p.expert_at + p.expert_n, err))
            return -1;
    }
    return 0;
}

int module_list_init(struct module_list *l, const struct renumber *r, const char *const *tensors,
                     size_t n_tensors, struct prep_error *err)
{
    struct name_table seen = {0}, experts = {0};
    int rc = -1;
    *l = (struct module_list){.renumber = r};
    arena_init(&l->arena, 0);
    l->modules = arena_calloc(&l->arena, 2 * n_tensors, sizeof *l->modules, err);
    if (!l->modules || name_table_init(&seen, n_tensors, err) ||
        name_table_init(&experts, n_tensors / 3, err) || collect(l, &seen, tensors, n_tensors, err))
        goto out;
    if (l->n)
        qsort(l->modules, l->n, sizeof *l->modules, by_order);
    rc = index_experts(l, &experts, err);
out:
    name_table_free(&seen);
    name_table_free(&experts);
    if (rc)
        module_list_fini(l);
    return rc;
}

/* Is the entry something else than the name of one module? */
static size_t prefix_length(const char *entry)
{
    if (strncmp(entry, "re:", 3) == 0)
        return 3;
    return strncmp(entry, "+:", 2) == 0 || strncmp(entry, "-:", 2) == 0 ? 2 : 0;
}

static int is_pattern(const char *entry)
{
    return prefix_length(entry) > 0 || strpbrk(entry, "*?[]\\^$(){}|+") != NULL;
}

/* Entries of lists are globs unless something shows an expression. */
static int is_glob(const char *entry, enum pattern_syntax syntax)
{
    return syntax == SYNTAX_GLOB && prefix_length(entry) == 0 && !strchr(entry, '\\');
}

static void match_glob(const struct module_list *l, const char *entry, unsigned char *hit)
{
    for (size_t i = 0; i < l->n; i++)
        hit[i] = fnmatch(entry, l->modules[i].name, 0) == 0;
}

static int match_expression(const struct module_list *l, const char *entry,
                            enum pattern_syntax syntax, unsigned char *hit, struct prep_error *err)
{
    enum pattern_anchor anchor = PATTERN_START;
    size_t prefix = prefix_length(entry);
    struct pattern *p = NULL;
    if (syntax == SYNTAX_FULLMATCH && prefix == 0)
        anchor = PATTERN_WHOLE;
    if (pattern_compile(&p, entry + prefix, strlen(entry + prefix), anchor, err))
        return -1;
    int rc = 0;
    for (size_t i = 0; i < l->n && !rc; i++) {
        enum pattern_result found = pattern_match(p, l->modules[i].name, l->modules[i].n);
        hit[i] = found == PATTERN_YES;
        if (found == PATTERN_LIMIT)
            rc = prep_fail_tag(err, PREP_EDATA, "PATTERN", "pattern %s takes too long to match %s",
                               entry, l->modules[i].name);
    }
    pattern_free(p);
    return rc;
}

/* Is there a digit after the word "experts"? */
static int may_name_ids(const char *entry)
{
    const char *experts = strstr(entry, "experts");
    return experts && strpbrk(experts, "0123456789");
}

/*
 * Two modules at the same place of different experts of one layer of which only one is matched:
 * the pattern tells experts apart. Returns 0 when there are none.
 */
static int tells_apart(const struct module_list *l, const unsigned char *hit, uint32_t pair[2])
{
    for (size_t i = 1; i < l->n_cut; i++) {
        uint32_t a = l->cut[i - 1], b = l->cut[i];
        if (hit[a] == hit[b] || compare_places(&l->modules[a], &l->modules[b]) != 0)
            continue;
        pair[0] = hit[a] ? a : b;
        pair[1] = hit[a] ? b : a;
        return 1;
    }
    return 0;
}

/* Does it match something, and nothing outside the layers that are dropped? */
static int only_dropped_layers(const struct module_list *l, const unsigned char *hit)
{
    int any = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!hit[i])
            continue;
        if (!renumber_drops_layer(l->renumber, l->modules[i].fate.parts.layer))
            return 0;
        any = 1;
    }
    return any;
}

/* An expert of which a part is matched, too, is named by its parts. */
static void prefer_parts(const struct module_list *l, unsigned char *hit)
{
    for (size_t i = 0; i < l->n; i++)
        if (hit[i] && *l->modules[i].inside)
            hit[l->modules[i].expert] = 0;
}

static int expand_pattern(struct entry_fate *fate, const struct module_list *l, const char *entry,
                          unsigned char *hit, struct arena *arena, struct prep_error *err)
{
    const char *sign = *entry == '+' ? "+:" : *entry == '-' ? "-:" : "";
    prefer_parts(l, hit);
    fate->names = arena_calloc(arena, l->n, sizeof *fate->names, err);
    if (!fate->names)
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        const struct module *m = &l->modules[i];
        if (!hit[i] || m->fate.action == RENUMBER_DROP)
            continue;
        const char *name = m->name;
        if (m->fate.action == RENUMBER_RENAME)
            name = name_with_expert(arena, name, &m->fate.parts, m->fate.expert, err);
        if (name && *sign)
            name = arena_printf(arena, err, "%s%s", sign, name);
        if (!name)
            return -1;
        fate->names[fate->n++] = name;
    }
    fate->action = fate->n ? ENTRY_REPLACE : ENTRY_DROP;
    fate->expanded = 1;
    return 0;
}

static int pattern_entry(struct entry_fate *fate, const struct module_list *l, const char *entry,
                         enum pattern_syntax syntax, int expand, struct arena *arena,
                         struct prep_error *err)
{
    uint32_t pair[2];
    unsigned char *hit = l->hit;
    if (is_glob(entry, syntax)) {
        match_glob(l, entry, hit);
    } else {
        struct prep_error why = PREP_ERROR_INIT;
        int rc = match_expression(l, entry, syntax, hit, &why);
        /* What cannot be read but names no ids needs nothing. */
        if (rc && why.code == PREP_EDATA && !may_name_ids(entry))
            return 0;
        if (rc) {
            *err = why;
            return -1;
        }
    }
    if (l->renumber->drop_mtp && only_dropped_layers(l, hit)) {
        fate->action = ENTRY_DROP;
        return 0;
    }
    if (!tells_apart(l, hit, pair))
        return 0;
    if (expand)
        return expand_pattern(fate, l, entry, hit, arena, err);
    return prep_fail_tag(err, PREP_EDATA, "APPLY_PATTERN_EXPERT_ID",
                         "pattern %s matches %s and not %s: ids of experts in a pattern cannot be "
                         "renumbered, --expand-patterns replaces it by the names it matches",
                         entry, l->modules[pair[0]].name, l->modules[pair[1]].name);
}

int module_entry(struct entry_fate *fate, const struct module_list *l, const char *entry,
                 enum pattern_syntax syntax, int expand, struct arena *arena,
                 struct prep_error *err)
{
    struct renumber_fate name;
    *fate = (struct entry_fate){.action = ENTRY_KEEP};
    if (is_pattern(entry))
        return pattern_entry(fate, l, entry, syntax, expand, arena, err);
    renumber_module(&name, l->renumber, entry, strlen(entry));
    if (name.action == RENUMBER_DROP)
        fate->action = ENTRY_DROP;
    if (name.action != RENUMBER_RENAME)
        return 0;
    fate->action = ENTRY_REPLACE;
    fate->names = arena_calloc(arena, 1, sizeof *fate->names, err);
    if (!fate->names)
        return -1;
    fate->names[fate->n++] = name_with_expert(arena, entry, &name.parts, name.expert, err);
    return fate->names[0] ? 0 : -1;
}

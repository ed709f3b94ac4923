/* SPDX-License-Identifier: MIT */
/*
 * All tensors sorted by module; each run of equal modules is judged once.
 */
#include <stdlib.h>
#include <string.h>

#include "libprep/quant/linear_form.h"

/* A tensor under its place in the layout. */
struct entry {
    uint64_t order; /* name_order() */
    const struct tensor_info *info;
    uint32_t index;
    uint32_t module_n; /* bytes of the name before ".suffix" */
};

/* The tensors of a checkpoint or a view: infos that lie `stride` bytes apart. */
struct table {
    const char *first;
    size_t stride, n;
};

struct finding_run {
    struct linears *out;
    const struct linear_settings *settings;
    struct arena *arena;
};

static const struct tensor_info *table_at(const struct table *t, size_t i)
{
    return (const struct tensor_info *)(const void *)(t->first + i * t->stride);
}

static int compare_modules(const struct entry *a, const struct entry *b)
{
    const uint64_t x = a->order >> 8, y = b->order >> 8;
    if (x != y)
        return x < y ? -1 : 1;
    const size_t n = a->module_n < b->module_n ? a->module_n : b->module_n;
    const int c = memcmp(a->info->name, b->info->name, n);
    if (c != 0)
        return c;
    return a->module_n < b->module_n ? -1 : a->module_n > b->module_n;
}

static int by_module(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const int c = compare_modules(x, y);
    if (c != 0)
        return c;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->info->name, y->info->name);
}

static struct entry entry_of(const struct tensor_info *info, size_t index)
{
    const size_t n = strlen(info->name);
    const struct name_parts p = name_parse(info->name, n);
    return (struct entry){
        .order = name_order(&p),
        .info = info,
        .index = (uint32_t)index,
        .module_n = (uint32_t)(p.suffix_n ? n - p.suffix_n - 1 : n),
    };
}

static struct entry *sorted_entries(const struct table *t, struct arena *arena,
                                    struct prep_error *err)
{
    struct entry *entries = arena_calloc(arena, t->n + 1, sizeof *entries, err);
    if (!entries)
        return NULL;
    for (size_t i = 0; i < t->n; i++)
        entries[i] = entry_of(table_at(t, i), i);
    qsort(entries, t->n, sizeof *entries, by_module);
    return entries;
}

static int is_activation_scale(const struct name_parts *p)
{
    return name_suffix_is(p, "activation_scale");
}

/* Experts in one tensor: read where they are plain, by whoever can; never decoded here. */
static int refuse_fused_codes(const struct tensor_info *t, const struct name_parts *p,
                              struct prep_error *err)
{
    if (p->role != ROLE_FUSED_EXPERTS || is_activation_scale(p))
        return 0;
    if (t->dtype == DTYPE_BF16 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_F32) {
        const size_t n = strlen(t->name), k = strlen("_scale_inv");
        if (n < k || strcmp(t->name + n - k, "_scale_inv") != 0)
            return 0;
    }
    return prep_fail_tag(err, PREP_EUNSUP, "UNSUPPORTED",
                         "%s: quantized experts stacked in one tensor, want one tensor each",
                         t->name);
}

static int gather(struct linear_module *m, const struct entry *e, size_t n, struct prep_error *err)
{
    *m = (struct linear_module){.name = e->info->name, .name_n = e->module_n};
    for (size_t i = 0; i < n; i++) {
        const struct tensor_info *t = e[i].info;
        const struct name_parts p = name_parse(t->name, strlen(t->name));
        const enum suffix suffix = name_suffix(&p);
        m->parts = p;
        if (refuse_fused_codes(t, &p, err))
            return -1;
        if (is_activation_scale(&p)) {
            m->activation_scale = t;
            m->activation_index = e[i].index;
        } else if (suffix < SUFFIX_COUNT) {
            m->tensors[suffix] = t;
            m->index[suffix] = e[i].index;
        }
    }
    return 0;
}

static int holds(const struct linear *l, uint32_t index)
{
    for (int i = 0; i < l->n_tensors; i++)
        if (l->tensors[i].index == index)
            return 1;
    return 0;
}

/* One module: entries e[0..n). */
static int take_module(struct finding_run *run, const struct entry *e, size_t n,
                       struct prep_error *err)
{
    struct linears *out = run->out;
    struct linear *l = &out->items[out->n];
    struct linear_module m;
    int is_linear;
    *l = (struct linear){.order = e->order >> 8 << 8};
    if (gather(&m, e, n, err) || linear_judge(l, &is_linear, &m, run->settings, err))
        return -1;
    if (is_linear) {
        l->name = arena_strndup(run->arena, m.name, m.name_n, err);
        if (!l->name)
            return -1;
        l->role = m.parts.role;
        l->part = m.parts.part;
        l->layer = m.parts.layer;
        l->expert = m.parts.expert;
        out->n++;
    }
    for (size_t i = 0; i < n; i++)
        if (!is_linear || !holds(l, e[i].index))
            out->rest[out->n_rest++] = e[i].index;
    return 0;
}

static size_t count_modules(const struct entry *e, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += i == 0 || compare_modules(&e[i - 1], &e[i]) != 0;
    return count;
}

static int find(struct linears *out, const struct table *t, const struct config *c,
                struct arena *arena, struct report *report, struct prep_error *err)
{
    struct linear_settings settings;
    struct arena scratch;
    int rc = -1;
    *out = (struct linears){0};
    arena_init(&scratch, 0);
    if (t->n >= UINT32_MAX) {
        prep_fail(err, PREP_EUNSUP, "%zu tensors are too many", t->n);
        goto out;
    }
    struct entry *e = sorted_entries(t, &scratch, err);
    if (!e || linear_settings_read(&settings, c, report, err))
        goto out;
    out->items = arena_calloc(arena, count_modules(e, t->n) + 1, sizeof *out->items, err);
    out->rest = arena_calloc(arena, t->n + 1, sizeof *out->rest, err);
    if (!out->items || !out->rest)
        goto out;
    struct finding_run run = {out, &settings, arena};
    for (size_t i = 0, n; i < t->n; i += n) {
        for (n = 1; i + n < t->n && compare_modules(&e[i], &e[i + n]) == 0;)
            n++;
        if (take_module(&run, e + i, n, err))
            goto out;
    }
    rc = linear_check_lists(out, c, report, err);
out:
    arena_fini(&scratch);
    return rc;
}

int linears_of_checkpoint(struct linears *out, const struct checkpoint *ckpt,
                          const struct config *c, struct arena *arena, struct report *report,
                          struct prep_error *err)
{
    const struct table t = {(const char *)ckpt->tensors + offsetof(struct checkpoint_tensor, info),
                            sizeof *ckpt->tensors, ckpt->n_tensors};
    return find(out, &t, c, arena, report, err);
}

int linears_of_view(struct linears *out, const struct view *view, const struct config *c,
                    struct arena *arena, struct report *report, struct prep_error *err)
{
    const struct table t = {(const char *)view->tensors + offsetof(struct view_tensor, info),
                            sizeof *view->tensors, view->n_tensors};
    if (find(out, &t, c, arena, report, err))
        return -1;
    for (size_t i = 0; i < out->n; i++) {
        for (int j = 0; j < out->items[i].n_tensors; j++) {
            const struct view_tensor *v = &view->tensors[out->items[i].tensors[j].index];
            if (v->rows)
                return prep_fail_tag(err, PREP_EUNSUP, "UNSUPPORTED",
                                     "%s: a linear of which only some rows are taken",
                                     v->info.name);
        }
    }
    return 0;
}

static int by_name(const void *key, const void *item)
{
    const struct entry *a = key;
    const struct linear *l = item;
    if (a->order != l->order)
        return a->order < l->order ? -1 : 1;
    return strcmp(a->info->name, l->name);
}

const struct linear *linears_get(const struct linears *all, const char *name)
{
    const struct name_parts p = name_parse(name, strlen(name));
    const struct tensor_info info = {.name = name};
    struct entry key = {.order = name_order(&p) >> 8 << 8, .info = &info};
    if (all->n == 0)
        return NULL;
    if (p.suffix_n == 0)
        return bsearch(&key, all->items, all->n, sizeof *all->items, by_name);
    /* Outside the family the last component of a module reads as a suffix. */
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->items[i].name, name) == 0)
            return &all->items[i];
    return NULL;
}

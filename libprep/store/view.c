/* SPDX-License-Identifier: MIT */
#include "libprep/store/view.h"

#include <stdlib.h>
#include <string.h>

void view_init(struct view *v)
{
    *v = (struct view){0};
    arena_init(&v->arena, 0);
}

void view_fini(struct view *v)
{
    free(v->tensors);
    arena_fini(&v->arena);
    *v = (struct view){0};
}

/* Keep only the given entries of dimension 0 of t, which came whole from its source. */
static int take_rows(struct view *v, struct view_tensor *t, const int *rows, size_t n_rows,
                     struct prep_error *err)
{
    struct tensor_info *info = &t->info;
    if (info->n_dims < 1)
        return prep_fail(err, PREP_EBUG, "%s: a scalar has no rows", info->name);
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i] < 0 || (uint64_t)rows[i] >= info->shape[0] || (i && rows[i] <= rows[i - 1]))
            return prep_fail(err, PREP_EBUG, "%s: row %d of %llu out of order or range", info->name,
                             rows[i], (unsigned long long)info->shape[0]);
    }
    int *copy = arena_alloc(&v->arena, n_rows * sizeof *copy, err);
    if (!copy)
        return -1;
    if (n_rows)
        memcpy(copy, rows, n_rows * sizeof *copy);
    t->rows = copy;
    t->n_rows = (uint32_t)n_rows;
    uint64_t row_bytes = info->shape[0] ? info->bytes / info->shape[0] : 0;
    if (row_bytes * info->shape[0] != info->bytes)
        return prep_fail_tag(err, PREP_EUNSUP, "DTYPE", "%s: rows of %s end inside a byte",
                             info->name, dtype_name((enum dtype)info->dtype));
    info->shape[0] = n_rows;
    info->bytes = row_bytes * n_rows;
    return 0;
}

int view_add(struct view *v, uint32_t source, uint32_t tensor, const char *name, const int *rows,
             size_t n_rows, uint64_t order, uint64_t group, struct prep_error *err)
{
    if (prep_grow(&v->tensors, &v->cap_tensors, v->n_tensors, sizeof *v->tensors, err))
        return -1;
    struct view_tensor t = {
        .info = v->sources[source]->tensors[tensor].info,
        .order = order,
        .group = group,
        .source = source,
        .tensor = tensor,
    };
    /* Most names stay as they are in the source, which outlives the view. */
    if (strcmp(name, t.info.name) != 0) {
        t.info.name = arena_strndup(&v->arena, name, strlen(name), err);
        if (!t.info.name)
            return -1;
    }
    if (rows && take_rows(v, &t, rows, n_rows, err))
        return -1;
    v->tensors[v->n_tensors++] = t;
    return 0;
}

static int by_order(const void *a, const void *b)
{
    const struct view_tensor *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->info.name, y->info.name);
}

int view_finish(struct view *v, struct prep_error *err)
{
    if (v->n_tensors)
        qsort(v->tensors, v->n_tensors, sizeof *v->tensors, by_order);
    struct name_table names;
    if (name_table_init(&names, v->n_tensors, err))
        return -1;
    int rc = 0;
    for (size_t i = 0; i < v->n_tensors && !rc; i++) {
        const char *name = v->tensors[i].info.name;
        uint32_t old;
        rc = name_table_add(&names, name, strlen(name), (uint32_t)i, &old, err);
        if (!rc && old != NAME_NONE)
            rc = prep_fail_tag(err, PREP_EDATA, "NAME", "two tensors would be called %s", name);
    }
    name_table_free(&names);
    return rc;
}

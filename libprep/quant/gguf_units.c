/* SPDX-License-Identifier: MIT */
/* Cutting targets into units, and a step for each. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/quant/gguf_step.h"

#define UNIT_BYTES (UINT64_C(16) << 20)

struct cutter {
    struct gguf_work *w;
    struct plan *plan;
    const struct gguf_work_request *r;
    struct plan_range *ranges;
    size_t n_ranges, cap_ranges;
    struct prep_error *err;
};

static int add_range(struct cutter *c, struct plan_range range)
{
    if (prep_grow(&c->ranges, &c->cap_ranges, c->n_ranges, sizeof *c->ranges, c->err))
        return -1;
    c->ranges[c->n_ranges++] = range;
    return 0;
}

static struct plan_range stored(const struct cutter *c, uint32_t index)
{
    const struct view_tensor *v = &c->r->view->tensors[index];
    const struct checkpoint_tensor *src = view_source(c->r->view, v);
    return (struct plan_range){c->r->first_source[v->source] + src->file, src->info.offset,
                               src->info.bytes};
}

/* Rows [first, first + n) of a plain source, as runs of rows that follow each other in the file. */
static int add_plain(struct cutter *c, const struct linear *l, uint64_t first, uint64_t n)
{
    const struct view_tensor *v = &c->r->view->tensors[l->tensors[0].index];
    const struct plan_range whole = stored(c, l->tensors[0].index);
    const uint64_t row_bytes = l->in * (l->tensors[0].info->dtype == DTYPE_F32 ? 4 : 2);
    if (!v->rows)
        return add_range(
            c, (struct plan_range){whole.source, whole.offset + first * row_bytes, n * row_bytes});
    /* Entries of dimension 0: rows, or of a vector values. */
    const uint64_t each = l->tensors[0].info->n_dims == 2 ? row_bytes : row_bytes / l->in;
    const uint64_t from = l->tensors[0].info->n_dims == 2 ? first : 0;
    const uint64_t count = l->tensors[0].info->n_dims == 2 ? n : l->in;
    for (uint64_t i = 0, k; i < count; i += k) {
        const int *rows = v->rows + from + i;
        for (k = 1; i + k < count && rows[k] == rows[0] + (int)k;)
            k++;
        if (add_range(c, (struct plan_range){whole.source, whole.offset + (uint64_t)rows[0] * each,
                                             k * each}))
            return -1;
    }
    return 0;
}

static int add_source(struct cutter *c, const struct gguf_unit *u)
{
    if (u->from->form == LINEAR_PLAIN)
        return add_plain(c, u->from, u->first, u->n);
    for (int i = 0; i < u->from->n_tensors; i++)
        if (add_range(c, stored(c, u->from->tensors[i].index)))
            return -1;
    return 0;
}

static int add_weights(struct cutter *c, size_t target, uint64_t slice, int all)
{
    const struct gguf_weights *w = c->w->weights ? &c->w->weights[target] : NULL;
    const struct gguf_target *t = &c->w->map->targets[target];
    if (!w || !w->entry)
        return 0;
    const uint64_t s = w->slice_of ? (uint64_t)w->slice_of[slice] : slice;
    const uint64_t n = 4 * t->n_cols;
    return add_range(c, (struct plan_range){c->r->imatrix_source,
                                            w->entry->values_at + (all ? 0 : s * n),
                                            all ? n * t->slices : n});
}

/* A vector is gathered value by value: more runs than one must come out as one row. */
static int is_vector(const struct linear *l)
{
    return l->form == LINEAR_PLAIN && l->tensors[0].info->n_dims == 1;
}

/* Rows of blocks can be cut like plain ones: the unit sees a matrix of its own. */
static int cut_blocks(struct cutter *c, struct gguf_unit *u)
{
    struct linear *l = arena_calloc(&c->plan->arena, 1, sizeof *l, c->err);
    struct tensor_info *info = arena_calloc(&c->plan->arena, 1, sizeof *info, c->err);
    if (!l || !info)
        return -1;
    const struct plan_range whole = stored(c, u->from->tensors[0].index);
    *l = *u->from;
    *info = *u->from->tensors[0].info;
    const uint64_t row_bytes = info->bytes / l->out;
    info->bytes = u->n * row_bytes;
    info->shape[0] = l->out = u->n;
    l->tensors[0].info = info;
    const struct plan_range rows = {whole.source, whole.offset + u->first * row_bytes, info->bytes};
    u->from = l;
    u->first = 0;
    return add_range(c, rows);
}

static int add_unit(struct cutter *c, struct gguf_unit u)
{
    struct gguf_work *w = c->w;
    const struct gguf_target *t = &w->map->targets[u.target];
    if (w->n_units == w->cap_units)
        return prep_fail(c->err, PREP_EBUG, "more units than counted");
    struct gguf_unit *at = &w->units[w->n_units];
    c->n_ranges = 0;
    if (u.from->form == LINEAR_GGML && u.n < u.from->out ? cut_blocks(c, &u) : add_source(c, &u))
        return -1;
    u.n_inputs = (uint32_t)c->n_ranges;
    *at = u;
    if (add_weights(c, u.target, u.slice, t->half == GGUF_K_B))
        return -1;
    if (t->half == GGUF_K_B) {
        char name[GGUF_NAME_BYTES];
        const struct gguf_target *v = gguf_map_find(w->map, gguf_name(&t->spec, GGUF_V_B, name));
        if (!v || add_weights(c, (size_t)(v - w->map->targets), 0, 1))
            return -1;
    }
    w->n_units++;
    return plan_add_call(c->plan, gguf_step, at, gguf_step_work_bytes(at), c->ranges, c->n_ranges,
                         &at->step, c->err);
}

/* Rows of a unit: as many as fit, of what can be cut. */
static uint64_t unit_rows(const struct cutter *c, const struct gguf_target *t,
                          const struct linear *l)
{
    const int blocks = l->form == LINEAR_GGML;
    if ((l->form != LINEAR_PLAIN && !blocks) || t->half != GGUF_WHOLE || is_vector(l))
        return l->out;
    const uint64_t row_bytes = blocks ? l->tensors[0].info->bytes / l->out
                                      : l->in * (l->tensors[0].info->dtype == DTYPE_F32 ? 4 : 2);
    const uint64_t bytes = c->r->unit_bytes ? c->r->unit_bytes : UNIT_BYTES;
    const uint64_t n = bytes / row_bytes ? bytes / row_bytes : 1;
    /* Equal pieces, so that the last is no crumb. */
    const uint64_t pieces = (l->out + n - 1) / n;
    return (l->out + pieces - 1) / pieces;
}

static size_t count_units(const struct cutter *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->w->map->n; i++) {
        const struct gguf_target *t = &c->w->map->targets[i];
        for (uint32_t s = 0; s < t->n_sources && t->half != GGUF_V_B; s++) {
            const uint64_t rows = unit_rows(c, t, t->sources[s]);
            n += (size_t)((t->sources[s]->out + rows - 1) / rows);
        }
    }
    return n;
}

/* The values of kv_b_proj come out of the steps of its keys. */
static int share_units(struct cutter *c)
{
    struct gguf_work *w = c->w;
    for (size_t i = 0; i < w->map->n; i++) {
        const struct gguf_target *t = &w->map->targets[i];
        char name[GGUF_NAME_BYTES];
        if (t->half != GGUF_V_B)
            continue;
        const struct gguf_target *k = gguf_map_find(w->map, gguf_name(&t->spec, GGUF_K_B, name));
        if (!k)
            return prep_fail(c->err, PREP_EBUG, "%s: without its keys", t->name);
        w->first_unit[i] = w->first_unit[k - w->map->targets];
        w->n_of[i] = 1;
    }
    return 0;
}

static int cut_all(struct cutter *c)
{
    struct gguf_work *w = c->w;
    for (size_t i = 0; i < w->map->n; i++) {
        const struct gguf_target *t = &w->map->targets[i];
        w->first_unit[i] = (uint32_t)w->n_units;
        for (uint32_t s = 0; s < t->n_sources && t->half != GGUF_V_B; s++) {
            const struct linear *l = t->sources[s];
            const uint64_t rows = unit_rows(c, t, l);
            for (uint64_t at = 0; at < l->out; at += rows) {
                const struct gguf_unit u = {.work = w,
                                            .from = l,
                                            .target = (uint32_t)i,
                                            .slice = s,
                                            .first = at,
                                            .n = l->out - at < rows ? l->out - at : rows};
                if (add_unit(c, u))
                    return -1;
            }
        }
        w->n_of[i] = (uint32_t)w->n_units - w->first_unit[i];
    }
    return share_units(c);
}

int gguf_work_plan(struct gguf_work *w, struct plan *plan, const struct gguf_work_request *r,
                   struct prep_error *err)
{
    struct cutter c = {.w = w, .plan = plan, .r = r, .err = err};
    w->n_units = 0;
    w->cap_units = count_units(&c);
    w->units = arena_calloc(&plan->arena, w->cap_units, sizeof *w->units, err);
    w->first_unit = arena_calloc(&plan->arena, w->map->n, sizeof *w->first_unit, err);
    w->n_of = arena_calloc(&plan->arena, w->map->n, sizeof *w->n_of, err);
    int rc = !w->units || !w->first_unit || !w->n_of || cut_all(&c);
    free(c.ranges);
    return rc ? -1 : 0;
}

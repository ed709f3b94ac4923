/* SPDX-License-Identifier: MIT */
/*
 * Products with weights. Plain BF16 and F32 go to the product as they are stored; everything else
 * is decoded, a few rows at a time, into the worker's memory.
 */
#include <string.h>

#include "kernels/convert/convert.h"
#include "kernels/nvfp4/nvfp4.h"

#include "libprep/engine/cpu_crew.h"

static int plain_type(const struct linear *l, enum matmul_type *type)
{
    const uint8_t dtype = l->tensors[0].info->dtype;
    *type = dtype == DTYPE_F32 ? MATMUL_F32 : MATMUL_BF16;
    return l->form == LINEAR_PLAIN && (dtype == DTYPE_F32 || dtype == DTYPE_BF16);
}

/* Rows [first, first + n) of what is used, as a product's B: in place, or decoded to w->floats. */
static int weight_rows(struct cpu *c, struct cpu_worker *w, const struct weight *m, uint64_t first,
                       uint64_t n, struct matmul *p, struct prep_error *err)
{
    const struct linear *l = m->linear;
    first += m->lead_row;
    p->ldb = l->in;
    if (plain_type(l, &p->b_type)) {
        p->b = m->parts[0].p + (first * l->in + m->lead_col) * (p->b_type == MATMUL_F32 ? 4 : 2);
        return 0;
    }
    p->b = w->floats + m->lead_col;
    p->b_type = MATMUL_F32;
    if (l->form == LINEAR_PLAIN) {
        c->codec.convert->f16_to_f32(w->floats, m->parts[0].p + first * l->in * 2, n * l->in);
        return 0;
    }
    const struct linear_rows rows = {
        .first = first, .n = n, .f32 = w->floats, .counts = &w->counts};
    return linear_decode_rows(l, &c->codec, m->parts, &rows, err);
}

/* A grid of blocks of rows of x, outer, and tiles of columns of y. */
struct grid {
    const struct ops_linear *p;
    size_t block, tile, n_tiles;
};

static int linear_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct grid *g = arg;
    const struct ops_linear *p = g->p;
    const size_t i = task / g->n_tiles * g->block, j = task % g->n_tiles * g->tile;
    const size_t out = (size_t)p->w->count;
    struct matmul m = {
        .m = p->n - i < g->block ? p->n - i : g->block,
        .n = out - j < g->tile ? out - j : g->tile,
        .k = (size_t)p->w->cols,
        .a = p->x + i * p->ldx,
        .lda = p->ldx,
        .c = p->y + i * p->ldy + j,
        .ldc = p->ldy,
    };
    if (weight_rows(c, w, p->w, j, m.n, &m, err))
        return -1;
    cpu_nt(c, w, &m);
    cpu_check_rows(c, w, m.c, p->ldy, i, m.m, m.n);
    return 0;
}

static int multiply(struct cpu *c, const struct ops_linear *p, size_t *bad, struct prep_error *err)
{
    enum matmul_type type;
    const int plain = plain_type(p->w->linear, &type);
    struct grid g = {p, CPU_BLOCK_ROWS, CPU_TILE_MOST, 0};
    if (p->n == 0)
        return 0;
    if (!plain) { /* what is decoded is used for every row */
        g.block = p->n;
        g.tile = CPU_DECODE_ROWS;
    }
    if (plain && p->n * p->w->count * p->w->linear->in <= CPU_ALONE)
        g.tile = (size_t)p->w->count;
    const size_t n_blocks = (p->n + g.block - 1) / g.block;
    const size_t wish = g.tile == p->w->count ? 1 : 2 * (size_t)c->n_threads;
    while (plain && g.tile > CPU_TILE_LEAST && n_blocks * (p->w->count / g.tile) < wish)
        g.tile /= 2;
    g.n_tiles = (size_t)(p->w->count + g.tile - 1) / g.tile;
    return cpu_run(c, n_blocks * g.n_tiles, linear_task, &g, bad, err);
}

/* Rows of x, rounded. */
enum { ROUND_ROWS = 16 };

static int round_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                      struct prep_error *err)
{
    const struct ops_linear *p = arg;
    const size_t in = (size_t)p->w->linear->in, first = task * ROUND_ROWS;
    const size_t end = p->n - first < ROUND_ROWS ? p->n : first + ROUND_ROWS;
    (void)w;
    (void)err;
    for (size_t i = first; i < end; i++)
        c->codec.nvfp4->inputs(c->rounded + i * in, p->x + i * p->ldx, in, p->input_scale);
    return 0;
}

static int multiply_rounded(struct cpu *c, const struct ops_linear *p, size_t *bad,
                            struct prep_error *err)
{
    const size_t in = (size_t)p->w->linear->in;
    for (size_t i = 0; i < p->n; i += CPU_ROUNDED_ROWS) {
        struct ops_linear piece = *p;
        size_t bad_here = OPS_ALL_FINITE;
        piece.n = p->n - i < CPU_ROUNDED_ROWS ? p->n - i : CPU_ROUNDED_ROWS;
        piece.x = p->x + i * p->ldx;
        if (cpu_run(c, (piece.n + ROUND_ROWS - 1) / ROUND_ROWS, round_task, &piece, NULL, err))
            return -1;
        piece.x = c->rounded;
        piece.ldx = in;
        piece.y = p->y + i * p->ldy;
        if (multiply(c, &piece, &bad_here, err))
            return -1;
        if (bad_here != OPS_ALL_FINITE && i + bad_here < *bad)
            *bad = i + bad_here;
    }
    return 0;
}

int cpu_linear(void *self, const struct ops_linear *p, size_t *bad, struct prep_error *err)
{
    return p->input_scale > 0 ? multiply_rounded(self, p, bad, err) : multiply(self, p, bad, err);
}

/* kv_b by heads. Tasks: blocks of rows, outer, and heads. */

struct heads {
    const struct ops_heads *h;
    float *y;
    const float *x;
    size_t n, block;
    size_t each; /* heads of a task: one, or all when there is little to do */
};

static struct heads heads_of(const struct ops_heads *h, float *y, const float *x, size_t n,
                             size_t width)
{
    const size_t each = n * h->heads * width * h->rank <= CPU_ALONE ? h->heads : 1;
    return (struct heads){h, y, x, n, CPU_BLOCK_ROWS, each};
}

static size_t n_head_tasks(const struct heads *t)
{
    return (t->n + t->block - 1) / t->block * (t->h->heads / t->each);
}

static int absorb_head(struct cpu *c, struct cpu_worker *w, const struct heads *t, size_t i,
                       size_t head, struct prep_error *err)
{
    const struct ops_heads *h = t->h;
    const size_t wide = h->rank + h->rope, qk = h->nope + h->rope;
    struct matmul m = {
        .m = t->n - i < t->block ? t->n - i : t->block,
        .n = h->rank,
        .k = h->nope,
        .a = t->x + (i * h->heads + head) * qk,
        .lda = h->heads * qk,
        .c = t->y + (i * h->heads + head) * wide,
        .ldc = h->heads * wide,
    };
    if (weight_rows(c, w, h->w, head * (h->nope + h->value), h->nope, &m, err))
        return -1;
    cpu_nn(c, w, &m);
    for (size_t r = 0; r < m.m; r++)
        memcpy(m.c + r * m.ldc + h->rank, m.a + r * m.lda + h->nope, h->rope * sizeof(float));
    cpu_check_rows(c, w, m.c, m.ldc, i, m.m, wide);
    return 0;
}

static int absorb_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct heads *t = arg;
    const size_t n = t->h->heads / t->each, first = task % n * t->each;
    for (size_t head = first; head < first + t->each; head++)
        if (absorb_head(c, w, t, task / n * t->block, head, err))
            return -1;
    return 0;
}

int cpu_absorb(void *self, float *y, const float *q, size_t n, const struct ops_heads *h,
               size_t *bad, struct prep_error *err)
{
    const struct heads t = heads_of(h, y, q, n, h->nope);
    return cpu_run(self, n_head_tasks(&t), absorb_task, &t, bad, err);
}

static int expand_head(struct cpu *c, struct cpu_worker *w, const struct heads *t, size_t i,
                       size_t head, struct prep_error *err)
{
    const struct ops_heads *h = t->h;
    struct matmul m = {
        .m = t->n - i < t->block ? t->n - i : t->block,
        .n = h->value,
        .k = h->rank,
        .a = t->x + (i * h->heads + head) * h->rank,
        .lda = h->heads * h->rank,
        .c = t->y + (i * h->heads + head) * h->value,
        .ldc = h->heads * h->value,
    };
    const uint64_t first = head * (h->nope + h->value) + h->nope;
    if (weight_rows(c, w, h->w, first, h->value, &m, err))
        return -1;
    cpu_nt(c, w, &m);
    cpu_check_rows(c, w, m.c, m.ldc, i, m.m, m.n);
    return 0;
}

static int expand_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct heads *t = arg;
    const size_t n = t->h->heads / t->each, first = task % n * t->each;
    for (size_t head = first; head < first + t->each; head++)
        if (expand_head(c, w, t, task / n * t->block, head, err))
            return -1;
    return 0;
}

int cpu_expand(void *self, float *y, const float *x, size_t n, const struct ops_heads *h,
               size_t *bad, struct prep_error *err)
{
    const struct heads t = heads_of(h, y, x, n, h->value);
    return cpu_run(self, n_head_tasks(&t), expand_task, &t, bad, err);
}

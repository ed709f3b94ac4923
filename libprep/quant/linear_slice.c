/* SPDX-License-Identifier: MIT */
/*
 * Every tensor of a linear is a table whose rows and columns are blocks of the matrix's: a block of
 * `rows` x `cols` elements is one element of `bytes` bytes, stored by rows or, GPTQ, by columns.
 */
#include "libprep/quant/linear_slice.h"

#include "libprep/format/ggml_type.h"
#include "libprep/quant/linear_form.h"

/* How a stored tensor lies over the matrix. rows 0 or cols 0: not along that side. */
struct grid {
    uint64_t rows, cols, bytes;
    int transposed;
};

/* The ranges that are held, and the matrix they are cut from. */
struct cutting {
    const struct linear *l;
    struct shard_range rows, cols;
    int whole_groups; /* every group is held, whatever the columns */
};

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static uint64_t ggml_block(const struct tensor_info *t)
{
    return ggml_type_info(t->ggml - 1u)->block;
}

static uint64_t ggml_bytes(const struct tensor_info *t, uint64_t n)
{
    const struct ggml_type_info *info = ggml_type_info(t->ggml - 1u);
    return n / info->block * info->block_bytes;
}

/* The smallest rows and columns that can be cut off. */
static uint64_t row_block(const struct linear *l)
{
    if (l->form == LINEAR_FP8_BLOCK)
        return l->block_rows;
    if (l->form == LINEAR_GGML_HEADS)
        return l->tensors[0].info->shape[2] + linear_tensor(l, LINEAR_VALUES)->info->shape[1];
    return linear_tensor(l, LINEAR_ZEROS) ? 8 : 1;
}

static uint64_t col_block(const struct linear *l)
{
    switch (l->form) {
    case LINEAR_FP8_BLOCK:
        return l->block_cols;
    case LINEAR_NVFP4_MODELOPT:
    case LINEAR_NVFP4_CT:
        return l->group;
    case LINEAR_GPTQ:
    case LINEAR_PACK_QUANTIZED:
        return l->any_order ? 8 : l->group;
    case LINEAR_GGML:
        return ggml_block(l->tensors[0].info);
    default:
        return 1;
    }
}

/* Codes: bytes of a block of 1 row and `cols` columns. */
static struct grid grid_of_codes(const struct linear *l, const struct tensor_info *t)
{
    switch (l->form) {
    case LINEAR_NVFP4_MODELOPT:
    case LINEAR_NVFP4_CT:
        return (struct grid){1, 2, 1, 0};
    case LINEAR_GPTQ:
        return (struct grid){1, 8, 4, 1};
    case LINEAR_PACK_QUANTIZED:
        return (struct grid){1, 8, 4, 0};
    case LINEAR_GGML:
        return (struct grid){1, ggml_block(t), ggml_bytes(t, ggml_block(t)), 0};
    default:
        return (struct grid){1, 1, dtype_bits((enum dtype)t->dtype) / 8, 0};
    }
}

static struct grid grid_of(const struct linear *l, const struct linear_tensor *t)
{
    const uint64_t width = dtype_bits((enum dtype)t->info->dtype) / 8;
    const int gptq = l->form == LINEAR_GPTQ;
    switch (t->part) {
    case LINEAR_CODES:
        return grid_of_codes(l, t->info);
    case LINEAR_SCALES:
        if (l->form == LINEAR_FP8_BLOCK)
            return (struct grid){l->block_rows, l->block_cols, width, 0};
        return (struct grid){1, l->group, width, gptq};
    case LINEAR_ZEROS:
        return (struct grid){8, l->group, 4, gptq};
    case LINEAR_GROUPS:
        return (struct grid){0, 1, 4, 0};
    default: /* scalars, the shape */
        return (struct grid){0, 0, t->info->bytes, 0};
    }
}

/* A range of the matrix in blocks of the grid; all of them where it is 0. */
static struct shard_range in_blocks(struct shard_range r, uint64_t block)
{
    if (block == 0)
        return (struct shard_range){0, 1};
    return (struct shard_range){r.first / block, divide_up(r.first + r.n, block) - r.first / block};
}

/* Keys or values of whole heads. */
static void cut_heads(struct linear_piece *p, struct tensor_info *to, const struct cutting *c)
{
    const uint64_t heads = to->shape[0], each = to->bytes / heads;
    const uint64_t block = c->l->out / heads;
    *p = (struct linear_piece){c->rows.first / block * each, 1, 0, c->rows.n / block * each};
    to->shape[0] = c->rows.n / block;
    to->bytes = p->bytes;
}

static void cut_tensor(struct linear_piece *p, struct tensor_info *to, const struct cutting *c,
                       const struct linear_tensor *t)
{
    const struct linear *l = c->l;
    const struct grid g = grid_of(l, t);
    const int groups = t->part == LINEAR_SCALES || t->part == LINEAR_ZEROS;
    const struct shard_range all_cols = {0, l->in};
    const struct shard_range rows = in_blocks(c->rows, g.rows);
    const struct shard_range cols =
        in_blocks(groups && c->whole_groups ? all_cols : c->cols, g.cols);
    const struct shard_range outer = g.transposed ? cols : rows, inner = g.transposed ? rows : cols;
    const uint64_t stored = g.transposed ? (g.rows ? divide_up(l->out, g.rows) : 1)
                                         : (g.cols ? divide_up(l->in, g.cols) : 1);
    const uint64_t stride = stored * g.bytes;
    *p = (struct linear_piece){outer.first * stride + inner.first * g.bytes, outer.n, stride,
                               inner.n * g.bytes};
    to->bytes = p->n * p->bytes;
    if (p->bytes == p->stride)
        *p = (struct linear_piece){p->offset, 1, 0, to->bytes};
    if (to->n_dims == 2) {
        to->shape[0] = outer.n;
        to->shape[1] = inner.n * (to->ggml ? g.cols : 1);
    }
}

static int check(const struct linear *l, const struct shard_ranges *r, struct prep_error *err)
{
    if (r->rows.n == 0 || r->cols.n == 0 || r->rows.first > l->out || r->cols.first > l->in ||
        r->rows.n > l->out - r->rows.first || r->cols.n > l->in - r->cols.first)
        return prep_fail(err, PREP_EBUG,
                         "%s: rows %llu + %llu, columns %llu + %llu of [%llu, %llu]", l->name,
                         (unsigned long long)r->rows.first, (unsigned long long)r->rows.n,
                         (unsigned long long)r->cols.first, (unsigned long long)r->cols.n,
                         (unsigned long long)l->out, (unsigned long long)l->in);
    if (l->form == LINEAR_GGML_HEADS && r->cols.n != l->in)
        return prep_fail_tag(err, PREP_EUNSUP, "UNSUPPORTED",
                             "%s: keys and values stored apart are cut by heads only", l->name);
    return 0;
}

int linear_slice(const struct linear_slice **out, const struct linear *l,
                 const struct shard_ranges *ranges, struct arena *arena, struct prep_error *err)
{
    struct linear_slice *s = arena_calloc(arena, 1, sizeof *s, err);
    struct tensor_info *infos = arena_calloc(arena, l->n_tensors, sizeof *infos, err);
    if (!s || !infos || check(l, ranges, err))
        return -1;
    const struct cutting c = {l, shard_blocks(ranges->rows, row_block(l), l->out),
                              shard_blocks(ranges->cols, col_block(l), l->in), l->any_order};
    s->linear = *l;
    s->linear.whole = l;
    s->linear.out = c.rows.n;
    s->linear.in = c.cols.n;
    s->linear.first_row = c.rows.first;
    s->linear.first_col = c.cols.first;
    s->lead_row = ranges->rows.first - c.rows.first;
    s->lead_col = ranges->cols.first - c.cols.first;
    s->rows = ranges->rows.n;
    s->cols = ranges->cols.n;
    for (int i = 0; i < l->n_tensors; i++) {
        infos[i] = *l->tensors[i].info;
        s->linear.tensors[i].info = &infos[i];
        if (l->form == LINEAR_GGML_HEADS)
            cut_heads(&s->pieces[i], &infos[i], &c);
        else
            cut_tensor(&s->pieces[i], &infos[i], &c, &l->tensors[i]);
    }
    *out = s;
    return 0;
}

uint64_t linear_bytes(const struct linear *l)
{
    uint64_t n = 0;
    for (int i = 0; i < l->n_tensors; i++)
        n += l->tensors[i].info->bytes;
    return n;
}

int linear_slice_is_wider(const struct linear_slice *s)
{
    return s->rows != s->linear.out || s->cols != s->linear.in;
}

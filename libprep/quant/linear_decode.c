/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "kernels/convert/convert.h"
#include "kernels/fp.h"
#include "kernels/fp8/fp8.h"
#include "kernels/ggml/ggml.h"
#include "kernels/int4/int4.h"
#include "kernels/load.h"
#include "kernels/nvfp4/nvfp4.h"
#include "libprep/format/ggml_type.h"
#include "libprep/quant/linear_form.h"

/* Elements that go through a buffer on the stack at a time. */
enum { CHUNK = 512, SCALES = 64 };

void linear_codec_init(struct linear_codec *codec, enum isa limit)
{
    *codec = (struct linear_codec){convert_kernels(limit), fp8_kernels(limit), int4_kernels(limit),
                                   nvfp4_kernels(limit), limit};
}

/* Everything the decoders of the forms share. */
struct decoding {
    const struct linear *l;
    const struct linear_codec *codec;
    const struct span *inputs;
    const struct linear_rows *rows;
    struct linear_counts counts;
    struct prep_error *err;
};

/* Bytes of a part, NULL when the linear has none. */
static const unsigned char *part(const struct decoding *d, enum linear_part p)
{
    for (int i = 0; i < d->l->n_tensors; i++)
        if (d->l->tensors[i].part == p)
            return d->inputs[i].p;
    return NULL;
}

static const struct tensor_info *info(const struct decoding *d, enum linear_part p)
{
    return linear_tensor(d->l, p)->info;
}

static float *f32_row(const struct decoding *d, uint64_t i)
{
    return d->rows->f32 ? d->rows->f32 + i * d->l->in : NULL;
}

static uint16_t *bf16_row(const struct decoding *d, uint64_t i)
{
    return d->rows->bf16 ? d->rows->bf16 + i * d->l->in : NULL;
}

/* Plain values */

static void widen(const struct decoding *d, float *dst, const unsigned char *src, size_t n)
{
    const uint8_t dtype = info(d, LINEAR_CODES)->dtype;
    if (dtype == DTYPE_F32)
        memcpy(dst, src, 4 * n);
    else if (dtype == DTYPE_F16)
        d->codec->convert->f16_to_f32(dst, src, n);
    else
        d->codec->convert->bf16_to_f32(dst, src, n);
}

static void decode_plain(struct decoding *d)
{
    const struct linear_rows *r = d->rows;
    const uint8_t dtype = info(d, LINEAR_CODES)->dtype;
    const size_t size = dtype == DTYPE_F32 ? 4 : 2, n = r->n * d->l->in;
    const unsigned char *src = part(d, LINEAR_CODES) + size * r->first * d->l->in;
    if (r->f32)
        widen(d, r->f32, src, n);
    if (r->bf16 && dtype == DTYPE_BF16) {
        memcpy(r->bf16, src, 2 * n);
        return;
    }
    for (size_t i = 0; i < n && r->bf16; i += CHUNK) {
        float buffer[CHUNK];
        const size_t k = n - i < CHUNK ? n - i : CHUNK;
        widen(d, buffer, src + size * i, k);
        d->codec->convert->f32_to_bf16(r->bf16 + i, buffer, k);
    }
}

/* FP8 blocks */

static float fp8_scale(const struct decoding *d, size_t at)
{
    const unsigned char *p = part(d, LINEAR_SCALES);
    const uint8_t dtype = info(d, LINEAR_SCALES)->dtype;
    if (dtype == DTYPE_F32)
        return f32_from_bits(load_u32_at(p, at));
    if (dtype == DTYPE_BF16)
        return f32_from_bf16(load_u16_at(p, at));
    return p[at] == 255 ? NAN : ldexpf(1.0f, (int)p[at] - 127);
}

static int fp8_bad_scale(const struct decoding *d, uint64_t row, size_t block, float scale)
{
    return prep_fail_tag(d->err, PREP_EDATA, "SRC_FP8_SCALE_VALUE",
                         "%s: scale of block [%llu, %zu] is %g, want a finite number >= 0",
                         info(d, LINEAR_SCALES)->name, (unsigned long long)(row / d->l->block_rows),
                         block, (double)scale);
}

/* Where the NaN codes are: those of these rows are counted. */
static int fp8_bad_code(const struct decoding *d, uint64_t row)
{
    const struct linear *l = d->l;
    const unsigned char *codes = part(d, LINEAR_CODES);
    const uint64_t end = d->rows->first + d->rows->n;
    size_t column = 0;
    while ((codes[row * l->in + column] & 0x7F) != 0x7F)
        column++;
    const size_t n = d->codec->fp8->count_nan(codes + row * l->in, (end - row) * l->in);
    return prep_fail_tag(d->err, PREP_EDATA, "SRC_FP8_NAN_CODE",
                         "%s: code 0x%02X (NaN) in row %llu, column %zu, the first of %zu in rows "
                         "up to %llu",
                         info(d, LINEAR_CODES)->name, codes[row * l->in + column],
                         (unsigned long long)row, column, n, (unsigned long long)(end - 1));
}

/* `n_blocks` blocks of columns of one row, from block `first` on. */
static int fp8_decode_blocks(struct decoding *d, uint64_t i, size_t first, size_t n_blocks)
{
    const struct linear *l = d->l;
    const uint64_t row = d->rows->first + i, grid = (l->in - 1) / l->block_cols + 1;
    const size_t column = first * l->block_cols;
    const size_t wide = n_blocks * l->block_cols, rest = l->in - column;
    const size_t n = wide < rest ? wide : rest;
    const unsigned char *codes = part(d, LINEAR_CODES) + row * l->in + column;
    float scales[SCALES];
    for (size_t b = 0; b < n_blocks; b++) {
        scales[b] = fp8_scale(d, row / l->block_rows * grid + first + b);
        if (!(scales[b] >= 0.0f && scales[b] <= 0x1.fffffep127f))
            return fp8_bad_scale(d, row, first + b, scales[b]);
        d->counts.zero_scales += scales[b] == 0.0f && row % l->block_rows == 0;
    }
    if (d->rows->f32)
        d->codec->fp8->decode_f32(f32_row(d, i) + column, codes, n, scales, l->block_cols);
    if (d->rows->bf16)
        d->codec->fp8->decode_bf16(bf16_row(d, i) + column, codes, n, scales, l->block_cols);
    return 0;
}

static int decode_fp8(struct decoding *d)
{
    const struct linear *l = d->l;
    const size_t grid = (l->in - 1) / l->block_cols + 1;
    for (uint64_t i = 0; i < d->rows->n; i++) {
        const uint64_t row = d->rows->first + i;
        if (d->codec->fp8->count_nan(part(d, LINEAR_CODES) + row * l->in, l->in) > 0)
            return fp8_bad_code(d, row);
        for (size_t b = 0; b < grid; b += SCALES)
            if (fp8_decode_blocks(d, i, b, grid - b < SCALES ? grid - b : SCALES))
                return -1;
    }
    return 0;
}

/* NVFP4 */

static int nvfp4_judge_scales(struct decoding *d)
{
    const size_t blocks = d->l->in / 16;
    const unsigned char *s = part(d, LINEAR_SCALES) + d->rows->first * blocks;
    for (size_t i = 0; i < d->rows->n * blocks; i++) {
        if (s[i] >= 0x7F && s[i] != 0x80)
            return prep_fail_tag(d->err, PREP_EDATA, "SCALE_VALUE",
                                 "%s: scale of row %llu, block %zu is 0x%02X (%s)",
                                 info(d, LINEAR_SCALES)->name,
                                 (unsigned long long)(d->rows->first + i / blocks), i % blocks,
                                 s[i], (s[i] & 0x7F) == 0x7F ? "NaN" : "negative");
        d->counts.zero_scales += (s[i] & 0x7F) == 0;
    }
    return 0;
}

static int decode_nvfp4(struct decoding *d)
{
    const struct linear *l = d->l;
    const float global = f32_from_bits(load_u32_at(part(d, LINEAR_GLOBAL), 0));
    if (!(global > 0.0f && global <= 0x1.fffffep127f))
        return prep_fail_tag(d->err, PREP_EDATA, "SCALE_VALUE",
                             "%s is %g, want a finite number > 0", info(d, LINEAR_GLOBAL)->name,
                             (double)global);
    if (nvfp4_judge_scales(d))
        return -1;
    const struct nvfp4_tensor t = {
        .packed = part(d, LINEAR_CODES) + d->rows->first * (l->in / 2),
        .scale = part(d, LINEAR_SCALES) + d->rows->first * (l->in / 16),
        .n = d->rows->n,
        .k = l->in,
        .layout = l->form == LINEAR_NVFP4_MODELOPT ? NVFP4_MODELOPT : NVFP4_COMPRESSED_TENSORS,
        .global = global,
    };
    if (d->rows->f32)
        d->codec->nvfp4->decode(d->rows->f32, NVFP4_F32, &t);
    if (d->rows->bf16)
        d->codec->nvfp4->decode(d->rows->bf16, NVFP4_BF16, &t);
    return 0;
}

/* Integers */

/* Groups that are held: a slice may hold more of them than its inputs fill. */
static uint64_t n_groups_of(const struct linear *l)
{
    const struct tensor_info *scales = linear_tensor(l, LINEAR_SCALES)->info;
    return scales->shape[l->form == LINEAR_GPTQ ? 0 : 1];
}

static void int4_source(const struct decoding *d, struct int4_source *s)
{
    const struct linear *l = d->l;
    const uint8_t dtype = info(d, LINEAR_SCALES)->dtype;
    if (l->form == LINEAR_GPTQ)
        int4_source_gptq(s, l->out, l->in, l->group);
    else
        int4_source_packed(s, l->in, l->group);
    if (l->form == LINEAR_PACK_QUANTIZED)
        s->scale_row_step = s->zero_word_step = n_groups_of(l);
    s->words = part(d, LINEAR_CODES);
    s->scales = part(d, LINEAR_SCALES);
    s->scale_type = dtype == DTYPE_F16    ? INT4_SCALE_F16
                    : dtype == DTYPE_BF16 ? INT4_SCALE_BF16
                                          : INT4_SCALE_F32;
    s->zeros = part(d, LINEAR_ZEROS);
    s->zero_bias = l->zero_bias;
    s->g_idx = part(d, LINEAR_GROUPS);
}

static int bad_g_idx(const struct decoding *d, uint64_t input, uint32_t group, uint64_t n_groups)
{
    return prep_fail_tag(d->err, PREP_EDATA, "G_IDX",
                         "%s: group of input %llu is %d, want 0 to %llu",
                         info(d, LINEAR_GROUPS)->name, (unsigned long long)input,
                         (int)(int32_t)group, (unsigned long long)(n_groups - 1));
}

/*
 * Sets g_idx to NULL when it says i / group, as it mostly does. A slice that holds the groups of
 * its own inputs only cannot do without that.
 */
static int judge_g_idx(const struct decoding *d, struct int4_source *s)
{
    const struct linear *l = d->l;
    const uint64_t held = n_groups_of(l), first = l->any_order ? 0 : l->first_col / l->group;
    const uint64_t all = l->whole ? n_groups_of(l->whole) : held;
    int natural = 1;
    for (uint64_t i = 0; i < l->in && s->g_idx; i++) {
        const uint32_t g = load_u32_at(s->g_idx, i);
        if (g >= all)
            return bad_g_idx(d, l->first_col + i, g, all);
        natural = natural && g == first + i / l->group;
        if (!natural && held != all)
            return prep_fail_tag(d->err, PREP_EDATA, "G_IDX",
                                 "%s: group of input %llu is %u, want %llu: desc_act is not true "
                                 "in the config, so groups are cut in order; set it",
                                 info(d, LINEAR_GROUPS)->name,
                                 (unsigned long long)(l->first_col + i), (unsigned)g,
                                 (unsigned long long)(first + i / l->group));
    }
    if (natural)
        s->g_idx = NULL;
    return 0;
}

static int judge_shape(const struct decoding *d)
{
    const unsigned char *p = part(d, LINEAR_SHAPE);
    uint64_t shape[2];
    if (!p)
        return 0;
    for (size_t i = 0; i < 2; i++) {
        shape[i] = load_u32_at(p, i);
        if (info(d, LINEAR_SHAPE)->dtype == DTYPE_I64)
            shape[i] = (uint64_t)load_u32_at(p, 2 * i + 1) << 32 | load_u32_at(p, 2 * i);
    }
    const struct linear *l = d->l->whole ? d->l->whole : d->l;
    if (shape[0] == l->out && shape[1] == l->in)
        return 0;
    return prep_fail_tag(d->err, PREP_EDATA, "WEIGHT_SHAPE",
                         "%s says [%lld, %lld], the codes are [%llu, %llu]",
                         info(d, LINEAR_SHAPE)->name, (long long)shape[0], (long long)shape[1],
                         (unsigned long long)l->out, (unsigned long long)l->in);
}

/* Scale and zero of one row and group. */
static int judge_int4_group(struct decoding *d, const struct int4_source *s, uint64_t row,
                            uint64_t group)
{
    const float scale = int4_source_scale(s, row, group);
    const int zero = int4_source_zero(s, row, group);
    if (!isfinite(scale))
        return prep_fail_tag(d->err, PREP_EDATA, "SCALE_VALUE",
                             "%s: scale of output %llu, group %llu is %g, want a finite number",
                             info(d, LINEAR_SCALES)->name, (unsigned long long)row,
                             (unsigned long long)group, (double)scale);
    if (d->l->symmetric && zero != 8)
        return prep_fail_tag(
            d->err, PREP_EDATA, "QZEROS",
            "%s: zero of output %llu, group %llu is %d, want 8 with sym; the config says that "
            "stored zeros are %s: is that so?",
            info(d, LINEAR_ZEROS)->name, (unsigned long long)row, (unsigned long long)group, zero,
            d->l->zero_bias ? "less one (v1), a v2 file has checkpoint_format gptq_v2"
                            : "as they are (v2)");
    d->counts.zero_scales += scale == 0.0f;
    return 0;
}

/* The stored integers with everything about these rows judged. */
static int open_int4(struct decoding *d, struct int4_source *s)
{
    int4_source(d, s);
    if (judge_g_idx(d, s) || judge_shape(d))
        return -1;
    for (uint64_t i = 0; i < d->rows->n; i++)
        for (uint64_t g = 0; g < n_groups_of(d->l); g++)
            if (judge_int4_group(d, s, d->rows->first + i, g))
                return -1;
    return 0;
}

int linear_open_int4(struct int4_source *s, const struct linear *l, const struct span *inputs,
                     struct prep_error *err)
{
    const struct linear_rows rows = {.n = l->out};
    struct decoding d = {l, NULL, inputs, &rows, {0}, err};
    return open_int4(&d, s);
}

static int decode_int4(struct decoding *d)
{
    struct int4_source s;
    if (open_int4(d, &s))
        return -1;
    int4_decode_rows(d->codec->int4, &s, d->rows->first, d->rows->n, d->rows->f32, d->rows->bf16);
    return 0;
}

/* Blocks of GGUF files */

/* n values from the beginning of a block. */
static void decode_blocks(const struct decoding *d, const struct tensor_info *t, float *dst,
                          const unsigned char *src, size_t n)
{
    const unsigned type = t->ggml - 1u;
    if (type == GGML_F32) {
        memcpy(dst, src, 4 * n);
        return;
    }
    const struct ggml_codec *codec = ggml_codec(d->codec->isa, type);
    codec->dequantize_rows(dst, src, 1, n);
}

static uint64_t blocks_bytes(const struct tensor_info *t, uint64_t n)
{
    const struct ggml_type_info *info = ggml_type_info(t->ggml - 1u);
    return n / info->block * info->block_bytes;
}

static void round_row(const struct decoding *d, uint64_t i, const float *row)
{
    if (bf16_row(d, i))
        d->codec->convert->f32_to_bf16(bf16_row(d, i), row, d->l->in);
}

/* Row by row; without a place for F32 a few blocks at a time. */
static void decode_ggml(struct decoding *d)
{
    const struct tensor_info *t = info(d, LINEAR_CODES);
    const uint64_t row_bytes = blocks_bytes(t, d->l->in);
    for (uint64_t i = 0; i < d->rows->n; i++) {
        const unsigned char *src = part(d, LINEAR_CODES) + (d->rows->first + i) * row_bytes;
        if (f32_row(d, i)) {
            decode_blocks(d, t, f32_row(d, i), src, d->l->in);
            round_row(d, i, f32_row(d, i));
            continue;
        }
        for (uint64_t c = 0; c < d->l->in; c += CHUNK) {
            float buffer[CHUNK];
            const size_t n = d->l->in - c < CHUNK ? (size_t)(d->l->in - c) : CHUNK;
            decode_blocks(d, t, buffer, src + blocks_bytes(t, c), n);
            d->codec->convert->f32_to_bf16(bf16_row(d, i) + c, buffer, n);
        }
    }
}

/* Rows of a head that make keys: columns of what is stored. */
static void decode_keys(struct decoding *d, uint64_t head, uint64_t from, uint64_t to, uint64_t at)
{
    const struct tensor_info *k = info(d, LINEAR_CODES);
    const uint64_t kv = k->shape[1], nope = k->shape[2], row_bytes = blocks_bytes(k, nope);
    const unsigned char *src = part(d, LINEAR_CODES) + head * kv * row_bytes;
    for (uint64_t c = 0; c < kv; c++) {
        float buffer[LINEAR_MOST_NOPE];
        decode_blocks(d, k, buffer, src + c * row_bytes, (size_t)nope);
        for (uint64_t i = from; i < to; i++) {
            if (d->rows->f32)
                f32_row(d, at + i - from)[c] = buffer[i];
            if (d->rows->bf16)
                d->codec->convert->f32_to_bf16(bf16_row(d, at + i - from) + c, &buffer[i], 1);
        }
    }
}

static void decode_values(struct decoding *d, uint64_t head, uint64_t row, uint64_t at)
{
    const struct tensor_info *v = info(d, LINEAR_VALUES);
    const uint64_t row_bytes = blocks_bytes(v, d->l->in);
    const unsigned char *src = part(d, LINEAR_VALUES) + (head * v->shape[1] + row) * row_bytes;
    for (uint64_t c = 0; c < d->l->in; c += CHUNK) {
        float buffer[CHUNK];
        const size_t n = d->l->in - c < CHUNK ? (size_t)(d->l->in - c) : CHUNK;
        decode_blocks(d, v, buffer, src + blocks_bytes(v, c), n);
        if (d->rows->f32)
            memcpy(f32_row(d, at) + c, buffer, n * sizeof *buffer);
        if (d->rows->bf16)
            d->codec->convert->f32_to_bf16(bf16_row(d, at) + c, buffer, n);
    }
}

/* kv_b_proj: of each head first its keys, then its values. */
static void decode_heads(struct decoding *d)
{
    const uint64_t nope = info(d, LINEAR_CODES)->shape[2];
    const uint64_t per_head = nope + info(d, LINEAR_VALUES)->shape[1];
    const uint64_t end = d->rows->first + d->rows->n;
    for (uint64_t row = d->rows->first; row < end;) {
        const uint64_t head = row / per_head, i = row % per_head, at = row - d->rows->first;
        if (i >= nope) {
            decode_values(d, head, i - nope, at);
            row++;
            continue;
        }
        const uint64_t n = end - row < nope - i ? end - row : nope - i;
        decode_keys(d, head, i, i + n, at);
        row += n;
    }
}

/* All forms */

static uint64_t count_infinite(const struct decoding *d)
{
    const uint64_t n = d->rows->n * d->l->in;
    uint64_t count = 0;
    for (uint64_t i = 0; i < n && d->rows->bf16; i++)
        count += (d->rows->bf16[i] & 0x7FFF) == 0x7F80;
    for (uint64_t i = 0; i < n && !d->rows->bf16; i++)
        count += isinf(d->rows->f32[i]) != 0;
    return count;
}

static int decode_form(struct decoding *d)
{
    switch (d->l->form) {
    case LINEAR_PLAIN:
        decode_plain(d);
        return 0;
    case LINEAR_FP8_BLOCK:
        return decode_fp8(d);
    case LINEAR_NVFP4_MODELOPT:
    case LINEAR_NVFP4_CT:
        return decode_nvfp4(d);
    case LINEAR_GPTQ:
    case LINEAR_PACK_QUANTIZED:
        return decode_int4(d);
    case LINEAR_GGML:
        decode_ggml(d);
        return 0;
    case LINEAR_GGML_HEADS:
        decode_heads(d);
        return 0;
    case LINEAR_FORM_COUNT:
        break;
    }
    return prep_fail(d->err, PREP_EBUG, "%s: no form", d->l->name);
}

int linear_check_inputs(const struct linear *l, const struct span *inputs, struct prep_error *err)
{
    for (int i = 0; i < l->n_tensors; i++)
        if (inputs[i].n != l->tensors[i].info->bytes)
            return prep_fail(err, PREP_EBUG, "%s: %zu bytes given of %llu",
                             l->tensors[i].info->name, inputs[i].n,
                             (unsigned long long)l->tensors[i].info->bytes);
    return 0;
}

static int linear_is_cut(const struct linear *l)
{
    return l->whole && (l->whole->out != l->out || l->whole->in != l->in);
}

int linear_decode_rows(const struct linear *l, const struct linear_codec *codec,
                       const struct span *inputs, const struct linear_rows *rows,
                       struct prep_error *err)
{
    struct decoding d = {l, codec, inputs, rows, {0}, err};
    if (rows->first > l->out || rows->n > l->out - rows->first || (!rows->f32 && !rows->bf16))
        return prep_fail(err, PREP_EBUG, "%s: rows %llu + %llu of %llu", l->name,
                         (unsigned long long)rows->first, (unsigned long long)rows->n,
                         (unsigned long long)l->out);
    if (linear_check_inputs(l, inputs, err))
        return -1;
    if (decode_form(&d))
        return linear_is_cut(l)
                   ? prep_note(err, "slice from row %llu, column %llu",
                               (unsigned long long)l->first_row, (unsigned long long)l->first_col)
                   : -1;
    if (rows->counts) {
        rows->counts->zero_scales += d.counts.zero_scales;
        rows->counts->overflows += count_infinite(&d);
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/int4/int4.h"
#include "kernels/load.h"
#include "libprep/quant/linear_form.h"

static int is_int4(enum linear_form form)
{
    return form == LINEAR_GPTQ || form == LINEAR_PACK_QUANTIZED;
}

static int is_nvfp4(enum linear_form form)
{
    return form == LINEAR_NVFP4_MODELOPT || form == LINEAR_NVFP4_CT;
}

/* Layout */

static int add_tensor(struct linear *l, enum linear_part part, enum dtype dtype, int n_dims,
                      uint64_t rows, uint64_t cols, struct arena *arena, struct prep_error *err)
{
    struct tensor_info *t = arena_calloc(arena, 1, sizeof *t, err);
    if (!t)
        return -1;
    t->name =
        arena_printf(arena, err, "%s.%s", l->name, suffix_name(linear_rule(l->form, part)->suffix));
    if (!t->name)
        return -1;
    t->shape[0] = rows;
    t->shape[1] = cols;
    t->n_dims = (uint8_t)n_dims;
    t->dtype = (uint8_t)dtype;
    if (tensor_bytes(dtype, t->shape, n_dims, &t->bytes))
        return prep_fail(err, PREP_EUNSUP, "%s: too large", t->name);
    l->tensors[l->n_tensors++] = (struct linear_tensor){t, 0, part};
    return 0;
}

static int bad_shape(const struct linear *l, const char *why, struct prep_error *err)
{
    return prep_fail_tag(err, PREP_EUNSUP, "GROUP_SIZE", "%s is [%llu, %llu]: %s cannot hold it%s",
                         l->name, (unsigned long long)l->out, (unsigned long long)l->in,
                         linear_form_name(l->form), why);
}

static int lay_nvfp4(struct linear *l, const struct linear_want *want, struct arena *arena,
                     struct prep_error *err)
{
    const int dims = l->form == LINEAR_NVFP4_CT; /* [1], not [] */
    l->group = 16;
    if (l->in % 16 != 0)
        return bad_shape(l, ", blocks have 16 inputs", err);
    if (add_tensor(l, LINEAR_CODES, DTYPE_U8, 2, l->out, l->in / 2, arena, err) ||
        add_tensor(l, LINEAR_SCALES, DTYPE_F8_E4M3, 2, l->out, l->in / 16, arena, err) ||
        add_tensor(l, LINEAR_GLOBAL, DTYPE_F32, dims, 1, 1, arena, err))
        return -1;
    return want->with_input ? add_tensor(l, LINEAR_INPUT_SCALE, DTYPE_F32, dims, 1, 1, arena, err)
                            : 0;
}

static int lay_int4(struct linear *l, const struct linear_want *want, struct arena *arena,
                    struct prep_error *err)
{
    const uint64_t g = want->group, out = l->out, in = l->in;
    l->group = g;
    l->symmetric = 1;
    if (g == 0 || g % 8 != 0 || in % g != 0)
        return bad_shape(l, ", groups must divide the inputs and be multiples of 8", err);
    if (l->form == LINEAR_PACK_QUANTIZED)
        return add_tensor(l, LINEAR_CODES, DTYPE_I32, 2, out, in / 8, arena, err) ||
                       add_tensor(l, LINEAR_SCALES, want->scale_dtype, 2, out, in / g, arena,
                                  err) ||
                       add_tensor(l, LINEAR_SHAPE, DTYPE_I64, 1, 2, 1, arena, err)
                   ? -1
                   : 0;
    l->zero_bias = want->zero_bias;
    if (out % 8 != 0)
        return bad_shape(l, ", outputs must be a multiple of 8", err);
    if (add_tensor(l, LINEAR_CODES, DTYPE_I32, 2, in / 8, out, arena, err) ||
        add_tensor(l, LINEAR_SCALES, want->scale_dtype, 2, in / g, out, arena, err) ||
        add_tensor(l, LINEAR_ZEROS, DTYPE_I32, 2, in / g, out / 8, arena, err))
        return -1;
    return want->with_g_idx ? add_tensor(l, LINEAR_GROUPS, DTYPE_I32, 1, in, 1, arena, err) : 0;
}

int linear_layout(struct linear *to, const struct linear *from, const struct linear_want *want,
                  struct arena *arena, struct prep_error *err)
{
    *to = *from;
    to->form = want->form;
    to->n_tensors = 0;
    to->group = to->block_rows = to->block_cols = 0;
    to->zero_bias = to->symmetric = 0;
    if (want->form == LINEAR_PLAIN)
        return add_tensor(to, LINEAR_CODES, want->scale_dtype, 2, to->out, to->in, arena, err);
    if (is_nvfp4(want->form))
        return lay_nvfp4(to, want, arena, err);
    if (is_int4(want->form))
        return lay_int4(to, want, arena, err);
    return prep_fail(err, PREP_EUNSUP, "%s: %s is not written", from->name,
                     linear_form_name(want->form));
}

/* Reciprocals */

/* Is y what a writer of this layout makes of some BF16 maximum? */
static int is_written(float y, enum linear_form form)
{
    if (form == LINEAR_NVFP4_CT) {
        const float a = f32_from_bf16(bf16_from_f32(2688.0f / y));
        const float reciprocal = 1.0f / a;
        return (f32_bits(y) & 0xFFFF) == 0 || 2688.0f * reciprocal == y;
    }
    const float a = f32_from_bf16(bf16_from_f32(y * 2688.0f));
    const float b = f32_from_bf16(bf16_from_f32(y * 1536.0f)); /* four-over-six */
    return a / 2688.0f == y || b / 1536.0f == y;
}

/* x, or a number a few steps from it: 0, 1 below, 1 above, 2 below, 2 above. */
static float neighbour(float x, uint32_t i)
{
    const uint32_t distance = (i + 1) / 2, bits = f32_bits(x);
    return f32_from_bits(i % 2 ? bits - distance : bits + distance);
}

/* weight_global_scale of a weight_scale_2. */
static float divisor_of(float factor)
{
    const float nearest = 1.0f / factor;
    if (is_written(factor, LINEAR_NVFP4_MODELOPT))
        return nearest; /* as modelopt's own converter does */
    for (uint32_t i = 0; i < 5; i++)
        if (is_written(neighbour(nearest, i), LINEAR_NVFP4_CT))
            return neighbour(nearest, i);
    return nearest;
}

/* weight_scale_2 that divisor_of() takes back to the divisor, one that modelopt writes first. */
static float factor_of(float divisor)
{
    const float nearest = 1.0f / divisor;
    for (int any = 0; any < 2; any++)
        for (uint32_t i = 0; i < 3; i++) {
            const float x = neighbour(nearest, i);
            if ((any || is_written(x, LINEAR_NVFP4_MODELOPT)) && divisor_of(x) == divisor)
                return x;
        }
    return nearest;
}

float linear_reciprocal(float x, enum linear_form to)
{
    /* Where a number and its reciprocal are normal, with room for the neighbours. */
    if (!(x >= 0x1p-125f && x <= 0x1p125f))
        return 1.0f / x;
    return to == LINEAR_NVFP4_CT ? divisor_of(x) : factor_of(x);
}

/* Repacking */

struct repacking {
    const struct linear *to, *from;
    const struct linear_codec *codec;
    unsigned char *const *outputs;
    const struct span *inputs;
    struct prep_error *err;
};

static const unsigned char *input(const struct repacking *r, enum linear_part part)
{
    for (int i = 0; i < r->from->n_tensors; i++)
        if (r->from->tensors[i].part == part)
            return r->inputs[i].p;
    return NULL;
}

static unsigned char *output(const struct repacking *r, enum linear_part part)
{
    for (int i = 0; i < r->to->n_tensors; i++)
        if (r->to->tensors[i].part == part)
            return r->outputs[i];
    return NULL;
}

static int repack_scalar(const struct repacking *r, enum linear_part part)
{
    unsigned char *dst = output(r, part);
    const unsigned char *src = input(r, part);
    if (!dst)
        return 0;
    const float x = f32_from_bits(load_u32_at(src, 0));
    const float y = r->to->form == r->from->form ? x : linear_reciprocal(x, r->to->form);
    if (!(x > 0.0f && isfinite(x) && y > 0.0f && isfinite(y)))
        return prep_fail_tag(r->err, isfinite(x) && x > 0.0f ? PREP_EUNSUP : PREP_EDATA,
                             "SCALE_VALUE", "%s is %g, want a finite number > 0 with a reciprocal",
                             linear_tensor(r->from, part)->info->name, (double)x);
    store_u32_at(dst, 0, f32_bits(y));
    return 0;
}

static int repack_nvfp4(const struct repacking *r)
{
    memcpy(output(r, LINEAR_CODES), input(r, LINEAR_CODES), r->from->out * r->from->in / 2);
    memcpy(output(r, LINEAR_SCALES), input(r, LINEAR_SCALES), r->from->out * r->from->in / 16);
    return repack_scalar(r, LINEAR_GLOBAL) || repack_scalar(r, LINEAR_INPUT_SCALE) ? -1 : 0;
}

static void repack_words(const struct repacking *r)
{
    const size_t out = r->to->out, words = r->to->in / 8;
    unsigned char *dst = output(r, LINEAR_CODES);
    const unsigned char *src = input(r, LINEAR_CODES);
    if (r->to->form == r->from->form)
        memcpy(dst, src, 4 * out * words);
    else if (r->to->form == LINEAR_GPTQ)
        r->codec->int4->transpose(dst, out, src, words, out, words);
    else
        r->codec->int4->transpose(dst, words, src, out, words, out);
}

/* Returns whether the dtype holds v exactly. */
static int store_scale(unsigned char *dst, size_t at, enum dtype dtype, float v)
{
    if (dtype == DTYPE_F32) {
        store_u32_at(dst, at, f32_bits(v));
        return 1;
    }
    const uint16_t h = dtype == DTYPE_F16 ? f16_from_f32(v) : bf16_from_f32(v);
    store_u16_at(dst, at, h);
    return f32_bits(dtype == DTYPE_F16 ? f32_from_f16(h) : f32_from_bf16(h)) == f32_bits(v);
}

static int repack_scales(const struct repacking *r, const struct int4_source *s)
{
    const struct linear *to = r->to;
    const uint64_t n_groups = to->in / to->group;
    const enum dtype dtype = (enum dtype)linear_tensor(to, LINEAR_SCALES)->info->dtype;
    unsigned char *dst = output(r, LINEAR_SCALES);
    for (uint64_t i = 0; i < to->out * n_groups; i++) {
        const uint64_t row = i / n_groups, group = i % n_groups;
        const float v = int4_source_scale(s, row, group);
        if (!store_scale(dst, to->form == LINEAR_GPTQ ? group * to->out + row : i, dtype, v))
            return prep_fail_tag(r->err, PREP_EUNSUP, "SCALE_VALUE",
                                 "%s: scale of output %llu, group %llu is %.9g, which %s does not "
                                 "hold exactly",
                                 linear_tensor(r->from, LINEAR_SCALES)->info->name,
                                 (unsigned long long)row, (unsigned long long)group, (double)v,
                                 dtype_name(dtype));
    }
    return 0;
}

static void write_shape(const struct repacking *r)
{
    unsigned char *dst = output(r, LINEAR_SHAPE);
    const uint64_t shape[2] = {r->to->out, r->to->in};
    for (size_t i = 0; i < 2 && dst; i++) {
        store_u32_at(dst, 2 * i, (uint32_t)shape[i]);
        store_u32_at(dst, 2 * i + 1, (uint32_t)(shape[i] >> 32));
    }
}

static int repack_int4(const struct repacking *r)
{
    const struct linear *to = r->to;
    struct int4_source s;
    if (linear_open_int4(&s, r->from, r->inputs, r->err))
        return -1;
    if (s.g_idx)
        return prep_fail_tag(r->err, PREP_EUNSUP, "G_IDX",
                             "%s: inputs are not in the order of their groups",
                             linear_tensor(r->from, LINEAR_GROUPS)->info->name);
    if (repack_scales(r, &s))
        return -1;
    repack_words(r);
    write_shape(r);
    unsigned char *zeros = output(r, LINEAR_ZEROS), *g_idx = output(r, LINEAR_GROUPS);
    if (zeros)
        memset(zeros, to->zero_bias ? 0x77 : 0x88, linear_tensor(to, LINEAR_ZEROS)->info->bytes);
    for (uint64_t i = 0; i < to->in && g_idx; i++)
        store_u32_at(g_idx, i, (uint32_t)(i / to->group));
    return 0;
}

int linear_can_repack(const struct linear *to, const struct linear *from, const char **why)
{
    *why = NULL;
    if (to->out != from->out || to->in != from->in || to->group != from->group)
        *why = "shape or group size differ";
    else if (is_nvfp4(to->form) && is_nvfp4(from->form)) {
        if (linear_tensor(to, LINEAR_INPUT_SCALE) && !linear_tensor(from, LINEAR_INPUT_SCALE))
            *why = "there is no input scale";
    } else if (!is_int4(to->form) || !is_int4(from->form))
        *why = "the codes of the two formats differ";
    else if (!from->symmetric)
        *why = "zero points are not symmetric";
    return *why == NULL;
}

int linear_repack(const struct linear *to, unsigned char *const *outputs, const struct linear *from,
                  const struct linear_codec *codec, const struct span *inputs,
                  struct prep_error *err)
{
    const struct repacking r = {to, from, codec, outputs, inputs, err};
    const char *why;
    if (!linear_can_repack(to, from, &why))
        return prep_fail_tag(err, PREP_EUNSUP, "UNSUPPORTED", "%s: %s cannot become %s: %s",
                             from->name, linear_form_name(from->form), linear_form_name(to->form),
                             why);
    if (linear_check_inputs(from, inputs, err))
        return -1;
    return is_nvfp4(to->form) ? repack_nvfp4(&r) : repack_int4(&r);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "libprep/format/ggml_type.h"
#include "libprep/quant/linear_slice.h"
#include "tests/support/stored.h"
#include "tests/support/tiny_linear.h"

enum { MOST_RANKS = 8, ROWS = 256, COLS = 512 };

static const struct {
    const char *name, *extra;
    struct tiny_part parts[TINY_PARTS];
} FORMS[] = {
    {"BF16", "", {{DTYPE_BF16, ROWS, COLS, "weight"}}},
    {"F16", "", {{DTYPE_F16, ROWS, COLS, "weight"}}},
    {"F32", "", {{DTYPE_F32, ROWS, COLS, "weight"}}},
    {"FP8 blocks",
     TINY_FP8 "}",
     {{DTYPE_F8_E4M3, ROWS, COLS, "weight"}, {DTYPE_F32, 2, 4, "weight_scale_inv"}}},
    {"FP8 blocks of odd size",
     TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 208, 304, "weight"}, {DTYPE_BF16, 2, 3, "weight_scale_inv"}}},
    {"NVFP4, modelopt",
     TINY_MODELOPT "}",
     {{DTYPE_U8, ROWS, COLS / 2, "weight"},
      {DTYPE_F8_E4M3, ROWS, COLS / 16, "weight_scale"},
      {DTYPE_F32, -1, -1, "weight_scale_2"},
      {DTYPE_F32, -1, -1, "input_scale"}}},
    {"NVFP4, compressed-tensors",
     TINY_CT "}",
     {{DTYPE_U8, ROWS, COLS / 2, "weight_packed"},
      {DTYPE_F8_E4M3, ROWS, COLS / 16, "weight_scale"},
      {DTYPE_F32, 1, -1, "weight_global_scale"}}},
    {"GPTQ with g_idx in order",
     TINY_GPTQ ", \"group_size\": 128, \"sym\": false, \"checkpoint_format\": \"gptq_v2\"}",
     {{DTYPE_I32, COLS / 8, ROWS, "qweight"},
      {DTYPE_F16, 4, ROWS, "scales"},
      {DTYPE_I32, 4, ROWS / 8, "qzeros"},
      {DTYPE_I32, COLS, -1, "g_idx"}}},
    {"GPTQ with desc_act",
     TINY_GPTQ ", \"group_size\": 128, \"sym\": false, \"desc_act\": true, "
               "\"checkpoint_format\": \"gptq_v2\"}",
     {{DTYPE_I32, COLS / 8, ROWS, "qweight"},
      {DTYPE_F16, 4, ROWS, "scales"},
      {DTYPE_I32, 4, ROWS / 8, "qzeros"},
      {DTYPE_I32, COLS, -1, "g_idx"}}},
    {"pack-quantized",
     TINY_CT "}",
     {{DTYPE_I32, ROWS, COLS / 8, "weight_packed"},
      {DTYPE_BF16, ROWS, 4, "weight_scale"},
      {DTYPE_I32, 2, -1, "weight_shape"}}},
    {"pack-quantized with zeros and g_idx",
     TINY_CT "}",
     {{DTYPE_I32, ROWS, COLS / 8, "weight_packed"},
      {DTYPE_BF16, ROWS, 4, "weight_scale"},
      {DTYPE_I32, ROWS / 8, 4, "weight_zero_point"},
      {DTYPE_I32, COLS, -1, "weight_g_idx"},
      {DTYPE_I64, 2, -1, "weight_shape"}}},
};

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Values that every form takes: any codes, scales near 1. */
static void fill(const struct linear *l, struct span *inputs, uint32_t seed)
{
    uint32_t state = seed;
    for (int i = 0; i < l->n_tensors; i++) {
        unsigned char *p = (unsigned char *)(uintptr_t)inputs[i].p;
        const struct tensor_info *t = l->tensors[i].info;
        const size_t n = inputs[i].n;
        const enum linear_part part = l->tensors[i].part;
        const size_t width = dtype_bits((enum dtype)t->dtype) / 8;
        for (size_t k = 0; k < n; k++)
            p[k] = (unsigned char)next(&state);
        for (size_t k = 0; k < n && t->dtype == DTYPE_F8_E4M3; k++)
            p[k] = (unsigned char)(part == LINEAR_CODES ? (p[k] & 0x77) : 0x30 + p[k] % 16);
        const int real = t->dtype == DTYPE_F32 || t->dtype == DTYPE_BF16 || t->dtype == DTYPE_F16;
        for (size_t k = 0; k < n / width && real; k++) {
            const float v = 0.5f + (float)(next(&state) % 1000) / 1000;
            if (t->dtype == DTYPE_F32)
                store_u32_at(p, k, f32_bits(v));
            else
                store_u16_at(p, k, t->dtype == DTYPE_BF16 ? bf16_from_f32(v) : 0x3800 + k % 512);
        }
        for (size_t k = 0; k < n / 4 && part == LINEAR_GROUPS; k++)
            store_u32_at(p, k, l->any_order ? next(&state) % 4 : (uint32_t)(k / l->group));
        if (part == LINEAR_SHAPE) {
            memset(p, 0, n);
            store_u32_at(p, 0, (uint32_t)l->out);
            store_u32_at(p, n / 8, (uint32_t)l->in);
        }
    }
}

/* What a rank reads: the pieces, one after the other. */
static void gather(struct span out[LINEAR_PARTS], const struct linear_slice *s,
                   const struct span *whole)
{
    for (int i = 0; i < s->linear.n_tensors; i++) {
        const struct linear_piece *p = &s->pieces[i];
        unsigned char *to = malloc(p->n * p->bytes + 1);
        assert_non_null(to);
        assert_int_equal(p->n * p->bytes, s->linear.tensors[i].info->bytes);
        for (uint64_t k = 0; k < p->n; k++) {
            assert_in_range(p->offset + k * p->stride + p->bytes, 0, whole[i].n);
            memcpy(to + k * p->bytes, whole[i].p + p->offset + k * p->stride, p->bytes);
        }
        out[i] = (struct span){to, p->n * p->bytes};
    }
}

static float *decode(const struct linear *l, const struct span *inputs)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct linear_codec codec;
    linear_codec_init(&codec, N_ISA - 1);
    float *out = malloc(l->out * l->in * sizeof *out);
    assert_non_null(out);
    /* Odd counts, so that tiles of the decoders begin anywhere. */
    for (uint64_t first = 0; first < l->out; first += 37) {
        const uint64_t n = l->out - first < 37 ? l->out - first : 37;
        const struct linear_rows rows = {.first = first, .n = n, .f32 = out + first * l->in};
        if (linear_decode_rows(l, &codec, inputs, &rows, &err))
            fail_msg("%s", err.msg);
    }
    return out;
}

struct whole {
    const struct linear *l;
    const struct span *inputs;
    const float *values;
};

/* Marks what the rank has in `seen`; y += x of its columns, all in binary32, k ascending. */
static void check_rank(const struct whole *w, const struct shard_ranges *r, unsigned char *seen,
                       const float *x, float *y)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span inputs[LINEAR_PARTS];
    struct arena arena;
    const struct linear_slice *s;
    arena_init(&arena, 0);
    if (linear_slice(&s, w->l, r, &arena, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(s->rows, r->rows.n);
    assert_int_equal(s->cols, r->cols.n);
    assert_true(linear_bytes(&s->linear) <= linear_bytes(w->l));
    gather(inputs, s, w->inputs);
    float *values = decode(&s->linear, inputs);
    for (uint64_t i = 0; i < s->rows; i++) {
        const uint64_t row = r->rows.first + i;
        const float *mine = values + (s->lead_row + i) * s->linear.in + s->lead_col;
        const float *want = w->values + row * w->l->in + r->cols.first;
        assert_memory_equal(mine, want, s->cols * sizeof *mine);
        float sum = 0;
        for (uint64_t k = 0; k < s->cols; k++) {
            seen[row * w->l->in + r->cols.first + k]++;
            sum = fmaf(x[r->cols.first + k], mine[k], sum);
        }
        y[row] += sum;
    }
    for (int i = 0; i < s->linear.n_tensors; i++)
        free((void *)(uintptr_t)inputs[i].p);
    free(values);
    arena_fini(&arena);
}

/* Every element is on one rank; products of the shares add up to that of the whole. */
static void check_split(const struct whole *w, enum part part, int n)
{
    const struct linear *l = w->l;
    unsigned char *seen = calloc(l->out, l->in);
    float *x = calloc(l->in, sizeof *x), *y = calloc(l->out, sizeof *y);
    assert_true(seen && x && y);
    for (uint64_t k = 0; k < l->in; k++)
        x[k] = (float)(k * 37 % 101) / 50 - 1;
    for (int rank = 0; rank < n; rank++) {
        const struct shard shard = {rank, n};
        const struct shard_ranges r = shard_ranges(part, l->out, l->in, &shard);
        check_rank(w, &r, seen, x, y);
    }
    for (uint64_t i = 0; i < l->out * l->in; i++)
        if (seen[i] != 1)
            fail_msg("element %zu is on %d ranks of %d", (size_t)i, seen[i], n);
    for (uint64_t i = 0; i < l->out; i++) {
        double want = 0, size = 0;
        for (uint64_t k = 0; k < l->in; k++) {
            want += (double)x[k] * (double)w->values[i * l->in + k];
            size += fabs((double)x[k] * (double)w->values[i * l->in + k]);
        }
        /* in + n roundings of relative size 2^-24 at most */
        if (isfinite(want) && fabs((double)y[i] - want) > size * (double)(l->in + 8) * 0x1p-24)
            fail_msg("row %zu: %g, want %g", (size_t)i, (double)y[i], want);
    }
    free(seen);
    free(x);
    free(y);
}

static void check_linear(const struct linear *l, const struct span *inputs, int with_cols)
{
    const struct whole w = {l, inputs, decode(l, inputs)};
    for (int n = 1; n <= MOST_RANKS; n++) {
        if (l->out % (uint64_t)n == 0)
            check_split(&w, PART_UP, n);
        if (with_cols && l->in % (uint64_t)n == 0)
            check_split(&w, PART_DOWN, n);
    }
    free((void *)(uintptr_t)w.values);
}

static void shares_of_every_form_are_the_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FORMS / sizeof *FORMS; i++) {
        struct test_linears t;
        struct span inputs[LINEAR_PARTS];
        linears_open(&t, tiny_write_module(FORMS[i].parts, FORMS[i].extra));
        const struct linear *l = &t.all.items[0];
        inputs_read(inputs, t.ckpt, l);
        fill(l, inputs, (uint32_t)i);
        check_linear(l, inputs, 1);
        inputs_free(inputs, l);
        linears_close(&t);
    }
}

/* Blocks of GGUF files: any bytes are codes; scales are halves, kept finite. */
static void fill_blocks(unsigned char *p, size_t n, uint32_t seed)
{
    uint32_t state = seed;
    for (size_t k = 0; k < n; k++)
        p[k] = (unsigned char)(next(&state) & 0x3B);
}

static void shares_of_gguf_blocks_are_the_whole(void **state)
{
    (void)state;
    static const uint32_t TYPES[] = {GGML_Q8_0, GGML_Q4_0, GGML_Q2_K, GGML_Q3_K,
                                     GGML_Q4_K, GGML_Q5_K, GGML_Q6_K, GGML_IQ4_NL};
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
        const struct ggml_type_info *type = ggml_type_info(TYPES[i]);
        struct tensor_info info = {.name = "w",
                                   .shape = {40, COLS},
                                   .n_dims = 2,
                                   .dtype = DTYPE_U8,
                                   .ggml = (uint16_t)(TYPES[i] + 1)};
        info.bytes = 40ULL * COLS / type->block * type->block_bytes;
        unsigned char *p = malloc(info.bytes);
        assert_non_null(p);
        fill_blocks(p, info.bytes, TYPES[i]);
        const struct linear l = {.name = "w",
                                 .form = LINEAR_GGML,
                                 .out = 40,
                                 .in = COLS,
                                 .n_tensors = 1,
                                 .tensors = {{&info, 0, LINEAR_CODES}}};
        const struct span inputs[LINEAR_PARTS] = {{p, info.bytes}};
        check_linear(&l, inputs, 1);
        free(p);
    }
}

static void keys_and_values_apart_are_cut_by_heads(void **state)
{
    (void)state;
    enum { HEADS = 8, NOPE = 32, VALUE = 64, RANK = 256 };
    struct tensor_info k = {.name = "k",
                            .shape = {HEADS, RANK, NOPE},
                            .n_dims = 3,
                            .bytes = 4 * HEADS * RANK * NOPE,
                            .ggml = GGML_F32 + 1};
    struct tensor_info v = {.name = "v",
                            .shape = {HEADS, VALUE, RANK},
                            .n_dims = 3,
                            .bytes = HEADS * VALUE * RANK / 32 * 34,
                            .ggml = GGML_Q8_0 + 1};
    const struct linear l = {.name = "kv_b",
                             .form = LINEAR_GGML_HEADS,
                             .out = HEADS * (NOPE + VALUE),
                             .in = RANK,
                             .n_tensors = 2,
                             .tensors = {{&k, 0, LINEAR_CODES}, {&v, 1, LINEAR_VALUES}}};
    unsigned char *p = malloc(k.bytes + v.bytes);
    assert_non_null(p);
    fill_blocks(p, k.bytes + v.bytes, 5);
    const struct span inputs[LINEAR_PARTS] = {{p, k.bytes}, {p + k.bytes, v.bytes}};
    check_linear(&l, inputs, 0);
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    const struct linear_slice *s;
    const struct shard_ranges cols = {{0, l.out}, {0, RANK / 2}};
    arena_init(&arena, 0);
    assert_int_equal(linear_slice(&s, &l, &cols, &arena, &err), -1);
    assert_string_equal(err.tag, "UNSUPPORTED");
    arena_fini(&arena);
    free(p);
}

static void blocks_across_a_border_are_held_whole(void **state)
{
    (void)state;
    struct test_linears t;
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    const struct linear_slice *s;
    linears_open(&t, tiny_write_module(FORMS[7].parts, FORMS[7].extra));
    const struct linear *l = &t.all.items[0];
    arena_init(&arena, 0);
    /* Columns 64 to 127 are half a group of 128. */
    const struct shard_ranges r = {{0, ROWS}, {64, 64}};
    assert_int_equal(linear_slice(&s, l, &r, &arena, &err), 0);
    assert_true(linear_slice_is_wider(s));
    assert_int_equal(s->linear.in, 128);
    assert_int_equal(s->lead_col, 64);
    assert_int_equal(linear_bytes(&s->linear), 128 * ROWS / 2 + ROWS * 2 + ROWS / 2 + 128 * 4);
    const struct shard_ranges whole = {{0, ROWS}, {128, 128}};
    assert_int_equal(linear_slice(&s, l, &whole, &arena, &err), 0);
    assert_false(linear_slice_is_wider(s));
    arena_fini(&arena);
    linears_close(&t);
}

static void groups_out_of_order_are_not_cut(void **state)
{
    (void)state;
    struct test_linears t;
    struct span inputs[LINEAR_PARTS], mine[LINEAR_PARTS];
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    const struct linear_slice *s;
    linears_open(&t, tiny_write_module(FORMS[7].parts, FORMS[7].extra));
    const struct linear *l = &t.all.items[0];
    arena_init(&arena, 0);
    inputs_read(inputs, t.ckpt, l);
    fill(l, inputs, 1);
    store_u32_at((unsigned char *)(uintptr_t)inputs[3].p, 200, 3);
    const struct shard_ranges r = {{0, ROWS}, {128, 128}};
    assert_int_equal(linear_slice(&s, l, &r, &arena, &err), 0);
    gather(mine, s, inputs);
    struct linear_codec codec;
    linear_codec_init(&codec, N_ISA - 1);
    float *row = malloc(s->linear.in * sizeof *row);
    const struct linear_rows rows = {.n = 1, .f32 = row};
    assert_int_equal(linear_decode_rows(&s->linear, &codec, mine, &rows, &err), -1);
    assert_string_equal(err.tag, "G_IDX");
    assert_non_null(strstr(err.msg, "group of input 200 is 3, want 1"));
    assert_non_null(strstr(err.msg, "desc_act"));
    free(row);
    for (int i = 0; i < l->n_tensors; i++)
        free((void *)(uintptr_t)mine[i].p);
    inputs_free(inputs, l);
    arena_fini(&arena);
    linears_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_of_every_form_are_the_whole),
        cmocka_unit_test(shares_of_gguf_blocks_are_the_whole),
        cmocka_unit_test(keys_and_values_apart_are_cut_by_heads),
        cmocka_unit_test(blocks_across_a_border_are_held_whole),
        cmocka_unit_test(groups_out_of_order_are_not_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

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
#include "tests/support/stored.h"
#include "tests/support/tiny_checkpoint.h"

#define MODULE "model.layers.0.self_attn.o_proj"
#define FP8                                                                                        \
    ", \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]"
#define GPTQ ", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4"
#define ROUND ", \"quantization_config\": {\"quant_method\": \"auto-round\", \"bits\": 4"
#define MODELOPT ", \"quantization_config\": {\"quant_method\": \"modelopt\""
#define CT ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\""

enum { MAX_PARTS = 6 };

struct stored_part {
    enum dtype dtype;
    int rows, cols; /* as for tiny_add() */
    const char *suffix;
};

/* Write a checkpoint with one module of these tensors, and a norm. */
static const char *write_module(const struct stored_part *parts, const char *extra)
{
    struct tiny_checkpoint t;
    tiny_init(&t);
    tiny_add(&t, DTYPE_BF16, 8, -1, "model.norm.weight");
    for (int i = 0; i < MAX_PARTS && parts[i].suffix; i++)
        tiny_add(&t, parts[i].dtype, parts[i].rows, parts[i].cols, MODULE ".%s", parts[i].suffix);
    const char *dir = tiny_write(&t, tiny_config(0, extra));
    tiny_fini(&t);
    return dir;
}

/* Finding */

static const struct {
    const char *extra;
    struct stored_part parts[MAX_PARTS];
    const char *tag, *text;
    enum prep_code code;
} REFUSED[] = {
    {FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}},
     "SRC_FP8_SCALE_MISSING",
     "o_proj.weight is "
     "F8_E4M3 but",
     0},
    {FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F32, 2, 1, "scale"}},
     "SRC_FP8_SCALE_MISSING",
     "suffix .scale",
     0},
    {FP8 "}", {{DTYPE_F32, 2, 1, "weight_scale_inv"}}, "SRC_FP8_SCALE_ORPHAN", "not stored", 0},
    {FP8 "}",
     {{DTYPE_BF16, 256, 128, "weight"}, {DTYPE_F32, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_ORPHAN",
     "unquantized",
     0},
    {FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F32, 1, 2, "weight_scale_inv"}},
     "SRC_FP8_SCALE_SHAPE",
     "shape [1, 2], want [2, 1]: the grid is transposed",
     0},
    {FP8 "}",
     {{DTYPE_F8_E4M3, 256, 129, "weight"}, {DTYPE_F32, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_SHAPE",
     "shape [2, 1], want [2, 2]",
     0},
    {FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F16, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_DTYPE",
     "dtype F16",
     PREP_EUNSUP},
    {FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_U8, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_DTYPE",
     "dtype U8",
     PREP_EUNSUP},
    {FP8 ", \"scale_fmt\": \"e5m3\"}",
     {{DTYPE_BF16, 8, 8, "weight"}},
     "SRC_FP8_CONFIG",
     "scale_fmt",
     PREP_EUNSUP},
    {"",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F32, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_CONFIG",
     "has no quantization_config",
     0},
    {FP8 "}",
     {{DTYPE_F8_E4M3, 0, 128, "weight"}, {DTYPE_F32, 0, 1, "weight_scale_inv"}},
     "TENSOR_SHAPE",
     "want a matrix",
     0},
    {MODELOPT "}",
     {{DTYPE_U8, 16, 32, "weight"}, {DTYPE_F8_E4M3, 16, 4, "weight_scale"}},
     "SCALE_MISSING",
     "weight_scale_2: not stored",
     0},
    {MODELOPT "}",
     {{DTYPE_U8, 16, 32, "weight"},
      {DTYPE_F8_E4M3, 128, 4, "weight_scale"},
      {DTYPE_F32, -1, -1, "weight_scale_2"}},
     "SCALE_SHAPE",
     "padded rows",
     0},
    {MODELOPT "}",
     {{DTYPE_U8, 16, 32, "weight"},
      {DTYPE_F8_E4M3, 16, 4, "weight_scale"},
      {DTYPE_F32, 2, -1, "weight_scale_2"}},
     "SCALE_SHAPE",
     "want [] or [1]",
     0},
    {MODELOPT "}",
     {{DTYPE_U8, 16, 12, "weight"},
      {DTYPE_F8_E4M3, 16, 1, "weight_scale"},
      {DTYPE_F32, -1, -1, "weight_scale_2"}},
     "TENSOR_SHAPE",
     "multiple of 8",
     0},
    {CT "}",
     {{DTYPE_U8, 16, 32, "weight_packed"},
      {DTYPE_BF16, 16, 4, "weight_scale"},
      {DTYPE_F32, 1, -1, "weight_global_scale"}},
     "TENSOR_DTYPE",
     "want F8_E4M3",
     0},
    {CT "}",
     {{DTYPE_BF16, 16, 64, "weight"}, {DTYPE_U8, 16, 32, "weight_packed"}},
     "TENSOR_UNKNOWN",
     "stored a second time",
     0},
    {CT "}", {{DTYPE_F32, -1, -1, "input_global_scale"}}, "SCALE_ORPHAN", "codes", 0},
    {GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}},
     "SCALE_MISSING",
     "qzeros: not stored",
     0},
    {GPTQ ", \"group_size\": 64}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "GROUP_SIZE",
     "config.json says 64",
     0},
    {GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 3, 32, "scales"}, {DTYPE_I32, 3, 4, "qzeros"}},
     "SCALE_SHAPE",
     "3 groups do not divide 128",
     0},
    {GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 32, 1, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "SCALE_SHAPE",
     "want [32, 32]",
     0},
    {GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"},
      {DTYPE_F16, 1, 32, "scales"},
      {DTYPE_I32, 1, 4, "qzeros"},
      {DTYPE_I32, 64, -1, "g_idx"}},
     "TENSOR_SHAPE",
     "shape [64], want [128]",
     0},
    {GPTQ ", \"checkpoint_format\": \"marlin\"}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "UNSUPPORTED",
     "neither gptq nor gptq_v2",
     PREP_EUNSUP},
    {ROUND ", \"packing_format\": \"auto_round:auto_awq\"}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "UNSUPPORTED",
     "packing_format",
     PREP_EUNSUP},
    {"",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "UNSUPPORTED",
     "neither gptq nor auto-round",
     PREP_EUNSUP},
    {CT "}",
     {{DTYPE_I32, 16, 16, "weight_packed"},
      {DTYPE_BF16, 16, 32, "weight_scale"},
      {DTYPE_I64, 2, -1, "weight_shape"}},
     "GROUP_SIZE",
     "groups of 4 inputs",
     PREP_EUNSUP},
    {CT "}",
     {{DTYPE_I32, 16, 16, "weight_packed"}, {DTYPE_BF16, 16, 1, "weight_scale"}},
     "SCALE_MISSING",
     "weight_shape",
     0},
    {"", {{DTYPE_I8, 16, 16, "weight"}}, "TENSOR_DTYPE", "dtype I8", PREP_EUNSUP},
};

static void refuses_modules_that_do_not_add_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct test_linears t;
        const enum prep_code code = REFUSED[i].code ? REFUSED[i].code : PREP_EDATA;
        if (!linears_try(&t, write_module(REFUSED[i].parts, REFUSED[i].extra), &err))
            fail_msg("case %zu was accepted", i);
        if (err.code != code || strcmp(err.tag, REFUSED[i].tag) != 0 ||
            !strstr(err.msg, REFUSED[i].text))
            fail_msg("case %zu: code %d, %s: %s", i, (int)err.code, err.tag, err.msg);
        linears_close(&t);
    }
}

static void refuses_experts_in_one_quantized_tensor(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct tiny_checkpoint t;
    struct test_linears found;
    tiny_init(&t);
    tiny_add(&t, DTYPE_F8_E4M3, 128, 128, "model.layers.1.mlp.experts.gate_up_proj");
    tiny_add(&t, DTYPE_F32, 1, 1, "model.layers.1.mlp.experts.gate_up_proj_scale_inv");
    assert_int_equal(linears_try(&found, tiny_write(&t, tiny_config(0, FP8 "}")), &err), -1);
    assert_int_equal(err.code, PREP_EUNSUP);
    assert_non_null(strstr(err.msg, "stacked in one tensor"));
    linears_close(&found);
    tiny_fini(&t);
}

static void knows_every_form_and_its_shape(void **state)
{
    (void)state;
    static const struct {
        const char *extra;
        struct stored_part parts[MAX_PARTS];
        enum linear_form form;
        uint64_t out, in, group;
        int n_tensors, zero_bias, symmetric;
    } CASES[] = {
        {"", {{DTYPE_F16, 24, 40, "weight"}}, LINEAR_PLAIN, 24, 40, 0, 1, 0, 0},
        {FP8 ", \"scale_fmt\": \"ue8m0\"}",
         {{DTYPE_F8_E4M3, 130, 257, "weight"}, {DTYPE_U8, 2, 3, "weight_scale_inv"}},
         LINEAR_FP8_BLOCK,
         130,
         257,
         0,
         2,
         0,
         0},
        {FP8 ", \"activation_scheme\": \"static\"}",
         {{DTYPE_F8_E4M3, 8, 8, "weight"},
          {DTYPE_BF16, 1, 1, "weight_scale_inv"},
          {DTYPE_F32, -1, -1, "activation_scale"}},
         LINEAR_FP8_BLOCK,
         8,
         8,
         0,
         3,
         0,
         0},
        {MODELOPT "}",
         {{DTYPE_U8, 24, 32, "weight"},
          {DTYPE_F8_E4M3, 24, 4, "weight_scale"},
          {DTYPE_F32, -1, -1, "weight_scale_2"},
          {DTYPE_F32, -1, -1, "input_scale"}},
         LINEAR_NVFP4_MODELOPT,
         24,
         64,
         16,
         4,
         0,
         0},
        {CT "}",
         {{DTYPE_U8, 24, 32, "weight_packed"},
          {DTYPE_F8_E4M3, 24, 4, "weight_scale"},
          {DTYPE_F32, 1, -1, "weight_global_scale"}},
         LINEAR_NVFP4_CT,
         24,
         64,
         16,
         3,
         0,
         0},
        {GPTQ ", \"group_size\": -1}",
         {{DTYPE_I32, 16, 32, "qweight"},
          {DTYPE_F16, 1, 32, "scales"},
          {DTYPE_I32, 1, 4, "qzeros"},
          {DTYPE_I32, 128, -1, "g_idx"}},
         LINEAR_GPTQ,
         32,
         128,
         128,
         4,
         1,
         1},
        {GPTQ ", \"group_size\": 32, \"sym\": false, \"checkpoint_format\": \"gptq_v2\"}",
         {{DTYPE_I32, 16, 32, "qweight"},
          {DTYPE_BF16, 4, 32, "scales"},
          {DTYPE_I32, 4, 4, "qzeros"}},
         LINEAR_GPTQ,
         32,
         128,
         32,
         3,
         0,
         0},
        {ROUND ", \"packing_format\": \"auto_round:auto_gptq\"}",
         {{DTYPE_I32, 16, 32, "qweight"},
          {DTYPE_F16, 4, 32, "scales"},
          {DTYPE_I32, 4, 4, "qzeros"}},
         LINEAR_GPTQ,
         32,
         128,
         32,
         3,
         1,
         1},
        {ROUND ", \"packing_format\": \"auto_round:gptqmodel\"}",
         {{DTYPE_I32, 16, 32, "qweight"},
          {DTYPE_F16, 4, 32, "scales"},
          {DTYPE_I32, 4, 4, "qzeros"}},
         LINEAR_GPTQ,
         32,
         128,
         32,
         3,
         0,
         1},
        {CT "}",
         {{DTYPE_I32, 12, 16, "weight_packed"},
          {DTYPE_BF16, 12, 4, "weight_scale"},
          {DTYPE_I32, 2, 4, "weight_zero_point"},
          {DTYPE_I64, 2, -1, "weight_shape"}},
         LINEAR_PACK_QUANTIZED,
         12,
         128,
         32,
         4,
         0,
         0},
        {CT "}",
         {{DTYPE_I32, 12, 16, "weight_packed"},
          {DTYPE_F32, 12, 1, "weight_scale"},
          {DTYPE_I32, 2, -1, "weight_shape"}},
         LINEAR_PACK_QUANTIZED,
         12,
         128,
         128,
         3,
         0,
         1},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct test_linears t;
        linears_open(&t, write_module(CASES[i].parts, CASES[i].extra));
        assert_int_equal(t.all.n, 1);
        assert_int_equal(t.all.n_rest, 1);
        const struct linear *l = &t.all.items[0];
        assert_string_equal(l->name, MODULE);
        assert_int_equal(l->form, CASES[i].form);
        assert_int_equal(l->out, CASES[i].out);
        assert_int_equal(l->in, CASES[i].in);
        assert_int_equal(l->group, CASES[i].group);
        assert_int_equal(l->n_tensors, CASES[i].n_tensors);
        assert_int_equal(l->zero_bias, CASES[i].zero_bias);
        assert_int_equal(l->symmetric, CASES[i].symmetric);
        assert_int_equal(l->role, ROLE_ATTENTION);
        assert_int_equal(l->layer, 0);
        linears_close(&t);
    }
}

static void lists_linears_in_layout_order_and_all_the_rest(void **state)
{
    (void)state;
    struct tiny_checkpoint t;
    struct test_linears found;
    tiny_init(&t);
    tiny_add_experts(&t, 4);
    tiny_add_trunk(&t, 4);
    tiny_add(&t, DTYPE_BF16, 8, -1, "model.layers.1.self_attn.o_proj.bias");
    tiny_add(&t, DTYPE_BF16, 8, 8, "some.other.matrix.weight");
    linears_open(&found, tiny_write(&t, tiny_config(1, "")));
    const struct linears *all = &found.all;
    size_t seen = all->n_rest;
    for (size_t i = 0; i < all->n; i++) {
        seen += all->items[i].n_tensors;
        assert_true(i == 0 || all->items[i - 1].order < all->items[i].order);
        assert_ptr_equal(linears_get(all, all->items[i].name), &all->items[i]);
    }
    assert_int_equal(seen, t.n);
    assert_string_equal(all->items[0].name, "lm_head");
    assert_null(linears_get(all, "model.layers.1.mlp.gate"));
    assert_null(linears_get(all, "model.embed_tokens"));
    assert_null(linears_get(all, "some.other.matrix"));
    assert_non_null(linears_get(all, "model.layers.3.eh_proj"));
    assert_int_equal(linears_get(all, "model.layers.2.mlp.experts.7.up_proj")->expert, 7);
    linears_close(&found);
    tiny_fini(&t);
}

static void the_linears_of_a_view_have_its_names(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct tiny_checkpoint t;
    struct tiny_input in;
    struct view v;
    struct linears all;
    struct arena arena;
    const int rows[2] = {0, 1};
    tiny_init(&t);
    tiny_add(&t, DTYPE_BF16, 4, 8, "model.layers.1.mlp.experts.5.up_proj.weight");
    tiny_open(&in, tiny_write(&t, tiny_config(0, "")));
    for (int whole = 1; whole >= 0; whole--) {
        view_init(&v);
        arena_init(&arena, 0);
        v.sources[v.n_sources++] = in.ckpt;
        assert_int_equal(view_add(&v, 0, 0, "model.layers.1.mlp.experts.2.up_proj.weight",
                                  whole ? NULL : rows, 2, 0, 0, &err),
                         0);
        assert_int_equal(view_finish(&v, &err), 0);
        const int rc = linears_of_view(&all, &v, &in.config, &arena, NULL, &err);
        assert_int_equal(rc, whole ? 0 : -1);
        assert_non_null(linears_get(&all, "model.layers.1.mlp.experts.2.up_proj"));
        view_fini(&v);
        arena_fini(&arena);
    }
    assert_int_equal(err.code, PREP_EUNSUP);
    tiny_close(&in);
    tiny_fini(&t);
}

static void warns_where_lists_and_tensors_differ(void **state)
{
    (void)state;
    static const struct stored_part CODED[MAX_PARTS] = {{DTYPE_F8_E4M3, 8, 8, "weight"},
                                                        {DTYPE_F32, 1, 1, "weight_scale_inv"}};
    static const struct stored_part NVFP4[MAX_PARTS] = {{DTYPE_U8, 24, 32, "weight_packed"},
                                                        {DTYPE_F8_E4M3, 24, 4, "weight_scale"},
                                                        {DTYPE_F32, 1, -1, "weight_global_scale"}};
    static const struct stored_part INT4[MAX_PARTS] = {
        {DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 4, 32, "scales"}, {DTYPE_I32, 4, 4, "qzeros"}};
    static const struct stored_part PLAIN[MAX_PARTS] = {{DTYPE_BF16, 8, 8, "weight"}};
    static const struct {
        const char *extra;
        const struct stored_part *parts;
        const char *tag; /* NULL: no warning */
    } CASES[] = {
        {FP8 "}", CODED, NULL},
        {FP8 ", \"modules_to_not_convert\": [\"model.layers.0.self_attn\"]}", CODED,
         "SRC_FP8_LIST"},
        {FP8 ", \"ignored_layers\": [\"model.layers.0.self\"]}", CODED, NULL},
        {FP8 "}", PLAIN, "SRC_FP8_LIST"},
        {FP8 ", \"modules_to_not_convert\": [\"model.layers.0.self_attn.o_proj\"]}", PLAIN, NULL},
        {CT ", \"ignore\": [\"re:.*self_attn.*\"]}", NVFP4, "QUANT_LIST"},
        {CT ", \"ignore\": [\"model.layers.0.self_attn\"]}", NVFP4, NULL},
        {CT ", \"ignore\": [\"lm_head\"]}", PLAIN, "QUANT_LIST"},
        {MODELOPT ", \"ignore\": [\"model.layers.0*\", \"lm_head\"]}", PLAIN, NULL},
        {MODELOPT ", \"ignore\": [\"*.mlp.*\"]}", PLAIN, "QUANT_LIST"},
        {GPTQ ", \"dynamic\": {\"-:.*o_proj\": {}}}", PLAIN, NULL},
        {GPTQ "}", PLAIN, NULL},
        {GPTQ ", \"dynamic\": {\"-:.*o_proj\": {}}}", INT4, "QUANT_LIST"},
        {GPTQ ", \"dynamic\": {\"-:o_proj\": {}}}", INT4, NULL},
        {ROUND ", \"packing_format\": \"auto_round:auto_gptq\", "
               "\"extra_config\": {\".*o_proj\": {\"bits\": 16}}}",
         INT4, "QUANT_LIST"},
        {ROUND ", \"packing_format\": \"auto_round:auto_gptq\", "
               "\"extra_config\": {\".*o_proj\": {\"bits\": 4}}}",
         INT4, NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct test_linears t;
        if (linears_try(&t, write_module(CASES[i].parts, CASES[i].extra), &err))
            fail_msg("case %zu: %s", i, err.msg);
        if (t.report.n_warnings != (CASES[i].tag != NULL) ||
            (CASES[i].tag && strcmp(t.report.warnings[0].tag, CASES[i].tag) != 0))
            fail_msg("case %zu: %zu warnings", i, t.report.n_warnings);
        linears_close(&t);
    }
}

/* Decoding */

struct decoded {
    struct test_linears t;
    struct linear *l;
    struct span inputs[LINEAR_PARTS];
    float *f32;
    uint16_t *bf16;
    struct prep_error err;
    struct linear_counts counts;
};

static void decoded_open(struct decoded *d, const char *extra, const struct stored_part *parts)
{
    linears_open(&d->t, write_module(parts, extra));
    d->l = &d->t.all.items[0];
    d->f32 = calloc(d->l->out * d->l->in, 4);
    d->bf16 = calloc(d->l->out * d->l->in, 2);
    assert_true(d->f32 && d->bf16);
    inputs_read(d->inputs, d->t.ckpt, d->l);
}

static void decoded_close(struct decoded *d)
{
    inputs_free(d->inputs, d->l);
    free(d->f32);
    free(d->bf16);
    linears_close(&d->t);
}

static unsigned char *bytes_of(struct decoded *d, int i)
{
    return (unsigned char *)(uintptr_t)d->inputs[i].p;
}

static int decode_rows(struct decoded *d, uint64_t first, uint64_t n)
{
    struct linear_codec codec;
    linear_codec_init(&codec, N_ISA - 1);
    const struct linear_rows rows = {first, n, d->f32, d->bf16, &d->counts};
    d->err = (struct prep_error)PREP_ERROR_INIT;
    d->counts = (struct linear_counts){0};
    return linear_decode_rows(d->l, &codec, d->inputs, &rows, &d->err);
}

static void assert_refused(struct decoded *d, const char *tag, const char *text)
{
    assert_int_equal(decode_rows(d, 0, d->l->out), -1);
    if (strcmp(d->err.tag, tag) != 0 || !strstr(d->err.msg, text))
        fail_msg("%s: %s", d->err.tag, d->err.msg);
}

static void plain_values_keep_their_bits(void **state)
{
    (void)state;
    static const enum dtype DTYPES[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    for (int k = 0; k < 3; k++) {
        const struct stored_part parts[MAX_PARTS] = {{DTYPES[k], 40, 30, "weight"}};
        struct decoded d;
        decoded_open(&d, "", parts);
        assert_int_equal(decode_rows(&d, 3, 37), 0);
        for (size_t i = 0; i < 37 * 30; i++) {
            const size_t at = 3 * 30 + i;
            float want = 0;
            if (DTYPES[k] == DTYPE_F32)
                want = f32_from_bits(load_u32_at(d.inputs[0].p, at));
            else if (DTYPES[k] == DTYPE_F16)
                want = f32_from_f16(load_u16_at(d.inputs[0].p, at));
            else
                want = f32_from_bf16(load_u16_at(d.inputs[0].p, at));
            assert_int_equal(f32_bits(d.f32[i]), f32_bits(want));
            if (DTYPES[k] == DTYPE_BF16)
                assert_int_equal(d.bf16[i], load_u16_at(d.inputs[0].p, at));
            else
                assert_int_equal(d.bf16[i], bf16_from_f32(want));
        }
        decoded_close(&d);
    }
}

static void fp8_values_are_judged(void **state)
{
    (void)state;
    static const struct stored_part PARTS[MAX_PARTS] = {{DTYPE_F8_E4M3, 130, 200, "weight"},
                                                        {DTYPE_F32, 2, 2, "weight_scale_inv"}};
    struct decoded d;
    decoded_open(&d, FP8 "}", PARTS);
    unsigned char *codes = bytes_of(&d, 0), *scales = bytes_of(&d, 1);
    memset(codes, 0x38, d.inputs[0].n); /* 1.0 */
    for (size_t i = 0; i < 4; i++)
        store_u32_at(scales, i, f32_bits(0.5f));
    store_u32_at(scales, 1, 0); /* a block of signed zeros is legal */
    assert_int_equal(decode_rows(&d, 0, 130), 0);
    assert_int_equal(d.counts.zero_scales, 1);
    assert_int_equal(f32_bits(d.f32[0]), f32_bits(0.5f));
    assert_int_equal(f32_bits(d.f32[128]), 0);
    store_u32_at(scales, 3, f32_bits(0x1p127f));
    codes[129 * 200 + 199] = 0x7E;
    assert_int_equal(decode_rows(&d, 128, 2), 0);
    assert_int_equal(d.counts.overflows, 1);
    codes[129 * 200 + 150] = 0xFF;
    codes[129 * 200 + 199] = 0x7F;
    assert_refused(&d, "SRC_FP8_NAN_CODE",
                   "code 0xFF (NaN) in row 129, column 150, the first of 2");
    assert_int_equal(decode_rows(&d, 0, 129), 0); /* other rows do not mind */
    codes[129 * 200 + 150] = codes[129 * 200 + 199] = 0;
    store_u32_at(scales, 2, f32_bits(-0.5f));
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "block [1, 0] is -0.5");
    store_u32_at(scales, 2, 0x7FC00000);
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "nan");
    store_u32_at(scales, 2, 0x7F800000);
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "inf");
    decoded_close(&d);
}

static void fp8_scales_may_be_exponents(void **state)
{
    (void)state;
    static const struct stored_part PARTS[MAX_PARTS] = {{DTYPE_F8_E4M3, 8, 300, "weight"},
                                                        {DTYPE_F8_E8M0, 1, 3, "weight_scale_inv"}};
    struct decoded d;
    decoded_open(&d, FP8 "}", PARTS);
    memset(bytes_of(&d, 0), 0x38, d.inputs[0].n);
    memcpy(bytes_of(&d, 1), "\x7F\x00\x86", 3);
    assert_int_equal(decode_rows(&d, 0, 8), 0);
    assert_int_equal(f32_bits(d.f32[0]), f32_bits(1.0f));
    assert_int_equal(f32_bits(d.f32[128]), f32_bits(0x1p-127f));
    assert_int_equal(f32_bits(d.f32[256]), f32_bits(128.0f));
    bytes_of(&d, 1)[2] = 255;
    assert_refused(&d, "SRC_FP8_SCALE_VALUE", "block [0, 2]");
    decoded_close(&d);
}

static void nvfp4_values_are_judged(void **state)
{
    (void)state;
    static const struct stored_part PARTS[MAX_PARTS] = {{DTYPE_U8, 8, 32, "weight"},
                                                        {DTYPE_F8_E4M3, 8, 4, "weight_scale"},
                                                        {DTYPE_F32, -1, -1, "weight_scale_2"}};
    static const uint32_t BAD[] = {0, 0x80000000, 0x7F800000, 0x7FC00000, 0xBF800000};
    struct decoded d;
    decoded_open(&d, MODELOPT "}", PARTS);
    memset(bytes_of(&d, 1), 0x38, 32);
    bytes_of(&d, 1)[5] = 0;
    store_u32_at(bytes_of(&d, 2), 0, f32_bits(0.25f));
    assert_int_equal(decode_rows(&d, 0, 8), 0);
    assert_int_equal(d.counts.zero_scales, 1);
    bytes_of(&d, 1)[6] = 0x7F;
    assert_refused(&d, "SCALE_VALUE", "row 1, block 2 is 0x7F (NaN)");
    bytes_of(&d, 1)[6] = 0xB8;
    assert_refused(&d, "SCALE_VALUE", "negative");
    bytes_of(&d, 1)[6] = 0x38;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        store_u32_at(bytes_of(&d, 2), 0, BAD[i]);
        assert_refused(&d, "SCALE_VALUE", "weight_scale_2 is");
    }
    decoded_close(&d);
}

static void integer_values_are_judged(void **state)
{
    (void)state;
    static const struct stored_part PARTS[MAX_PARTS] = {{DTYPE_I32, 16, 16, "qweight"},
                                                        {DTYPE_F16, 2, 16, "scales"},
                                                        {DTYPE_I32, 2, 2, "qzeros"},
                                                        {DTYPE_I32, 128, -1, "g_idx"}};
    struct decoded d;
    decoded_open(&d, GPTQ ", \"group_size\": 64, \"sym\": true}", PARTS);
    for (size_t i = 0; i < 32; i++)
        store_u16_at(bytes_of(&d, 1), i, f16_from_f32(i % 2 ? 0.5f : -0.5f));
    memset(bytes_of(&d, 2), 0x77, 16);
    for (size_t i = 0; i < 128; i++)
        store_u32_at(bytes_of(&d, 3), i, (uint32_t)(i / 64));
    assert_int_equal(decode_rows(&d, 0, 16), 0);
    store_u16_at(bytes_of(&d, 1), 16 + 3, 0); /* group 1 of output 3 */
    assert_int_equal(decode_rows(&d, 0, 16), 0);
    assert_int_equal(d.counts.zero_scales, 1);
    store_u16_at(bytes_of(&d, 1), 16 + 3, 0x7C00);
    assert_refused(&d, "SCALE_VALUE", "output 3, group 1 is inf");
    assert_int_equal(decode_rows(&d, 4, 12), 0);
    store_u16_at(bytes_of(&d, 1), 16 + 3, 0x3800);
    memset(bytes_of(&d, 2), 0x88, 16);
    assert_refused(&d, "QZEROS", "is 9, want 8 with sym");
    d.l->symmetric = 0;
    assert_int_equal(decode_rows(&d, 0, 16), 0);
    d.l->symmetric = 1;
    memset(bytes_of(&d, 2), 0x77, 16);
    store_u32_at(bytes_of(&d, 3), 100, 2);
    assert_refused(&d, "G_IDX", "group of input 100 is 2, want 0 to 1");
    store_u32_at(bytes_of(&d, 3), 100, 0xFFFFFFFF);
    assert_refused(&d, "G_IDX", "is -1");
    decoded_close(&d);
}

static void a_wrong_weight_shape_is_refused(void **state)
{
    (void)state;
    static const struct stored_part PARTS[MAX_PARTS] = {{DTYPE_I32, 12, 16, "weight_packed"},
                                                        {DTYPE_BF16, 12, 1, "weight_scale"},
                                                        {DTYPE_I64, 2, -1, "weight_shape"}};
    struct decoded d;
    decoded_open(&d, CT "}", PARTS);
    for (size_t i = 0; i < 12; i++)
        store_u16_at(bytes_of(&d, 1), i, 0x3C00);
    memset(bytes_of(&d, 2), 0, 16);
    bytes_of(&d, 2)[0] = 12;
    bytes_of(&d, 2)[8] = 127;
    assert_refused(&d, "WEIGHT_SHAPE", "says [12, 127], the codes are [12, 128]");
    bytes_of(&d, 2)[8] = 128;
    assert_int_equal(decode_rows(&d, 0, 12), 0);
    decoded_close(&d);
}

static void rows_outside_are_a_bug_of_the_caller(void **state)
{
    (void)state;
    static const struct stored_part PARTS[MAX_PARTS] = {{DTYPE_BF16, 8, 8, "weight"}};
    struct decoded d;
    decoded_open(&d, "", PARTS);
    assert_int_equal(decode_rows(&d, 8, 0), 0);
    assert_int_equal(decode_rows(&d, 8, 1), -1);
    assert_int_equal(d.err.code, PREP_EBUG);
    assert_int_equal(decode_rows(&d, UINT64_MAX, 2), -1);
    d.inputs[0].n--;
    assert_int_equal(decode_rows(&d, 0, 1), -1);
    assert_int_equal(d.err.code, PREP_EBUG);
    decoded_close(&d);
}

/* Repacking */

static void says_what_cannot_be_repacked(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    struct linear from = {.name = "m", .out = 32, .in = 128}, to;
    const struct linear_want nvfp4 = {.form = LINEAR_NVFP4_CT, .with_input = 1};
    struct linear_want gptq = {.form = LINEAR_GPTQ, .group = 64, .scale_dtype = DTYPE_F16};
    const char *why;
    arena_init(&arena, 0);
    struct linear a, b;
    assert_int_equal(linear_layout(&a, &from, &nvfp4, &arena, &err), 0);
    assert_int_equal(linear_layout(&b, &from, &gptq, &arena, &err), 0);
    assert_false(linear_can_repack(&a, &b, &why));
    assert_non_null(why);
    b.symmetric = 0;
    assert_int_equal(linear_layout(&to, &from, &gptq, &arena, &err), 0);
    assert_false(linear_can_repack(&to, &b, &why));
    gptq.group = 12;
    assert_int_equal(linear_layout(&to, &from, &gptq, &arena, &err), -1);
    assert_int_equal(err.code, PREP_EUNSUP);
    arena_fini(&arena);
}

static void check_reciprocal(float x, enum linear_form of, size_t *n, size_t *lost)
{
    const enum linear_form other = of == LINEAR_NVFP4_CT ? LINEAR_NVFP4_MODELOPT : LINEAR_NVFP4_CT;
    if (!(x >= 0x1p-125f && x <= 0x1p125f))
        return;
    const float there = linear_reciprocal(x, other), plain = 1.0f / x;
    const uint32_t a = f32_bits(there), b = f32_bits(plain);
    assert_int_equal(f32_bits(linear_reciprocal(there, of)), f32_bits(x));
    assert_true(a <= b + 2 && b <= a + 2);
    if (of == LINEAR_NVFP4_MODELOPT)
        assert_int_equal(a, b);
    *lost += 1.0f / plain != x;
    ++*n;
}

/* Every positive BF16 maximum, in the arithmetic of every writer. */
static void reciprocals_of_globals_come_back(void **state)
{
    (void)state;
    size_t n = 0, lost = 0;
    for (uint32_t h = 1; h < 0x7F80; h++) {
        const float a = f32_from_bf16((uint16_t)h);
        const float r = f32_from_bf16(bf16_from_f32(1.0f / a)), s = 1.0f / a;
        check_reciprocal(a / 2688.0f, LINEAR_NVFP4_MODELOPT, &n, &lost);
        check_reciprocal(a / 1536.0f, LINEAR_NVFP4_MODELOPT, &n, &lost);
        check_reciprocal(f32_from_bf16(bf16_from_f32(2688.0f * r)), LINEAR_NVFP4_CT, &n, &lost);
        check_reciprocal(2688.0f * s, LINEAR_NVFP4_CT, &n, &lost);
    }
    assert_true(n > 100000);
    assert_true(lost > n / 9 && lost < n / 6); /* what plain reciprocals would lose */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_modules_that_do_not_add_up),
        cmocka_unit_test(refuses_experts_in_one_quantized_tensor),
        cmocka_unit_test(knows_every_form_and_its_shape),
        cmocka_unit_test(lists_linears_in_layout_order_and_all_the_rest),
        cmocka_unit_test(the_linears_of_a_view_have_its_names),
        cmocka_unit_test(warns_where_lists_and_tensors_differ),
        cmocka_unit_test(plain_values_keep_their_bits),
        cmocka_unit_test(fp8_values_are_judged),
        cmocka_unit_test(fp8_scales_may_be_exponents),
        cmocka_unit_test(nvfp4_values_are_judged),
        cmocka_unit_test(integer_values_are_judged),
        cmocka_unit_test(a_wrong_weight_shape_is_refused),
        cmocka_unit_test(rows_outside_are_a_bug_of_the_caller),
        cmocka_unit_test(says_what_cannot_be_repacked),
        cmocka_unit_test(reciprocals_of_globals_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

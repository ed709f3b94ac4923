/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/stored.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_linear.h"

static const struct {
    const char *extra;
    struct tiny_part parts[TINY_PARTS];
    const char *tag, *text;
    enum prep_code code;
} REFUSED[] = {
    {TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}},
     "SRC_FP8_SCALE_MISSING",
     "o_proj.weight is "
     "F8_E4M3 but",
     0},
    {TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F32, 2, 1, "scale"}},
     "SRC_FP8_SCALE_MISSING",
     "suffix .scale",
     0},
    {TINY_FP8 "}",
     {{DTYPE_F32, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_ORPHAN",
     "not stored",
     0},
    {TINY_FP8 "}",
     {{DTYPE_BF16, 256, 128, "weight"}, {DTYPE_F32, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_ORPHAN",
     "unquantized",
     0},
    {TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F32, 1, 2, "weight_scale_inv"}},
     "SRC_FP8_SCALE_SHAPE",
     "shape [1, 2], want [2, 1]: the grid is transposed",
     0},
    {TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 256, 129, "weight"}, {DTYPE_F32, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_SHAPE",
     "shape [2, 1], want [2, 2]",
     0},
    {TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F16, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_DTYPE",
     "dtype F16",
     PREP_EUNSUP},
    {TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_U8, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_SCALE_DTYPE",
     "dtype U8",
     PREP_EUNSUP},
    {TINY_FP8 ", \"scale_fmt\": \"e5m3\"}",
     {{DTYPE_BF16, 8, 8, "weight"}},
     "SRC_FP8_CONFIG",
     "scale_fmt",
     PREP_EUNSUP},
    {"",
     {{DTYPE_F8_E4M3, 256, 128, "weight"}, {DTYPE_F32, 2, 1, "weight_scale_inv"}},
     "SRC_FP8_CONFIG",
     "has no quantization_config",
     0},
    {TINY_FP8 "}",
     {{DTYPE_F8_E4M3, 0, 128, "weight"}, {DTYPE_F32, 0, 1, "weight_scale_inv"}},
     "TENSOR_SHAPE",
     "want a matrix",
     0},
    {TINY_MODELOPT "}",
     {{DTYPE_U8, 16, 32, "weight"}, {DTYPE_F8_E4M3, 16, 4, "weight_scale"}},
     "SCALE_MISSING",
     "weight_scale_2: not stored",
     0},
    {TINY_MODELOPT "}",
     {{DTYPE_U8, 16, 32, "weight"},
      {DTYPE_F8_E4M3, 128, 4, "weight_scale"},
      {DTYPE_F32, -1, -1, "weight_scale_2"}},
     "SCALE_SHAPE",
     "padded rows",
     0},
    {TINY_MODELOPT "}",
     {{DTYPE_U8, 16, 32, "weight"},
      {DTYPE_F8_E4M3, 16, 4, "weight_scale"},
      {DTYPE_F32, 2, -1, "weight_scale_2"}},
     "SCALE_SHAPE",
     "want [] or [1]",
     0},
    {TINY_MODELOPT "}",
     {{DTYPE_U8, 16, 12, "weight"},
      {DTYPE_F8_E4M3, 16, 1, "weight_scale"},
      {DTYPE_F32, -1, -1, "weight_scale_2"}},
     "TENSOR_SHAPE",
     "multiple of 8",
     0},
    {TINY_CT "}",
     {{DTYPE_U8, 16, 32, "weight_packed"},
      {DTYPE_BF16, 16, 4, "weight_scale"},
      {DTYPE_F32, 1, -1, "weight_global_scale"}},
     "TENSOR_DTYPE",
     "want F8_E4M3",
     0},
    {TINY_CT "}",
     {{DTYPE_BF16, 16, 64, "weight"}, {DTYPE_U8, 16, 32, "weight_packed"}},
     "TENSOR_UNKNOWN",
     "stored a second time",
     0},
    {TINY_CT "}", {{DTYPE_F32, -1, -1, "input_global_scale"}}, "SCALE_ORPHAN", "codes", 0},
    {TINY_GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}},
     "SCALE_MISSING",
     "qzeros: not stored",
     0},
    {TINY_GPTQ ", \"group_size\": 64}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "GROUP_SIZE",
     "config.json says 64",
     0},
    {TINY_GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 3, 32, "scales"}, {DTYPE_I32, 3, 4, "qzeros"}},
     "SCALE_SHAPE",
     "3 groups do not divide 128",
     0},
    {TINY_GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 32, 1, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "SCALE_SHAPE",
     "want [32, 32]",
     0},
    {TINY_GPTQ "}",
     {{DTYPE_I32, 16, 32, "qweight"},
      {DTYPE_F16, 1, 32, "scales"},
      {DTYPE_I32, 1, 4, "qzeros"},
      {DTYPE_I32, 64, -1, "g_idx"}},
     "TENSOR_SHAPE",
     "shape [64], want [128]",
     0},
    {TINY_GPTQ ", \"checkpoint_format\": \"marlin\"}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "UNSUPPORTED",
     "neither gptq nor gptq_v2",
     PREP_EUNSUP},
    {TINY_ROUND ", \"packing_format\": \"auto_round:auto_awq\"}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "UNSUPPORTED",
     "packing_format",
     PREP_EUNSUP},
    {"",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 1, 32, "scales"}, {DTYPE_I32, 1, 4, "qzeros"}},
     "UNSUPPORTED",
     "neither gptq nor auto-round",
     PREP_EUNSUP},
    {TINY_CT "}",
     {{DTYPE_I32, 16, 16, "weight_packed"},
      {DTYPE_BF16, 16, 32, "weight_scale"},
      {DTYPE_I64, 2, -1, "weight_shape"}},
     "GROUP_SIZE",
     "groups of 4 inputs",
     PREP_EUNSUP},
    {TINY_CT "}",
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
        if (!linears_try(&t, tiny_write_module(REFUSED[i].parts, REFUSED[i].extra), &err))
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
    assert_int_equal(linears_try(&found, tiny_write(&t, tiny_config(0, TINY_FP8 "}")), &err), -1);
    assert_int_equal(err.code, PREP_EUNSUP);
    assert_non_null(strstr(err.msg, "stacked in one tensor"));
    linears_close(&found);
    tiny_fini(&t);
}

static const struct {
    const char *extra;
    struct tiny_part parts[TINY_PARTS];
    enum linear_form form;
    uint64_t out, in, group;
    int n_tensors, zero_bias, symmetric;
} FORMS[] = {
    {"", {{DTYPE_F16, 24, 40, "weight"}}, LINEAR_PLAIN, 24, 40, 0, 1, 0, 0},
    {TINY_FP8 ", \"scale_fmt\": \"ue8m0\"}",
     {{DTYPE_F8_E4M3, 130, 257, "weight"}, {DTYPE_U8, 2, 3, "weight_scale_inv"}},
     LINEAR_FP8_BLOCK,
     130,
     257,
     0,
     2,
     0,
     0},
    {TINY_FP8 ", \"activation_scheme\": \"static\"}",
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
    {TINY_MODELOPT "}",
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
    {TINY_CT "}",
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
    {TINY_GPTQ ", \"group_size\": -1}",
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
    {TINY_GPTQ ", \"group_size\": 32, \"sym\": false, \"checkpoint_format\": \"gptq_v2\"}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_BF16, 4, 32, "scales"}, {DTYPE_I32, 4, 4, "qzeros"}},
     LINEAR_GPTQ,
     32,
     128,
     32,
     3,
     0,
     0},
    {TINY_ROUND ", \"packing_format\": \"auto_round:auto_gptq\"}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 4, 32, "scales"}, {DTYPE_I32, 4, 4, "qzeros"}},
     LINEAR_GPTQ,
     32,
     128,
     32,
     3,
     1,
     1},
    {TINY_ROUND ", \"packing_format\": \"auto_round:gptqmodel\"}",
     {{DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 4, 32, "scales"}, {DTYPE_I32, 4, 4, "qzeros"}},
     LINEAR_GPTQ,
     32,
     128,
     32,
     3,
     0,
     1},
    {TINY_CT "}",
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
    {TINY_CT "}",
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

static void knows_every_form_and_its_shape(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        struct test_linears t;
        linears_open(&t, tiny_write_module(FORMS[i].parts, FORMS[i].extra));
        assert_int_equal(t.all.n, 1);
        assert_int_equal(t.all.n_rest, 1);
        const struct linear *l = &t.all.items[0];
        assert_string_equal(l->name, TINY_MODULE);
        assert_int_equal(l->form, FORMS[i].form);
        assert_int_equal(l->out, FORMS[i].out);
        assert_int_equal(l->in, FORMS[i].in);
        assert_int_equal(l->group, FORMS[i].group);
        assert_int_equal(l->n_tensors, FORMS[i].n_tensors);
        assert_int_equal(l->zero_bias, FORMS[i].zero_bias);
        assert_int_equal(l->symmetric, FORMS[i].symmetric);
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
    static const struct tiny_part CODED[TINY_PARTS] = {{DTYPE_F8_E4M3, 8, 8, "weight"},
                                                       {DTYPE_F32, 1, 1, "weight_scale_inv"}};
    static const struct tiny_part NVFP4[TINY_PARTS] = {{DTYPE_U8, 24, 32, "weight_packed"},
                                                       {DTYPE_F8_E4M3, 24, 4, "weight_scale"},
                                                       {DTYPE_F32, 1, -1, "weight_global_scale"}};
    static const struct tiny_part INT4[TINY_PARTS] = {
        {DTYPE_I32, 16, 32, "qweight"}, {DTYPE_F16, 4, 32, "scales"}, {DTYPE_I32, 4, 4, "qzeros"}};
    static const struct tiny_part PLAIN[TINY_PARTS] = {{DTYPE_BF16, 8, 8, "weight"}};
    static const struct {
        const char *extra;
        const struct tiny_part *parts;
        const char *tag; /* NULL: no warning */
    } CASES[] = {
        {TINY_FP8 "}", CODED, NULL},
        {TINY_FP8 ", \"modules_to_not_convert\": [\"model.layers.0.self_attn\"]}", CODED,
         "SRC_FP8_LIST"},
        {TINY_FP8 ", \"ignored_layers\": [\"model.layers.0.self\"]}", CODED, NULL},
        {TINY_FP8 "}", PLAIN, "SRC_FP8_LIST"},
        {TINY_FP8 ", \"modules_to_not_convert\": [\"model.layers.0.self_attn.o_proj\"]}", PLAIN,
         NULL},
        {TINY_CT ", \"ignore\": [\"re:.*self_attn.*\"]}", NVFP4, "QUANT_LIST"},
        {TINY_CT ", \"ignore\": [\"model.layers.0.self_attn\"]}", NVFP4, NULL},
        {TINY_CT ", \"ignore\": [\"lm_head\"]}", PLAIN, "QUANT_LIST"},
        {TINY_MODELOPT ", \"ignore\": [\"model.layers.0*\", \"lm_head\"]}", PLAIN, NULL},
        {TINY_MODELOPT ", \"ignore\": [\"*.mlp.*\"]}", PLAIN, "QUANT_LIST"},
        {TINY_GPTQ ", \"dynamic\": {\"-:.*o_proj\": {}}}", PLAIN, NULL},
        {TINY_GPTQ "}", PLAIN, NULL},
        {TINY_GPTQ ", \"dynamic\": {\"-:.*o_proj\": {}}}", INT4, "QUANT_LIST"},
        {TINY_GPTQ ", \"dynamic\": {\"-:o_proj\": {}}}", INT4, NULL},
        {TINY_ROUND ", \"packing_format\": \"auto_round:auto_gptq\", "
                    "\"extra_config\": {\".*o_proj\": {\"bits\": 16}}}",
         INT4, "QUANT_LIST"},
        {TINY_ROUND ", \"packing_format\": \"auto_round:auto_gptq\", "
                    "\"extra_config\": {\".*o_proj\": {\"bits\": 4}}}",
         INT4, NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct test_linears t;
        if (linears_try(&t, tiny_write_module(CASES[i].parts, CASES[i].extra), &err))
            fail_msg("case %zu: %s", i, err.msg);
        if (t.report.n_warnings != (CASES[i].tag != NULL) ||
            (CASES[i].tag && strcmp(t.report.warnings[0].tag, CASES[i].tag) != 0))
            fail_msg("case %zu: %zu warnings", i, t.report.n_warnings);
        linears_close(&t);
    }
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

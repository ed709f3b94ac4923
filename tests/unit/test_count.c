/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "libprep/model/count.h"
#include "libprep/model/shard.h"
#include "tests/support/support.h"

/* The GLM-5.1 config with n experts; free with config_free(). */
static void load(struct config *c, int n)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *path = test_path("%s/glm-5.1/config.json", test_data());
    if (!test_exists(path))
        path = "tests/data-src/glm-5.1/config.json";
    struct report report;
    report_init(&report);
    if (config_load(c, &io_posix, path, &report, &err) || config_prune(c, n, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(report.n_warnings, 0);
    report_fini(&report);
}

static struct format_size size(const struct config *c, const char *id, int with_mtp)
{
    const struct weight_format *f = weight_format_by_id(id);
    struct format_size s;
    assert_non_null(f);
    count_format(&s, c, f, with_mtp, 1);
    return s;
}

static void counts_the_parameters_of_the_family(void **state)
{
    (void)state;
    static const struct {
        int n;
        uint64_t main, total;
        double active;
    } rows[] = {
        {256, 743911218432, 753864139008, 40.833},
        {192, 562687789632, 570224397824, 40.804},
        {160, 472076075232, 478404527232, 40.789},
        {154, 455086378782, 461188301496, 40.786},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct model_counts m;
        load(&c, rows[i].n);
        count_model(&m, &c);
        assert_true(m.main == rows[i].main);
        assert_true(m.main + m.mtp == rows[i].total);
        assert_true(fabs((double)m.active / 1e9 - rows[i].active) < 0.0005);
        config_free(&c);
    }
}

static void counts_active_parameters_in_every_way_they_are_quoted(void **state)
{
    (void)state;
    struct config c;
    struct model_counts m;
    load(&c, 256);
    count_model(&m, &c);
    assert_true(m.active == 40833146112);
    assert_true(m.active_no_head == 39881563392);
    assert_true(m.active_embed == 41784728832);
    config_free(&c);
    load(&c, 160);
    count_model(&m, &c);
    assert_true(m.active_embed == 41740484832);
    assert_true(m.active_embed_mtp == 42331128960); /* the sheet's 42.33 */
    config_free(&c);
}

static void counts_tensors_and_linears(void **state)
{
    (void)state;
    struct config c;
    struct model_counts m;
    load(&c, 256);
    count_model(&m, &c);
    assert_true(m.tensors_main + m.tensors_mtp == 59870);
    assert_true(m.tensors_mtp == 791);
    config_free(&c);
    load(&c, 192);
    count_model(&m, &c);
    assert_true(m.linears == 44059);
    config_free(&c);
}

static void sizes_every_format_to_the_byte(void **state)
{
    (void)state;
    static const struct {
        int n, mtp;
        const char *id;
        uint64_t bytes, quantized;
    } rows[] = {
        {256, 1, "bf16", 1507728316928, 0},
        {192, 0, "bf16", 1125375608064, 0},
        {154, 0, "bf16", 910172780664, 0},
        {256, 1, "nvfp4-experts", 465863664128, 57600},
        {192, 0, "nvfp4-experts", 343977118464, 43200},
        {160, 1, "nvfp4-experts", 305643670784, 36000},
        {192, 0, "nvfp4-linears", 320375759640, 43971},
        {192, 0, "gptq-linears", 297155256576, 43971},
        {192, 0, "gptq-linears-no-g_idx", 296312901888, 43971},
        {256, 1, "fp8", 756162687872, 0},
        {192, 1, "fp8", 572448221056, 0},
        {160, 1, "fp8", 480590987648, 0},
        {154, 1, "fp8", 463367756384, 0},
        {256, 0, "gguf-q4_k_m", 448404833280, 0},
        {256, 1, "gguf-q4_k_m", 454843376640, 0},
        {192, 0, "gguf-q4_k_m", 339098630400, 0},
        {192, 1, "gguf-q4_k_m", 343969028096, 0},
        {160, 0, "gguf-q4_k_m", 284445528960, 0},
        {160, 1, "gguf-q4_k_m", 288531853824, 0},
        {154, 0, "gguf-q4_k_m", 274198074240, 0},
        {154, 1, "gguf-q4_k_m", 278137385472, 0},
        {256, 0, "gguf-q4_k_m-family", 457434387456, 0},
        {256, 1, "gguf-q4_k_m-family", 464012719104, 0},
        {192, 0, "gguf-q4_k_m-family", 348128184576, 0},
        {192, 1, "gguf-q4_k_m-family", 353138370560, 0},
        {160, 0, "gguf-q4_k_m-family", 293475083136, 0},
        {160, 1, "gguf-q4_k_m-family", 297701196288, 0},
        {154, 0, "gguf-q4_k_m-family", 283227628416, 0},
        {154, 1, "gguf-q4_k_m-family", 287306727936, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        load(&c, rows[i].n);
        struct format_size s = size(&c, rows[i].id, rows[i].mtp);
        if (s.bytes != rows[i].bytes)
            fail_msg("%s, %d experts: %llu bytes, want %llu", rows[i].id, rows[i].n,
                     (unsigned long long)s.bytes, (unsigned long long)rows[i].bytes);
        if (rows[i].quantized)
            assert_true(s.quantized == rows[i].quantized);
        config_free(&c);
    }
}

static void counts_the_linears_of_every_preset(void **state)
{
    (void)state;
    struct config c;
    load(&c, 192);
    assert_true(size(&c, "nvfp4-portable", 0).quantized == 43581);
    assert_true(size(&c, "gptq-portable", 0).quantized == 43581);
    struct weight_format f = *weight_format_by_id("nvfp4-experts");
    struct format_size s;
    f.modules = MODULES_ALL;
    count_format(&s, &c, &f, 0, 1);
    assert_true(s.quantized == 44058);
    f.modules = MODULES_LLAMA;
    count_format(&s, &c, &f, 0, 1);
    assert_true(s.quantized == 43512);
    config_free(&c);
}

/* The FP8 releases state their tensor counts; 5.2 stores indexers on 21 layers and the MTP layer.
 */
static void counts_the_tensors_of_the_fp8_releases(void **state)
{
    (void)state;
    struct config c;
    load(&c, 256);
    assert_true(size(&c, "fp8", 1).tensors == 119028);
    for (int layer = 0; layer < c.num_hidden_layers; layer++)
        c.full_indexer[layer] = layer < 3 || (layer <= 74 && layer % 4 == 2);
    struct format_size s = size(&c, "fp8", 1);
    assert_true(s.tensors == 118629);
    assert_true(s.bytes == 755617140416);
    c.shared_indexers_stored = 1; /* a pattern over a model that has them all */
    assert_true(size(&c, "fp8", 1).tensors == 119028);
    config_free(&c);
}

static void keeps_the_weights_projection_of_the_indexer_in_f32_when_asked(void **state)
{
    (void)state;
    struct config c;
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    struct gguf_tensor t[2];
    struct gguf_rule rule = {.rung = RUNG_Q4_K_M, .block_count = 78, .expert_count = 192};
    load(&c, 192);
    int n = inventory_layer(&c, 5, specs);
    for (int i = 0; i < n; i++) {
        if (specs[i].part != PART_INDEXER_WEIGHTS)
            continue;
        assert_int_equal(gguf_tensors_of(&c, &specs[i], t), 1);
        assert_int_equal(gguf_type_of(&rule, &t[0]), GGML_Q4_K);
        rule.indexer_proj_f32 = 1;
        assert_int_equal(gguf_type_of(&rule, &t[0]), GGML_F32);
        /* 32 x 6144 weights in 78 layers: the sheet's 0.05 GB */
        assert_true(gguf_tensor_bytes(&t[0], GGML_F32) == 32 * 6144 * 4);
    }
    config_free(&c);
}

static void falls_back_where_a_row_is_no_whole_block(void **state)
{
    (void)state;
    struct config c;
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    struct gguf_tensor t[2];
    struct gguf_rule rule = {.rung = RUNG_Q4_K_M, .block_count = 79, .expert_count = 256};
    load(&c, 256);
    int n = inventory_layer(&c, 0, specs);
    for (int i = 0; i < n; i++) {
        if (specs[i].part != PART_KV_B)
            continue;
        assert_int_equal(gguf_tensors_of(&c, &specs[i], t), 2);
        assert_true(t[0].n_cols == 192 && t[0].n_rows == 64 * 512);
        assert_int_equal(gguf_type_of(&rule, &t[0]), GGML_Q5_0);
        assert_int_equal(gguf_type_of(&rule, &t[1]), GGML_Q4_K);
        rule.rung = RUNG_Q2_K;
        assert_int_equal(gguf_type_of(&rule, &t[0]), GGML_Q4_0);
        rule.rung = RUNG_Q6_K;
        assert_int_equal(gguf_type_of(&rule, &t[0]), GGML_Q8_0);
    }
    config_free(&c);
}

static void gives_more_bits_to_39_of_79_layers(void **state)
{
    (void)state;
    struct config c;
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    struct gguf_tensor t[2];
    const struct gguf_rule rule = {.rung = RUNG_Q4_K_M, .block_count = 79, .expert_count = 256};
    int more = 0;
    load(&c, 256);
    for (int layer = 0; layer < 79; layer++) {
        int n = inventory_layer(&c, layer, specs);
        assert_int_equal(specs[n - 1].part, PART_DOWN);
        gguf_tensors_of(&c, &specs[n - 1], t);
        more += gguf_type_of(&rule, &t[0]) == GGML_Q6_K;
    }
    assert_int_equal(more, 39);
    config_free(&c);
}

static void sizes_the_cache_by_layout(void **state)
{
    (void)state;
    struct config c;
    load(&c, 160);
    assert_true(count_kv_token(&c, KV_LAYOUT_BF16) == 89856);
    assert_true(count_kv_token(&c, KV_LAYOUT_FP8) == 44928);
    assert_true(count_kv_token(&c, KV_LAYOUT_DSA_FP8) == 51168);
    assert_true(count_kv_token(&c, KV_LAYOUT_INDEX) == 10296);
    assert_true(count_kv_token_mtp(&c, KV_LAYOUT_BF16) == 1152);
    static const char pattern[] =
        "FFSFSSSFSSFFFSSSFFFSFSSSSSSFFSFFSFFSSFFFFFFSFFFFFSFFSSSSSSFSFFFSFSSSFSFFSFFSSS";
    assert_int_equal(sizeof pattern - 1, c.num_hidden_layers);
    for (int i = 0; i < c.num_hidden_layers; i++)
        c.full_indexer[i] = pattern[i] == 'F';
    assert_true(count_kv_token(&c, KV_LAYOUT_INDEX) == 5280);
    config_free(&c);
}

static void splits_weights_over_ranks(void **state)
{
    (void)state;
    struct config c;
    struct prep_error err = PREP_ERROR_INIT;
    struct format_size one, four;
    load(&c, 160);
    const struct weight_format *f = weight_format_by_id("bf16");
    count_format(&one, &c, f, 0, 1);
    count_format(&four, &c, f, 0, 4);
    assert_true(one.rank_bytes == one.bytes && four.bytes == one.bytes);
    /* Replicated: q_a, kv_a, indexer, norms, router, bias; everything else is split evenly. */
    const uint64_t layer = 2 * (2048 * 6144 + 576 * 6144 + 2048 + 512 + 9371904 + 2 * 6144);
    const uint64_t kept = 78 * layer + 75 * (2 * 160 * 6144 + 4 * 160) + 2 * 6144;
    assert_true(four.rank_bytes == kept + (one.bytes - kept) / 4);

    count_format(&four, &c, weight_format_by_id("nvfp4-experts"), 0, 4);
    assert_true(fabs((double)four.rank_bytes / 1e9 - 76.1) < 2);
    assert_int_equal(shard_check(&c, 4, &err), 0);
    assert_int_equal(shard_check(&c, 3, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    assert_string_equal(err.tag, "TP_DIVISIBILITY");
    /* 2048 / 32 = 64 columns are half a group of 128 */
    count_format(&four, &c, weight_format_by_id("gptq-linears"), 0, 32);
    assert_true(four.rank_cut && four.rank_bytes > four.bytes / 32);
    count_format(&four, &c, weight_format_by_id("gptq-linears"), 0, 16);
    assert_false(four.rank_cut);
    /* Q8_0 has blocks of 32 and is never cut; Q4_K has 256, as many as columns on 8 ranks. */
    count_format(&one, &c, weight_format_by_id("gguf-q8_0"), 0, 1);
    count_format(&four, &c, weight_format_by_id("gguf-q8_0"), 0, 32);
    assert_false(four.rank_cut);
    assert_true(four.rank_bytes < one.bytes / 24);
    count_format(&four, &c, weight_format_by_id("gguf-q4_k_m"), 0, 8);
    assert_false(four.rank_cut);
    count_format(&four, &c, weight_format_by_id("gguf-q4_k_m"), 0, 16);
    assert_true(four.rank_cut);
    config_free(&c);
}

static void refuses_impossible_prunings(void **state)
{
    (void)state;
    static const struct {
        int n, n_group, topk_group;
        const char *tag;
    } rows[] = {
        {257, 1, 1, "PLAN_KEEP_RANGE"},
        {0, 1, 1, "PLAN_KEEP_RANGE"},
        {7, 1, 1, "PLAN_TOPK"},
        {154, 4, 4, "PLAN_GROUP_DIVISIBILITY"},
        {16, 8, 2, "PLAN_GROUP_DIVISIBILITY"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config c;
        struct prep_error err = PREP_ERROR_INIT;
        load(&c, 256);
        c.n_group = rows[i].n_group;
        c.topk_group = rows[i].topk_group;
        assert_int_equal(config_prune(&c, rows[i].n, &err), -1);
        assert_int_equal(err.code, PREP_EUSAGE);
        assert_string_equal(err.tag, rows[i].tag);
        config_free(&c);
    }
}

static void names_every_rung_and_type(void **state)
{
    (void)state;
    for (int i = 0; i < RUNG_COUNT; i++)
        assert_int_equal(gguf_rung_from_name(gguf_rung_name((enum gguf_rung)i)), i);
    assert_int_equal(gguf_rung_from_name("Q9_K"), RUNG_COUNT);
    assert_null(ggml_type_info(4)); /* a removed type */
    assert_int_equal(ggml_type_by_name("Q6_K")->block_bytes, 210);
    assert_null(ggml_type_by_name("Q6"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_the_parameters_of_the_family),
        cmocka_unit_test(counts_active_parameters_in_every_way_they_are_quoted),
        cmocka_unit_test(counts_tensors_and_linears),
        cmocka_unit_test(sizes_every_format_to_the_byte),
        cmocka_unit_test(counts_the_linears_of_every_preset),
        cmocka_unit_test(counts_the_tensors_of_the_fp8_releases),
        cmocka_unit_test(keeps_the_weights_projection_of_the_indexer_in_f32_when_asked),
        cmocka_unit_test(falls_back_where_a_row_is_no_whole_block),
        cmocka_unit_test(gives_more_bits_to_39_of_79_layers),
        cmocka_unit_test(sizes_the_cache_by_layout),
        cmocka_unit_test(splits_weights_over_ranks),
        cmocka_unit_test(refuses_impossible_prunings),
        cmocka_unit_test(names_every_rung_and_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/prune/apply.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

/* Layers 1, 2 and the MTP layer 3 keep four of eight experts, each other ones. */
static int kept[3][4] = {{0, 2, 5, 7}, {1, 2, 3, 4}, {1, 2, 3, 4}};

struct world {
    struct tiny_checkpoint tiny;
    struct tiny_input in;
    struct keep_layer layers[3];
    struct keep_map map;
    struct apply_options options;
    struct prune_output out;
    struct report report;
    struct prep_error err;
};

static void begin(struct world *w)
{
    *w = (struct world){0};
    tiny_init(&w->tiny);
    report_init(&w->report);
    for (int i = 0; i < 3; i++)
        w->layers[i] = (struct keep_layer){.layer = i + 1,
                                           .n_parent = TINY_EXPERTS,
                                           .n_kept = 4,
                                           .kept_parent = kept[i],
                                           .kept_source = kept[i]};
    w->map = (struct keep_map){.layers = w->layers, .n_layers = 3};
}

static void begin_bf16(struct world *w)
{
    begin(w);
    tiny_add_trunk(&w->tiny, TINY_MTP + 1);
    tiny_add_experts(&w->tiny, TINY_MTP + 1);
}

static int apply(struct world *w, const char *extra)
{
    tiny_open(&w->in, tiny_write(&w->tiny, tiny_config(1, extra)));
    return prune_apply(&w->out, w->in.ckpt, &w->in.config, &w->map, &w->options, &w->report,
                       &w->err);
}

static void apply_ok(struct world *w, const char *extra)
{
    if (apply(w, extra))
        fail_msg("%s: %s", w->err.tag, w->err.msg);
}

static void end(struct world *w)
{
    prune_output_fini(&w->out);
    tiny_close(&w->in);
    report_fini(&w->report);
    tiny_fini(&w->tiny);
}

static void expect(struct world *w, const char *extra, enum prep_code code, const char *tag)
{
    assert_int_equal(apply(w, extra), -1);
    assert_string_equal(w->err.tag, tag);
    assert_int_equal(w->err.code, code);
    assert_null(w->out.view.tensors);
    end(w);
}

/* A tensor of the output has these bytes of that tensor of the input. */
static void check_bytes(const struct world *w, const char *name, const char *from, const int *rows,
                        int n_rows)
{
    const struct view_tensor *t = tiny_find(&w->out.view, name);
    const struct checkpoint_tensor *s = checkpoint_find(w->in.ckpt, from);
    struct prep_error err = PREP_ERROR_INIT;
    if (!t)
        fail_msg("%s is missing", name);
    unsigned char *got = tiny_gather(&w->out.view, t), *want = malloc(s->info.bytes);
    assert_int_equal(checkpoint_read(w->in.ckpt, s, 0, want, s->info.bytes, &err), 0);
    size_t row = rows ? s->info.bytes / s->info.shape[0] : s->info.bytes;
    assert_int_equal(t->info.bytes, row * (size_t)n_rows);
    for (int i = 0; i < n_rows; i++)
        assert_memory_equal(got + (size_t)i * row, want + (size_t)(rows ? rows[i] : 0) * row, row);
    free(got);
    free(want);
}

static void tensors_are_dropped_renamed_gathered_or_copied(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    apply_ok(&w, "");
    check_bytes(&w, "model.layers.1.mlp.experts.2.up_proj.weight",
                "model.layers.1.mlp.experts.5.up_proj.weight", NULL, 1);
    check_bytes(&w, "model.layers.2.mlp.experts.0.down_proj.weight",
                "model.layers.2.mlp.experts.1.down_proj.weight", NULL, 1);
    check_bytes(&w, "model.layers.1.mlp.gate.weight", "model.layers.1.mlp.gate.weight", kept[0], 4);
    check_bytes(&w, "model.layers.3.mlp.gate.e_score_correction_bias",
                "model.layers.3.mlp.gate.e_score_correction_bias", kept[2], 4);
    check_bytes(&w, "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.gate_proj.weight",
                NULL, 1);
    assert_null(tiny_find(&w.out.view, "model.layers.1.mlp.experts.4.up_proj.weight"));
    assert_int_equal(w.out.n_in, w.in.ckpt->n_tensors);
    assert_int_equal(w.out.n_dropped, 3 * 4 * 3);
    assert_int_equal(w.out.n_out, w.out.n_in - w.out.n_dropped);
    assert_int_equal(w.out.n_renamed, (3 + 4 + 4) * 3);
    assert_int_equal(w.out.n_gathered, 6);
    assert_int_equal(w.out.n_routed_experts, 4);
    assert_true(w.out.uniform);
    end(&w);
}

static void quantized_experts_are_cut_without_being_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *suffix;
        enum dtype dtype;
        int rows, cols, method; /* of modelopt, compressed-tensors, gptq, fp8 */
    } tensors[] = {
        {"weight", DTYPE_U8, 4, 4, 0},
        {"weight_scale", DTYPE_F8_E4M3, 4, 1, 0},
        {"weight_scale_2", DTYPE_F32, -1, -1, 0},
        {"input_scale", DTYPE_F32, -1, -1, 0},
        {"weight_packed", DTYPE_U8, 4, 4, 1},
        {"weight_scale", DTYPE_F8_E4M3, 4, 1, 1},
        {"weight_global_scale", DTYPE_F32, 1, -1, 1},
        {"input_global_scale", DTYPE_F32, 1, -1, 1},
        {"qweight", DTYPE_I32, 1, 4, 2},
        {"qzeros", DTYPE_I32, 1, 1, 2},
        {"scales", DTYPE_F16, 1, 4, 2},
        {"g_idx", DTYPE_I32, 8, -1, 2},
        {"weight", DTYPE_F8_E4M3, 4, 8, 3},
        {"weight_scale_inv", DTYPE_F32, 1, 1, 3},
    };
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    size_t n_tensors = sizeof tensors / sizeof *tensors;
    for (int method = 0; method < 4; method++) {
        struct world w;
        begin(&w);
        tiny_add_trunk(&w.tiny, TINY_MTP + 1);
        for (int i = 0; i < 3 * TINY_EXPERTS * 3; i++)
            for (size_t k = 0; k < n_tensors; k++)
                if (tensors[k].method == method)
                    tiny_add(&w.tiny, tensors[k].dtype, tensors[k].rows, tensors[k].cols,
                             "model.layers.%d.mlp.experts.%d.%s.%s", 1 + i / 24, i / 3 % 8,
                             parts[i % 3], tensors[k].suffix);
        apply_ok(&w, "");
        for (size_t k = 0; k < n_tensors; k++)
            if (tensors[k].method == method)
                check_bytes(&w,
                            test_path("model.layers.1.mlp.experts.3.up_proj.%s", tensors[k].suffix),
                            test_path("model.layers.1.mlp.experts.7.up_proj.%s", tensors[k].suffix),
                            NULL, 1);
        end(&w);
    }
}

static void fused_experts_are_gathered(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    tiny_add_trunk(&w.tiny, TINY_MTP + 1);
    for (int l = 1; l <= TINY_MTP; l++) {
        tiny_add(&w.tiny, DTYPE_BF16, TINY_EXPERTS, 64, "model.layers.%d.mlp.experts.gate_up_proj",
                 l);
        tiny_add(&w.tiny, DTYPE_BF16, TINY_EXPERTS, 32, "model.layers.%d.mlp.experts.down_proj", l);
        tiny_add(&w.tiny, DTYPE_F32, TINY_EXPERTS, -1,
                 "model.layers.%d.mlp.experts.down_proj_scale", l);
        tiny_add(&w.tiny, DTYPE_F32, 1, -1, "model.layers.%d.mlp.experts.down_proj_scale_2", l);
    }
    apply_ok(&w, "");
    check_bytes(&w, "model.layers.1.mlp.experts.gate_up_proj",
                "model.layers.1.mlp.experts.gate_up_proj", kept[0], 4);
    check_bytes(&w, "model.layers.1.mlp.experts.down_proj_scale",
                "model.layers.1.mlp.experts.down_proj_scale", kept[0], 4);
    check_bytes(&w, "model.layers.1.mlp.experts.down_proj_scale_2",
                "model.layers.1.mlp.experts.down_proj_scale_2", NULL, 1);
    end(&w);
}

static void refuses_tensors_it_does_not_know(void **state)
{
    (void)state;
    static const struct {
        const char *name, *tag;
        int rows;
    } cases[] = {
        {"model.layers.1.mlp.gate.qweight", "APPLY_QUANTISED_ROUTER", 1},
        {"model.layers.1.mlp.gate.g_idx", "APPLY_QUANTISED_ROUTER", 8},
        {"model.layers.1.mlp.gate.weight_scale_inv", "APPLY_QUANTISED_ROUTER", 2},
        {"model.layers.1.mlp.gate.temperature", "APPLY_UNKNOWN_TENSOR", 8},
        {"model.layers.1.mlp.gate_tail.weight", "APPLY_UNKNOWN_TENSOR", 8},
        {"model.layers.1.mlp.experts_bias", "APPLY_UNKNOWN_TENSOR", 8},
        {"model.layers.1.mlp.experts.007.up_proj.weight", "APPLY_UNKNOWN_TENSOR", 4},
        {"model.layers.1.mlp.experts.8.up_proj.weight", "APPLY_UNKNOWN_TENSOR", 4},
        {"model.layers.1.mlp.experts.gate_up_proj", "APPLY_UNKNOWN_TENSOR", 7},
        {"model.layers.9.mlp.experts.0.up_proj.weight", "APPLY_UNKNOWN_TENSOR", 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        begin_bf16(&w);
        tiny_add(&w.tiny, DTYPE_BF16, cases[i].rows, 4, "%s", cases[i].name);
        expect(&w, "", PREP_EDATA, cases[i].tag);
    }
}

static void router_scales_of_one_value_are_copied(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    tiny_add(&w.tiny, DTYPE_F32, -1, -1, "model.layers.1.mlp.gate.weight_scale_2");
    tiny_add(&w.tiny, DTYPE_F32, TINY_EXPERTS, 1, "model.layers.1.mlp.gate.weight_scale");
    tiny_add(&w.tiny, DTYPE_BF16, TINY_EXPERTS, -1, "model.layers.1.mlp.gate.bias");
    apply_ok(&w, "");
    check_bytes(&w, "model.layers.1.mlp.gate.weight_scale_2",
                "model.layers.1.mlp.gate.weight_scale_2", NULL, 1);
    check_bytes(&w, "model.layers.1.mlp.gate.weight_scale", "model.layers.1.mlp.gate.weight_scale",
                kept[0], 4);
    check_bytes(&w, "model.layers.1.mlp.gate.bias", "model.layers.1.mlp.gate.bias", kept[0], 4);
    end(&w);
}

static void refuses_a_checkpoint_with_missing_pieces(void **state)
{
    (void)state;
    static const char *const missing[] = {
        "model.layers.1.mlp.experts.5.up_proj.weight",
        "model.layers.1.mlp.gate.weight",
    };
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        struct world w;
        begin_bf16(&w);
        tiny_remove(&w.tiny, missing[i]);
        expect(&w, "", PREP_EDATA, "APPLY_INCOMPLETE");
    }
    /* A whole expert that stays. */
    struct world w;
    begin_bf16(&w);
    tiny_remove(&w.tiny, "model.layers.2.mlp.experts.3.gate_proj.weight");
    tiny_remove(&w.tiny, "model.layers.2.mlp.experts.3.up_proj.weight");
    tiny_remove(&w.tiny, "model.layers.2.mlp.experts.3.down_proj.weight");
    expect(&w, "", PREP_EDATA, "APPLY_INCOMPLETE");
    /* A scale beside one of several weights of the same kind. */
    begin_bf16(&w);
    for (int e = 0; e < TINY_EXPERTS; e++)
        if (e != 3)
            tiny_add(&w.tiny, DTYPE_F32, -1, -1,
                     "model.layers.2.mlp.experts.%d.up_proj.weight_scale_2", e);
    expect(&w, "", PREP_EDATA, "APPLY_INCOMPLETE");
}

static void experts_may_be_stored_in_different_forms(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    tiny_remove(&w.tiny, "model.layers.2.mlp.experts.3.up_proj.weight");
    tiny_add(&w.tiny, DTYPE_U8, 4, 4, "model.layers.2.mlp.experts.3.up_proj.weight_packed");
    tiny_add(&w.tiny, DTYPE_F8_E4M3, 4, 1, "model.layers.2.mlp.experts.3.up_proj.weight_scale");
    apply_ok(&w, "");
    end(&w);
}

static void config_changes_at_the_count_only(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    apply_ok(&w, ",\n  \"big\": 12345678901234567890");
    const char *old = tiny_config(1, ",\n  \"big\": 12345678901234567890");
    const char *got = tiny_edited(&w.out, "config.json");
    const char *at = strstr(old, "\"n_routed_experts\": 8") + strlen("\"n_routed_experts\": ");
    assert_int_equal(strlen(got), strlen(old));
    assert_memory_equal(got, old, (size_t)(at - old));
    assert_int_equal(got[at - old], '4');
    assert_string_equal(got + (at - old) + 1, at + 1);
    end(&w);
}

static void layers_that_differ_are_listed_and_warned_of(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    w.layers[1].n_kept = 3;
    apply_ok(&w, "");
    const char *got = tiny_edited(&w.out, "config.json");
    assert_non_null(strstr(got, "\"n_routed_experts\": 4,"));
    assert_non_null(strstr(got, "\"num_routed_experts_per_layer\": [\n    0,\n    4,\n    3,\n"
                                "    4\n  ]\n}"));
    assert_true(report_has(&w.report, "PLAN_NONUNIFORM"));
    assert_false(w.out.uniform);
    end(&w);
}

static void an_mtp_layer_that_the_map_does_not_name_stays_whole(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    w.map.n_layers = 2;
    apply_ok(&w, "");
    assert_int_equal(w.out.n_routed_experts, TINY_EXPERTS);
    assert_true(report_has(&w.report, "PLAN_NONUNIFORM"));
    assert_non_null(tiny_find(&w.out.view, "model.layers.3.mlp.experts.7.up_proj.weight"));
    end(&w);
}

static void the_mtp_layer_can_be_dropped(void **state)
{
    (void)state;
    static const char lists[] =
        ",\n  \"quantization_config\": {\n    \"quant_method\": \"modelopt\",\n"
        "    \"quant_algo\": \"NVFP4\",\n"
        "    \"ignore\": [\n"
        "      \"lm_head\",\n"
        "      \"model.layers.3*\",\n"
        "      \"model.layers.3.eh_proj\",\n"
        "      \"model.layers.1.mlp.experts.5.up_proj\"\n    ]\n  }";
    struct world w;
    begin_bf16(&w);
    w.options.drop_mtp = 1;
    apply_ok(&w, lists);
    for (size_t i = 0; i < w.out.view.n_tensors; i++)
        assert_null(strstr(w.out.view.tensors[i].info.name, "layers.3."));
    const char *got = tiny_edited(&w.out, "config.json");
    assert_non_null(strstr(got, "\"num_nextn_predict_layers\": 0,"));
    assert_non_null(strstr(got, "    \"ignore\": [\n"
                                "      \"lm_head\",\n"
                                "      \"model.layers.1.mlp.experts.2.up_proj\"\n    ]\n"));
    assert_int_equal(w.out.n_layers, TINY_LAYERS);
    end(&w);
}

static void an_mtp_layer_that_nobody_stored_is_no_fault(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    tiny_add_trunk(&w.tiny, TINY_LAYERS);
    tiny_add_experts(&w.tiny, TINY_LAYERS);
    apply_ok(&w, "");
    assert_true(w.out.uniform);
    assert_int_equal(w.out.n_routed_experts, 4);
    end(&w);
}

static void refuses_a_map_that_does_not_fit(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    w.layers[0].n_parent = 16;
    expect(&w, "", PREP_EDATA, "KEEP_MAP");
    begin_bf16(&w);
    w.layers[0].layer = 0;
    expect(&w, "", PREP_EDATA, "KEEP_MAP");
    begin_bf16(&w);
    w.map.full = 1;
    w.map.num_hidden_layers = 78;
    expect(&w, "", PREP_EDATA, "KEEP_MAP");
    begin_bf16(&w);
    static int beyond[4] = {0, 1, 2, 8};
    w.layers[0].kept_parent = beyond;
    expect(&w, "", PREP_EDATA, "KEEP_MAP");
}

static void refuses_fewer_experts_than_a_token_needs(void **state)
{
    (void)state;
    struct world w;
    begin_bf16(&w);
    w.layers[0].n_kept = 1;
    expect(&w, "", PREP_EUSAGE, "PLAN_TOPK");
}

static void quantizer_files_are_edited_and_others_copied(void **state)
{
    (void)state;
    static const char hf[] = "{\"quantization\": {\"exclude_modules\": "
                             "[\"model.layers.1.mlp.experts.4.up_proj\", \"lm_head\"]}}";
    static const char *const files[] = {"tokenizer.json", "keep_map.json", "prep-manifest.json",
                                        "prep-report.html", "LICENSE"};
    struct world w;
    begin_bf16(&w);
    const char *dir = tiny_write(&w.tiny, tiny_config(1, ""));
    test_write(test_path("%s/hf_quant_config.json", dir), hf, sizeof hf - 1);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        test_write(test_path("%s/%s", dir, files[i]), "{}", 2);
    tiny_open(&w.in, dir);
    assert_int_equal(
        prune_apply(&w.out, w.in.ckpt, &w.in.config, &w.map, &w.options, &w.report, &w.err), 0);
    assert_string_equal(tiny_edited(&w.out, "hf_quant_config.json"),
                        "{\"quantization\": {\"exclude_modules\": [\"lm_head\"]}}");
    assert_int_equal(w.out.n_sidecars, 2);
    assert_string_equal(w.out.sidecars[0], "LICENSE");
    assert_string_equal(w.out.sidecars[1], "tokenizer.json");
    end(&w);
}

static void an_output_can_be_opened_and_cut_again(void **state)
{
    (void)state;
    static int second[2] = {1, 3};
    struct world w, again;
    struct prune_output out;
    begin_bf16(&w);
    apply_ok(&w, "");
    begin(&again);
    tiny_open(&again.in, tiny_write_output(&w.out));
    for (int i = 0; i < 3; i++) {
        again.layers[i].n_parent = 4;
        again.layers[i].n_kept = 2;
        again.layers[i].kept_parent = second;
    }
    assert_int_equal(prune_apply(&out, again.in.ckpt, &again.in.config, &again.map, &again.options,
                                 NULL, &again.err),
                     0);
    again.out = out;
    const struct view_tensor *t =
        tiny_find(&out.view, "model.layers.1.mlp.experts.1.up_proj.weight");
    const struct checkpoint_tensor *base =
        checkpoint_find(w.in.ckpt, "model.layers.1.mlp.experts.7.up_proj.weight");
    unsigned char *got = tiny_gather(&out.view, t), want[4096];
    assert_int_equal(checkpoint_read(w.in.ckpt, base, 0, want, base->info.bytes, &w.err), 0);
    assert_memory_equal(got, want, base->info.bytes);
    free(got);
    end(&again);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_are_dropped_renamed_gathered_or_copied),
        cmocka_unit_test(quantized_experts_are_cut_without_being_decoded),
        cmocka_unit_test(fused_experts_are_gathered),
        cmocka_unit_test(refuses_tensors_it_does_not_know),
        cmocka_unit_test(router_scales_of_one_value_are_copied),
        cmocka_unit_test(refuses_a_checkpoint_with_missing_pieces),
        cmocka_unit_test(experts_may_be_stored_in_different_forms),
        cmocka_unit_test(config_changes_at_the_count_only),
        cmocka_unit_test(layers_that_differ_are_listed_and_warned_of),
        cmocka_unit_test(an_mtp_layer_that_the_map_does_not_name_stays_whole),
        cmocka_unit_test(the_mtp_layer_can_be_dropped),
        cmocka_unit_test(an_mtp_layer_that_nobody_stored_is_no_fault),
        cmocka_unit_test(refuses_a_map_that_does_not_fit),
        cmocka_unit_test(refuses_fewer_experts_than_a_token_needs),
        cmocka_unit_test(quantizer_files_are_edited_and_others_copied),
        cmocka_unit_test(an_output_can_be_opened_and_cut_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

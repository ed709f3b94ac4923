/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/prune/stitch.h"
#include "libprep/quant/exclude.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

/* A target that kept experts 1, 4, 6 and 7 of the source's eight and lost its MTP layer. */
static int kept[4] = {1, 4, 6, 7}, other[4] = {0, 1, 2, 3};

struct world {
    struct tiny_checkpoint tiny[2]; /* target, source */
    struct tiny_input in[2];
    struct keep_layer layers[3];
    struct keep_map map;
    struct stitch_options options;
    struct stitched s;
    struct report report;
    struct prep_error err;
};

/* The target keeps the names of experts 0 to 3. */
static void add_target(struct tiny_checkpoint *t, const char *prefix)
{
    for (int l = 0; l < TINY_LAYERS; l++) {
        tiny_add(t, DTYPE_BF16, 8, -1, "%slayers.%d.input_layernorm.weight", prefix, l);
        if (l == 0)
            continue;
        tiny_add(t, DTYPE_BF16, 4, 8, "%slayers.%d.mlp.gate.weight", prefix, l);
        for (int e = 0; e < 4; e++)
            tiny_add(t, DTYPE_BF16, 4, 8, "%slayers.%d.mlp.experts.%d.up_proj.weight", prefix, l,
                     e);
    }
}

static void begin_with_prefix(struct world *w, const char *prefix)
{
    *w = (struct world){0};
    tiny_init(&w->tiny[0]);
    tiny_init(&w->tiny[1]);
    report_init(&w->report);
    add_target(&w->tiny[0], prefix);
    tiny_add_trunk(&w->tiny[1], TINY_MTP + 1);
    tiny_add_experts(&w->tiny[1], TINY_MTP + 1);
    for (int i = 0; i < 3; i++)
        w->layers[i] = (struct keep_layer){.layer = i + 1,
                                           .n_parent = TINY_EXPERTS,
                                           .n_kept = 4,
                                           .kept_parent = kept,
                                           .kept_source = kept,
                                           .origin = "observed"};
    w->map = (struct keep_map){.full = 1,
                               .base_n_routed_experts = TINY_EXPERTS,
                               .n_routed_experts = 4,
                               .num_hidden_layers = TINY_LAYERS,
                               .layers = w->layers,
                               .n_layers = 2};
}

static void begin(struct world *w)
{
    begin_with_prefix(w, "model.");
}

/* config.json with another n_routed_experts and hidden_size. */
static const char *config_of(int n_experts, int hidden, int n_nextn, const char *extra)
{
    char *text = strdup(tiny_config(n_nextn, extra));
    assert_non_null(text);
    strstr(text, "\"n_routed_experts\": ")[strlen("\"n_routed_experts\": ")] =
        (char)('0' + n_experts);
    strstr(text, "\"hidden_size\": ")[strlen("\"hidden_size\": ")] = (char)('0' + hidden);
    const char *copy = test_path("%s", text);
    free(text);
    return copy;
}

static int stitch_into(struct world *w, const char *dir, int n_nextn_source)
{
    tiny_open(&w->in[0], dir);
    tiny_open(&w->in[1], tiny_write(&w->tiny[1], tiny_config(n_nextn_source, "")));
    const struct stitch_input target = {w->in[0].ckpt, &w->in[0].config};
    const struct stitch_input source = {w->in[1].ckpt, &w->in[1].config};
    return stitch_mtp(&w->s, &target, &source, w->map.n_layers ? &w->map : NULL, &w->options,
                      &w->report, &w->err);
}

static int stitch(struct world *w, const char *extra)
{
    return stitch_into(w, tiny_write(&w->tiny[0], config_of(4, TINY_HIDDEN, 0, extra)), 1);
}

static void stitch_ok(struct world *w, const char *extra)
{
    if (stitch(w, extra))
        fail_msg("%s: %s", w->err.tag, w->err.msg);
}

static void end(struct world *w)
{
    stitched_fini(&w->s);
    for (int i = 0; i < 2; i++) {
        tiny_close(&w->in[i]);
        tiny_fini(&w->tiny[i]);
    }
    report_fini(&w->report);
}

static void expect(struct world *w, int rc, enum prep_code code, const char *tag)
{
    assert_int_equal(rc, -1);
    assert_string_equal(w->err.tag, tag);
    assert_int_equal(w->err.code, code);
    end(w);
}

/* A tensor of the result is the source's under that name, from its first byte on. */
static void check_graft(const struct world *w, const char *name, const char *from)
{
    const struct view *v = &w->s.out.view;
    const struct view_tensor *t = tiny_find(v, name);
    if (!t)
        fail_msg("%s is missing", name);
    assert_int_equal(t->source, 1);
    assert_string_equal(view_source(v, t)->info.name, from);
}

static void the_layer_is_cut_by_the_proxy_of_the_map(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.layers[1].kept_source = other;
    stitch_ok(&w, "");
    check_graft(&w, "model.layers.3.mlp.experts.1.up_proj.weight",
                "model.layers.3.mlp.experts.1.up_proj.weight");
    const struct view_tensor *gate = tiny_find(&w.s.out.view, "model.layers.3.mlp.gate.weight");
    assert_int_equal(gate->n_rows, 4);
    assert_memory_equal(gate->rows, other, sizeof other);
    assert_string_equal(keep_map_layer(&w.s.map, 3)->origin, "proxy:2");
    assert_int_equal(w.s.out.n_in, w.s.out.n_out + w.s.out.n_dropped);
    assert_non_null(
        strstr(tiny_edited(&w.s.out, "config.json"), "\"num_nextn_predict_layers\": 1,"));
    end(&w);
}

static void another_proxy_may_be_asked_for(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.layers[1].kept_source = other;
    w.options = (struct stitch_options){1, 1};
    stitch_ok(&w, "");
    check_graft(&w, "model.layers.3.mlp.experts.1.up_proj.weight",
                "model.layers.3.mlp.experts.4.up_proj.weight");
    assert_string_equal(keep_map_layer(&w.s.map, 3)->origin, "proxy:1");
    end(&w);
    begin(&w);
    w.options = (struct stitch_options){1, 0};
    expect(&w, stitch(&w, ""), PREP_EUSAGE, "");
}

static void the_entry_of_the_layer_itself_comes_first(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.map.n_layers = 3;
    w.map.num_nextn_predict_layers = 1;
    w.layers[2].kept_source = other;
    w.layers[2].origin = "own";
    stitch_ok(&w, "");
    check_graft(&w, "model.layers.3.mlp.experts.3.up_proj.weight",
                "model.layers.3.mlp.experts.3.up_proj.weight");
    assert_string_equal(keep_map_layer(&w.s.map, 3)->origin, "own");
    end(&w);
}

static void names_take_the_prefix_of_the_target(void **state)
{
    (void)state;
    struct world w;
    begin_with_prefix(&w, "language_model.model.");
    stitch_ok(&w, "");
    check_graft(&w, "language_model.model.layers.3.mlp.experts.0.up_proj.weight",
                "model.layers.3.mlp.experts.1.up_proj.weight");
    check_graft(&w, "language_model.model.layers.3.eh_proj.weight",
                "model.layers.3.eh_proj.weight");
    end(&w);
}

static void an_unpruned_checkpoint_needs_no_map(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.map.n_layers = 0;
    tiny_fini(&w.tiny[0]);
    tiny_init(&w.tiny[0]);
    tiny_add_trunk(&w.tiny[0], TINY_LAYERS);
    tiny_add_experts(&w.tiny[0], TINY_LAYERS);
    const char *dir = tiny_write(&w.tiny[0], tiny_config(0, ""));
    assert_int_equal(stitch_into(&w, dir, 1), 0);
    check_graft(&w, "model.layers.3.mlp.experts.7.up_proj.weight",
                "model.layers.3.mlp.experts.7.up_proj.weight");
    end(&w);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    tiny_add(&w.tiny[0], DTYPE_BF16, 8, -1, "model.layers.3.enorm.weight");
    expect(&w, stitch(&w, ""), PREP_EDATA, "STITCH_PRESENT");

    begin(&w);
    expect(&w, stitch_into(&w, tiny_write(&w.tiny[0], config_of(4, 6, 0, "")), 1), PREP_EDATA,
           "STITCH_MISMATCH");

    begin(&w);
    expect(&w, stitch_into(&w, tiny_write(&w.tiny[0], config_of(5, 8, 0, "")), 1), PREP_EDATA,
           "STITCH_COUNT");

    begin(&w);
    w.map.base_n_routed_experts = 16;
    expect(&w, stitch(&w, ""), PREP_EDATA, "STITCH_COUNT");

    begin(&w);
    expect(&w, stitch_into(&w, tiny_write(&w.tiny[0], config_of(4, 8, 0, "")), 0), PREP_EDATA,
           "STITCH_NO_MTP");

    begin(&w);
    tiny_remove(&w.tiny[1], "model.layers.3.eh_proj.weight");
    tiny_add(&w.tiny[1], DTYPE_F8_E4M3, 8, 16, "model.layers.3.eh_proj.weight");
    expect(&w, stitch(&w, ""), PREP_EUNSUP, "STITCH_QUANTISED");

    begin(&w);
    tiny_remove(&w.tiny[1], "model.layers.3.mlp.experts.6.up_proj.weight");
    expect(&w, stitch(&w, ""), PREP_EDATA, "APPLY_INCOMPLETE");
}

/* What exclude_layer() makes of a quantization config. */
static void check_excluded(const char *method, const char *before, const char *after)
{
    struct json doc;
    struct json_patch p;
    struct arena arena;
    struct span out;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&arena, 0);
    assert_int_equal(json_parse(&doc, before, strlen(before), "config.json", &err), 0);
    json_patch_init(&p, &doc, &arena);
    assert_int_equal(exclude_layer(&p, 0, method, "model.", 78, NULL, &err), 0);
    assert_int_equal(json_patch_finish(&p, &out, &err), 0);
    assert_string_equal(arena_strndup(&arena, (const char *)out.p, out.n, &err), after);
    json_patch_free(&p);
    json_free(&doc);
    arena_fini(&arena);
}

static void each_method_lists_the_layer_in_its_own_way(void **state)
{
    (void)state;
    check_excluded("compressed-tensors", "{\"ignore\": [\"lm_head\"]}",
                   "{\"ignore\": [\"lm_head\", \"re:.*layers\\\\.78\\\\..*\", "
                   "\"re:model\\\\.decoder\\\\..*\", \"re:.*shared_head.*\"]}");
    check_excluded("modelopt", "{\"exclude_modules\": [\"lm_head\", \"model.layers.78*\"]}",
                   "{\"exclude_modules\": [\"lm_head\", \"model.layers.78*\", "
                   "\"*shared_head*\"]}");
    check_excluded("gptq", "{\"bits\": 4, \"dynamic\": {}}",
                   "{\"bits\": 4, \"dynamic\": {\"-:.*layers\\\\.78\\\\..*\": {}, "
                   "\"-:model\\\\.decoder\\\\..*\": {}}}");
    check_excluded("auto-round", "{\n  \"bits\": 4\n}",
                   "{\n  \"bits\": 4,\n  \"extra_config\": {\n"
                   "    \".*layers\\\\.78\\\\..*\": {\"bits\": 16},\n"
                   "    \"model\\\\.decoder\\\\..*\": {\"bits\": 16}\n  }\n}");
    check_excluded("fp8", "{\"modules_to_not_convert\": null, \"ignored_layers\": [\"lm_head\"]}",
                   "{\"modules_to_not_convert\": null, \"ignored_layers\": [\"lm_head\", "
                   "\"model.layers.78\", \"model.decoder\"]}");
    check_excluded("bitsandbytes", "{\"ignore\": []}", "{\"ignore\": []}");
}

static void a_quantized_target_is_told_that_the_layer_is_not(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    const char *extra = ",\n  \"quantization_config\": {\n    \"quant_method\": \"modelopt\",\n"
                        "    \"quant_algo\": \"NVFP4\",\n    \"ignore\": [\n"
                        "      \"lm_head\"\n    ]\n  }";
    static const char hf[] = "{\"quantization\": {\"quant_algo\": \"NVFP4\"}}";
    const char *dir = tiny_write(&w.tiny[0], config_of(4, TINY_HIDDEN, 0, extra));
    test_write(test_path("%s/hf_quant_config.json", dir), hf, sizeof hf - 1);
    test_write(test_path("%s/keep_map.json", dir), "{}", 2);
    test_write(test_path("%s/tokenizer.json", dir), "{}", 2);
    if (stitch_into(&w, dir, 1))
        fail_msg("%s: %s", w.err.tag, w.err.msg);
    assert_non_null(strstr(tiny_edited(&w.s.out, "config.json"),
                           "    \"ignore\": [\n      \"lm_head\",\n"
                           "      \"model.layers.3*\",\n      \"*shared_head*\"\n    ]\n"));
    assert_string_equal(tiny_edited(&w.s.out, "hf_quant_config.json"),
                        "{\"quantization\": {\"quant_algo\": \"NVFP4\", \"exclude_modules\": [\n"
                        "  \"model.layers.3*\",\n  \"*shared_head*\"\n]}}");
    assert_int_equal(w.s.out.n_sidecars, 1);
    assert_string_equal(w.s.out.sidecars[0], "tokenizer.json");
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layer_is_cut_by_the_proxy_of_the_map),
        cmocka_unit_test(another_proxy_may_be_asked_for),
        cmocka_unit_test(the_entry_of_the_layer_itself_comes_first),
        cmocka_unit_test(names_take_the_prefix_of_the_target),
        cmocka_unit_test(an_unpruned_checkpoint_needs_no_map),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(each_method_lists_the_layer_in_its_own_way),
        cmocka_unit_test(a_quantized_target_is_told_that_the_layer_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

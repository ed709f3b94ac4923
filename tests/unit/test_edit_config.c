/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "libprep/prune/block_list.h"
#include "libprep/prune/edit_config.h"

enum { N_LAYERS = 3 };

/* Layer 1 of three keeps experts 1, 3 and 10 of twelve; layer 2 is not pruned. */
static int kept[] = {1, 3, 10};

struct world {
    struct renumber renumber;
    struct module_list modules;
    struct json doc;
    struct arena arena;
    struct json_patch p;
    struct report report;
    struct prep_error err;
};

static void set_up_modules(struct world *w)
{
    static const char *const parts[] = {"gate_proj.weight", "up_proj.weight", "up_proj.bias"};
    const char *names[100];
    size_t n = 0;
    for (int layer = 1; layer < N_LAYERS; layer++)
        for (int e = 0; e < 12; e++)
            for (int p = 0; p < 3; p++)
                names[n++] = arena_printf(&w->arena, &w->err, "model.layers.%d.mlp.experts.%d.%s",
                                          layer, e, parts[p]);
    names[n++] = "model.layers.1.self_attn.o_proj.weight";
    assert_int_equal(module_list_init(&w->modules, &w->renumber, names, n, &w->err), 0);
}

static void begin(struct world *w, const char *text)
{
    struct keep_layer layer = {
        .layer = 1, .n_parent = 12, .n_kept = 3, .kept_parent = kept, .kept_source = kept};
    struct keep_map map = {.layers = &layer, .n_layers = 1};
    unsigned char is_moe[N_LAYERS] = {0, 1, 1};
    int n_experts[N_LAYERS] = {0, 12, 12};
    struct config config = {.num_hidden_layers = N_LAYERS,
                            .n_layers = N_LAYERS,
                            .is_moe = is_moe,
                            .n_experts = n_experts};
    *w = (struct world){0};
    arena_init(&w->arena, 0);
    report_init(&w->report);
    assert_int_equal(renumber_init(&w->renumber, &config, &map, 0, &w->err), 0);
    set_up_modules(w);
    assert_int_equal(json_parse(&w->doc, text, strlen(text), "config.json", &w->err), 0);
    json_patch_init(&w->p, &w->doc, &w->arena);
}

static void end(struct world *w)
{
    json_patch_free(&w->p);
    json_free(&w->doc);
    module_list_fini(&w->modules);
    renumber_fini(&w->renumber);
    report_fini(&w->report);
    arena_fini(&w->arena);
}

static void finish(struct world *w, const char *want)
{
    struct span out;
    assert_int_equal(json_patch_finish(&w->p, &out, &w->err), 0);
    assert_string_equal(arena_strndup(&w->arena, (const char *)out.p, out.n, &w->err), want);
    end(w);
}

static void check_counts(const char *text, const struct expert_counts *counts, const char *want)
{
    struct world w;
    begin(&w, text);
    uint32_t inner = json_get(&w.doc, 0, "text_config");
    assert_int_equal(
        edit_expert_counts(&w.p, inner == JSON_NONE ? 0 : inner, counts, &w.report, &w.err), 0);
    finish(&w, want);
}

static const int three[N_LAYERS] = {0, 3, 3}, mixed[N_LAYERS] = {0, 3, 12};
static const struct expert_counts uniform = {
    .before = 12, .after = 3, .uniform = 1, .n_experts = three, .n_layers = N_LAYERS};

static void every_known_count_changes_where_it_holds_the_old_one(void **state)
{
    (void)state;
    check_counts("{\"n_routed_experts\": 12, \"num_experts\": 12, \"num_local_experts\": 4, "
                 "\"moe_num_experts\": 12, \"num_experts_per_tok\": 2}",
                 &uniform,
                 "{\"n_routed_experts\": 3, \"num_experts\": 3, \"num_local_experts\": 4, "
                 "\"moe_num_experts\": 3, \"num_experts_per_tok\": 2}");
}

static void a_config_with_only_another_name_for_the_count_keeps_it(void **state)
{
    (void)state;
    check_counts("{\"num_experts\": 12}", &uniform, "{\"num_experts\": 3}");
}

static void counts_in_text_config_change_there_and_beside_it(void **state)
{
    (void)state;
    check_counts("{\"n_routed_experts\": 12, \"text_config\": {\"n_routed_experts\": 12}}",
                 &uniform, "{\"n_routed_experts\": 3, \"text_config\": {\"n_routed_experts\": 3}}");
}

static void counts_per_layer_are_added_or_rewritten(void **state)
{
    (void)state;
    struct expert_counts c = {.before = 12, .after = 12, .n_experts = mixed, .n_layers = N_LAYERS};
    check_counts("{\"n_routed_experts\": 12}", &c,
                 "{\"n_routed_experts\": 12, \"num_routed_experts_per_layer\": [0, 3, 12]}");
    check_counts("{\"n_routed_experts\": 12, \"num_routed_experts_per_layer\": [0,12,12]}",
                 &uniform, "{\"n_routed_experts\": 3, \"num_routed_experts_per_layer\": [0,3,3]}");
}

static void mtp_layers_are_counted_anew(void **state)
{
    (void)state;
    struct expert_counts c = uniform;
    c.mtp_before = 1;
    check_counts("{\"n_routed_experts\": 12, \"num_nextn_predict_layers\": 1}", &c,
                 "{\"n_routed_experts\": 3, \"num_nextn_predict_layers\": 0}");
    c.mtp_before = 0;
    c.mtp_after = 1;
    check_counts("{\"n_routed_experts\": 12}", &c,
                 "{\"n_routed_experts\": 3, \"num_nextn_predict_layers\": 1}");
}

static void other_keys_about_experts_are_warned_of(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "{\"n_routed_experts\": 12, \"v_head_dim\": 12, \"num_logical_experts\": 12, "
              "\"expert_scale\": 12.0, \"n_shared_experts\": 1}");
    assert_int_equal(edit_expert_counts(&w.p, 0, &uniform, &w.report, &w.err), 0);
    assert_int_equal(w.report.n_warnings, 1);
    assert_string_equal(w.report.warnings[0].tag, "APPLY_SUSPICIOUS_KEY");
    assert_non_null(strstr(w.report.warnings[0].text, "num_logical_experts"));
    end(&w);
}

static void check_lists(const char *text, int expand, const char *want)
{
    struct world w;
    begin(&w, text);
    if (edit_module_lists(&w.p, &w.modules, expand, &w.err))
        fail_msg("%s: %s", w.err.tag, w.err.msg);
    finish(&w, want);
}

static void check_refused(const char *text)
{
    struct world w;
    begin(&w, text);
    assert_int_equal(edit_module_lists(&w.p, &w.modules, 0, &w.err), -1);
    assert_string_equal(w.err.tag, "APPLY_PATTERN_EXPERT_ID");
    end(&w);
}

static void ids_are_compared_as_numbers(void **state)
{
    (void)state;
    check_lists("{\"quantization_config\": {\"ignore\": [\"model.layers.1.mlp.experts.1\", "
                "\"model.layers.1.mlp.experts.10.up_proj\", \"model.layers.1.mlp.experts.0\", "
                "\"model.layers.10.mlp.experts.1\", \"model.layers.1.mlp.experts.99\"]}}",
                0,
                "{\"quantization_config\": {\"ignore\": [\"model.layers.1.mlp.experts.0\", "
                "\"model.layers.1.mlp.experts.2.up_proj\", "
                "\"model.layers.10.mlp.experts.1\"]}}");
}

static void lists_are_found_wherever_quantizers_put_them(void **state)
{
    (void)state;
    static const char *const places[] = {
        "{\"quantization_config\": {\"modules_to_not_convert\": [%s]}}",
        "{\"quantization_config\": {\"config_groups\": {\"group_0\": {\"targets\": [%s]}}}}",
        "{\"quantization_config\": {\"quantization\": {\"exclude_modules\": [%s]}}}",
        "{\"text_config\": {\"quantization_config\": {\"ignored_layers\": [%s]}}}",
        "{\"quantization\": {\"exclude_modules\": [%s]}}",
        "{\"modules_to_not_quantize\": [%s]}",
        "{\"dynamic\": {%s: {}}}",
        "{\"extra_config\": {%s: {}}}",
        "{\"quantized_layers\": {%s: {}}}",
    };
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&arena, 0);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *cut = strstr(places[i], "%s");
        char *text[2];
        for (int k = 0; k < 2; k++)
            text[k] = arena_printf(&arena, &err, "%.*s\"model.layers.1.mlp.experts.%d.up_proj\"%s",
                                   (int)(cut - places[i]), places[i], k ? 1 : 3, cut + 2);
        check_lists(text[0], 0, text[1]);
    }
    arena_fini(&arena);
}

static void gptq_block_lists_keep_as_many_experts_as_a_layer_has(void **state)
{
    (void)state;
    char text[4000] = "{\"modules_in_block_to_quantize\": [[\"self_attn.o_proj\"]";
    for (int e = 0; e < 12; e++)
        snprintf(text + strlen(text), sizeof text - strlen(text), ", [\"mlp.experts.%d.up_proj\"]",
                 e);
    strcat(text, "]}");
    /* Layer 2 is not pruned: all twelve are still there. */
    check_lists(text, 0, text);
}

static void gptq_block_lists_that_name_some_experts_must_mean_the_same_everywhere(void **state)
{
    (void)state;
    static const char some[] = "{\"quantization_config\": {\"modules_in_block_to_quantize\": "
                               "[\"self_attn.o_proj\", \"mlp.experts.%d.up_proj\"]}}";
    /* Expert 3 becomes 1 in layer 1 and stays 3 in layer 2; 0 goes in one and stays in the other.
     */
    char text[200];
    for (int e = 0; e <= 3; e += 3) {
        snprintf(text, sizeof text, some, e);
        check_refused(text);
    }
    check_lists("{\"modules_in_block_to_quantize\": [[\"mlp.experts.x.up_proj\", \"myexperts.3\", "
                "7], null]}",
                0,
                "{\"modules_in_block_to_quantize\": [[\"mlp.experts.x.up_proj\", \"myexperts.3\", "
                "7], null]}");
}

/* Every layer keeps 1, 3 and 10 of twelve. */
static void check_block_list(const char *text, const char *want)
{
    int new_id[] = {-1, 0, -1, 1, -1, -1, -1, -1, -1, -1, 2, -1};
    struct renumber_layer layers[N_LAYERS] = {{0}, {12, 3, kept, new_id}, {12, 3, kept, new_id}};
    const struct renumber r = {.layers = layers, .n_layers = N_LAYERS, .num_hidden_layers = 3};
    struct world w;
    begin(&w, text);
    if (edit_block_list(&w.p, json_get(&w.doc, 0, "l"), &r, &w.err))
        fail_msg("%s", w.err.msg);
    finish(&w, want);
}

static void gptq_block_lists_are_renumbered_where_all_layers_agree(void **state)
{
    (void)state;
    check_block_list("{\"l\": [[\"self_attn.o_proj\"], [\"mlp.experts.3.up_proj\", "
                     "\"mlp.experts.4.up_proj\"], [\"mlp.experts.5.up_proj\"], "
                     "[\"mlp.experts.10.up_proj\"]]}",
                     "{\"l\": [[\"self_attn.o_proj\"], [\"mlp.experts.1.up_proj\"], "
                     "[\"mlp.experts.2.up_proj\"]]}");
    char all[2000] = "{\"l\": [[";
    for (int e = 0; e < 12; e++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s\"mlp.experts.%d.up_proj\"",
                 e ? ", " : "", e);
    strcat(all, "]]}");
    check_block_list(all, "{\"l\": [[\"mlp.experts.0.up_proj\", \"mlp.experts.1.up_proj\", "
                          "\"mlp.experts.2.up_proj\"]]}");
}

static void values_that_are_no_lists_of_names_are_left_alone(void **state)
{
    (void)state;
    const char *text = "{\"quantization_config\": {\"ignore\": null, \"dynamic\": [1, {}, null], "
                       "\"config_groups\": [], \"extra_config\": {\"a\\u0000b\": 1}}, "
                       "\"text_config\": 3, \"quantization\": []}";
    check_lists(text, 0, text);
}

static void patterns_that_treat_all_experts_alike_stay(void **state)
{
    (void)state;
    const char *text = "{\"ignore\": [\"model.layers.1.mlp.experts.*\", "
                       "\"re:.*experts\\\\.[0-9]{1,2}\\\\.up_proj\", \"re:.*layers\\\\.1\\\\..*\", "
                       "\"model.layers.2.mlp.experts.1*\", \"re:(\", \"*.o_proj\"], "
                       "\"dynamic\": {\"+:.*self_attn.*\": {}, \"-:.*experts\\\\.\\\\d+\": {}}, "
                       "\"extra_config\": {\".*experts.*(up|gate)_proj\": {}}}";
    check_lists(text, 0, text);
}

static void patterns_that_tell_experts_apart_are_refused(void **state)
{
    (void)state;
    check_refused("{\"ignore\": [\"model.layers.1.mlp.experts.1*\"]}");
    check_refused("{\"ignore\": [\"model.layers.1.mlp.experts.?.up_proj\"]}");
    check_refused("{\"ignore\": [\"model.layers.1.mlp.experts.1[01]\"]}");
    check_refused("{\"ignore\": [\"re:.*experts\\\\.3\"]}");
    check_refused("{\"dynamic\": {\"-:.*\\\\.1\\\\.mlp\\\\.experts\\\\.7\\\\..*\": {}}}");
    check_refused("{\"extra_config\": {\"model.layers.1.mlp.experts.(1|2).up_proj\": {}}}");
}

static void patterns_can_be_expanded(void **state)
{
    (void)state;
    check_lists("{\"ignore\": [\"lm_head\", \"model.layers.1.mlp.experts.1*.up_proj\"]}", 1,
                "{\"ignore\": [\"lm_head\", \"model.layers.1.mlp.experts.0.up_proj\", "
                "\"model.layers.1.mlp.experts.2.up_proj\"]}");
    /* A whole expert is named where none of its parts is matched. */
    check_lists("{\"ignore\": [\"model.layers.1.mlp.experts.1[01]\"]}", 1,
                "{\"ignore\": [\"model.layers.1.mlp.experts.2\"]}");
    /* Nothing that it matched stays. */
    check_lists("{\"ignore\": [\"model.layers.1.mlp.experts.2*\"]}", 1, "{\"ignore\": []}");
    /* A name that the list has already is not repeated. */
    check_lists("{\"dynamic\": {\"-:.*1\\\\.mlp\\\\.experts\\\\.3\\\\.up.*\": 1, "
                "\"-:.*1\\\\.mlp\\\\.experts\\\\.[34]\\\\.up.*\": 2}}",
                1, "{\"dynamic\": {\"-:model.layers.1.mlp.experts.1.up_proj\": 1}}");
}

static void a_pattern_that_cannot_be_read_is_refused_when_it_has_ids(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "{\"ignore\": [\"re:.*experts.1(\"]}");
    assert_int_equal(edit_module_lists(&w.p, &w.modules, 0, &w.err), -1);
    assert_string_equal(w.err.tag, "PATTERN");
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_known_count_changes_where_it_holds_the_old_one),
        cmocka_unit_test(a_config_with_only_another_name_for_the_count_keeps_it),
        cmocka_unit_test(counts_in_text_config_change_there_and_beside_it),
        cmocka_unit_test(counts_per_layer_are_added_or_rewritten),
        cmocka_unit_test(mtp_layers_are_counted_anew),
        cmocka_unit_test(other_keys_about_experts_are_warned_of),
        cmocka_unit_test(ids_are_compared_as_numbers),
        cmocka_unit_test(lists_are_found_wherever_quantizers_put_them),
        cmocka_unit_test(gptq_block_lists_keep_as_many_experts_as_a_layer_has),
        cmocka_unit_test(gptq_block_lists_that_name_some_experts_must_mean_the_same_everywhere),
        cmocka_unit_test(gptq_block_lists_are_renumbered_where_all_layers_agree),
        cmocka_unit_test(values_that_are_no_lists_of_names_are_left_alone),
        cmocka_unit_test(patterns_that_treat_all_experts_alike_stay),
        cmocka_unit_test(patterns_that_tell_experts_apart_are_refused),
        cmocka_unit_test(patterns_can_be_expanded),
        cmocka_unit_test(a_pattern_that_cannot_be_read_is_refused_when_it_has_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

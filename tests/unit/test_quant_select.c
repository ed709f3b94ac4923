/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/model/source.h"
#include "libprep/quant/select.h"
#include "tests/support/support.h"

/* The linears of the nano model: layers 0 and 1 dense, 2 to 4 MoE, 5 MTP. */
struct nano {
    struct source source;
    struct linears linears;
    struct arena arena;
};

static struct nano nano;

static int open_nano(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&nano.arena, 0);
    const char *path = test_path("%s/glm-nano", test_data());
    if (source_open(&nano.source, &io_posix, path, NULL, &err) ||
        linears_of_checkpoint(&nano.linears, nano.source.ckpt, &nano.source.config, &nano.arena,
                              NULL, &err))
        fail_msg("%s", err.msg);
    return 0;
}

static int close_nano(void **state)
{
    (void)state;
    source_close(&nano.source);
    arena_fini(&nano.arena);
    return 0;
}

static struct quant_select_options options(const char *preset)
{
    struct quant_select_options o = {
        .preset_name = preset, .num_hidden_layers = 5, .in_multiple = 16, .out_multiple = 1};
    assert_int_equal(quant_preset(&o.preset, preset), 0);
    return o;
}

static size_t choose(struct quant_selection *s, const struct quant_select_options *o)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (quant_select(s, &nano.linears, o, &nano.arena, &err))
        fail_msg("%s", err.msg);
    return s->n_taken;
}

static void expect_refused(const struct quant_select_options *o, const char *tag)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct quant_selection s;
    assert_int_equal(quant_select(&s, &nano.linears, o, &nano.arena, &err), -1);
    assert_string_equal(err.tag, tag);
}

static const struct quant_choice *choice(const struct quant_selection *s, const char *name)
{
    const struct linear *l = linears_get(&nano.linears, name);
    if (!l)
        fail_msg("no linear %s", name);
    return &s->choices[l - nano.linears.items];
}

static void presets_take_what_the_sheet_says(void **state)
{
    (void)state;
    struct quant_selection s;
    struct quant_select_options o = options("experts");
    assert_int_equal(choose(&s, &o), 144);
    o = options("all");
    assert_int_equal(choose(&s, &o), 199);
    o = options("linears"); /* all but six dense linears and five indexer.weights_proj */
    assert_int_equal(choose(&s, &o), 188);
    o = options("portable"); /* experts, nine shared, q_b and o of five layers */
    assert_int_equal(choose(&s, &o), 144 + 9 + 10);
    o = options("llama"); /* experts, shared, dense, o */
    assert_int_equal(choose(&s, &o), 144 + 9 + 6 + 5);
    enum module_set set;
    assert_int_equal(quant_preset(&set, "none"), -1);
}

static void mtp_layers_are_taken_only_when_asked_for(void **state)
{
    (void)state;
    struct quant_selection s;
    struct quant_select_options o = options("experts");
    o.mtp = QUANT_MTP_QUANTIZE;
    assert_int_equal(choose(&s, &o), 192);
    o.mtp = QUANT_MTP_SEPARATE;
    assert_int_equal(choose(&s, &o), 144);
    o = options("llama");
    o.mtp = QUANT_MTP_SEPARATE;
    assert_int_equal(choose(&s, &o), 144 + 9 + 6 + 5 + 48 + 3 + 1 + 1);
    assert_true(choice(&s, "model.layers.5.eh_proj")->take);
    o.mtp = QUANT_MTP_QUANTIZE;
    choose(&s, &o);
    assert_false(choice(&s, "model.layers.5.eh_proj")->take);
}

static void the_last_rule_that_matches_wins(void **state)
{
    (void)state;
    struct quant_selection s;
    const struct quant_rule rules[] = {{"*.layers.3.*", 0},
                                       {"re:.*layers\\.3\\.mlp\\.experts", 1},
                                       {"model.layers.2.mlp.shared_experts.*", 1},
                                       {"lm_head", 1}};
    struct quant_select_options o = options("experts");
    o.rules = rules;
    o.n_rules = 4;
    assert_int_equal(choose(&s, &o), 144 + 3 + 1);
    assert_int_equal(choice(&s, "model.layers.3.mlp.experts.7.up_proj")->rule, 1);
    assert_int_equal(choice(&s, "model.layers.2.mlp.experts.7.up_proj")->rule, -1);
    assert_int_equal(choice(&s, "model.layers.3.self_attn.o_proj")->rule, 0);
    assert_true(choice(&s, "lm_head")->take);
}

static void rules_that_match_nothing_or_leave_nothing_are_refused(void **state)
{
    (void)state;
    struct quant_rule rule = {"model.layers.99.*", 1};
    struct quant_select_options o = options("experts");
    o.rules = &rule;
    o.n_rules = 1;
    expect_refused(&o, "MODULES_NO_MATCH");
    rule = (struct quant_rule){"*mlp.gate", 1}; /* routers are no linears */
    expect_refused(&o, "MODULES_NO_MATCH");
    rule = (struct quant_rule){"*", 0};
    expect_refused(&o, "MODULES_NONE");
    rule = (struct quant_rule){"re:[", 0};
    expect_refused(&o, "PATTERN");
    rule = (struct quant_rule){"re:(.*)*(.*)*x", 0};
    expect_refused(&o, "PATTERN");
}

static void what_engines_load_as_one_is_not_split(void **state)
{
    (void)state;
    struct quant_rule rule = {"*.layers.2.mlp.experts.7.*", 0};
    struct quant_select_options o = options("linears");
    o.rules = &rule;
    o.n_rules = 1;
    expect_refused(&o, "MODULES_SPLIT"); /* an expert of a layer */
    rule.pattern = "*.experts.*.down_proj";
    expect_refused(&o, "MODULES_SPLIT");
    rule.pattern = "*.shared_experts.up_proj";
    expect_refused(&o, "MODULES_SPLIT");
    rule.pattern = "*.layers.4.self_attn.kv_a_proj_with_mqa";
    expect_refused(&o, "MODULES_SPLIT");
    rule.pattern = "*.shared_experts.down_proj"; /* loaded on its own */
    struct quant_selection s;
    assert_int_equal(choose(&s, &o), 188 - 3);
    rule.pattern = "*.layers.2.mlp.experts.*";
    assert_int_equal(choose(&s, &o), 188 - 48);
}

static void a_shape_the_format_cannot_hold_is_refused(void **state)
{
    (void)state;
    struct quant_select_options o = options("experts");
    o.in_multiple = 512;
    expect_refused(&o, "SHAPE");
    o.in_multiple = 128;
    o.out_multiple = 96;
    expect_refused(&o, "SHAPE");
}

static uint32_t group(const struct quant_selection *s, const char *name)
{
    return choice(s, name)->group;
}

static void groups_share_what_the_sheet_says(void **state)
{
    (void)state;
    struct quant_selection s;
    struct quant_select_options o = options("all");
    choose(&s, &o);
    assert_int_equal(group(&s, "model.layers.2.mlp.experts.7.gate_proj"),
                     group(&s, "model.layers.2.mlp.experts.7.up_proj"));
    assert_int_not_equal(group(&s, "model.layers.2.mlp.experts.7.gate_proj"),
                         group(&s, "model.layers.2.mlp.experts.8.gate_proj"));
    assert_int_not_equal(group(&s, "model.layers.2.mlp.experts.7.gate_proj"),
                         group(&s, "model.layers.2.mlp.experts.7.down_proj"));
    assert_int_equal(group(&s, "model.layers.2.mlp.shared_experts.gate_proj"),
                     group(&s, "model.layers.2.mlp.shared_experts.up_proj"));
    assert_int_equal(group(&s, "model.layers.0.mlp.gate_proj"),
                     group(&s, "model.layers.0.mlp.up_proj"));
    assert_int_equal(group(&s, "model.layers.0.self_attn.q_a_proj"),
                     group(&s, "model.layers.0.self_attn.kv_a_proj_with_mqa"));
    assert_int_not_equal(group(&s, "model.layers.0.self_attn.q_a_proj"),
                         group(&s, "model.layers.0.self_attn.indexer.wk"));
    assert_int_not_equal(group(&s, "model.layers.0.self_attn.q_b_proj"),
                         group(&s, "model.layers.0.self_attn.indexer.wq_b"));
    o.same_input = 1;
    choose(&s, &o);
    assert_int_equal(group(&s, "model.layers.0.self_attn.q_a_proj"),
                     group(&s, "model.layers.0.self_attn.indexer.wk"));
    assert_int_equal(group(&s, "model.layers.0.self_attn.q_a_proj"),
                     group(&s, "model.layers.0.self_attn.indexer.weights_proj"));
    assert_int_equal(group(&s, "model.layers.0.self_attn.q_b_proj"),
                     group(&s, "model.layers.0.self_attn.indexer.wq_b"));
    assert_int_not_equal(group(&s, "model.layers.0.self_attn.q_b_proj"),
                         group(&s, "model.layers.1.self_attn.q_b_proj"));
    /* Every linear is in its group once. */
    size_t n = 0;
    for (size_t g = 0; g < s.n_groups; g++)
        for (uint32_t k = s.first[g]; k < s.first[g + 1]; k++, n++)
            assert_int_equal(s.choices[s.taken[k]].group, g);
    assert_int_equal(n, s.n_taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_take_what_the_sheet_says),
        cmocka_unit_test(mtp_layers_are_taken_only_when_asked_for),
        cmocka_unit_test(the_last_rule_that_matches_wins),
        cmocka_unit_test(rules_that_match_nothing_or_leave_nothing_are_refused),
        cmocka_unit_test(what_engines_load_as_one_is_not_split),
        cmocka_unit_test(a_shape_the_format_cannot_hold_is_refused),
        cmocka_unit_test(groups_share_what_the_sheet_says),
    };
    return cmocka_run_group_tests(tests, open_nano, close_nano);
}

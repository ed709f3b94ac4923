/* SPDX-License-Identifier: MIT */
/* Exclude lists as each engine reads them: what matches, what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "libprep/release/lint.h"
#include "libprep/release/lint_match.h"

struct question {
    const char *entries[4], *module;
    int want; /* index of the entry, or -1 */
};

static void ask_all(enum list_rule rule, const struct question *q, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT;
    for (size_t i = 0; i < n; i++) {
        struct lint_match m;
        size_t n_entries = 0;
        while (n_entries < 4 && q[i].entries[n_entries])
            n_entries++;
        assert_int_equal(lint_match_init(&m, rule, q[i].entries, n_entries, &err), 0);
        int got = lint_match(&m, q[i].module);
        if (got != q[i].want)
            fail_msg("\"%s\" and %s: %d, want %d", q[i].entries[0], q[i].module, got, q[i].want);
        lint_match_fini(&m);
    }
}

#define ASK(rule, table) ask_all((rule), (table), sizeof(table) / sizeof *(table))

static void compressed_tensors_are_exact_or_match_from_the_start(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"lm_head"}, "lm_head", 0},
        {{"lm_head"}, "model.lm_head", -1},
        {{"re:.*layers\\.5\\..*"}, "model.layers.5.mlp.gate", 0},
        {{"re:.*layers\\.5\\..*"}, "model.layers.15.mlp.gate", -1},
        {{"re:layers\\.5"}, "model.layers.5.mlp.gate", -1},
        {{"re:model\\.layers\\.5"}, "model.layers.55.mlp.gate", 0},
        {{"x", "re:.*weights_proj"}, "model.layers.0.self_attn.indexer.weights_proj", 1},
        {{"re:("}, "(", -1},
        {{"[0-77]"}, "7", -1},
    };
    ASK(LIST_CT, q);
}

static void sglang_also_takes_a_dotted_suffix(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"mlp.gate"}, "model.layers.3.mlp.gate", 0},
        {{"mlp.gate"}, "model.layers.3.xmlp.gate", -1},
        {{"model.layers.3"}, "model.layers.3.mlp.gate", -1},
        {{"gate"}, "model.layers.3.mlp.gate", 0},
    };
    ASK(LIST_CT_SUFFIX, q);
}

static void sglang_turns_globs_into_expressions(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"model.layers.1*"}, "model.layers.12.self_attn.o_proj", 0},
        {{"model.layers.1.*"}, "model.layers.12.self_attn.o_proj", -1},
        {{"*mlp.gate*"}, "model.layers.0.mlp.gate_up_proj", 0},
        {{"*mlp.gate*"}, "model.layers.2.mlp.shared_experts.gate_up_proj", -1},
        {{"lm_head"}, "model.lm_head.x", 0},
        {{"gate"}, "model.layers.0.mlp.gate_up_proj", -1},
        {{"model.layers.1.self_attn.kv_a_proj_with_mqa"},
         "model.layers.1.self_attn.fused_qkv_a_proj_with_mqa",
         0},
        {{"model.layers.2.self_attn.kv_a_proj_with_mqa"},
         "model.layers.1.self_attn.fused_qkv_a_proj_with_mqa",
         -1},
        {{"model.layers.2.mlp.experts.7.up_proj"}, "model.layers.2.mlp.experts", 0},
        {{"model.layers.2.mlp.experts*"}, "model.layers.2.mlp.experts", 0},
        {{"model.layers.2.mlp.shared_experts*"}, "model.layers.2.mlp.experts", -1},
    };
    ASK(LIST_MODELOPT_SGLANG, q);
}

static void vllm_looks_for_the_entry_anywhere(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"model.layers.7"}, "model.layers.70.mlp.experts", 0},
        {{"model.layers.7.*"}, "model.layers.70.mlp.experts", -1},
        {{"*mlp.gate*"}, "model.layers.0.mlp.gate_up_proj", 0},
        {{"*.self_attn*"}, "model.layers.0.self_attn.o_proj", 0},
        {{"model.layers.?.mlp*"}, "model.layers.3.mlp.experts", 0},
        {{"model.layers.[!3].mlp*"}, "model.layers.3.mlp.experts", -1},
    };
    ASK(LIST_MODELOPT_VLLM, q);
}

static void the_first_dynamic_entry_decides(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"-:.*layers\\.5\\..*"}, "model.layers.5.mlp.experts", 0},
        {{"-:layers\\.5"}, "model.layers.5.mlp.experts", -1},
        {{"+:.*o_proj", "-:.*self_attn.*"}, "model.layers.5.self_attn.o_proj", -1},
        {{"+:.*o_proj", "-:.*self_attn.*"}, "model.layers.5.self_attn.q_b_proj", 1},
        {{".*o_proj", "-:.*"}, "model.layers.5.self_attn.o_proj", -1},
    };
    ASK(LIST_DYNAMIC, q);
}

static void auto_round_matches_whole_names(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"model.layers.5.eh_proj"}, "model.layers.5.eh_proj", 0},
        {{"model.layers.5"}, "model.layers.5.eh_proj", -1},
        {{".*layers\\.5\\..*"}, "model.layers.5.eh_proj", 0},
        {{"layers\\.5\\..*"}, "model.layers.5.eh_proj", -1},
    };
    ASK(LIST_EXTRA, q);
}

static void fp8_lists_name_a_module_and_all_below(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"model.layers.5"}, "model.layers.5.eh_proj", 0},
        {{"model.layers.5"}, "model.layers.50.eh_proj", -1},
        {{"lm_head"}, "lm_head", 0},
    };
    ASK(LIST_PATHS, q);
}

static void slow_patterns_end_and_match_nothing(void **state)
{
    (void)state;
    static const struct question q[] = {
        {{"re:(a+)+$"}, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", -1},
    };
    ASK(LIST_CT, q);
}

static void engines_have_names(void **state)
{
    (void)state;
    char buf[LINT_ENGINE_TEXT];
    unsigned engines;
    assert_int_equal(lint_engines_parse(&engines, "llama.cpp,sglang"), 0);
    assert_string_equal(lint_engines_text(engines, buf), "sglang,llama.cpp");
    assert_int_equal(lint_engines_parse(&engines, "sglang,"), -1);
    assert_int_equal(lint_engines_parse(&engines, "sg"), -1);
    assert_int_equal(lint_engines_parse(&engines, ""), -1);
    assert_string_equal(lint_engines_text(LINT_ENGINES, buf), "sglang,vllm,transformers,llama.cpp");
}

static void every_rule_says_what_happens_and_what_to_do(void **state)
{
    (void)state;
    for (const struct lint_rule *r = lint_rules; r->code; r++) {
        assert_true(r->engines && !(r->engines & ~(unsigned)LINT_ENGINES));
        assert_true(strlen(r->will) > 8 && strlen(r->mend) > 8);
        assert_ptr_equal(lint_rule(r->code), r); /* each once */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compressed_tensors_are_exact_or_match_from_the_start),
        cmocka_unit_test(sglang_also_takes_a_dotted_suffix),
        cmocka_unit_test(sglang_turns_globs_into_expressions),
        cmocka_unit_test(vllm_looks_for_the_entry_anywhere),
        cmocka_unit_test(the_first_dynamic_entry_decides),
        cmocka_unit_test(auto_round_matches_whole_names),
        cmocka_unit_test(fp8_lists_name_a_module_and_all_below),
        cmocka_unit_test(slow_patterns_end_and_match_nothing),
        cmocka_unit_test(engines_have_names),
        cmocka_unit_test(every_rule_says_what_happens_and_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

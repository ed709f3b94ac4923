/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "libprep/base/pattern.h"

static enum pattern_result match(const char *text, enum pattern_anchor anchor, const char *s)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct pattern *p;
    if (pattern_compile(&p, text, strlen(text), anchor, &err))
        fail_msg("%s", err.msg);
    enum pattern_result r = pattern_match(p, s, strlen(s));
    pattern_free(p);
    return r;
}

static void matches_from_the_start_like_python(void **state)
{
    (void)state;
    assert_int_equal(match("model", PATTERN_START, "model.layers.0"), PATTERN_YES);
    assert_int_equal(match("layers", PATTERN_START, "model.layers.0"), PATTERN_NO);
    assert_int_equal(match(".*layers\\.78\\..*", PATTERN_START, "model.layers.78.eh_proj"),
                     PATTERN_YES);
    assert_int_equal(match(".*layers\\.[0-2]\\.mlp\\..*", PATTERN_START, "model.layers.3.mlp.gate"),
                     PATTERN_NO);
    assert_int_equal(match("(?!model)", PATTERN_START, "model"), PATTERN_NO);
    assert_int_equal(match("a|ab", PATTERN_WHOLE, "ab"), PATTERN_YES);
    assert_int_equal(match("a|ab", PATTERN_WHOLE, "abc"), PATTERN_NO);
    assert_int_equal(match("", PATTERN_START, "x"), PATTERN_YES);
}

static void rejects_what_does_not_compile(void **state)
{
    (void)state;
    static char huge[PATTERN_MAX_BYTES + 1];
    memset(huge, 'a', sizeof huge);
    const struct {
        const char *text;
        size_t n;
    } rows[] = {{"(", 1},   {"[", 1},           {"*a", 2}, {"(*LIMIT_MATCH=1)a", 17},
                {"a{2", 3}, {huge, sizeof huge}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct pattern *p;
        int rc = pattern_compile(&p, rows[i].text, rows[i].n, PATTERN_START, &err);
        if (i == 4) { /* an unfinished repeat is literal text, in Python as well */
            assert_int_equal(rc, 0);
            pattern_free(p);
            continue;
        }
        assert_int_equal(rc, -1);
        assert_null(p);
        assert_int_equal(err.code, PREP_EDATA);
        assert_string_equal(err.tag, "PATTERN");
    }
}

static void gives_up_on_exponential_backtracking(void **state)
{
    (void)state;
    assert_int_equal(match("(a+)+$", PATTERN_START, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"),
                     PATTERN_LIMIT);
}

static void finds_slow_patterns_and_spares_ordinary_ones(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int slow;
    } rows[] = {
        {"(a+)+$", 1},
        {"(model|m.*)+x+$", 1},
        {".*indexer\\.weights_proj.*", 0},
        {".*layers\\.[0-2]\\.mlp\\..*", 0},
        {".*layers\\.(3|4|5|6|7)\\..*experts\\..*(gate|up|down)_proj.*", 0},
        {"model\\.decoder\\.self_attn\\.(fused_qkv_a_proj_with_mqa|kv_b_proj|indexer).*", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct pattern *p;
        int budget = 100;
        if (pattern_compile(&p, rows[i].text, strlen(rows[i].text), PATTERN_START, &err))
            fail_msg("%s", err.msg);
        if (pattern_is_slow(p, &budget) != rows[i].slow)
            fail_msg("%s", rows[i].text);
        assert_true(budget >= 0 && budget < 100);
        pattern_free(p);
    }
}

static void accepts_names_that_are_not_utf8(void **state)
{
    (void)state;
    assert_int_equal(match("mo.*", PATTERN_START, "mo\xff\xfe"), PATTERN_YES);
    assert_int_equal(match("x", PATTERN_START, "\xff"), PATTERN_NO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_from_the_start_like_python),
        cmocka_unit_test(rejects_what_does_not_compile),
        cmocka_unit_test(gives_up_on_exponential_backtracking),
        cmocka_unit_test(finds_slow_patterns_and_spares_ordinary_ones),
        cmocka_unit_test(accepts_names_that_are_not_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

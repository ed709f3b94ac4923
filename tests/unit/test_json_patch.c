/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "libprep/base/json_patch.h"

/* A document under change; every test makes one, finishes it and compares the text. */
struct fixture {
    struct json doc;
    struct arena arena;
    struct json_patch p;
    struct prep_error err;
};

static void begin(struct fixture *f, const char *text)
{
    f->err = (struct prep_error)PREP_ERROR_INIT;
    arena_init(&f->arena, 0);
    assert_int_equal(json_parse(&f->doc, text, strlen(text), "test.json", &f->err), 0);
    json_patch_init(&f->p, &f->doc, &f->arena);
}

static void finish(struct fixture *f, const char *want)
{
    struct span out;
    struct json again;
    assert_int_equal(json_patch_finish(&f->p, &out, &f->err), 0);
    char *text = arena_strndup(&f->arena, (const char *)out.p, out.n, &f->err);
    assert_string_equal(text, want);
    assert_int_equal(json_parse(&again, text, out.n, "edited.json", &f->err), 0);
    json_free(&again);
    json_patch_free(&f->p);
    json_free(&f->doc);
    arena_fini(&f->arena);
}

/* Remove the children of the root whose bit is set. */
static void remove_children(struct fixture *f, unsigned mask)
{
    uint32_t c = json_first(&f->doc, 0);
    for (int i = 0; c != JSON_NONE; i++) {
        if (mask >> i & 1)
            assert_int_equal(json_patch_remove(&f->p, 0, c, &f->err), 0);
        if (json_type(&f->doc, 0) == JSON_OBJECT)
            c = json_next(&f->doc, c);
        c = json_next(&f->doc, c);
    }
}

static void check_removal(const char *text, unsigned mask, const char *want)
{
    struct fixture f;
    begin(&f, text);
    remove_children(&f, mask);
    finish(&f, want);
}

static void leaves_the_text_alone_when_nothing_changes(void **state)
{
    (void)state;
    check_removal(" { \"a\" :1e-05,\n\"b\": 12345678901234567890 }\n\n", 0,
                  " { \"a\" :1e-05,\n\"b\": 12345678901234567890 }\n\n");
}

static void removes_an_element_with_one_comma(void **state)
{
    (void)state;
    const char *line = "[\"a\", \"b\", \"c\"]", *lines = "[\n  1,\n  2,\n  3\n]\n";
    check_removal(line, 1, "[\"b\", \"c\"]");
    check_removal(line, 2, "[\"a\", \"c\"]");
    check_removal(line, 4, "[\"a\", \"b\"]");
    check_removal(line, 5, "[\"b\"]");
    check_removal(line, 3, "[\"c\"]");
    check_removal(line, 6, "[\"a\"]");
    check_removal(line, 7, "[]");
    check_removal(lines, 1, "[\n  2,\n  3\n]\n");
    check_removal(lines, 2, "[\n  1,\n  3\n]\n");
    check_removal(lines, 4, "[\n  1,\n  2\n]\n");
    check_removal(lines, 3, "[\n  3\n]\n");
    check_removal(lines, 6, "[\n  1\n]\n");
    check_removal(lines, 7, "[]\n");
}

static void removes_a_key_with_its_value(void **state)
{
    (void)state;
    const char *text = "{\n    \"a\": [1],\n    \"b\": {\"x\": 2},\n    \"c\": null\n}";
    check_removal(text, 1, "{\n    \"b\": {\"x\": 2},\n    \"c\": null\n}");
    check_removal(text, 2, "{\n    \"a\": [1],\n    \"c\": null\n}");
    check_removal(text, 4, "{\n    \"a\": [1],\n    \"b\": {\"x\": 2}\n}");
    check_removal(text, 7, "{}");
}

static void removing_an_absent_key_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{\"a\":1}");
    assert_int_equal(json_patch_remove_key(&f.p, 0, "b", &f.err), 0);
    finish(&f, "{\"a\":1}");
}

static void replaces_a_value_in_place(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{\"a\" : 256 , \"b\":1e-05}");
    assert_int_equal(json_patch_set_i64(&f.p, 0, "a", 160, &f.err), 0);
    finish(&f, "{\"a\" : 160 , \"b\":1e-05}");
}

static void adds_a_key_on_a_line_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{\n\t\"a\" : 1,\n\t\"b\" : {\n\t\t\"c\" : 2\n\t}\n}\n");
    assert_int_equal(json_patch_set_i64(&f.p, 0, "d", 3, &f.err), 0);
    assert_int_equal(json_patch_set_i64(&f.p, json_get(&f.doc, 0, "b"), "e", 4, &f.err), 0);
    finish(&f,
           "{\n\t\"a\" : 1,\n\t\"b\" : {\n\t\t\"c\" : 2,\n\t\t\"e\" : 4\n\t},\n\t\"d\" : 3\n}\n");
}

static void adds_a_key_to_a_compact_file_in_its_style(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{\"a\":1}");
    assert_int_equal(json_patch_set_i64(&f.p, 0, "b", 2, &f.err), 0);
    finish(&f, "{\"a\":1,\"b\":2}");
    begin(&f, "{\"a\": 1}");
    assert_int_equal(json_patch_set_i64(&f.p, 0, "b", 2, &f.err), 0);
    finish(&f, "{\"a\": 1, \"b\": 2}");
}

static void a_comma_may_stand_first_in_its_line(void **state)
{
    (void)state;
    const int values[] = {1, 2};
    struct fixture f;
    begin(&f, "{\n  \"a\": 1\n, \"b\": 2\n}");
    assert_int_equal(json_patch_set_ints(&f.p, 0, "n", values, 2, &f.err), 0);
    finish(&f, "{\n  \"a\": 1\n, \"b\": 2\n, \"n\": [\n    1,\n    2\n  ]\n}");
}

static void adds_a_key_to_an_empty_object(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{\n  \"a\": {}\n}\n");
    assert_int_equal(json_patch_set_i64(&f.p, json_get(&f.doc, 0, "a"), "b", 2, &f.err), 0);
    finish(&f, "{\n  \"a\": {\n    \"b\": 2\n  }\n}\n");
    begin(&f, "{}");
    assert_int_equal(json_patch_set_i64(&f.p, 0, "b", 2, &f.err), 0);
    finish(&f, "{\"b\": 2}");
}

static void indents_the_lines_of_a_value(void **state)
{
    (void)state;
    const char *value = "{\n  \"x\": 1\n}\n";
    struct fixture f;
    begin(&f, "{\n  \"a\": {\n    \"b\": 0\n  }\n}");
    uint32_t a = json_get(&f.doc, 0, "a");
    assert_int_equal(json_patch_set(&f.p, a, "b", value, strlen(value), &f.err), 0);
    assert_int_equal(json_patch_set(&f.p, a, "c", value, strlen(value), &f.err), 0);
    finish(&f, "{\n  \"a\": {\n    \"b\": {\n      \"x\": 1\n    },\n    \"c\": {\n      \"x\": 1\n"
               "    }\n  }\n}");
}

static void the_later_of_two_settings_wins(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "{\"a\": 1}");
    for (int v = 2; v < 4; v++) {
        assert_int_equal(json_patch_set_i64(&f.p, 0, "a", v, &f.err), 0);
        assert_int_equal(json_patch_set_i64(&f.p, 0, "b", v, &f.err), 0);
    }
    finish(&f, "{\"a\": 3, \"b\": 3}");
}

static void appends_after_what_is_removed(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "[\n  \"a\",\n  \"b\"\n]");
    remove_children(&f, 2);
    assert_int_equal(json_patch_append(&f.p, 0, "\"c\"", 3, &f.err), 0);
    assert_int_equal(json_patch_append(&f.p, 0, "\"d\"", 3, &f.err), 0);
    finish(&f, "[\n  \"a\",\n  \"c\",\n  \"d\"\n]");
    begin(&f, "[\n  \"a\",\n  \"b\"\n]");
    remove_children(&f, 3);
    assert_int_equal(json_patch_append(&f.p, 0, "\"c\"", 3, &f.err), 0);
    finish(&f, "[\n  \"c\"\n]");
}

static void expands_an_element_or_a_key(void **state)
{
    (void)state;
    const char *names[] = {"x", "y\"z"};
    struct fixture f;
    begin(&f, "[\n  \"a\",\n  \"b\"\n]");
    assert_int_equal(json_patch_expand(&f.p, 0, json_first(&f.doc, 0), names, 2, &f.err), 0);
    finish(&f, "[\n  \"x\",\n  \"y\\\"z\",\n  \"b\"\n]");
    begin(&f, "{\"a\": {\"bits\": 8}, \"b\": 1}");
    assert_int_equal(json_patch_expand(&f.p, 0, json_first(&f.doc, 0), names, 2, &f.err), 0);
    finish(&f, "{\"x\": {\"bits\": 8}, \"y\\\"z\": {\"bits\": 8}, \"b\": 1}");
}

static void keeps_the_layout_of_a_list_of_integers(void **state)
{
    (void)state;
    const int values[] = {0, 16, 12};
    struct fixture f;
    begin(&f, "{\"n\": [ 0,16,16 ]}");
    assert_int_equal(json_patch_set_ints(&f.p, 0, "n", values, 3, &f.err), 0);
    finish(&f, "{\"n\": [ 0,16,12 ]}");
    begin(&f, "{\"n\": [0, 16, 16, 9]}");
    assert_int_equal(json_patch_set_ints(&f.p, 0, "n", values, 3, &f.err), 0);
    finish(&f, "{\"n\": [0, 16, 12]}");
    begin(&f, "{\"n\": [\n  0,\n  16\n ]}");
    assert_int_equal(json_patch_set_ints(&f.p, 0, "n", values, 3, &f.err), 0);
    finish(&f, "{\"n\": [\n  0,\n  16,\n  12\n ]}");
    begin(&f, "{\n    \"a\": 1\n}");
    assert_int_equal(json_patch_set_ints(&f.p, 0, "n", values, 3, &f.err), 0);
    finish(&f, "{\n    \"a\": 1,\n    \"n\": [\n        0,\n        16,\n        12\n    ]\n}");
    begin(&f, "{\"a\": 1}");
    assert_int_equal(json_patch_set_ints(&f.p, 0, "n", values, 3, &f.err), 0);
    finish(&f, "{\"a\": 1, \"n\": [0, 16, 12]}");
}

static void refuses_changes_that_overlap(void **state)
{
    (void)state;
    struct fixture f;
    struct span out;
    begin(&f, "{\"a\": {\"b\": 1}, \"c\": 2}");
    assert_int_equal(json_patch_set_i64(&f.p, json_get(&f.doc, 0, "a"), "b", 2, &f.err), 0);
    assert_int_equal(json_patch_remove_key(&f.p, 0, "a", &f.err), 0);
    assert_int_equal(json_patch_finish(&f.p, &out, &f.err), -1);
    assert_int_equal(f.err.code, PREP_EBUG);
    json_patch_free(&f.p);
    json_free(&f.doc);
    arena_fini(&f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_the_text_alone_when_nothing_changes),
        cmocka_unit_test(removes_an_element_with_one_comma),
        cmocka_unit_test(removes_a_key_with_its_value),
        cmocka_unit_test(removing_an_absent_key_changes_nothing),
        cmocka_unit_test(replaces_a_value_in_place),
        cmocka_unit_test(adds_a_key_on_a_line_of_its_own),
        cmocka_unit_test(adds_a_key_to_a_compact_file_in_its_style),
        cmocka_unit_test(a_comma_may_stand_first_in_its_line),
        cmocka_unit_test(adds_a_key_to_an_empty_object),
        cmocka_unit_test(indents_the_lines_of_a_value),
        cmocka_unit_test(the_later_of_two_settings_wins),
        cmocka_unit_test(appends_after_what_is_removed),
        cmocka_unit_test(expands_an_element_or_a_key),
        cmocka_unit_test(keeps_the_layout_of_a_list_of_integers),
        cmocka_unit_test(refuses_changes_that_overlap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

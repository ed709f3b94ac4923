/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/windows.h"
#include "tests/support/support.h"

static void expect_refused(const char *text, enum prep_code code, const char *words)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_windows w;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(windows_parse(&w, text, strlen(text), "a", "w.json", &arena, &err), -1);
    assert_int_equal(err.code, code);
    assert_string_equal(err.tag, code == PREP_EDATA ? "WINDOWS" : "");
    if (!strstr(err.msg, words))
        fail_msg("'%s' does not say '%s'", err.msg, words);
    arena_fini(&arena);
}

static void reads_a_part_and_passes_over_the_rest(void **state)
{
    (void)state;
    static const char text[] =
        "{\"format\": 1, \"x\": [1], \"b\": {\"length\": 9},"
        "\"a\": {\"y\": null, \"length\": 2, \"tokens\": [[1,2],[3,4],[5,6]]}}";
    struct prep_error err = PREP_ERROR_INIT;
    struct token_windows w;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(windows_parse(&w, text, sizeof text - 1, "a", "w", &arena, &err), 0);
    assert_int_equal(w.n_windows, 3);
    assert_int_equal(w.length, 2);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(w.tokens[i], i + 1);
    arena_fini(&arena);
}

static void reads_the_published_windows(void **state)
{
    (void)state;
    const char *path = test_path("%s/quality/windows.json", test_data());
    struct prep_error err = PREP_ERROR_INIT;
    struct token_windows w;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(windows_read(&w, &io_posix, path, "evaluation", &arena, &err), 0);
    assert_int_equal(w.n_windows, 64);
    assert_int_equal(w.length, 256);
    assert_int_equal(w.tokens[0], 480);
    assert_int_equal(windows_read(&w, &io_posix, path, "calibration", &arena, &err), 0);
    assert_int_equal(w.n_windows, 64);
    assert_int_equal(w.length, 512);
    arena_fini(&arena);
}

static void refuses_what_is_no_list_of_windows(void **state)
{
    (void)state;
    expect_refused("[1]", PREP_EDATA, "w.json: want an object with \"format\": 1");
    expect_refused("{\"format\": 2}", PREP_EDATA, "want an object with \"format\": 1");
    expect_refused("{\"format\": 1}", PREP_EUSAGE, "has no windows called \"a\"");
    expect_refused("{\"format\": 1, \"a\": {\"length\": 1, \"tokens\": [[1]]}}", PREP_EDATA,
                   "a \"length\" of 2 or more");
    expect_refused("{\"format\": 1, \"a\": {\"length\": 2, \"tokens\": []}}", PREP_EDATA,
                   "\"tokens\", a list of windows");
    expect_refused("{\"format\": 1, \"a\": {\"length\": 2, \"tokens\": [[1,2],[3]]}}", PREP_EDATA,
                   "as many token ids as \"length\" says");
    expect_refused("{\"format\": 1, \"a\": {\"length\": 2, \"tokens\": [[1,2.0]]}}", PREP_EDATA,
                   "a token id");
    expect_refused("{\"format\": 1, \"a\": {\"length\": 2, \"tokens\": [[1,2147483648]]}}",
                   PREP_EDATA, "a token id");
    expect_refused("{\"format\": 1, \"a\": {\"length\": 4611686018427387904, \"tokens\": [[1]]}}",
                   PREP_EDATA, "as long as");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_part_and_passes_over_the_rest),
        cmocka_unit_test(reads_the_published_windows),
        cmocka_unit_test(refuses_what_is_no_list_of_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

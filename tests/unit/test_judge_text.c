/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/tokens.h"
#include "libprep/release/judge_text.h"
#include "tests/support/support.h"

static struct tokenizer *nano(void)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t;
    if (tokenizer_open(&t, &io_posix, test_path("%s/glm-nano", test_data()), NULL, &err))
        fail_msg("%s", err.msg);
    return t;
}

static void read_text(struct judge_text *text, const struct judge_text_request *r,
                      const struct tokenizer *t, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (judge_text_read(text, r, t, &io_posix, arena, &err))
        fail_msg("%s", err.msg);
}

static void expect_refused(const struct judge_text_request *r, const struct tokenizer *t,
                           enum prep_code code, const char *words)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct judge_text text;
    struct arena arena;
    arena_init(&arena, 0);
    assert_int_equal(judge_text_read(&text, r, t, &io_posix, &arena, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, words))
        fail_msg("'%s' does not say '%s'", err.msg, words);
    arena_fini(&arena);
}

static void cuts_the_published_windows_from_the_published_text(void **state)
{
    (void)state;
    const char *path = test_path("%s/text/eval.jsonl", test_data());
    const char *windows = test_path("%s/quality/windows.json", test_data());
    struct tokenizer *t = nano();
    struct judge_text a, b;
    struct arena arena;
    arena_init(&arena, 0);
    read_text(&a,
              &(struct judge_text_request){
                  .texts = &path, .n_texts = 1, .window = 256, .max_windows = 64},
              t, &arena);
    read_text(&b, &(struct judge_text_request){.windows = windows}, NULL, &arena);
    assert_int_equal(a.n_available, 328);
    assert_int_equal(a.n_windows, 64);
    assert_int_equal(b.n_available, 64);
    assert_int_equal(judge_text_number(&a, 63), 322);
    assert_memory_equal(a.tokens, b.tokens, 64 * 256 * sizeof *a.tokens);
    assert_string_equal(a.sha256, b.sha256);
    read_text(
        &b,
        &(struct judge_text_request){.windows = windows, .part = "calibration", .max_windows = 3},
        NULL, &arena);
    assert_int_equal(b.n_windows, 3);
    assert_int_equal(b.window, 512);
    assert_int_equal(judge_text_number(&b, 1), 21);
    tokenizer_free(t);
    arena_fini(&arena);
}

static void a_short_text_is_one_window(void **state)
{
    (void)state;
    const char *path = test_path("%s/short.txt", test_temp_dir());
    struct tokenizer *t = nano();
    struct judge_text text;
    struct arena arena;
    arena_init(&arena, 0);
    test_write(path, "hello world", 11);
    const struct judge_text_request r = {.texts = &path, .n_texts = 1, .window = 256};
    read_text(&text, &r, t, &arena);
    assert_int_equal(text.n_windows, 1);
    assert_in_range(text.window, 3, 11);
    assert_int_equal(text.tokens[text.window - 1], 1984); /* <|endoftext|> */
    test_write(path, "", 0);
    expect_refused(&r, t, PREP_EDATA, "want at least one of two");
    tokenizer_free(t);
    arena_fini(&arena);
}

static void refuses_tokens_of_another_tokenizer(void **state)
{
    (void)state;
    uint32_t ids[4] = {1, 2, 3, 4};
    struct metadata_pair made_with = {"tokenizer_sha256", "0123456789abcdef0123456789abcdef"};
    struct packed_tokens p = {.n_sequences = 2, .sequence = 2, .ids = ids};
    const char *path = test_path("%s/tokens.st", test_temp_dir());
    const struct judge_text_request r = {.tokens = path};
    struct prep_error err = PREP_ERROR_INIT;
    struct tokenizer *t = nano();
    struct judge_text text;
    struct arena arena;
    struct span bytes;
    arena_init(&arena, 0);
    assert_int_equal(tokens_write(&bytes, &p, &arena, &err), 0);
    test_write(path, bytes.p, bytes.n);
    read_text(&text, &r, t, &arena);
    assert_int_equal(text.n_windows, 2);
    assert_memory_equal(text.tokens, ids, sizeof ids);
    p.metadata = &made_with;
    p.n_metadata = 1;
    assert_int_equal(tokens_write(&bytes, &p, &arena, &err), 0);
    test_write(path, bytes.p, bytes.n);
    read_text(&text, &r, NULL, &arena);
    expect_refused(&r, t, PREP_EDATA, "packed with another tokenizer");
    tokenizer_free(t);
    arena_fini(&arena);
}

static void wants_exactly_one_kind_of_source(void **state)
{
    (void)state;
    const char *path = "x.txt";
    expect_refused(&(struct judge_text_request){0}, NULL, PREP_EUSAGE, "no text to judge on");
    expect_refused(&(struct judge_text_request){.windows = "w", .tokens = "t"}, NULL, PREP_EUSAGE,
                   "more than one kind");
    expect_refused(&(struct judge_text_request){.texts = &path, .n_texts = 1, .window = 8}, NULL,
                   PREP_EUSAGE, "needs the model's tokenizer.json");
    expect_refused(&(struct judge_text_request){.tokens = "/nowhere"}, NULL, PREP_ENOINPUT,
                   "/nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_the_published_windows_from_the_published_text),
        cmocka_unit_test(a_short_text_is_one_window),
        cmocka_unit_test(refuses_tokens_of_another_tokenizer),
        cmocka_unit_test(wants_exactly_one_kind_of_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

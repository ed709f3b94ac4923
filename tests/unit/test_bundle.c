/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/format/bundle.h"
#include "tests/support/archive_build.h"
#include "tests/support/memory_io.h"

#define TEXT(s)                                                                                    \
    {                                                                                              \
        (const unsigned char *)(s), sizeof(s) - 1                                                  \
    }

static const char *const endings[] = {"tar", "tar.gz", "tar.zst", "zip"};
enum { N_ENDINGS = 4 };

static const struct bundle_limits plenty = {100, 1 << 20, 1 << 20};

/* What was passed on, as "name:bytes;". */
struct record {
    char text[4096];
    size_t n;
    int open; /* a file has begun and not ended */
    int stop; /* raise an error at the first piece */
};

static void add_text(struct record *r, const char *s, size_t n)
{
    assert_true(r->n + n < sizeof r->text);
    memcpy(r->text + r->n, s, n);
    r->n += n;
    r->text[r->n] = 0;
}

static int on_piece(void *arg, const char *name, const void *p, size_t n, struct prep_error *err)
{
    struct record *r = arg;
    if (r->stop)
        return prep_fail(err, PREP_EVERIFY, "enough of %s", name);
    if (!r->open) {
        add_text(r, name, strlen(name));
        add_text(r, ":", 1);
    }
    add_text(r, p, n);
    r->open = n > 0;
    if (n == 0)
        add_text(r, ";", 1);
    return 0;
}

static int each(struct span file, const struct bundle_limits *limits, struct record *r,
                struct prep_error *err)
{
    const struct memory_part part = {.p = file.p, .n = file.n};
    const struct memory_file f = {.path = "x.tar", .parts = &part, .n_parts = 1};
    struct memory_io m;
    memory_io_init(&m, &f, 1);
    m.max_transfer = 1000;
    prep_error_clear(err);
    int rc = bundle_each(&m.io, "x.tar", limits, on_piece, r, err);
    assert_int_equal(m.n_open, 0);
    return rc;
}

static void expect_text(struct span file, const char *want)
{
    struct record r = {0};
    struct prep_error err = PREP_ERROR_INIT;
    if (each(file, &plenty, &r, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(r.text, want);
}

static void expect_refusal(struct span file, const struct bundle_limits *limits, const char *word)
{
    struct record r = {0};
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(each(file, limits, &r, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_string_equal(err.tag, "BUNDLE");
    if (!strstr(err.msg, word))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, word);
}

static void passes_the_files_of_every_format(void **state)
{
    (void)state;
    const struct archive_build_member m[] = {
        {"a/b.txt", TEXT("hello"), 0}, {"empty", TEXT(""), 0}, {"c", TEXT("world"), 0}};
    for (int i = 0; i < N_ENDINGS; i++) {
        struct span z = archive_build(endings[i], m, 3);
        expect_text(z, "a/b.txt:hello;empty:;c:world;");
        free((void *)z.p);
    }
}

static void passes_over_folders_and_leading_dots(void **state)
{
    (void)state;
    const struct archive_build_member m[] = {{"./", TEXT(""), ARCHIVE_BUILD_FOLDER},
                                             {"./a/", TEXT(""), ARCHIVE_BUILD_FOLDER},
                                             {"./a/b", TEXT("x"), 0}};
    for (int i = 0; i < N_ENDINGS; i++) {
        struct span z = archive_build(endings[i], m, 3);
        expect_text(z, "a/b:x;");
        free((void *)z.p);
    }
}

static void passes_large_files_in_pieces(void **state)
{
    (void)state;
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    size_t n = 200001;
    unsigned char *bytes = malloc(n);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(i * i >> 3);
    const struct archive_build_member m[] = {{"z", {bytes, n}, 0}, {"a", {bytes, 70000}, 0}};
    for (int i = 0; i < N_ENDINGS; i++) {
        struct span z = archive_build(endings[i], m, 2);
        const struct memory_part part = {.p = z.p, .n = z.n};
        const struct memory_file f = {.path = "x", .parts = &part, .n_parts = 1};
        struct memory_io io;
        struct bundle_file *files;
        size_t n_files;
        memory_io_init(&io, &f, 1);
        arena_init(&arena, 0);
        if (bundle_load(&io.io, "x", &plenty, NULL, &arena, &files, &n_files, &err))
            fail_msg("%s", err.msg);
        assert_int_equal(n_files, 2);
        assert_string_equal(files[0].name, "a");
        assert_int_equal(files[0].bytes.n, 70000);
        assert_int_equal(files[1].bytes.n, n);
        assert_memory_equal(files[1].bytes.p, bytes, n);
        arena_fini(&arena);
        free((void *)z.p);
    }
    free(bytes);
}

static int wants_b(const char *name)
{
    return strcmp(name, "b") == 0;
}

static void loads_only_what_is_wanted(void **state)
{
    (void)state;
    const struct archive_build_member m[] = {
        {"c", TEXT("1"), 0}, {"b", TEXT("2"), 0}, {"a", TEXT("3"), 0}};
    struct span z = archive_build("tar", m, 3);
    const struct memory_part part = {.p = z.p, .n = z.n};
    const struct memory_file f = {.path = "x", .parts = &part, .n_parts = 1};
    struct memory_io io;
    struct arena arena;
    struct bundle_file *files;
    size_t n_files;
    struct prep_error err = PREP_ERROR_INIT;
    memory_io_init(&io, &f, 1);
    arena_init(&arena, 0);
    assert_int_equal(bundle_load(&io.io, "x", &plenty, wants_b, &arena, &files, &n_files, &err), 0);
    assert_int_equal(n_files, 1);
    assert_string_equal((const char *)files[0].bytes.p, "2");
    arena_fini(&arena);
    free((void *)z.p);
}

static void rejects_names_that_leave_the_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"/etc/passwd", "../x",     "a/../x",   "a/..",
                                        "a//b",        "a\\b",     "a\nb",     "a/./b",
                                        "..",          "\x1b[2Jx", "././../x", "a\x7f"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct archive_build_member m = {names[i], TEXT("x"), 0};
        struct span z = archive_build("tar", &m, 1);
        expect_refusal(z, &plenty, "name of member");
        free((void *)z.p);
    }
}

static void rejects_long_names(void **state)
{
    (void)state;
    char name[200];
    memset(name, 'n', sizeof name);
    name[100] = '/';
    name[199] = 0;
    const struct archive_build_member m = {name, TEXT("x"), 0};
    struct span z = archive_build("tar", &m, 1);
    struct record r = {0};
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(each(z, &plenty, &r, &err), 0); /* 199 bytes are not long */
    free((void *)z.p);
    char *longest = malloc(BUNDLE_MAX_NAME + 2);
    assert_non_null(longest);
    memset(longest, 'n', BUNDLE_MAX_NAME + 1);
    longest[BUNDLE_MAX_NAME + 1] = 0;
    const struct archive_build_member too_long = {longest, TEXT("x"), 0};
    z = archive_build("zip", &too_long, 1);
    expect_refusal(z, &plenty, "too long");
    free((void *)z.p);
    free(longest);
}

static void passes_names_in_other_scripts(void **state)
{
    (void)state;
    const struct archive_build_member m = {"\xe6\x96\x87/\xc3\xa9.txt", TEXT("x"), 0};
    const char *const formats[] = {"tar", "pax", "zip"};
    for (size_t i = 0; i < 3; i++) {
        struct span z = archive_build(formats[i], &m, 1);
        expect_text(z, "\xe6\x96\x87/\xc3\xa9.txt:x;");
        free((void *)z.p);
    }
}

static void rejects_links_and_devices(void **state)
{
    (void)state;
    for (int kind = ARCHIVE_BUILD_SYMLINK; kind <= ARCHIVE_BUILD_FIFO; kind++) {
        const struct archive_build_member m[] = {{"target", TEXT("x"), 0},
                                                 {"odd", TEXT(""), (enum archive_build_kind)kind}};
        struct span z = archive_build("tar", m, 2);
        expect_refusal(z, &plenty, "odd");
        free((void *)z.p);
    }
}

static void rejects_a_name_given_twice(void **state)
{
    (void)state;
    const struct archive_build_member m[] = {{"a", TEXT("1"), 0}, {"./a", TEXT("2"), 0}};
    struct span z = archive_build("tar", m, 2);
    expect_refusal(z, &plenty, "twice");
    free((void *)z.p);
}

static void holds_to_its_limits(void **state)
{
    (void)state;
    const struct archive_build_member m[] = {{"a", TEXT("12345"), 0}, {"b", TEXT("12345"), 0}};
    for (int i = 0; i < N_ENDINGS; i++) {
        struct span z = archive_build(endings[i], m, 2);
        struct record r = {0};
        struct prep_error err = PREP_ERROR_INIT;
        assert_int_equal(each(z, &(struct bundle_limits){2, 5, 10}, &r, &err), 0);
        expect_refusal(z, &(struct bundle_limits){1, 5, 10}, "more than 1 members");
        expect_refusal(z, &(struct bundle_limits){2, 4, 10}, "more than 4 bytes");
        expect_refusal(z, &(struct bundle_limits){2, 5, 9}, "9 in all");
        free((void *)z.p);
    }
}

static void stops_a_bomb_at_the_limit(void **state)
{
    (void)state;
    size_t n = 32 << 20;
    unsigned char *zeros = calloc(n, 1);
    assert_non_null(zeros);
    const struct archive_build_member m = {"bomb", {zeros, n}, 0};
    struct span z = archive_build("tar.zst", &m, 1);
    assert_true(z.n < 100000);
    struct arena arena;
    const struct memory_part part = {.p = z.p, .n = z.n};
    const struct memory_file f = {.path = "x", .parts = &part, .n_parts = 1};
    struct memory_io io;
    struct bundle_file *files;
    size_t n_files;
    struct prep_error err = PREP_ERROR_INIT;
    memory_io_init(&io, &f, 1);
    arena_init(&arena, 0);
    assert_int_equal(bundle_load(&io.io, "x", &plenty, NULL, &arena, &files, &n_files, &err), -1);
    assert_string_equal(err.tag, "BUNDLE");
    arena_fini(&arena);
    free((void *)z.p);
    free(zeros);
}

/* Cut inside the data. A tar may end after any whole member, which no reader can notice. */
static void rejects_truncated_archives(void **state)
{
    (void)state;
    unsigned char noise[5000];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (unsigned char)((x = x * 1664525 + 1013904223) >> 24);
    const struct archive_build_member m = {"a", {noise, sizeof noise}, 0};
    for (int i = 0; i < N_ENDINGS; i++) {
        struct span z = archive_build(endings[i], &m, 1);
        expect_refusal((struct span){z.p, 3000}, &plenty, "");
        free((void *)z.p);
    }
}

static void rejects_what_is_no_archive(void **state)
{
    (void)state;
    char noise[4096];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)(i * 7 + 1);
    expect_refusal((struct span)TEXT("neither tar nor zip"), &plenty, "");
    expect_refusal((struct span){(unsigned char *)noise, sizeof noise}, &plenty, "");
}

static void raises_what_the_caller_raises(void **state)
{
    (void)state;
    const struct archive_build_member m = {"a", TEXT("1"), 0};
    struct span z = archive_build("zip", &m, 1);
    struct record r = {.stop = 1};
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(each(z, &plenty, &r, &err), -1);
    assert_int_equal(err.code, PREP_EVERIFY);
    assert_string_equal(err.msg, "enough of a");
    free((void *)z.p);
}

static void says_when_the_file_is_missing(void **state)
{
    (void)state;
    struct record r = {0};
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(bundle_each(&io_posix, "no/such/file.tar", &plenty, on_piece, &r, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
}

static void knows_bundles_by_their_ending(void **state)
{
    (void)state;
    assert_true(bundle_has_name("a.tar"));
    assert_true(bundle_has_name("x/a.tar.zst"));
    assert_true(bundle_has_name("a.tgz"));
    assert_true(bundle_has_name("a.zip"));
    assert_false(bundle_has_name("a.pt"));
    assert_false(bundle_has_name(".zip"));
    assert_false(bundle_has_name("zip"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_the_files_of_every_format),
        cmocka_unit_test(passes_over_folders_and_leading_dots),
        cmocka_unit_test(passes_large_files_in_pieces),
        cmocka_unit_test(loads_only_what_is_wanted),
        cmocka_unit_test(rejects_names_that_leave_the_folder),
        cmocka_unit_test(rejects_long_names),
        cmocka_unit_test(passes_names_in_other_scripts),
        cmocka_unit_test(rejects_links_and_devices),
        cmocka_unit_test(rejects_a_name_given_twice),
        cmocka_unit_test(holds_to_its_limits),
        cmocka_unit_test(stops_a_bomb_at_the_limit),
        cmocka_unit_test(rejects_truncated_archives),
        cmocka_unit_test(rejects_what_is_no_archive),
        cmocka_unit_test(raises_what_the_caller_raises),
        cmocka_unit_test(says_when_the_file_is_missing),
        cmocka_unit_test(knows_bundles_by_their_ending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

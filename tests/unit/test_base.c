/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"
#include "libprep/base/hash.h"
#include "libprep/base/io.h"
#include "libprep/base/report.h"
#include "libprep/base/table.h"
#include "tests/support/memory_io.h"
#include "tests/support/support.h"

static int fail_twice(struct prep_error *err)
{
    prep_fail_tag(err, PREP_EDATA, "FIRST", "first %d", 1);
    return prep_fail(err, PREP_EIO, "second");
}

static void the_first_error_sticks(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(fail_twice(&err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_string_equal(err.tag, "FIRST");
    assert_string_equal(err.msg, "first 1");
    assert_int_equal(prep_note(&err, "layer %d", 7), -1);
    assert_string_equal(err.msg, "layer 7: first 1");
    prep_error_clear(&err);
    assert_int_equal(err.code, PREP_OK);
    assert_string_equal(err.msg, "");
}

static void system_errors_say_their_text(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    prep_fail_sys(&err, PREP_ECREATE, ENOSPC, "x: cannot write");
    assert_int_equal(err.sys, ENOSPC);
    assert_string_equal(err.msg, "x: cannot write: No space left on device");
}

static void messages_hold_one_printable_line(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    prep_fail(&err, PREP_EDATA, "name \"a\n\x1b[2J\x7f\" is bad");
    assert_string_equal(err.msg, "name \"a??[2J?\" is bad");
    prep_note(&err, "in\tfile");
    assert_string_equal(err.msg, "in?file: name \"a??[2J?\" is bad");
}

static void long_messages_say_that_they_are_cut(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    prep_fail(&err, PREP_EDATA, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_string_equal(err.msg + sizeof err.msg - 4, "...");
    for (int i = 0; i < 20; i++)
        prep_note(&err, "%d%s", i, text);
    assert_true(strlen(err.msg) < sizeof err.msg);
    assert_memory_equal(err.msg, "19x", 3);
    assert_string_equal(err.msg + strlen(err.msg) - 3, "...");
}

static void every_code_has_its_exit_code(void **state)
{
    (void)state;
    static const int want[] = {0, 64, 65, 66, 69, 69, 70, 71, 73, 74, 75, 78, 1};
    for (int code = PREP_OK; code <= PREP_EVERIFY; code++)
        assert_int_equal(prep_exit_code((enum prep_code)code), want[code]);
}

static void arena_pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char *pieces[200];
    arena_init(&a, 0);
    for (size_t i = 0; i < 200; i++) {
        pieces[i] = arena_alloc(&a, i * 37, &err);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        if (i)
            memset(pieces[i], (int)i, i * 37);
    }
    for (size_t i = 1; i < 200; i++)
        for (size_t k = 0; k < i * 37; k++)
            assert_int_equal(pieces[i][k], (unsigned char)i);
    arena_reset(&a);
    assert_int_equal(a.used, 0);
    int *zeros = arena_calloc(&a, 1000, sizeof *zeros, &err);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(zeros[i], 0);
    assert_string_equal(arena_strndup(&a, "abcdef", 3, &err), "abc");
    assert_string_equal(arena_printf(&a, &err, "%d-%s", 5, "x"), "5-x");
    arena_fini(&a);
    arena_fini(&a);
}

static void arena_limit_is_an_error(void **state)
{
    (void)state;
    struct arena a;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&a, 1000);
    assert_non_null(arena_alloc(&a, 900, &err));
    assert_null(arena_alloc(&a, 200, &err));
    assert_int_equal(err.code, PREP_ENOMEM);
    prep_error_clear(&err);
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3, &err));
    assert_int_equal(err.code, PREP_ENOMEM);
    prep_error_clear(&err);
    assert_null(arena_alloc(&a, SIZE_MAX, &err));
    assert_int_equal(err.code, PREP_ENOMEM);
    arena_fini(&a);
}

static void size_arithmetic_notices_overflow(void **state)
{
    (void)state;
    uint64_t v;
    assert_int_equal(prep_mul(&v, (uint64_t)1 << 32, (uint64_t)1 << 32), -1);
    assert_int_equal(prep_mul(&v, (uint64_t)1 << 32, ((uint64_t)1 << 32) - 1), 0);
    assert_int_equal(prep_add(&v, UINT64_MAX, 1), -1);
    assert_int_equal(prep_add(&v, UINT64_MAX, 0), 0);
    assert_true(v == UINT64_MAX);
}

static void arrays_grow_and_keep_their_items(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    int *items = NULL;
    size_t cap = 0;
    for (size_t n = 0; n < 1000; n++) {
        assert_int_equal(prep_grow(&items, &cap, n, sizeof *items, &err), 0);
        items[n] = (int)n;
    }
    for (size_t n = 0; n < 1000; n++)
        assert_int_equal(items[n], n);
    cap = SIZE_MAX / 4;
    assert_int_equal(prep_grow(&items, &cap, cap, sizeof *items, &err), -1);
    assert_int_equal(err.code, PREP_ENOMEM);
    free(items);
}

/* io */

static const unsigned char digits[] = "0123456789";
static const struct memory_part digit_parts[] = {
    {.p = digits, .n = 10}, {.byte = '-', .n = 1000}, {.p = digits, .n = 10}};
static const struct memory_file digit_file = {
    .path = "d/digits", .parts = digit_parts, .n_parts = 3};

static void reads_go_on_after_short_and_interrupted_ones(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct memory_io m;
    char buf[1020];
    memory_io_init(&m, &digit_file, 1);
    m.max_transfer = 7;
    m.interrupts = 2;
    assert_int_equal(io_read_exact(&m.io, 0, buf, sizeof buf, 0, "digits", &err), 0);
    assert_memory_equal(buf, "0123456789---", 13);
    assert_memory_equal(buf + 1007, "---0123456789", 13);
    assert_int_equal(io_read_exact(&m.io, 0, buf, 4, 1008, "digits", &err), 0);
    assert_memory_equal(buf, "--01", 4);
}

static void a_file_that_ends_early_is_bad_data(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct memory_file file = digit_file;
    struct memory_io m;
    struct arena a;
    struct span out;
    char buf[32];
    arena_init(&a, 0);
    memory_io_init(&m, &file, 1);
    assert_int_equal(io_read_exact(&m.io, 0, buf, 32, 1000, "digits", &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_string_equal(err.tag, "SHORT_DATA");
    assert_string_equal(err.msg, "digits: ends at byte 1020, want 12 more there");
    prep_error_clear(&err);
    file.claimed = 2000;
    assert_int_equal(io_read_file(&m.io, "d/digits", 5000, &a, &out, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_int_equal(m.n_open, 0);
    arena_fini(&a);
}

static void whole_files_are_read_up_to_a_limit(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct memory_io m;
    struct arena a;
    struct span out;
    arena_init(&a, 0);
    memory_io_init(&m, &digit_file, 1);
    assert_int_equal(io_read_file(&m.io, "d/digits", 1020, &a, &out, &err), 0);
    assert_int_equal(out.n, 1020);
    assert_int_equal(out.p[1020], 0);
    assert_int_equal(io_read_file(&m.io, "d/digits", 1019, &a, &out, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    prep_error_clear(&err);
    assert_int_equal(io_read_file(&m.io, "d/absent", 1, &a, &out, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    assert_int_equal(err.sys, ENOENT);
    assert_int_equal(m.n_open, 0);
    arena_fini(&a);
}

static void only_regular_files_are_opened(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    const char *dir = test_temp_dir(), *fifo = test_path("%s/fifo", dir);
    int fd = -1;
    assert_int_equal(mkfifo(fifo, 0666), 0);
    assert_int_equal(io_open_read(&io_posix, fifo, &fd, NULL, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    prep_error_clear(&err);
    assert_int_equal(io_open_read(&io_posix, dir, &fd, NULL, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_int_equal(fd, -1);
    io_close_read(&io_posix, fd);
}

static void files_are_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    const char *dir = test_temp_dir(), *path = test_path("%s/out", dir);
    assert_int_equal(io_write_file(&io_posix, path, "one", 3, &err), 0);
    assert_int_equal(io_write_file(&io_posix, path, "three", 5, &err), 0);
    struct test_bytes b = test_read(path);
    assert_int_equal(b.n, 5);
    assert_memory_equal(b.p, "three", 5);
    free(b.p);
    assert_false(test_exists(test_path("%s.partial", path)));
    assert_int_equal(io_write_file(&io_posix, test_path("%s/no/out", dir), "x", 1, &err), -1);
    assert_int_equal(err.code, PREP_ECREATE);
}

static void folders_are_listed_by_bytes(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    const char *dir = test_temp_dir();
    static const char *const names[] = {".x", "A", "a", "a.b", "\xc3\xa9"};
    struct arena a;
    char **found;
    size_t n;
    arena_init(&a, 0);
    for (size_t i = 5; i-- > 0;)
        test_write(test_path("%s/%s", dir, names[i]), "", 0);
    assert_int_equal(io_list_sorted(&io_posix, dir, &a, &found, &n, &err), 0);
    assert_int_equal(n, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(found[i], names[i]);
    assert_string_equal(io_join(&a, "d", "f", &err), "d/f");
    assert_string_equal(io_join(&a, "d/", "f", &err), "d/f");
    assert_int_equal(io_list_sorted(&io_posix, test_path("%s/no", dir), &a, &found, &n, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    arena_fini(&a);
}

/* Hashes */

static void hashes_match_published_vectors(void **state)
{
    (void)state;
    char hex[SHA256_HEX], hex128[XXH128_HEX];
    sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash128_to_hex(hash128("", 0), hex128);
    assert_string_equal(hex128, "99aa06d3014798d86001c324468d497f");
    assert_true(hash64("", 0) == 0x2d06800538d394c2);
}

static void sha256_goes_on_from_a_saved_state(void **state)
{
    (void)state;
    unsigned char text[300], saved[SHA256_STATE_BYTES], digest[SHA256_BYTES];
    char want[SHA256_HEX], got[SHA256_HEX];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)(i * 7);
    sha256_hex(text, sizeof text, want);
    for (size_t cut = 0; cut <= sizeof text; cut++) {
        struct sha256 a, b;
        sha256_init(&a);
        sha256_update(&a, text, cut);
        sha256_save(&a, saved);
        assert_int_equal(sha256_restore(&b, saved), 0);
        sha256_update(&b, text + cut, sizeof text - cut);
        sha256_final(&b, digest);
        sha256_to_hex(digest, got);
        assert_string_equal(got, want);
    }
    memset(saved, 0xff, sizeof saved);
    struct sha256 h;
    assert_int_equal(sha256_restore(&h, saved), -1);
}

static void xxh128_streams_as_it_hashes_at_once(void **state)
{
    (void)state;
    unsigned char text[5000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)(i * i >> 3);
    struct xxh128 *h = xxh128_new();
    assert_non_null(h);
    for (size_t step = 1; step < 3000; step += 499) {
        xxh128_reset(h);
        for (size_t at = 0; at < sizeof text; at += step)
            xxh128_update(h, text + at, sizeof text - at < step ? sizeof text - at : step);
        struct hash128 a = xxh128_digest(h), b = hash128(text, sizeof text);
        assert_true(a.hi == b.hi && a.lo == b.lo);
    }
    xxh128_free(h);
}

static void little_endian_words_round_trip(void **state)
{
    (void)state;
    unsigned char b[8];
    store_le64(b, 0x0123456789abcdef);
    assert_int_equal(b[0], 0xef);
    assert_true(load_le64(b) == 0x0123456789abcdef);
    assert_int_equal(load_le16(b), 0xcdef);
    store_le32(b, 0xdeadbeef);
    assert_true(load_le32(b) == 0xdeadbeef);
}

/* Names and reports */

static void name_table_finds_every_name(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct prep_error err = PREP_ERROR_INIT;
    struct name_table t;
    char(*names)[24] = calloc(N, sizeof *names);
    uint32_t old;
    assert_non_null(names);
    assert_int_equal(name_table_init(&t, 4, &err), 0);
    for (uint32_t i = 0; i < N; i++) {
        int n = snprintf(names[i], sizeof names[i], "tensor.%u", i);
        assert_int_equal(name_table_add(&t, names[i], (size_t)n, i, &old, &err), 0);
        assert_true(old == NAME_NONE);
    }
    assert_int_equal(name_table_add(&t, names[77], strlen(names[77]), 5, &old, &err), 0);
    assert_int_equal(old, 77);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(name_table_get(&t, names[i], strlen(names[i])), i);
    assert_true(name_table_get(&t, "tensor.", 7) == NAME_NONE);
    assert_true(name_table_get(&t, "tensor.77", 8) == 7);
    name_table_free(&t);
    name_table_free(&t);
    assert_true(name_table_get(&t, "x", 1) == NAME_NONE);
    free(names);
}

static void reports_keep_warnings_printable_and_integers_exact(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct report r;
    report_init(&r);
    report_warn(NULL, "NOWHERE", "swallowed");
    for (int i = 0; i < 40; i++)
        report_warn(&r, "ODD", "file %d\n\x1b", i);
    assert_int_equal(r.n_warnings, 40);
    assert_string_equal(r.warnings[39].text, "file 39??");
    assert_true(report_has(&r, "ODD"));
    assert_false(report_has(&r, "EVEN"));
    report_u64(r.facts, "n", UINT64_MAX);
    char *text = cJSON_PrintUnformatted(r.facts);
    assert_string_equal(text, "{\"n\":18446744073709551615}");
    cJSON_free(text);
    assert_int_equal(report_ok(&r, &err), 0);
    report_fini(&r);
    report_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_sticks),
        cmocka_unit_test(system_errors_say_their_text),
        cmocka_unit_test(messages_hold_one_printable_line),
        cmocka_unit_test(long_messages_say_that_they_are_cut),
        cmocka_unit_test(every_code_has_its_exit_code),
        cmocka_unit_test(arena_pieces_are_aligned_and_apart),
        cmocka_unit_test(arena_limit_is_an_error),
        cmocka_unit_test(size_arithmetic_notices_overflow),
        cmocka_unit_test(arrays_grow_and_keep_their_items),
        cmocka_unit_test(reads_go_on_after_short_and_interrupted_ones),
        cmocka_unit_test(a_file_that_ends_early_is_bad_data),
        cmocka_unit_test(whole_files_are_read_up_to_a_limit),
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(files_are_written_whole_or_not_at_all),
        cmocka_unit_test(folders_are_listed_by_bytes),
        cmocka_unit_test(hashes_match_published_vectors),
        cmocka_unit_test(sha256_goes_on_from_a_saved_state),
        cmocka_unit_test(xxh128_streams_as_it_hashes_at_once),
        cmocka_unit_test(little_endian_words_round_trip),
        cmocka_unit_test(name_table_finds_every_name),
        cmocka_unit_test(reports_keep_warnings_printable_and_integers_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

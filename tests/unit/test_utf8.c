/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/utf8.h"

static void writes_and_reads_every_code_point(void **state)
{
    char s[4];
    size_t n;
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000)
            continue;
        size_t len = utf8_encode(c, s);
        assert_int_equal(utf8_valid(s, len), len);
        assert_int_equal(utf8_decode(s, &n), c);
        assert_int_equal(n, len);
        assert_int_equal(utf8_length(s, s + len), c < 0x80 ? 0 : len);
    }
    (void)state;
}

static void finds_the_first_ill_formed_byte(void **state)
{
    static const struct {
        const char *s;
        size_t n, at;
    } rows[] = {
        {"", 0, 0},
        {"abcdefgh\x80", 9, 8},
        {"abcdefghijklmnop", 16, 16},
        {"\xc0\xaf", 2, 0},                 /* overlong */
        {"a\xe0\x9f\xbf", 4, 1},            /* overlong */
        {"a\xed\xa0\x80", 4, 1},            /* surrogate */
        {"\xf4\x90\x80\x80", 4, 0},         /* beyond the last code point */
        {"\xf0\x9f\x98\x80\xf0\x9f", 6, 4}, /* cut short */
        {"\xc3\xa9\0\xff", 4, 3},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(utf8_valid(rows[i].s, rows[i].n), rows[i].at);
    (void)state;
}

/* The examples of the Unicode standard, tables 3-8 to 3-11, among others. */
static void replaces_each_maximal_subpart_once(void **state)
{
#define R UTF8_REPLACEMENT
    static const struct {
        const char *s, *want;
    } rows[] = {
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A"},
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A"},
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B"},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A"},
        {"\xe1\x80", R},
        {"plain", "plain"},
        {"\xf0\x9f\x98\x80\xf0\x9f\x98", "\xf0\x9f\x98\x80" R},
    };
#undef R
    char out[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = utf8_repair(rows[i].s, strlen(rows[i].s), out);
        assert_int_equal(n, strlen(rows[i].want));
        assert_memory_equal(out, rows[i].want, n);
    }
    (void)state;
}

static void tells_a_cut_character_from_a_wrong_one(void **state)
{
    int cut;
    const char *s = "\xe1\x80";
    assert_int_equal(utf8_subpart(s, s + 2, &cut), 2);
    assert_int_equal(cut, 1);
    s = "\xe1\x80"
        "A";
    assert_int_equal(utf8_subpart(s, s + 3, &cut), 2);
    assert_int_equal(cut, 0);
    s = "\xff";
    assert_int_equal(utf8_subpart(s, s + 1, &cut), 1);
    assert_int_equal(cut, 0);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_reads_every_code_point),
        cmocka_unit_test(finds_the_first_ill_formed_byte),
        cmocka_unit_test(replaces_each_maximal_subpart_once),
        cmocka_unit_test(tells_a_cut_character_from_a_wrong_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

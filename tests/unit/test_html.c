/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/html.h"
#include "tests/support/support.h"
#include "tests/support/xml_check.h"

static void expect(struct html *h, const char *want)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span out;
    if (html_finish(h, &out, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(out.n, strlen(want));
    assert_memory_equal(out.p, want, out.n);
    html_free(h);
}

static void text_is_shown_and_never_obeyed(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        const char *want;
    } rows[] = {
        {"", 0, ""},
        {"a b", 3, "a b"},
        {"</script><!--", 13, "&lt;/script&gt;&lt;!--"},
        {"\"'&amp;", 7, "&quot;&#39;&amp;amp;"},
        {"]]>", 3, "]]&gt;"},
        {"line\n\ttab", 9, "line\n\ttab"},
        {"\r\0\x1b[31m\x7f", 8, "\\x0d\\x00\\x1b[31m\\x7f"},
        {"\xc2\x80\xc2\x9b", 4, "\\x80\\x9b"}, /* C1 controls */
        {"\xe2\x80\xae"
         "abc",
         6, "\\u202eabc"},                                      /* right to left from here on */
        {"\xe2\x80\x8b\xef\xbb\xbf", 6, "\\u200b\\ufeff"},      /* nothing to see */
        {"\xef\xbf\xbf\xf0\x9f\xbf\xbe", 7, "\\uffff\\u1fffe"}, /* not XML */
        {"\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"},
        {"\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9", 11,
         "\xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91\xa9"}, /* joined */
        {"a\xff"
         "b\xc3",
         4,
         "a\xef\xbf\xbd"
         "b\xef\xbf\xbd"},
        {"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
        {"\xe2\x82", 2, "\xef\xbf\xbd"},                             /* cut off */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct html h;
        html_init(&h);
        html_text_n(&h, rows[i].text, rows[i].n);
        expect(&h, rows[i].want);
    }
}

static void attributes_keep_what_they_were_given(void **state)
{
    struct html h;
    (void)state;
    html_init(&h);
    html_open(&h, "p");
    html_attr(&h, "title", "\"><script>\n\t'");
    html_attrf(&h, "id", "a%d", 7);
    html_attr_begin(&h, "d");
    html_text(&h, "M0 0");
    html_text(&h, "<");
    html_attr_end(&h);
    html_text(&h, "x");
    html_close(&h);
    expect(&h,
           "<p title=\"&quot;&gt;&lt;script&gt;&#10;&#9;&#39;\" id=\"a7\" d=\"M0 0&lt;\">x</p>");
}

static void elements_close_as_html_and_as_xml(void **state)
{
    struct html h;
    (void)state;
    html_init(&h);
    html_open(&h, "div");
    html_open(&h, "br");
    html_close(&h);
    html_open(&h, "path");
    html_close(&h);
    html_leaf(&h, "td", "");
    html_open(&h, "path");
    html_leaf(&h, "title", "t");
    html_close(&h);
    html_close(&h);
    expect(&h, "<div><br/><path/><td></td><path><title>t</title></path></div>");
}

static void random_bytes_make_a_sound_page(void **state)
{
    struct test_random r;
    (void)state;
    test_random_init(&r);
    for (int round = 0; round < 300; round++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct span out;
        char bytes[64];
        struct html h;
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (char)test_random_below(&r, 256);
        html_init(&h);
        html_open(&h, "p");
        html_attr_begin(&h, "title");
        html_text_n(&h, bytes, sizeof bytes);
        html_attr_end(&h);
        html_text_n(&h, bytes, sizeof bytes);
        html_close(&h);
        html_raw(&h, "\n\0", 2); /* the check wants a NUL behind the text */
        assert_int_equal(html_finish(&h, &out, &err), 0);
        const char *fault = xml_fault((const char *)out.p, out.n - 1);
        if (fault)
            fail_msg("%s", fault);
        html_free(&h);
    }
}

static void expect_bug(struct html *h)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span out;
    assert_int_equal(html_finish(h, &out, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    html_free(h);
}

static void elements_that_do_not_match_are_found(void **state)
{
    struct html h;
    (void)state;
    html_init(&h);
    html_open(&h, "p");
    expect_bug(&h);
    html_init(&h);
    html_close(&h);
    expect_bug(&h);
    html_init(&h);
    html_leaf(&h, "p", "x");
    html_attr(&h, "id", "late");
    expect_bug(&h);
    html_init(&h);
    html_open(&h, "p");
    html_attr_begin(&h, "id");
    html_close(&h);
    expect_bug(&h);
    html_init(&h);
    for (int i = 0; i <= HTML_MAX_DEPTH; i++)
        html_open(&h, "b");
    for (int i = 0; i <= HTML_MAX_DEPTH; i++)
        html_close(&h);
    expect_bug(&h);
}

/* The instrument itself: what it must not let pass. */
static void the_check_finds_faults(void **state)
{
    static const char *const bad[] = {
        "",
        "<p>",
        "<p></b></p>",
        "<p/><p/>",
        "<p>a & b</p>",
        "<p>&nbsp;</p>",
        "<p class=a></p>",
        "<p a=\"1\" a=\"2\"></p>",
        "<p a=\"<\"></p>",
        "<p>\x01</p>",
        "<p>\xff</p>",
        "<p><i id=\"x\"/><i id=\"x\"/></p>",
        "<p><a href=\"#x\"></a></p>",
        "<svg aria-labelledby=\"t d\"><title id=\"t\">x</title></svg>",
        "<p><a href=\"http://x\"></a></p>",
        "<p><img alt=\"\"/></p>",
        "<p onclick=\"x\"></p>",
        "<p><script>x</script></p>",
        "<p><style>a{background:url(x)}</style></p>",
        "<p></p>text",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!xml_fault(bad[i], strlen(bad[i])))
            fail_msg("passes: %s", bad[i]);
    static const char good[] =
        "<!DOCTYPE html>\n<p id=\"x\"><a href=\"#x\">&lt;&#39;</a><style>a>b{c:d}</style></p>\n";
    assert_null(xml_fault(good, sizeof good - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_shown_and_never_obeyed),
        cmocka_unit_test(attributes_keep_what_they_were_given),
        cmocka_unit_test(elements_close_as_html_and_as_xml),
        cmocka_unit_test(random_bytes_make_a_sound_page),
        cmocka_unit_test(elements_that_do_not_match_are_found),
        cmocka_unit_test(the_check_finds_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "libprep/base/json.h"
#include "tests/support/support.h"

static void parse_ok(struct json *doc, const char *text)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (json_parse(doc, text, strlen(text), "t.json", &err))
        fail_msg("%s: %s", text, err.msg);
}

/* The tag and the message; the text is copied so that reading past its end is seen. */
static struct prep_error parse_bad(const char *text, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct json doc;
    char *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, text, n);
    if (json_parse(&doc, exact, n, "t.json", &err) == 0)
        fail_msg("accepted: %.*s", (int)n, text);
    assert_int_equal(err.code, PREP_EDATA);
    assert_null(doc.nodes);
    free(exact);
    return err;
}

static void accepts_what_rfc_8259_allows(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "-1.5e+10",
        "1E5",
        "0.0e-0",
        "\"\"",
        "null",
        " \t\r\ntrue ",
        "[]",
        "{}",
        "[[],{}]",
        "{\"\":0}",
        "[1,\n2 ,3 ]",
        "{\"a\" : [ ] , \"b\" : { } }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD834\\uDD1E\"",
        "\"\x7f\"",
        "\"\xc2\x80 \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\"",
        "123456789012345678901234567890",
        "\"\\u0000\"",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct json doc;
        parse_ok(&doc, texts[i]);
        json_free(&doc);
    }
}

static void rejects_everything_else(void **state)
{
    (void)state;
    static const struct {
        const char *text, *tag;
    } cases[] = {
        {"", "JSON"},
        {" ", "JSON"},
        {"[", "JSON"},
        {"{", "JSON"},
        {"]", "JSON"},
        {"[1", "JSON"},
        {"[1,", "JSON"},
        {"[1,]", "JSON"},
        {"[,1]", "JSON"},
        {"[1 2]", "JSON"},
        {"[1}", "JSON"},
        {"{\"a\"}", "JSON"},
        {"{\"a\":}", "JSON"},
        {"{\"a\":1,}", "JSON"},
        {"{\"a\" 1}", "JSON"},
        {"{a:1}", "JSON"},
        {"{1:1}", "JSON"},
        {"{\"a\":1]", "JSON"},
        {"01", "JSON"},
        {"-", "JSON"},
        {"-01", "JSON"},
        {"+1", "JSON"},
        {".5", "JSON"},
        {"1.", "JSON"},
        {"1.e5", "JSON"},
        {"1e", "JSON"},
        {"1e+", "JSON"},
        {"0x10", "JSON"},
        {"NaN", "JSON"},
        {"Infinity", "JSON"},
        {"tru", "JSON"},
        {"nul", "JSON"},
        {"True", "JSON"},
        {"truex", "JSON"},
        {"1 1", "JSON"},
        {"{}x", "JSON"},
        {"// c\n1", "JSON"},
        {"[1/**/]", "JSON"},
        {"'a'", "JSON"},
        {"\"", "JSON"},
        {"\"abcdefgh", "JSON"},
        {"\"\\", "JSON"},
        {"\"\\\"", "JSON"},
        {"\"\\x\"", "JSON"},
        {"\"\\u\"", "JSON"},
        {"\"\\u12\"", "JSON"},
        {"\"\\u12g4\"", "JSON"},
        {"\"\\u123", "JSON"},
        {"\"a\nb\"", "JSON"},
        {"\"1234567\x1f\"", "JSON"},
        {"\xef\xbb\xbf{}", "JSON"},
        {"[\xc2\xa0]", "JSON"},
        {"\"\\ud800\"", "JSON_UTF8"},
        {"\"\\udc00\"", "JSON_UTF8"},
        {"\"\\ud800\\ud800\"", "JSON_UTF8"},
        {"\"\\ud800\\n\"", "JSON_UTF8"},
        {"\"\\ud800x\"", "JSON_UTF8"},
        {"\"\\ud83d\\ude0\"", "JSON_UTF8"},
        {"\"\x80\"", "JSON_UTF8"},
        {"\"\xc0\x80\"", "JSON_UTF8"},
        {"\"\xc1\xbf\"", "JSON_UTF8"},
        {"\"\xc3\"", "JSON_UTF8"},
        {"\"\xe0\x9f\xbf\"", "JSON_UTF8"},
        {"\"\xed\xa0\x80\"", "JSON_UTF8"},
        {"\"\xf0\x8f\xbf\xbf\"", "JSON_UTF8"},
        {"\"\xf4\x90\x80\x80\"", "JSON_UTF8"},
        {"\"\xf5\x80\x80\x80\"", "JSON_UTF8"},
        {"\"\xff\"", "JSON_UTF8"},
        {"\"\xe2\x82", "JSON_UTF8"},
        {"{\"a\":1,\"a\":1}", "JSON_DUPLICATE_KEY"},
        {"{\"a\":1,\"\\u0061\":1}", "JSON_DUPLICATE_KEY"},
        {"{\"\\u00e9\":1,\"\xc3\xa9\":1}", "JSON_DUPLICATE_KEY"},
        {"{\"\\/\":1,\"/\":1}", "JSON_DUPLICATE_KEY"},
        {"[{\"x\":{\"\":1,\"\":2}}]", "JSON_DUPLICATE_KEY"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct prep_error err = parse_bad(cases[i].text, strlen(cases[i].text));
        if (strcmp(err.tag, cases[i].tag) != 0)
            fail_msg("%s: %s (%s), want %s", cases[i].text, err.tag, err.msg, cases[i].tag);
    }
    parse_bad("{}\0\0", 4);
    parse_bad("\"a\0b\"", 5);
}

static void names_file_byte_and_line_of_a_fault(void **state)
{
    (void)state;
    const char *text = "{\n \"a\": 1,\n \"b\": 01}";
    struct prep_error err = parse_bad(text, strlen(text));
    assert_string_equal(err.msg, "t.json: byte 18 (line 3): found '1', want ',' or '}'");
    err = parse_bad("[1,", 3);
    assert_string_equal(err.msg, "t.json: byte 3 (line 1): found the end, want a value");
}

/* n levels of arrays, or of objects. */
static char *nested(int n, int objects)
{
    const char *open = objects ? "{\"k\":" : "[";
    char *text = calloc((size_t)n + 2, 8);
    assert_non_null(text);
    for (int i = 0; i < n; i++)
        strcat(text, i == n - 1 && objects ? "{" : open);
    for (int i = 0; i < n; i++)
        strcat(text, objects ? "}" : "]");
    return text;
}

static void nests_64_levels_and_no_more(void **state)
{
    (void)state;
    for (int objects = 0; objects < 2; objects++) {
        struct json doc;
        char *text = nested(64, objects);
        parse_ok(&doc, text);
        json_free(&doc);
        free(text);
        text = nested(65, objects);
        assert_string_equal(parse_bad(text, strlen(text)).tag, "JSON");
        free(text);
    }
}

static void finds_a_duplicate_among_many_keys(void **state)
{
    (void)state;
    enum { N = 3000 };
    char *text = malloc(N * 16);
    struct json doc;
    assert_non_null(text);
    for (int twice = -1; twice < N; twice += 401) {
        char *o = text;
        for (int i = 0; i < N; i++)
            o += sprintf(o, "%s\"k%d\":%d", i ? "," : "{", i, i);
        if (twice >= 0)
            o += sprintf(o, ",\"\\u006b%d\":0", twice);
        sprintf(o, "}");
        if (twice < 0) {
            parse_ok(&doc, text);
            assert_int_equal(json_count(&doc, 0), N);
            json_free(&doc);
        } else {
            assert_string_equal(parse_bad(text, strlen(text)).tag, "JSON_DUPLICATE_KEY");
        }
    }
    free(text);
}

static void tells_the_depth_of_a_duplicate_key(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct json doc;
    assert_int_equal(json_parse(&doc, "{\"a\":1,\"a\":2}", 13, "t", &err), -1);
    assert_int_equal(doc.fault_depth, 1);
    prep_error_clear(&err);
    assert_int_equal(json_parse(&doc, "{\"b\":{},\"c\":{\"a\":1,\"a\":2}}", 26, "t", &err), -1);
    assert_int_equal(doc.fault_depth, 2);
}

static void refuses_more_values_than_its_memory_holds(void **state)
{
    (void)state;
    size_t n = 15000001;
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 2 ? '0' : ',';
    text[0] = '[';
    text[n - 1] = ']';
    struct prep_error err = parse_bad(text, n);
    assert_non_null(strstr(err.msg, "more values"));
    free(text);
}

static void nodes_keep_order_range_and_links(void **state)
{
    (void)state;
    const char *text = " {\"a\": [1, \"x\\n\"], \"b\": null, \"c\": {}} ";
    struct json d;
    parse_ok(&d, text);
    assert_int_equal(d.n_nodes, 9);
    assert_int_equal(json_count(&d, 0), 3);
    assert_int_equal(d.nodes[0].start, 1);
    assert_int_equal(d.nodes[0].end, strlen(text) - 1);
    uint32_t a = json_get(&d, 0, "a"), b = json_get(&d, 0, "b"), c = json_get(&d, 0, "c");
    assert_int_equal(json_type(&d, a), JSON_ARRAY);
    assert_int_equal(json_count(&d, a), 2);
    uint32_t x = json_next(&d, json_first(&d, a));
    assert_true(json_equal(&d, x, "x\n"));
    assert_false(json_equal(&d, x, "x"));
    assert_false(json_equal(&d, x, "x\n\n"));
    assert_int_equal(d.nodes[x].escaped, 1);
    assert_int_equal(json_next(&d, x), JSON_NONE);
    assert_int_equal(json_type(&d, b), JSON_NULL);
    assert_int_equal(json_first(&d, b), JSON_NONE);
    assert_int_equal(json_type(&d, c), JSON_OBJECT);
    assert_int_equal(json_first(&d, c), JSON_NONE);
    assert_int_equal(json_next(&d, c), JSON_NONE);
    assert_int_equal(json_get(&d, 0, "d"), JSON_NONE);
    assert_int_equal(json_get(&d, a, "a"), JSON_NONE);
    char where[64];
    assert_string_equal(json_where(&d, b, where, sizeof where), "t.json: byte 24 (line 1)");
    json_free(&d);
    json_free(&d);
}

static void decodes_escapes_exactly(void **state)
{
    (void)state;
    struct json d;
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    size_t n;
    arena_init(&arena, 0);
    parse_ok(
        &d,
        "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"\\u0041\\u00e9\\u20AC\\ud834\\udd1e\", \"a\\u0000b\"]");
    uint32_t i = json_first(&d, 0);
    assert_string_equal(json_string(&d, i, &arena, NULL, &err), "\"\\/\b\f\n\r\t");
    i = json_next(&d, i);
    assert_string_equal(json_string(&d, i, &arena, &n, &err),
                        "A\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e");
    assert_int_equal(n, 10);
    i = json_next(&d, i);
    assert_memory_equal(json_string(&d, i, &arena, &n, &err), "a\0b", 4);
    assert_int_equal(n, 3);
    assert_false(json_equal(&d, i, "a"));
    json_free(&d);
    arena_fini(&arena);
}

static void reads_64_bit_integers_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int is_u64, is_i64;
        uint64_t u;
        int64_t i;
    } cases[] = {
        {"0", 1, 1, 0, 0},
        {"-0", 0, 1, 0, 0},
        {"9007199254740993", 1, 1, 9007199254740993, 9007199254740993},
        {"9223372036854775807", 1, 1, INT64_MAX, INT64_MAX},
        {"9223372036854775808", 1, 0, (uint64_t)1 << 63, 0},
        {"-9223372036854775808", 0, 1, 0, INT64_MIN},
        {"-9223372036854775809", 0, 0, 0, 0},
        {"18446744073709551615", 1, 0, UINT64_MAX, 0},
        {"18446744073709551616", 0, 0, 0, 0},
        {"99999999999999999999", 0, 0, 0, 0},
        {"184467440737095516150", 0, 0, 0, 0},
        {"1.0", 0, 0, 0, 0},
        {"1e3", 0, 0, 0, 0},
        {"\"1\"", 0, 0, 0, 0},
        {"true", 0, 0, 0, 0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct json d;
        uint64_t u = 77;
        int64_t i = 77;
        parse_ok(&d, cases[k].text);
        assert_int_equal(json_u64(&d, 0, &u), cases[k].is_u64 ? 0 : -1);
        assert_true(u == (cases[k].is_u64 ? cases[k].u : 77));
        assert_int_equal(json_i64(&d, 0, &i), cases[k].is_i64 ? 0 : -1);
        assert_true(i == (cases[k].is_i64 ? cases[k].i : 77));
        json_free(&d);
    }
}

static void reads_doubles_to_the_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double v;
    } cases[] = {
        {"0.1", 0.1},          {"[1e-05", 1e-05},
        {"-2.5E3", -2500},     {"9007199254740993", 9007199254740992.0},
        {"5e-324", 5e-324},    {"1e999", INFINITY},
        {"-1e999", -INFINITY}, {"0.30000000000000004", 0.1 + 0.2},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char text[64];
        struct json d;
        double v;
        int in_list = cases[k].text[0] == '[';
        snprintf(text, sizeof text, "%s%s", cases[k].text, in_list ? "]" : "");
        parse_ok(&d, text);
        assert_int_equal(json_f64(&d, (uint32_t)in_list, &v), 0);
        assert_true(v == cases[k].v);
        json_free(&d);
    }
}

static const struct {
    double v;
    const char *text;
} reprs[] = {
    {0, "0.0"},
    {-0.0, "-0.0"},
    {1, "1.0"},
    {-7, "-7.0"},
    {3.5, "3.5"},
    {0.1, "0.1"},
    {0.0001, "0.0001"},
    {0.00012345, "0.00012345"},
    {1e-05, "1e-05"},
    {1.5e-07, "1.5e-07"},
    {1234567.875, "1234567.875"},
    {1e15, "1000000000000000.0"},
    {9999999999999998, "9999999999999998.0"},
    {1e16, "1e+16"},
    {1.2345678901234568e+17, "1.2345678901234568e+17"},
    {1e22, "1e+22"},
    {1e100, "1e+100"},
    {1.7976931348623157e308, "1.7976931348623157e+308"},
    {2.2250738585072014e-308, "2.2250738585072014e-308"},
    {2.225073858507201e-308, "2.225073858507201e-308"},
    {5e-324, "5e-324"},
    {1e-323, "1e-323"},
    {0.3333333333333333, "0.3333333333333333"},
    {0.1 + 0.2, "0.30000000000000004"},
    {5.684341886080802e-14, "5.684341886080802e-14"},
    {7.120236347223045e-307, "7.120236347223045e-307"}, /* 2^-1017: the upper of two neighbours */
    {9007199254740992.0, "9007199254740992.0"},
    {2.5, "2.5"},
};

static void check_reprs(void)
{
    char buf[32];
    for (size_t i = 0; i < sizeof reprs / sizeof *reprs; i++) {
        json_format_f64(reprs[i].v, buf);
        assert_string_equal(buf, reprs[i].text);
    }
}

static void prints_doubles_as_python_does(void **state)
{
    (void)state;
    check_reprs();
}

static void numbers_do_not_depend_on_the_locale(void **state)
{
    (void)state;
    static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    const char *found = NULL;
    for (size_t i = 0; !found && i < sizeof commas / sizeof *commas; i++)
        found = setlocale(LC_NUMERIC, commas[i]);
    if (!found)
        skip();
    struct json d;
    double v = 0;
    parse_ok(&d, "[2.75]");
    assert_int_equal(json_f64(&d, 1, &v), 0);
    assert_true(v == 2.75);
    json_free(&d);
    check_reprs();
    setlocale(LC_NUMERIC, "C");
}

/* No shorter decimal reads back: tried on random bits and on every power of two. */
static void prints_doubles_shortest(void **state)
{
    (void)state;
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 20000; i++) {
        char buf[32], shorter[40], digits[40];
        uint64_t bits = i < 2047 ? (uint64_t)i << 52 : test_random_u64(&r);
        double v;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v) || v == 0)
            continue;
        json_format_f64(v, buf);
        assert_true(strtod(buf, NULL) == v);
        size_t n = 0;
        for (const char *s = buf; *s && *s != 'e'; s++)
            if (*s >= '0' && *s <= '9' && (n || *s != '0'))
                digits[n++] = *s;
        while (n && digits[n - 1] == '0')
            n--;
        assert_true(n >= 1 && n <= 17);
        snprintf(shorter, sizeof shorter, "%.*e", n > 1 ? (int)n - 2 : 0, v);
        assert_true(n == 1 || strtod(shorter, NULL) != v);
    }
}

static void splices_edits_in_any_order(void **state)
{
    (void)state;
    struct arena arena;
    struct span out;
    struct prep_error err = PREP_ERROR_INIT;
    struct json_edit edits[] = {
        {10, 10, "!", 1}, {6, 9, "", 0},  {0, 1, "AB", 2},
        {3, 3, "x", 1},   {3, 3, "y", 1}, {3, 5, "z", 1},
    };
    arena_init(&arena, 0);
    assert_int_equal(json_splice(&out, "0123456789", 10, edits, 6, &arena, &err), 0);
    assert_string_equal((const char *)out.p, "AB12xyz59!");
    assert_int_equal(out.n, 10);
    assert_int_equal(json_splice(&out, "", 0, NULL, 0, &arena, &err), 0);
    assert_int_equal(out.n, 0);
    struct json_edit overlap[] = {{2, 5, "", 0}, {4, 6, "", 0}};
    assert_int_equal(json_splice(&out, "0123456789", 10, overlap, 2, &arena, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    prep_error_clear(&err);
    struct json_edit outside[] = {{9, 11, "", 0}};
    assert_int_equal(json_splice(&out, "0123456789", 10, outside, 1, &arena, &err), -1);
    arena_fini(&arena);
}

static void write_sample(struct json_out *o)
{
    json_out_open(o, '{');
    json_out_key(o, "big");
    json_out_u64(o, UINT64_MAX);
    json_out_key(o, "list");
    json_out_open(o, '[');
    json_out_i64(o, INT64_MIN);
    json_out_f64(o, 1);
    json_out_f64(o, NAN);
    json_out_bool(o, 1);
    json_out_null(o);
    json_out_raw(o, "[0]", 3);
    json_out_close(o);
    json_out_key(o, "a\"\\\n\x01\xc3\xa9\x7f");
    json_out_string_n(o, "\xff\xe2\x82z", 4);
    json_out_key(o, "empty");
    json_out_open(o, '{');
    json_out_close(o);
    json_out_close(o);
}

static void writes_three_layouts(void **state)
{
    (void)state;
    static const struct {
        int indent;
        const char *text;
    } cases[] = {
        {2, "{\n  \"big\": 18446744073709551615,\n  \"list\": [\n    -9223372036854775808,\n"
            "    1.0,\n    null,\n    true,\n    null,\n    [0]\n  ],\n"
            "  \"a\\\"\\\\\\n\\u0001\xc3\xa9\x7f\": \"\\ufffd\\ufffd\\ufffdz\",\n"
            "  \"empty\": {}\n}\n"},
        {JSON_ONE_LINE,
         "{\"big\": 18446744073709551615, \"list\": [-9223372036854775808, 1.0, null, true, "
         "null, [0]], \"a\\\"\\\\\\n\\u0001\xc3\xa9\x7f\": \"\\ufffd\\ufffd\\ufffdz\", "
         "\"empty\": {}}\n"},
        {JSON_COMPACT, "{\"big\":18446744073709551615,\"list\":[-9223372036854775808,1.0,null,"
                       "true,null,[0]],\"a\\\"\\\\\\n\\u0001\xc3\xa9\x7f\":"
                       "\"\\ufffd\\ufffd\\ufffdz\",\"empty\":{}}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct json_out o;
        struct span out;
        struct prep_error err = PREP_ERROR_INIT;
        struct json d;
        json_out_init(&o, cases[i].indent);
        write_sample(&o);
        assert_int_equal(json_out_finish(&o, &out, &err), 0);
        assert_int_equal(out.n, strlen(cases[i].text));
        assert_memory_equal(out.p, cases[i].text, out.n);
        assert_int_equal(json_parse(&d, (const char *)out.p, out.n, "out", &err), 0);
        json_free(&d);
        json_out_free(&o);
    }
}

static void writer_refuses_what_is_not_closed(void **state)
{
    (void)state;
    struct json_out o;
    struct span out;
    struct prep_error err = PREP_ERROR_INIT;
    json_out_init(&o, 2);
    json_out_open(&o, '[');
    assert_int_equal(json_out_finish(&o, &out, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    json_out_free(&o);
}

/* A random valid document; keys differ by their number. */
static void random_value(struct json_out *o, struct test_random *r, int depth)
{
    static const char *const strings[] = {
        "",           "plain ascii text, long enough for a word", "q\"uote",  "back\\slash",
        "\b\f\n\r\t", "\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e",     "\x1f\x7f", "/"};
    uint64_t kind = test_random_below(r, depth > 5 ? 5 : 8);
    size_t n = (size_t)test_random_below(r, 14);
    if (kind == 0) {
        json_out_i64(o, (int64_t)test_random_u64(r) >> test_random_below(r, 63));
    } else if (kind == 1) {
        json_out_f64(o, (double)(int64_t)test_random_u64(r) * pow(10, (double)n - 20));
    } else if (kind == 2) {
        json_out_bool(o, n % 2 != 0);
    } else if (kind == 3) {
        json_out_null(o);
    } else if (kind == 4) {
        json_out_string(o, strings[n % 8]);
    } else {
        json_out_open(o, kind == 5 ? '[' : '{');
        for (size_t i = 0; i < n; i++) {
            char key[64];
            snprintf(key, sizeof key, "%s%zu", strings[test_random_below(r, 8)], i);
            if (kind != 5)
                json_out_key(o, key);
            random_value(o, r, depth + 1);
        }
        json_out_close(o);
    }
}

static void same_tree(const struct json *d, uint32_t node, const cJSON *peer)
{
    double v;
    switch (json_type(d, node)) {
    case JSON_NULL:
        assert_true(cJSON_IsNull(peer));
        return;
    case JSON_TRUE:
        assert_true(cJSON_IsTrue(peer));
        return;
    case JSON_FALSE:
        assert_true(cJSON_IsFalse(peer));
        return;
    case JSON_NUMBER:
        assert_true(cJSON_IsNumber(peer));
        assert_int_equal(json_f64(d, node, &v), 0);
        assert_true(v == peer->valuedouble);
        return;
    case JSON_STRING:
        assert_true(cJSON_IsString(peer) && json_equal(d, node, peer->valuestring));
        return;
    default:
        break;
    }
    int object = json_type(d, node) == JSON_OBJECT;
    assert_true(object ? cJSON_IsObject(peer) : cJSON_IsArray(peer));
    const cJSON *p = peer->child;
    for (uint32_t i = json_first(d, node); i != JSON_NONE; i = json_next(d, i), p = p->next) {
        assert_non_null(p);
        if (object) {
            assert_true(json_equal(d, i, p->string));
            i = json_next(d, i);
        }
        same_tree(d, i, p);
    }
    assert_null(p);
}

/* cJSON takes more than JSON, so it must take what we take, and see the same in it. */
static void check_against_cjson(const char *text, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct json d;
    char *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, text, n);
    if (json_parse(&d, exact, n, "mutant", &err) == 0) {
        /* cJSON cuts strings at \u0000. */
        cJSON *peer = cJSON_ParseWithLength(text, n);
        if (!peer)
            fail_msg("cJSON does not accept: %.*s", (int)n, text);
        if (!memmem(text, n, "\\u0000", 6))
            same_tree(&d, 0, peer);
        cJSON_Delete(peer);
        json_free(&d);
    }
    free(exact);
}

static void sees_what_cjson_sees(void **state)
{
    (void)state;
    static const char stuff[] = "{}[]:,\"\\0123456789-+.eEu/ \n\ttrufalsn\xc3\xa9\x80\x01";
    struct test_random r;
    test_random_init(&r);
    for (int round = 0; round < 300; round++) {
        struct json_out o;
        struct span out;
        struct prep_error err = PREP_ERROR_INIT;
        struct json d;
        json_out_init(&o, (int)test_random_below(&r, 4) - 1);
        random_value(&o, &r, 0);
        assert_int_equal(json_out_finish(&o, &out, &err), 0);
        if (json_parse(&d, (const char *)out.p, out.n, "ours", &err))
            fail_msg("%s", err.msg);
        json_free(&d);
        check_against_cjson(o.text, out.n);
        for (int m = 0; m < 20; m++) {
            size_t at = (size_t)test_random_below(&r, out.n);
            char old = o.text[at];
            o.text[at] = stuff[test_random_below(&r, sizeof stuff - 1)];
            check_against_cjson(o.text, out.n);
            o.text[at] = old;
        }
        check_against_cjson(o.text, (size_t)test_random_below(&r, out.n));
        json_out_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_what_rfc_8259_allows),
        cmocka_unit_test(rejects_everything_else),
        cmocka_unit_test(names_file_byte_and_line_of_a_fault),
        cmocka_unit_test(nests_64_levels_and_no_more),
        cmocka_unit_test(finds_a_duplicate_among_many_keys),
        cmocka_unit_test(tells_the_depth_of_a_duplicate_key),
        cmocka_unit_test(refuses_more_values_than_its_memory_holds),
        cmocka_unit_test(nodes_keep_order_range_and_links),
        cmocka_unit_test(decodes_escapes_exactly),
        cmocka_unit_test(reads_64_bit_integers_exactly),
        cmocka_unit_test(reads_doubles_to_the_nearest),
        cmocka_unit_test(prints_doubles_as_python_does),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(prints_doubles_shortest),
        cmocka_unit_test(splices_edits_in_any_order),
        cmocka_unit_test(writes_three_layouts),
        cmocka_unit_test(writer_refuses_what_is_not_closed),
        cmocka_unit_test(sees_what_cjson_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

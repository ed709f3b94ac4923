/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/release/svg_plot.h"
#include "tests/support/support.h"
#include "tests/support/xml_check.h"

#define M "\xe2\x88\x92" /* minus */
#define DASH "\xe2\x80\x93"

static void check_numbers(void)
{
    static const struct {
        double v;
        int digits, sign;
        const char *want;
    } fixed[] = {
        {0, 2, 0, "0.00"},
        {1.005, 1, 1, "+1.0"},
        {-0.00049, 5, 1, M "0.00049"},
        {-1e-9, 3, 1, "0.000"},
        {1e300, 2, 0, "1.00000e300"},
        {NAN, 2, 0, DASH},
        {INFINITY, 2, 1, DASH},
        {2.5, 0, 0, "2"},
        {0.125, 2, 0, "0.12"},
    };
    static const struct {
        double v;
        int digits;
        const char *want;
    } shorts[] = {
        {0.00130712, 3, "0.00131"}, {0.0009996, 3, "0.00100"},
        {123456, 3, "123456"},      {0, 3, "0"},
        {-0.5, 1, M "0.5"},         {1.23e-9, 2, "1.2e" M "9"},
        {9.99e-7, 1, "0.000001"},   {5e-324, 3, "4.94e" M "324"},
        {-INFINITY, 2, DASH},
    };
    char buf[NUMBER_TEXT];
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        assert_string_equal(number_fixed(buf, fixed[i].v, fixed[i].digits, fixed[i].sign),
                            fixed[i].want);
    for (size_t i = 0; i < sizeof shorts / sizeof *shorts; i++)
        assert_string_equal(number_short(buf, shorts[i].v, shorts[i].digits), shorts[i].want);
    assert_string_equal(number_count(buf, 0), "0");
    assert_string_equal(number_count(buf, 1234567), "1,234,567");
    assert_string_equal(number_count(buf, UINT64_MAX), "18,446,744,073,709,551,615");
    assert_string_equal(number_bytes(buf, 999), "999 B");
    assert_string_equal(number_bytes(buf, 38891264), "38.9 MB");
    assert_string_equal(number_bytes(buf, 1509000000000), "1.51 TB");
    assert_string_equal(number_bytes(buf, 999600), "1.00 MB");
    assert_string_equal(number_place(buf, 1.0 / 3), "0.33");
    assert_string_equal(number_place(buf, -2.5), "-2.5");
    assert_string_equal(number_place(buf, -0.001), "0");
    assert_string_equal(number_place(buf, NAN), "0");
}

static void numbers_are_written_as_people_read_them(void **state)
{
    (void)state;
    check_numbers();
}

static void numbers_do_not_depend_on_the_locale(void **state)
{
    static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
    const char *found = NULL;
    (void)state;
    for (size_t i = 0; !found && i < sizeof commas / sizeof *commas; i++)
        found = setlocale(LC_NUMERIC, commas[i]);
    if (!found)
        skip();
    check_numbers();
    setlocale(LC_NUMERIC, "C");
}

/* Labels of the ticks, with blanks between. */
static const char *labels(double low, double high, int log, int whole)
{
    static char text[(SCALE_MAX_TICKS + 2) * NUMBER_TEXT];
    struct tick ticks[SCALE_MAX_TICKS];
    struct scale s;
    scale_init(&s, 0, 100);
    s.log = log;
    s.whole = whole;
    scale_cover(&s, low);
    scale_cover(&s, high);
    scale_settle(&s);
    assert_true(s.low < s.high);
    const size_t n = scale_ticks(ticks, &s, 7);
    assert_true(n >= 1 && n <= 7);
    *text = 0;
    for (size_t i = 0; i < n; i++) {
        const double place = scale_place(&s, ticks[i].value);
        assert_true(place >= -1e-6 && place <= 100 + 1e-6);
        assert_true(i == 0 || ticks[i].value > ticks[i - 1].value);
        strcat(i ? strcat(text, " ") : text, ticks[i].label);
    }
    return text;
}

static void ticks_are_round_numbers(void **state)
{
    (void)state;
    assert_string_equal(labels(0, 0.0243, 0, 0), "0 0.005 0.010 0.015 0.020 0.025");
    assert_string_equal(labels(0, 7.3, 0, 0), "0 2 4 6 8");
    assert_string_equal(labels(-0.021, 0.004, 0, 0),
                        M "0.025 " M "0.020 " M "0.015 " M "0.010 " M "0.005 0 0.005");
    assert_string_equal(labels(0, 4, 0, 1), "0 1 2 3 4");
    assert_string_equal(labels(0, 77, 0, 1), "0 20 40 60");
    assert_string_equal(labels(3, 3, 0, 1), "2 3 4");
    assert_string_equal(labels(0, 131072, 0, 1), "0 50k 100k");
    assert_string_equal(labels(0, 4e6, 0, 0), "0 1M 2M 3M 4M");
    assert_string_equal(labels(0.0011, 0.031, 1, 0), "0.001 0.002 0.005 0.01 0.02 0.05");
    assert_string_equal(labels(3e-7, 2, 1, 0), "10\xe2\x81\xbb\xe2\x81\xb5 0.001 0.1");
    assert_string_equal(labels(0.2, 0.3, 1, 0), "0.2 0.5");
}

static void scales_bear_whatever_they_are_given(void **state)
{
    static const double odd[] = {0,      -1,     1,     NAN,       INFINITY, -INFINITY, 1e308,
                                 -1e308, 5e-324, 1e-99, 1 + 1e-15, 1e99,     -1e-300,   2e15};
    const size_t n = sizeof odd / sizeof *odd;
    (void)state;
    for (size_t i = 0; i < n * n * 4; i++)
        labels(odd[i % n], odd[i / n % n], (int)(i / (n * n) % 2), (int)(i / (2 * n * n)));
}

/* ---- plots ---- */

static void check_plot(struct html *h, const char *const *want, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span out;
    html_raw(h, "\n\0", 2);
    assert_int_equal(html_finish(h, &out, &err), 0);
    const char *text = (const char *)out.p, *fault = xml_fault(text, out.n - 1);
    if (fault)
        fail_msg("%s in %s", fault, text);
    for (size_t i = 0; i < n; i++)
        if (!strstr(text, want[i]))
            fail_msg("no %s in %s", want[i], text);
    if (strstr(text, "nan") || strstr(text, "inf"))
        fail_msg("a number is none: %s", text);
    html_free(h);
}

static void lines_say_in_words_what_they_show(void **state)
{
    static const double at[] = {0, 1, 2}, y[] = {0.5, NAN, 0.25}, low[] = {0.4, NAN, 0.2},
                        high[] = {0.6, INFINITY, 0.3}, none[] = {NAN, NAN, INFINITY};
    static const char *const want[] = {
        "role=\"img\"",
        "aria-labelledby=\"p-t p-d\"",
        "<title id=\"p-t\">Errors</title>",
        "error over layer. a&lt;b: least 0.250 at 2.00, most 0.500 at 0. none: nothing measured.",
        "class=\"label c1\"",
        "a&lt;b, layer 2.000: 0.250"};
    const struct svg_series series[] = {{"a<b", 1, 0, y, low, high},
                                        {"none", 2, 1, none, NULL, NULL}};
    const struct svg_lines plot = {.id = "p",
                                   .title = "Errors",
                                   .x = {.title = "layer", .whole = 1},
                                   .y = {.title = "error", .from_zero = 1},
                                   .at = at,
                                   .n = 3,
                                   .series = series,
                                   .n_series = 2};
    struct html h;
    (void)state;
    html_init(&h);
    svg_lines(&h, &plot);
    check_plot(&h, want, sizeof want / sizeof *want);
}

static void zero_on_a_logarithmic_axis_is_hollow_on_its_edge(void **state)
{
    static const double at[] = {0, 1, 2}, y[] = {0, 1e-6, 0.1};
    static const char *const want[] = {"class=\"hollow c3\"", "class=\"mark c3\""};
    const struct svg_series series = {"model", 3, 0, y, NULL, NULL};
    const struct svg_lines plot = {.id = "p",
                                   .title = "t",
                                   .x = {.title = "layer", .whole = 1},
                                   .y = {.title = "error", .log = 1},
                                   .at = at,
                                   .n = 3,
                                   .series = &series,
                                   .n_series = 1};
    struct html h;
    (void)state;
    html_init(&h);
    svg_lines(&h, &plot);
    check_plot(&h, want, sizeof want / sizeof *want);
}

static void plots_of_nothing_are_plots(void **state)
{
    static const double at[] = {0, 1}, none[] = {NAN, NAN};
    const struct svg_range gap = {NAN, NAN, NAN, NAN, NAN};
    const struct svg_row row = {"x", "y", 1, NAN, NAN, INFINITY};
    const struct svg_series series = {"m", 1, 0, none, none, none};
    (void)state;
    for (size_t i = 0; i < 16; i++) {
        struct svg_axis axis = {.title = "a", .log = (int)(i & 1), .from_zero = (int)(i >> 1 & 1)};
        const size_t n = i >> 2 & 1;
        struct html h;
        html_init(&h);
        html_open(&h, "div");
        svg_lines(&h, &(struct svg_lines){.id = "l",
                                          .title = "t",
                                          .x = axis,
                                          .y = axis,
                                          .at = at,
                                          .n = n,
                                          .steps = (int)(i >> 3),
                                          .series = &series,
                                          .n_series = i >> 3 ? 1 : n});
        svg_rows(&h,
                 &(struct svg_rows){
                     .id = "r", .title = "t", .x = axis, .bars = !axis.log, .rows = &row, .n = n});
        svg_ranges(
            &h,
            &(struct svg_ranges){
                .id = "g", .title = "t", .x = axis, .y = axis, .at = at, .ranges = &gap, .n = n});
        svg_heat(&h, &(struct svg_heat){
                         .id = "h", .title = "t", .words = "w", .x_title = "x", .y_title = "y"});
        html_close(&h);
        check_plot(&h, NULL, 0);
    }
}

static void heat_maps_of_a_large_model_stay_small(void **state)
{
    enum { ROWS = 78, COLS = 256 };
    static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6"};
    static unsigned char cells[ROWS * COLS];
    static int rows[ROWS];
    struct test_random r;
    struct html h;
    (void)state;
    test_random_init(&r);
    for (size_t i = 0; i < sizeof cells; i++)
        cells[i] = (unsigned char)test_random_below(&r, SVG_HEAT_CLASSES);
    for (int i = 0; i < ROWS; i++)
        rows[i] = i;
    html_init(&h);
    svg_heat(&h, &(struct svg_heat){.id = "h",
                                    .title = "t",
                                    .words = "w",
                                    .x_title = "expert",
                                    .y_title = "layer",
                                    .cells = cells,
                                    .rows = rows,
                                    .n_rows = ROWS,
                                    .n_cols = COLS,
                                    .classes = names,
                                    .n_classes = 7});
    assert_true(h.n < 170000);
    check_plot(&h, NULL, 0);
}

/* Draw the strokes again, cell by cell. */
static void heat_maps_show_every_cell(void **state)
{
    enum { ROWS = 5, COLS = 7 };
    static const char *const names[] = {"0", "1", "2"};
    unsigned char cells[ROWS * COLS], seen[ROWS * COLS];
    static const int rows[ROWS] = {3, 4, 5, 6, 7};
    struct test_random r;
    struct html h;
    (void)state;
    test_random_init(&r);
    memset(seen, SVG_NO_CELL, sizeof seen);
    for (size_t i = 0; i < sizeof cells; i++)
        cells[i] = test_random_below(&r, 4) ? (unsigned char)test_random_below(&r, 3) : SVG_NO_CELL;
    html_init(&h);
    svg_heat(&h, &(struct svg_heat){.id = "h",
                                    .title = "t",
                                    .words = "w",
                                    .x_title = "x",
                                    .y_title = "y",
                                    .cells = cells,
                                    .rows = rows,
                                    .n_rows = ROWS,
                                    .n_cols = COLS,
                                    .classes = names,
                                    .n_classes = 3});
    html_raw(&h, "", 1);
    for (const char *s = h.text; (s = strstr(s, "class=\"cells h")) != NULL; s++) {
        const unsigned char c = (unsigned char)(s[14] - '0');
        double x = 0, y = 0;
        for (s = strstr(s, " d=\"") + 4; *s != '"';) {
            double dx, dy;
            int used, run;
            assert_int_equal(sscanf(s, "%*[Mm]%lf %lfh%d%n", &dx, &dy, &run, &used), 3);
            x = *s == 'M' ? dx : x + dx;
            y = *s == 'M' ? dy : y + dy;
            for (int k = 0; k < run; k++, x++)
                seen[(size_t)y * COLS + (size_t)x] = c;
            s += used;
        }
    }
    assert_memory_equal(seen, cells, sizeof cells);
    html_free(&h);
}

static void long_names_lose_their_middle(void **state)
{
    char buf[NUMBER_TEXT * 4];
    (void)state;
    assert_string_equal(svg_short_name(buf, "short", 14), "short");
    assert_string_equal(svg_short_name(buf, "nano-12-modelopt-x", 14), "nano-1\xe2\x80\xa6"
                                                                       "elopt-x");
    assert_string_equal(svg_short_name(buf, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 5),
                        "\xc3\xa9\xc3\xa9\xe2\x80\xa6\xc3\xa9\xc3\xa9");
    assert_string_equal(svg_short_name(buf, "", 5), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_written_as_people_read_them),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(ticks_are_round_numbers),
        cmocka_unit_test(scales_bear_whatever_they_are_given),
        cmocka_unit_test(lines_say_in_words_what_they_show),
        cmocka_unit_test(zero_on_a_logarithmic_axis_is_hollow_on_its_edge),
        cmocka_unit_test(plots_of_nothing_are_plots),
        cmocka_unit_test(heat_maps_of_a_large_model_stay_small),
        cmocka_unit_test(heat_maps_show_every_cell),
        cmocka_unit_test(long_names_lose_their_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

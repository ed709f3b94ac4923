/* SPDX-License-Identifier: MIT */
#include "libprep/release/svg_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void svg_begin(struct html *h, const char *id, const char *title, double height)
{
    char text[NUMBER_TEXT];
    html_open(h, "svg");
    html_attrf(h, "viewBox", "0 0 %d %s", (int)SVG_WIDTH, number_place(text, height));
    html_attr(h, "role", "img");
    html_attrf(h, "aria-labelledby", "%s-t %s-d", id, id);
    html_open(h, "title");
    html_attrf(h, "id", "%s-t", id);
    html_text(h, title);
    html_close(h);
    html_open(h, "desc");
    html_attrf(h, "id", "%s-d", id);
}

void svg_words_end(struct html *h)
{
    html_close(h);
}

void svg_end(struct html *h)
{
    html_close(h);
}

void svg_place(struct html *h, const char *name, double v)
{
    char text[NUMBER_TEXT];
    html_attr(h, name, number_place(text, v));
}

void svg_line(struct html *h, const char *class_name, double x1, double y1, double x2, double y2)
{
    html_open(h, "line");
    html_attr(h, "class", class_name);
    svg_place(h, "x1", x1);
    svg_place(h, "y1", y1);
    svg_place(h, "x2", x2);
    svg_place(h, "y2", y2);
    html_close(h);
}

void svg_text(struct html *h, const char *class_name, const char *anchor, double x, double y,
              const char *text)
{
    html_open(h, "text");
    html_attr(h, "class", class_name);
    if (strcmp(anchor, "start") != 0)
        html_attr(h, "text-anchor", anchor);
    svg_place(h, "x", x);
    svg_place(h, "y", y);
    html_text(h, text);
    html_close(h);
}

/* Around (0, 0): a circle's place is taken by a polygon of none. */
static const char *const shapes[SVG_COLOURS] = {
    NULL,
    "M-3.4-3.4h6.8v6.8h-6.8z",
    "M0-4.4L4.2 3H-4.2z",
    "M0-4.6L4.6 0 0 4.6-4.6 0z",
    "M0 4.4L4.2-3H-4.2z",
    "M-1.5-4.2h3v2.7h2.7v3h-2.7v2.7h-3v-2.7h-2.7v-3h2.7z",
};

void svg_mark(struct html *h, int colour, int hollow, double x, double y, const char *words)
{
    const char *shape = shapes[colour % SVG_COLOURS];
    html_open(h, "g");
    html_attrf(h, "class", "%s c%d", hollow ? "hollow" : "mark", colour);
    if (shape) {
        char a[NUMBER_TEXT], b[NUMBER_TEXT];
        html_open(h, "path");
        html_attrf(h, "transform", "translate(%s %s)", number_place(a, x), number_place(b, y));
        html_attr(h, "d", shape);
    } else {
        html_open(h, "circle");
        svg_place(h, "cx", x);
        svg_place(h, "cy", y);
        svg_place(h, "r", 3.6);
    }
    html_close(h);
    if (words)
        html_leaf(h, "title", words);
    html_close(h);
}

void svg_point(struct html *h, int colour, double x, double y)
{
    svg_mark(h, colour, 0, x, y, NULL);
}

void svg_axis_x(struct html *h, const struct svg_box *b, const struct scale *s, const char *title)
{
    struct tick ticks[SCALE_MAX_TICKS];
    const size_t n = scale_ticks(ticks, s, 7);
    svg_line(h, "axis", b->left, b->bottom, b->right, b->bottom);
    for (size_t i = 0; i < n; i++) {
        const double x = scale_place(s, ticks[i].value);
        svg_line(h, "axis", x, b->bottom, x, b->bottom + 4);
        svg_text(h, "tick", "middle", x, b->bottom + 16, ticks[i].label);
    }
    svg_text(h, "name", "middle", (b->left + b->right) / 2, b->bottom + 32, title);
}

void svg_axis_y(struct html *h, const struct svg_box *b, const struct scale *s, const char *title)
{
    struct tick ticks[SCALE_MAX_TICKS];
    const size_t n = scale_ticks(ticks, s, 7);
    for (size_t i = 0; i < n; i++) {
        const double y = scale_place(s, ticks[i].value);
        svg_line(h, "grid", b->left, y, b->right, y);
        svg_text(h, "tick", "end", b->left - 6, y + 4, ticks[i].label);
    }
    svg_text(h, "name", "start", 4, 12, title);
}

void svg_scale(struct scale *s, const struct svg_axis *a, double from, double to)
{
    scale_init(s, from, to);
    s->log = a->log;
    s->whole = a->whole;
    if (a->low != 0 || a->high != 0) {
        scale_cover(s, a->low);
        scale_cover(s, a->high);
    }
    if (a->from_zero && !a->log)
        scale_cover(s, 0);
}

size_t svg_length(const char *utf8)
{
    size_t n = 0;
    for (; *utf8; utf8++)
        n += (*utf8 & 0xc0) != 0x80;
    return n;
}

/* The byte where character i begins. */
static size_t byte_of(const char *s, size_t i)
{
    size_t at = 0;
    while (s[at] && i > 0) {
        at++;
        while ((s[at] & 0xc0) == 0x80)
            at++;
        i--;
    }
    return at;
}

const char *svg_short_name(char buf[NUMBER_TEXT * 4], const char *name, size_t most)
{
    const size_t n = svg_length(name);
    if (most > NUMBER_TEXT - 2)
        most = NUMBER_TEXT - 2;
    const size_t head = n <= most ? n : (most - 1) / 2,
                 tail = n <= most ? n : n - (most - 1 - head);
    snprintf(buf, NUMBER_TEXT * 4, "%.*s%s%s", (int)byte_of(name, head), name,
             n <= most ? "" : "\xe2\x80\xa6", name + byte_of(name, tail));
    return buf;
}

void svg_draw_to(struct html *h, struct svg_pen *pen, double x, double y)
{
    char a[NUMBER_TEXT], b[NUMBER_TEXT];
    if (isnan(x) || isnan(y)) {
        pen->down = 0;
        return;
    }
    html_textf(h, "%s%s %s", pen->down ? "L" : "M", number_place(a, x), number_place(b, y));
    pen->down = 1;
}

/* SPDX-License-Identifier: MIT */
/* Values with intervals, or bars, line by line; heat maps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/release/svg_parts.h"

enum { ROW = 34, FIRST_ROW = 10 };

/* ---- rows ---- */

static void describe_rows(struct html *h, const struct svg_rows *p)
{
    html_textf(h, "%s.", p->x.title);
    for (size_t i = 0; i < p->n; i++)
        html_textf(h, " %s: %s.", p->rows[i].name, p->rows[i].text);
}

static void draw_bar(struct html *h, const struct svg_row *r, const struct scale *s, double y)
{
    const double zero = scale_place(s, 0), end = scale_place(s, r->value);
    if (isnan(end))
        return;
    html_open(h, "rect");
    html_attrf(h, "class", "bar c%d", r->colour);
    svg_place(h, "x", end < zero ? end : zero);
    svg_place(h, "y", y - 5);
    svg_place(h, "width", fabs(end - zero));
    svg_place(h, "height", 10);
    html_close(h);
}

static void draw_interval(struct html *h, const struct svg_row *r, const struct scale *s, double y)
{
    const double low = scale_place(s, r->low), high = scale_place(s, r->high);
    const double at = scale_place(s, r->value);
    char class_name[32];
    snprintf(class_name, sizeof class_name, "whisker c%d", r->colour);
    if (!isnan(low) && !isnan(high)) {
        svg_line(h, class_name, low, y, high, y);
        svg_line(h, class_name, low, y - 4, low, y + 4);
        svg_line(h, class_name, high, y - 4, high, y + 4);
    }
    if (!isnan(at))
        svg_mark(h, r->colour, 0, at, y, NULL);
}

void svg_rows(struct html *h, const struct svg_rows *p)
{
    const double bottom = FIRST_ROW + ROW * (double)p->n;
    const struct svg_box box = {24, FIRST_ROW, SVG_WIDTH - 24, bottom};
    struct scale s;
    svg_scale(&s, &p->x, box.left, box.right);
    if (p->zero || p->bars)
        scale_cover(&s, 0);
    for (size_t i = 0; i < p->n; i++) {
        scale_cover(&s, p->rows[i].value);
        scale_cover(&s, p->rows[i].low);
        scale_cover(&s, p->rows[i].high);
    }
    scale_settle(&s);
    svg_begin(h, p->id, p->title, bottom + SVG_BELOW);
    describe_rows(h, p);
    svg_words_end(h);
    struct tick ticks[SCALE_MAX_TICKS];
    const size_t n = scale_ticks(ticks, &s, 7);
    for (size_t i = 0; i < n; i++) {
        const double x = scale_place(&s, ticks[i].value);
        svg_line(h, "grid", x, box.top - 4, x, bottom);
    }
    if (p->zero && !s.log)
        svg_line(h, "zero", scale_place(&s, 0), box.top - 4, scale_place(&s, 0), bottom);
    svg_axis_x(h, &box, &s, p->x.title);
    for (size_t i = 0; i < p->n; i++) {
        const struct svg_row *r = &p->rows[i];
        const double y = FIRST_ROW + ROW * (double)i;
        char class_name[32], name[NUMBER_TEXT * 4];
        snprintf(class_name, sizeof class_name, "label c%d", r->colour);
        svg_text(h, class_name, "start", box.left, y + 8, svg_short_name(name, r->name, 38));
        svg_text(h, "value", "end", box.right, y + 8, r->text);
        if (p->bars)
            draw_bar(h, r, &s, y + 19);
        else
            draw_interval(h, r, &s, y + 20);
    }
    svg_end(h);
}

/* ---- heat maps ---- */

/* All strokes of one class, in cells: each goes on from the end of the one before. */
static void draw_class(struct html *h, const struct svg_heat *p, unsigned char c)
{
    size_t x = 0, y = 0;
    int any = 0;
    for (size_t r = 0; r < p->n_rows; r++) {
        const unsigned char *row = p->cells + r * p->n_cols;
        for (size_t k = 0; k < p->n_cols; k++) {
            if (row[k] != c)
                continue;
            size_t end = k;
            while (end < p->n_cols && row[end] == c)
                end++;
            if (!any) {
                html_open(h, "path");
                html_attrf(h, "class", "cells h%d", c);
                html_attr_begin(h, "d");
                html_textf(h, "M%zu %zu.5", k, r);
            } else {
                const long dx = (long)k - (long)x;
                html_textf(h, "m%ld %zu", dx, r - y);
            }
            html_textf(h, "h%zu", end - k);
            any = 1;
            x = k = end;
            y = r;
        }
    }
    if (!any)
        return;
    html_attr_end(h);
    html_close(h);
}

static void label_rows(struct html *h, const struct svg_heat *p, double top, double height)
{
    const size_t stride = (size_t)(14 / height) + 1;
    for (size_t r = 0; r < p->n_rows; r += stride) {
        char text[16];
        snprintf(text, sizeof text, "%d", p->rows[r]);
        svg_text(h, "tick", "end", SVG_LEFT - 6, top + height * ((double)r + 0.5) + 4, text);
    }
}

static void draw_key(struct html *h, const struct svg_heat *p, double y)
{
    double x = SVG_LEFT;
    for (size_t i = 0; i < p->n_classes; i++) {
        if (!p->classes[i])
            continue;
        const double room = 24 + SVG_CHAR * (double)svg_length(p->classes[i]);
        html_open(h, "rect");
        html_attrf(h, "class", "key h%zu", i);
        svg_place(h, "x", x);
        svg_place(h, "y", y - 9);
        svg_place(h, "width", 10);
        svg_place(h, "height", 10);
        html_close(h);
        svg_text(h, "tick", "start", x + 13, y, p->classes[i]);
        x += room;
    }
}

void svg_heat(struct html *h, const struct svg_heat *p)
{
    const double width = SVG_WIDTH - SVG_LEFT - 14;
    double height = p->n_rows ? 220 / (double)p->n_rows : 1;
    height = height > 22 ? 22 : height < 4 ? 4 : height;
    const double bottom = SVG_TOP + height * (double)p->n_rows;
    char a[NUMBER_TEXT], b[NUMBER_TEXT], c[NUMBER_TEXT];
    const struct svg_box box = {SVG_LEFT, SVG_TOP, SVG_LEFT + width, bottom};
    svg_begin(h, p->id, p->title, bottom + SVG_BELOW + 20);
    html_text(h, p->words);
    svg_words_end(h);
    svg_text(h, "name", "start", 4, 12, p->y_title);
    html_open(h, "g");
    html_attrf(h, "transform", "translate(%d %d) scale(%s %s)", (int)SVG_LEFT, (int)SVG_TOP,
               number_fixed(a, width / (double)(p->n_cols ? p->n_cols : 1), 5, 0),
               number_fixed(b, height, 3, 0));
    html_open(h, "rect");
    html_attr(h, "class", "nothing");
    html_attr(h, "width", number_place(c, (double)p->n_cols));
    html_attr(h, "height", number_place(c, (double)p->n_rows));
    html_close(h);
    for (size_t i = 0; i < p->n_classes && i < SVG_HEAT_CLASSES; i++)
        draw_class(h, p, (unsigned char)i);
    html_close(h);
    label_rows(h, p, SVG_TOP, height);
    /* Numbers stand under the middle of their cells. */
    const double half = width / (double)(p->n_cols ? p->n_cols : 1) / 2;
    struct scale s;
    scale_init(&s, box.left + half, box.right - half);
    s.whole = 1;
    scale_cover(&s, 0);
    scale_cover(&s, p->n_cols > 1 ? (double)p->n_cols - 1 : 1);
    svg_axis_x(h, &box, &s, p->x_title);
    draw_key(h, p, bottom + SVG_BELOW + 12);
    svg_end(h);
}

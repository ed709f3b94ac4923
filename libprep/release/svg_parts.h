/* SPDX-License-Identifier: MIT */
/*
 * svg_parts.h - what the plots share. For svg_*.c only.
 *
 * Units      places are units of the picture, y downwards
 * Ownership  everything is borrowed
 * Errors     kept by the writer
 * Threads    no state
 */
#ifndef PREP_RELEASE_SVG_PARTS_H
#define PREP_RELEASE_SVG_PARTS_H

#include "libprep/release/svg_plot.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SVG_LEFT = 46,
    SVG_TOP = 24, /* the y axis' title stands above the plot */
    SVG_BELOW = 38,
    SVG_LABEL_CHARS = 14, /* of a series, at most */
    SVG_CHAR = 7,         /* width of a character, about */
    SVG_BOLD = 8,         /* of a bold one */
};

struct svg_box {
    double left, top, right, bottom;
};

/* The <svg> with its title; then its description, a text that the caller writes, until words_end.
 */
void svg_begin(struct html *h, const char *id, const char *title, double height);
void svg_words_end(struct html *h);
void svg_end(struct html *h);

void svg_place(struct html *h, const char *name, double v); /* an attribute */
void svg_line(struct html *h, const char *class_name, double x1, double y1, double x2, double y2);
/* anchor: "start", "middle" or "end". */
void svg_text(struct html *h, const char *class_name, const char *anchor, double x, double y,
              const char *text);
/* A mark that tells the colour by its shape; hollow ones are not filled. */
void svg_mark(struct html *h, int colour, int hollow, double x, double y, const char *words);
void svg_axis_x(struct html *h, const struct svg_box *b, const struct scale *s, const char *title);
void svg_axis_y(struct html *h, const struct svg_box *b, const struct scale *s, const char *title);

/* A scale of this axis that covers nothing yet but what the axis asks for. */
void svg_scale(struct scale *s, const struct svg_axis *a, double from, double to);
size_t svg_length(const char *utf8); /* characters */

/* A path in pieces: M where the pen is up, L where it is down. NaN lifts the pen. */
struct svg_pen {
    int down;
};
void svg_draw_to(struct html *h, struct svg_pen *pen, double x, double y);

#ifdef __cplusplus
}
#endif
#endif

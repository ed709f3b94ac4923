/* SPDX-License-Identifier: MIT */
/*
 * svg_plot.h - plots as SVG inside a page: lines with bands, steps, intervals, bars, ranges, heat
 * maps.
 *
 * A plot is SVG_WIDTH units wide and scales with its box: at 340 to 560 pixels its text is as large
 * as that of a page. Colours are classes of the page's style sheet (c0 ... c5), so that they follow
 * light, dark and print; series differ by dashes and marks as well. Lines are labelled where they
 * end. What is not finite is a gap. On a logarithmic axis 0 is drawn on the lower edge, hollow.
 *
 * Each plot has a <title> and a <desc> that says in words what it shows, made from the numbers.
 *
 * Shapes     arrays are [n] of the plot, but where said
 * Ownership  everything is borrowed until the call returns
 * Errors     kept by the writer (html.h)
 * Threads    one at a time
 */
#ifndef PREP_RELEASE_SVG_PLOT_H
#define PREP_RELEASE_SVG_PLOT_H

#include "libprep/base/html.h"
#include "libprep/release/plot_scale.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SVG_WIDTH = 420,
    SVG_COLOURS = 6,      /* 0 is the original's */
    SVG_MAX_SERIES = 12,  /* of one plot; more are not drawn */
    SVG_HEAT_CLASSES = 7, /* h0 ... h6 */
    SVG_NO_CELL = 255,
};

struct svg_axis {
    const char *title; /* with its unit: "KL, nats" */
    int log;
    int whole;        /* whole numbers only: layers, experts */
    int from_zero;    /* linear axes */
    double low, high; /* what must be covered beside the data; both 0: nothing */
};

struct svg_series {
    const char *name; /* UTF-8; shortened where it is long */
    int colour;
    int dashes;               /* 0: drawn through */
    const double *y;          /* [n] */
    const double *low, *high; /* [n], a band; or NULL */
};

/* y over x; as steps: y[i] holds from x[i] to x[i + 1], and x is [n + 1]. */
struct svg_lines {
    const char *id, *title; /* id: unique in the page */
    struct svg_axis x, y;
    const double *at; /* x */
    size_t n;
    int steps;
    const struct svg_series *series;
    size_t n_series;
};
void svg_lines(struct html *h, const struct svg_lines *p);

/* A value with an interval, line by line; as bars: from 0, without intervals. */
struct svg_row {
    const char *name, *text; /* text: the value as it is to be read */
    int colour;
    double value, low, high; /* low, high: NaN without an interval */
};
struct svg_rows {
    const char *id, *title;
    struct svg_axis x;
    int bars;
    int zero; /* a line at 0, which the axis then covers */
    const struct svg_row *rows;
    size_t n;
};
void svg_rows(struct html *h, const struct svg_rows *p);

/* How many values lie where, place by place: all between least and most, half in the thick part. */
struct svg_range {
    double least, low, middle, high, most; /* NaN: nothing here */
};
struct svg_ranges {
    const char *id, *title;
    struct svg_axis x, y;
    const double *at;
    const struct svg_range *ranges;
    size_t n;
    int colour;
};
void svg_ranges(struct html *h, const struct svg_ranges *p);

/* Cells by class, row 0 on top. Neighbours of one class are one stroke: 256 x 78 take 100 KB. */
struct svg_heat {
    const char *id, *title, *words; /* words: what the map shows, for <desc> */
    const char *x_title, *y_title;
    const unsigned char *cells; /* [rows, cols]; SVG_NO_CELL: nothing */
    const int *rows;            /* [n_rows] their numbers */
    size_t n_rows, n_cols;
    const char *const *classes; /* names, [n_classes]; NULL: not in the key */
    size_t n_classes;
};
void svg_heat(struct html *h, const struct svg_heat *p);

/* The mark of a colour by itself. */
void svg_point(struct html *h, int colour, double x, double y);

/* In at most `most` characters: the middle is left out. */
const char *svg_short_name(char buf[NUMBER_TEXT * 4], const char *name, size_t most);

#ifdef __cplusplus
}
#endif
#endif

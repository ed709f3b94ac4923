/* SPDX-License-Identifier: MIT */
/*
 * plot_scale.h - numbers as people read them, and where they stand on an axis.
 *
 * Ticks of a linear scale are multiples of 1, 2 or 5 times a power of ten; those of a logarithmic
 * one are powers of ten, with 2 and 5 times these where the range is short.
 *
 * Units      value: the data's; place: units of the picture
 * Ownership  texts go into the caller's buffers
 * Errors     none: what is not finite has no place (NaN) and is written as an en dash
 * Threads    pure functions, the same text on every machine and in every locale
 */
#ifndef PREP_RELEASE_PLOT_SCALE_H
#define PREP_RELEASE_PLOT_SCALE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { NUMBER_TEXT = 48, SCALE_MAX_TICKS = 12 };

/* digits after the point; U+2212 before negative ones, with sign also + before others. */
const char *number_fixed(char buf[NUMBER_TEXT], double v, int digits, int sign);
/* So many significant digits; below 1e-6 and from 1e15 on with an exponent: "1.2e−9". */
const char *number_short(char buf[NUMBER_TEXT], double v, int digits);
/* "1,234,567" */
const char *number_count(char buf[NUMBER_TEXT], uint64_t v);
/* "1.13 TB": powers of 1000, three digits. */
const char *number_bytes(char buf[NUMBER_TEXT], uint64_t v);
/* A place in a picture: at most two digits after the point, no zeros at the end. */
const char *number_place(char buf[NUMBER_TEXT], double v);

struct scale {
    double low, high; /* values; low > high: nothing is covered yet */
    double from, to;  /* their places */
    int log;
    int whole; /* only whole numbers are ticks */
};

struct tick {
    double value;
    char label[NUMBER_TEXT];
};

/* Nothing covered. */
void scale_init(struct scale *s, double from, double to);
/* Widen to v, if it is finite and, on a logarithmic scale, above 0. */
void scale_cover(struct scale *s, double v);
/* A scale that covers nothing or one value gets some width, and its ends become round; a whole one
 * ends where its data do. */
void scale_settle(struct scale *s);
/* NaN when v has no place. Values beyond the ends lie beyond the places. */
double scale_place(const struct scale *s, double v);
/* At most `most` <= SCALE_MAX_TICKS of a settled scale, ascending; how many there are. */
size_t scale_ticks(struct tick *ticks, const struct scale *s, size_t most);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * text.h - strings of a template run: bytes, and for every byte whether it came from the messages.
 *
 * A prompt is text of the template with message bodies in between. What a message says must not be
 * read as a role marker, so every byte keeps its origin through concatenation, slicing, stripping
 * and quoting: 1 for data, 0 for the template. Strings never change once made; appending to the
 * newest end of a buffer shares its bytes, so that building a text piece by piece is not quadratic.
 *
 * Units      bytes of UTF-8; a place inside a string is a byte offset
 * Ownership  everything lives in the run's arena
 * Errors     PREP_EDATA, tag TPL_LIMIT when a string would pass 64 MiB or the run its memory
 * Threads    a run belongs to one thread
 */
#ifndef PREP_CHAT_TEXT_H
#define PREP_CHAT_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TPL_MAX_TEXT = 64 << 20 };

struct tpl_run;

/* A growing text with the origin of every byte. */
struct tpl_buf {
    char *p;
    uint8_t *from;
    size_t n, cap;
};

struct tpl_str {
    const char *p;
    const uint8_t *from; /* per byte; NULL: all bytes are `data` */
    size_t n;
    struct tpl_buf *buf; /* where the bytes are the first n of a buffer, else NULL */
    uint8_t data;
};

/* What Python makes of a code point; ASCII is not in the table. */
enum {
    TPL_ESCAPED = 1,    /* repr() escapes it */
    TPL_UNASSIGNED = 2, /* in Unicode 14.0: what repr() does depends on the version of Python */
    TPL_CASED = 4,      /* has an upper, lower or title form, or counts as a cased letter */
};

struct tpl_class_range {
    uint32_t first, last;
    uint8_t classes;
};

extern const struct tpl_class_range tpl_class_ranges[];
extern const size_t tpl_n_class_ranges;

/* Classes of a code point from 0x80 on. */
unsigned tpl_classes(uint32_t c);
/* Is it white space to Python's str.isspace()? */
int tpl_is_space(uint32_t c);

PREP_MUST_CHECK int tpl_put(struct tpl_run *r, struct tpl_buf *b, const char *p, size_t n,
                            int data);
/* Bytes at..at + n of a string, with their origins. */
PREP_MUST_CHECK int tpl_put_part(struct tpl_run *r, struct tpl_buf *b, const struct tpl_str *s,
                                 size_t at, size_t n);
PREP_MUST_CHECK int tpl_put_str(struct tpl_run *r, struct tpl_buf *b, const struct tpl_str *s);

/* NULL when there is no memory. `p` is borrowed and must outlive the run. */
struct tpl_str *tpl_str_new(struct tpl_run *r, const char *p, size_t n, int data);
struct tpl_str *tpl_str_from_buf(struct tpl_run *r, struct tpl_buf *b);
struct tpl_str *tpl_str_part(struct tpl_run *r, const struct tpl_str *s, size_t at, size_t n);
struct tpl_str *tpl_str_join(struct tpl_run *r, const struct tpl_str *a, const struct tpl_str *b);

static inline int tpl_origin(const struct tpl_str *s, size_t at)
{
    return s->from ? s->from[at] : s->data;
}

int tpl_str_is(const struct tpl_str *s, const char *literal);
/* -1, 0 or 1, by code points. */
int tpl_str_compare(const struct tpl_str *a, const struct tpl_str *b);
/* Number of code points. */
size_t tpl_str_length(const struct tpl_str *s);
/* Byte offset of the i-th code point; i may be the number of code points. */
size_t tpl_str_offset(const struct tpl_str *s, size_t i);
/* First place of `what` from `at` on, or SIZE_MAX. */
size_t tpl_str_find(const struct tpl_str *s, const struct tpl_str *what, size_t at);

enum { TPL_LEFT = 1, TPL_RIGHT = 2 };
/* Without the code points of `set` (NULL: white space) at the ends asked for. */
struct tpl_str *tpl_str_strip(struct tpl_run *r, const struct tpl_str *s, const struct tpl_str *set,
                              int ends);

#ifdef __cplusplus
}
#endif
#endif

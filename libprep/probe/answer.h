/* SPDX-License-Identifier: MIT */
/*
 * answer.h - what a model's answer says: the part that counts, the numbers in it, its words.
 *
 * A reasoning model thinks before it answers. What stands before the last </think> does not count;
 * an answer that began to think and did not end says nothing.
 *
 * Ownership  texts are borrowed; results point into them
 * Errors     none
 * Threads    pure functions
 */
#ifndef PREP_PROBE_ANSWER_H
#define PREP_PROBE_ANSWER_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Behind the thinking, without white space around it. */
struct span answer_visible(const char *text, size_t n);

struct answer_number {
    int64_t value;
    int whole; /* 0: has a fraction other than zeros, or does not fit: equal to no integer */
};

/*
 * The next number from *at on: digits, with a minus (also U+2212) directly before them, with commas
 * between groups of three, and with a fraction; digits behind a letter of ASCII are none.
 * 1 with *at behind it, or 0.
 */
int answer_next_number(struct answer_number *number, struct span text, size_t *at);
/* Is the last number of the visible answer this one? */
int answer_is_number(const char *text, size_t n, int64_t want);
/* Does the visible answer hold the word or words, upper and lower case of ASCII alike, with neither
 * letters nor digits of ASCII directly around them? */
int answer_has_words(const char *text, size_t n, const char *words);

#ifdef __cplusplus
}
#endif
#endif

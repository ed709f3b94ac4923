/* SPDX-License-Identifier: MIT */
/*
 * exact_sum.h - sums of squares without rounding, so that their order does not matter.
 *
 * A square of a binary32 number is exact in F64 and a whole number of units of 2^-298. A sum is
 * kept as one long integer of such units; only its value as an F64, taken at the end, is rounded.
 * Parts of a sum may be made anywhere, by threads or ranks, and added in any order.
 *
 * Units      those of what is added
 * Ownership  plain values; a zeroed struct is the sum of nothing
 * Errors     none; an infinity or NaN that is added makes the value one
 * Threads    pure functions
 */
#ifndef PREP_NUMERIC_EXACT_SUM_H
#define PREP_NUMERIC_EXACT_SUM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Digits of 32 bits from 2^-384 on: squares go from 2^-298 to 2^256, and 2^64 of them may be added.
 * A digit holds 2^30 carries before they must be passed on.
 */
enum { EXACT_SUM_DIGITS = 23 };

struct exact_sum {
    int64_t digits[EXACT_SUM_DIGITS];
    double special;   /* sum of what was not finite */
    uint64_t n_added; /* since carries were passed on */
};

void exact_sum_add_squares(struct exact_sum *s, const float *x, size_t n);
void exact_sum_merge(struct exact_sum *s, const struct exact_sum *other);
/* Every digit in [0, 2^32): equal sums have equal digits. Before digits are added elsewhere. */
void exact_sum_settle(struct exact_sum *s);
/* Within 2^-52 of the sum, relatively. */
double exact_sum_value(const struct exact_sum *s);

#ifdef __cplusplus
}
#endif
#endif

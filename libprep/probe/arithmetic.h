/* SPDX-License-Identifier: MIT */
/*
 * arithmetic.h - sums that a model is asked, and whether it got them right.
 *
 * Problem i of a seed is always the same. Kinds take turns: a + b, a - b, a x b, a x b + c, and a
 * short story; `digits` is that of a and b (of b in products: at most 2). Differences may be
 * negative. An answer is right when its last number is the result (answer.h).
 *
 * Ownership  a plain struct
 * Errors     PREP_EUSAGE for digits outside 1 to 9
 * Threads    pure functions
 */
#ifndef PREP_PROBE_ARITHMETIC_H
#define PREP_PROBE_ARITHMETIC_H

#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct arithmetic_problem {
    char question[240];
    int64_t result;
};

PREP_MUST_CHECK int arithmetic_make(struct arithmetic_problem *p, int digits, uint64_t seed,
                                    uint64_t i, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * elementary.h - exp, log, sin, cos and powers in binary64, the same bits on every machine.
 *
 * The C library's differ between versions and machines in the last bit, and results that people
 * publish must not. These use only additions, multiplications, one division, fma and scalings by
 * powers of two.
 *
 * Errors     none: what is not defined is NaN
 * Exact      one implementation; within 1.1 units in the last place, subnormal results included
 *            (powers: as said below)
 * Threads    pure functions
 */
#ifndef PREP_NUMERIC_ELEMENTARY_H
#define PREP_NUMERIC_ELEMENTARY_H

#ifdef __cplusplus
extern "C" {
#endif

double prep_exp(double x); /* 0 below -745.2, +inf above 709.8 */
double prep_log(double x); /* -inf at 0, NaN below */
/* NaN for |x| > 2^30. */
void prep_sincos(double *sine, double *cosine, double x);
/* x^y for x >= 0; NaN below. The error grows with |y|: within 1.1 units for |y| <= 8, a relative
 * error of 2^-59 |y| more beyond. x^0 and 1^y are 1, whatever the other is. */
double prep_pow(double x, double y);

#ifdef __cplusplus
}
#endif
#endif

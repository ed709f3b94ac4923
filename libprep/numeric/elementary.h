/* SPDX-License-Identifier: MIT */
/*
 * elementary.h - exp, log, sin and cos in binary64, the same bits on every machine.
 *
 * The C library's differ between versions and machines in the last bit, and results that people
 * publish must not. These use only additions, multiplications, fma and exact scalings.
 *
 * Errors     none: what is not defined is NaN
 * Exact      one implementation; within 1.1 units in the last place (sin and cos for |x| < 2^30)
 * Threads    pure functions
 */
#ifndef PREP_NUMERIC_ELEMENTARY_H
#define PREP_NUMERIC_ELEMENTARY_H

#ifdef __cplusplus
extern "C" {
#endif

double prep_exp(double x); /* 0 below -745.2, +inf above 709.8 */
double prep_log(double x); /* -inf at 0, NaN below */
void prep_sincos(double *sine, double *cosine, double x);
double prep_pow(double x,
                double y); /* x > 0: prep_exp(y * prep_log(x)), relative error ~ 1e-15 |y log x| */

#ifdef __cplusplus
}
#endif
#endif

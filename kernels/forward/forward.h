/* SPDX-License-Identifier: MIT */
/*
 * forward.h - what the forward pass computes besides matrix products, row by row, in F32.
 *
 * A sum over a row is defined to the bit: FORWARD_LANES partial sums, lane l a chain over the
 * elements l, l + LANES, l + 2 LANES, ... from 0, then folded by halves: lane i += lane i +
 * LANES/2,
 * ... until one is left. exp is forward_exp() below. So every variant gives the same bytes.
 *
 * Shapes     rows of n F32 elements; y may be x unless said otherwise
 * Exact      every variant gives the scalar reference's bytes for all inputs; NaN comes out as some
 *            NaN
 * Threads    pure functions
 */
#ifndef KERNELS_FORWARD_FORWARD_H
#define KERNELS_FORWARD_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FORWARD_LANES = 16 };

/*
 * e^x: x = n ln 2 + r, |r| <= ln(2)/2, ln 2 in two parts, a polynomial of degree 7 in r by
 * Horner's rule with fmaf, then two multiplications by powers of two. Within 1 unit in the last
 * place; 0 below -104, +inf above 88.73, NaN for NaN.
 */
float forward_exp(float x);

struct forward_kernels {
    /* y = w x / sqrt(mean(x^2) + eps): squares by fmaf into the lanes; s = sum / n + eps;
     * y = (x * (1 / sqrtf(s))) * w. */
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);
    /* mean = sum / n; d = x - mean; var = sum of d^2 by fmaf / n;
     * y = fmaf(d * (1 / sqrtf(var + eps)), w, b). */
    void (*layernorm)(float *y, const float *x, const float *w, const float *b, size_t n,
                      float eps);
    /* In place, pairs (x[2i], x[2i+1]) when interleaved, else (x[i], x[i + half]):
     * (a, b) -> (fmaf(-b, sin, a * cos), fmaf(a, sin, b * cos)); cos and sin have half entries. */
    void (*rope)(float *x, const float *cos, const float *sin, size_t half, int interleaved);
    /* x = scale * x; m = max; e = exp(x - m); y = e / sum(e). In place. n > 0. */
    void (*softmax)(float *x, size_t n, float scale);
    /* 1 / (1 + exp(-x)). */
    void (*sigmoid)(float *y, const float *x, size_t n);
    /* gate / (1 + exp(-gate)) * up. */
    void (*silu_mul)(float *y, const float *gate, const float *up, size_t n);
    void (*add)(float *y, const float *x, size_t n);           /* y = y + x */
    void (*axpy)(float *y, float a, const float *x, size_t n); /* y = fmaf(a, x, y) */
    /* DSA scores of one query: y[u] = chain over heads h of fmaf(g[h], max(0, scale * d), y),
     * d = dots[h * ld + u], from 0; max(0, NaN) is NaN. */
    void (*index_scores)(float *y, const float *g, const float *dots, size_t n_heads, size_t ld,
                         size_t n, float scale);
    int (*all_finite)(const float *x, size_t n);
    /* forward_top_k(), below. */
    size_t (*top_k)(uint32_t *index, const float *x, size_t n, size_t k);
};

/* The table of the highest level within the limit; it is constant. */
const struct forward_kernels *forward_kernels(enum isa limit);

/*
 * The k largest of x[0..n), as ascending indices; equal values: the lower index wins, -0 equals
 * +0, NaN loses to everything. n <= k takes all. n < 2^32. Returns how many.
 */
size_t forward_top_k(uint32_t *index, const float *x, size_t n, size_t k);

void forward_rmsnorm_scalar(float *y, const float *x, const float *w, size_t n, float eps);
void forward_layernorm_scalar(float *y, const float *x, const float *w, const float *b, size_t n,
                              float eps);
void forward_rope_scalar(float *x, const float *cos, const float *sin, size_t half,
                         int interleaved);
void forward_softmax_scalar(float *x, size_t n, float scale);
void forward_sigmoid_scalar(float *y, const float *x, size_t n);
void forward_silu_mul_scalar(float *y, const float *gate, const float *up, size_t n);
void forward_add_scalar(float *y, const float *x, size_t n);
void forward_axpy_scalar(float *y, float a, const float *x, size_t n);
void forward_index_scores_scalar(float *y, const float *g, const float *dots, size_t n_heads,
                                 size_t ld, size_t n, float scale);
int forward_all_finite_scalar(const float *x, size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * product.h - the matrix product of kernels/matmul on several threads.
 *
 * C is cut into one part per thread, along its columns where there are enough of them, else along
 * its rows. The product is defined element by element, so the cut changes no bit. Products too
 * small to gain from it run on the calling thread.
 *
 * Shapes     as in kernels/matmul/matmul.h
 * Units      product_work_bytes: bytes for n_threads, aligned to 64
 * Ownership  everything is borrowed for the call; p->work has product_work_bytes(k, n_threads)
 * Errors     those of prep_parallel_for
 * Threads    calls are independent of each other
 */
#ifndef PREP_NUMERIC_PRODUCT_H
#define PREP_NUMERIC_PRODUCT_H

#include "kernels/matmul/matmul.h"
#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* n_threads >= 1. */
size_t product_work_bytes(const struct matmul_kernels *k, int n_threads);

PREP_MUST_CHECK int product_nt(const struct matmul *p, const struct matmul_kernels *k,
                               int n_threads, struct prep_error *err);
PREP_MUST_CHECK int product_nn(const struct matmul *p, const struct matmul_kernels *k,
                               int n_threads, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

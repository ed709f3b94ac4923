/* SPDX-License-Identifier: MIT */
/*
 * matmul.h - the matrix product of the forward pass, with one meaning for every CPU.
 *
 *    nt: C[i][j] = sum over k of A[i][k] * B[j][k]     B is a weight, [n, k] as checkpoints store
 * it nn: C[i][j] = sum over k of A[i][k] * B[k][j]     B is [k, n]
 *
 * The sum is defined to the bit: k is cut into blocks of MATMUL_BLOCK_K; inside a block one chain
 * s = fmaf(a, b, s) over ascending k from s = 0; then c = c + s over ascending blocks from c = 0.
 * Nothing else enters an element, so it is the same for any tile, batch, order of rows, split
 * among threads and instruction set. BF16 is widened, which is exact.
 *
 * Shapes     A [m, k] F32, B as above in b_type, C [m, n] F32; ld* count elements between rows
 * Ownership  everything is borrowed for the call; C and work overlap nothing. work: work_bytes,
 *            aligned to 64
 * Exact      every variant gives the scalar reference's bytes; which NaN results where several
 *            meet is not defined
 * Threads    pure functions: split m or n among threads
 */
#ifndef KERNELS_MATMUL_MATMUL_H
#define KERNELS_MATMUL_MATMUL_H

#include <stddef.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MATMUL_BLOCK_K = 128 };

enum matmul_type { MATMUL_F32, MATMUL_BF16 };

struct matmul {
    size_t m, n, k;
    const float *a;
    size_t lda;
    const void *b; /* stored little-endian, at any address */
    size_t ldb;
    enum matmul_type b_type;
    float *c;
    size_t ldc;
    void *work;
};

struct matmul_kernels {
    void (*nt)(const struct matmul *p);
    void (*nn)(const struct matmul *p);
    size_t work_bytes;     /* of one call, whatever its size */
    size_t tile_m, tile_n; /* splits at multiples of these waste nothing */
};

/* The table of the highest level within the limit; it is constant. */
const struct matmul_kernels *matmul_kernels(enum isa limit);

void matmul_nt_scalar(const struct matmul *p);
void matmul_nn_scalar(const struct matmul *p);
void matmul_nt_avx2(const struct matmul *p);
void matmul_nn_avx2(const struct matmul *p);
void matmul_nt_avx512(const struct matmul *p);
void matmul_nn_avx512(const struct matmul *p);

#ifdef __cplusplus
}
#endif
#endif

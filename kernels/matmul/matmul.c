/* SPDX-License-Identifier: MIT */
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/matmul_tiles.h"

static const struct matmul_kernels TABLES[N_ISA] = {
    [ISA_SCALAR] = {matmul_nt_scalar, matmul_nn_scalar, 0, 1, 1},
    [ISA_AVX2] = {matmul_nt_avx2, matmul_nn_avx2, MATMUL_WORK_BYTES, 6, 16},
    [ISA_AVX512] = {matmul_nt_avx512, matmul_nn_avx512, MATMUL_WORK_BYTES, 12, 32},
};

const struct matmul_kernels *matmul_kernels(enum isa limit)
{
    return &TABLES[cpu_isa_within(limit)];
}

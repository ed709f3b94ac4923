/* SPDX-License-Identifier: MIT */
#include "kernels/fp8/fp8.h"

static const struct fp8_kernels TABLES[N_ISA] = {
    [ISA_SCALAR] = {fp8_decode_f32_scalar, fp8_decode_bf16_scalar, fp8_count_nan_scalar},
    [ISA_AVX2] = {fp8_decode_f32_avx2, fp8_decode_bf16_avx2, fp8_count_nan_avx2},
    [ISA_AVX512] = {fp8_decode_f32_avx512, fp8_decode_bf16_avx512, fp8_count_nan_avx512},
};

const struct fp8_kernels *fp8_kernels(enum isa limit)
{
    return &TABLES[cpu_isa_within(limit)];
}

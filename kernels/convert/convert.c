/* SPDX-License-Identifier: MIT */
#include "kernels/convert/convert.h"

static const struct convert_kernels TABLES[N_ISA] = {
    [ISA_SCALAR] = {convert_bf16_to_f32_scalar, convert_f16_to_f32_scalar,
                    convert_f32_to_bf16_scalar},
    [ISA_AVX2] = {convert_bf16_to_f32_avx2, convert_f16_to_f32_avx2, convert_f32_to_bf16_avx2},
    [ISA_AVX512] = {convert_bf16_to_f32_avx512, convert_f16_to_f32_avx512,
                    convert_f32_to_bf16_avx512},
};

const struct convert_kernels *convert_kernels(enum isa limit)
{
    return &TABLES[cpu_isa_within(limit)];
}

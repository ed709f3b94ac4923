/* SPDX-License-Identifier: MIT */
/* In the place of kernels/cpu.c: AVX-512 is there where it can be emulated. */
#include "kernels/cpu.h"

enum isa cpu_isa(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? ISA_AVX512
                                                                           : ISA_SCALAR;
}

/* SPDX-License-Identifier: MIT */
#include "kernels/cpu.h"

#include <cpuid.h>
#include <stdint.h>

/* Bits of extended control register 0: which registers the operating system saves. */
#define XCR0_AVX 0x06u    /* xmm, ymm */
#define XCR0_AVX512 0xE6u /* and k0-k7, upper halves of zmm0-15, zmm16-31 */

static uint32_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

enum isa cpu_isa(void)
{
    const unsigned avx = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    const unsigned avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & avx) != avx)
        return ISA_SCALAR;
    uint32_t saved = saved_registers();
    if ((saved & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        !(b & bit_AVX2))
        return ISA_SCALAR;
    return (saved & XCR0_AVX512) == XCR0_AVX512 && (b & avx512) == avx512 ? ISA_AVX512 : ISA_AVX2;
}

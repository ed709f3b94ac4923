/* SPDX-License-Identifier: MIT */
/*
 * immintrin.h - AVX-512 on a machine that has AVX2 and FMA only. It stands before the compiler's
 * header of this name when kernels are built for `make emulate`.
 *
 * SIMDe puts its portable functions in the place of the intrinsics; what its release in Debian 12
 * lacks or has wrong is in the headers beside this one (extern "C"). An intrinsic that neither has
 * does not compile ("target specific option mismatch"): add it there. Multiply-adds are fused:
 * SIMDe uses the FMA instructions, which test_matmul would notice if it did not.
 *
 * Errors     nothing is declared where SIMDe is not installed
 * Threads    pure functions
 */
#ifndef PREP_TESTS_EMULATE_IMMINTRIN_H
#define PREP_TESTS_EMULATE_IMMINTRIN_H

#include_next <immintrin.h>

#if __has_include(<simde/x86/avx512.h>)
#include "tests/emulate/avx512_compare.h"
#include "tests/emulate/avx512_convert.h"
#include "tests/emulate/avx512_memory.h"
#include "tests/emulate/avx512_shift.h"

/* Our own headers ask for it; SIMDe's have already seen that it was not there. */
#ifndef __AVX512F__
#define __AVX512F__ 1
#endif
#endif

#endif

/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - which vector instructions the machine has.
 *
 * Every kernel family gives the same bytes at every level, so a level chooses speed only. A
 * family's table is asked for with an upper limit and is that of the highest level which the limit,
 * the machine and its operating system allow.
 *
 *   scalar   plain C
 *   avx2     AVX2, FMA, F16C
 *   avx512   all of avx2; AVX-512 F, BW, VL, DQ
 *
 * Threads    no state; a call costs some microseconds: ask once, keep the answer
 */
#ifndef KERNELS_CPU_H
#define KERNELS_CPU_H

#ifdef __cplusplus
extern "C" {
#endif

enum isa { ISA_SCALAR, ISA_AVX2, ISA_AVX512, N_ISA };

/* The highest level of this machine. */
enum isa cpu_isa(void);

/* The lower of the limit and what the machine has. */
enum isa cpu_isa_within(enum isa limit);

/* "scalar", "avx2", "avx512". */
const char *isa_name(enum isa isa);

/* The reverse; "auto" is the highest level of this machine. -1 when the name is none of these. */
int isa_parse(enum isa *isa, const char *name);

#ifdef __cplusplus
}
#endif
#endif

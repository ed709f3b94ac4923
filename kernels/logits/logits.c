/* SPDX-License-Identifier: MIT */
#include "kernels/logits/logits.h"
#include "kernels/logits/logits_variants.h"

static const struct logits_kernels TABLES[N_ISA] = {
    [ISA_SCALAR] = {logits_max_scalar, logits_sum_exp_scalar, logits_sums_scalar},
    [ISA_AVX2] = {logits_max_avx2, logits_sum_exp_avx2, logits_sums_avx2},
    [ISA_AVX512] = {logits_max_avx512, logits_sum_exp_avx512, logits_sums_avx512},
};

const struct logits_kernels *logits_kernels(enum isa limit)
{
    return &TABLES[cpu_isa_within(limit)];
}

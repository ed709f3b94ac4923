/* SPDX-License-Identifier: MIT */
#include "kernels/forward/forward.h"
#include "kernels/forward/forward_variants.h"

static const struct forward_kernels TABLES[N_ISA] = {
    [ISA_SCALAR] = {forward_rmsnorm_scalar, forward_layernorm_scalar, forward_rope_scalar,
                    forward_softmax_scalar, forward_sigmoid_scalar, forward_silu_mul_scalar,
                    forward_add_scalar, forward_axpy_scalar, forward_index_scores_scalar,
                    forward_all_finite_scalar, forward_top_k},
    [ISA_AVX2] = {forward_rmsnorm_avx2, forward_layernorm_avx2, forward_rope_avx2,
                  forward_softmax_avx2, forward_sigmoid_avx2, forward_silu_mul_avx2,
                  forward_add_avx2, forward_axpy_avx2, forward_index_scores_avx2,
                  forward_all_finite_avx2, forward_top_k_avx2},
    [ISA_AVX512] = {forward_rmsnorm_avx512, forward_layernorm_avx512, forward_rope_avx512,
                    forward_softmax_avx512, forward_sigmoid_avx512, forward_silu_mul_avx512,
                    forward_add_avx512, forward_axpy_avx512, forward_index_scores_avx512,
                    forward_all_finite_avx512, forward_top_k_avx512},
};

const struct forward_kernels *forward_kernels(enum isa limit)
{
    return &TABLES[cpu_isa_within(limit)];
}

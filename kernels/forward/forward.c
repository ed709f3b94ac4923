/* SPDX-License-Identifier: MIT */
#include "kernels/forward/forward.h"

#define SCALAR                                                                                     \
    {                                                                                              \
        forward_rmsnorm_scalar, forward_layernorm_scalar, forward_rope_scalar,                     \
            forward_softmax_scalar, forward_sigmoid_scalar, forward_silu_mul_scalar,               \
            forward_add_scalar, forward_axpy_scalar, forward_index_scores_scalar,                  \
            forward_all_finite_scalar                                                              \
    }

static const struct forward_kernels TABLES[N_ISA] = {
    [ISA_SCALAR] = SCALAR,
    [ISA_AVX2] = SCALAR,
    [ISA_AVX512] = SCALAR,
};

const struct forward_kernels *forward_kernels(enum isa limit)
{
    return &TABLES[cpu_isa_within(limit)];
}

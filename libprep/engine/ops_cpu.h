/* SPDX-License-Identifier: MIT */
/*
 * ops_cpu.h - the operations on the processor: kernels over tiles, on all threads.
 *
 * Exact: an element of a result is computed by one kernel call's chain whatever the tile, so that
 * threads and tiles change no bit.
 *
 * Ownership  ops.close() frees everything
 * Errors     those of ops.h; decoding errors of linear.h, the one of the lowest rows
 */
#ifndef PREP_ENGINE_OPS_CPU_H
#define PREP_ENGINE_OPS_CPU_H

#include "kernels/cpu.h"
#include "libprep/base/ranks.h"
#include "libprep/engine/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What decides how much work memory the operations need. */
struct ops_cpu_shape {
    size_t widest; /* inputs of the widest linear */
    size_t heads, nope, rope, value, rank, index_heads, index_dim, top_k, n_experts;
    int round_inputs;    /* some linears have an input scale */
    struct ranks *ranks; /* of a split model; NULL: alone. Borrowed */
    int n_counted;       /* threads that work_bytes() counts at least */
};

PREP_MUST_CHECK int ops_cpu_open(struct ops *ops, const struct ops_cpu_shape *shape, int n_threads,
                                 enum isa isa, struct prep_error *err);

/* What decoding met so far. */
struct linear_counts ops_cpu_counts(const struct ops *ops);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * parents.h - the good checkpoints that tests of the linter break, made by our own tools.
 *
 *   N    glm-nano, BF16                       Q   N, experts in NVFP4, modelopt
 *   P    N pruned to 12 experts               A   N, every linear in NVFP4, modelopt
 *   P10  N pruned to 10                       C   N, experts in NVFP4, compressed-tensors
 *                                             G   N, W4A16, the portable list
 *
 * Ownership  folders are removed when the process ends
 * Errors     fail the running test
 */
#ifndef PREP_TESTS_PARENTS_H
#define PREP_TESTS_PARENTS_H

#include "tests/support/support.h"

#ifdef __cplusplus
extern "C" {
#endif

enum parent { PARENT_N, PARENT_P, PARENT_P10, PARENT_Q, PARENT_A, PARENT_C, PARENT_G, N_PARENTS };

/* The folder; made at the first call. */
const char *make_parent(enum parent kind);

#ifdef __cplusplus
}
#endif
#endif

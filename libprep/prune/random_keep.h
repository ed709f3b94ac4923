/* SPDX-License-Identifier: MIT */
/*
 * random_keep.h - keep sets drawn at random, which a choice has to beat to be worth anything.
 *
 * A layer's experts are put into random order (base/random.h, Fisher-Yates) and the first N of that
 * order stay: uniform, without replacement. The order follows from seed and layer alone, so that
 * the sets of one seed nest: what is kept at 9 is kept at 12. With router groups each group's
 * experts are ordered by themselves and each keeps N / n_group. The stream of a layer starts at the
 * first output for the state seed, plus the layer's index, mixed once more by an output.
 *
 * Shapes     kept [n_keep] ascending ids below n_experts
 * Ownership  caller memory
 * Errors     PREP_EUSAGE for a count out of range or one that the groups do not divide; PREP_ENOMEM
 * Threads    pure functions
 */
#ifndef PREP_PRUNE_RANDOM_KEEP_H
#define PREP_PRUNE_RANDOM_KEEP_H

#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct random_layer {
    int layer, n_experts, n_group; /* n_group below 2: no groups */
    uint64_t seed;
};

PREP_MUST_CHECK int random_keep(uint32_t *kept, int n_keep, const struct random_layer *from,
                                struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

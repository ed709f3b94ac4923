/* SPDX-License-Identifier: MIT */
/*
 * ids.h - the name a linear has in a file of statistics that was made before experts were pruned.
 *
 * Shapes     ids[n_layers]: per layer the list of ids by expert of the checkpoint at hand, or NULL
 *            where they are equal
 * Ownership  everything is borrowed
 * Errors     PREP_ENOMEM
 */
#ifndef PREP_QUANT_IDS_H
#define PREP_QUANT_IDS_H

#include "libprep/quant/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

struct quant_ids {
    const int *const *ids; /* NULL: all are equal */
    int n_layers;
};

/* NULL when out of memory. */
const char *quant_ids_name(const struct quant_ids *ids, const struct linear *l, struct arena *arena,
                           struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

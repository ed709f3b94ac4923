/* SPDX-License-Identifier: MIT */
#include "libprep/prune/random_keep.h"

#include <stdlib.h>

#include "libprep/base/random.h"

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int random_keep(uint32_t *kept, int n_keep, const struct random_layer *from, struct prep_error *err)
{
    const int groups = from->n_group > 1 ? from->n_group : 1;
    if (n_keep < 1 || n_keep > from->n_experts || n_keep % groups || from->n_experts % groups)
        return prep_fail(err, PREP_EUSAGE,
                         "layer %d: cannot keep %d of %d experts at random in %d groups",
                         from->layer, n_keep, from->n_experts, groups);
    const size_t size = (size_t)(from->n_experts / groups), quota = (size_t)(n_keep / groups);
    size_t *order = calloc(size, sizeof *order);
    if (!order)
        return prep_fail(err, PREP_ENOMEM, "no memory for %zu expert ids", size);
    struct prep_random r = {from->seed};
    r.state = prep_random_u64(&r) + (uint64_t)from->layer;
    r.state = prep_random_u64(&r);
    for (size_t g = 0; g < (size_t)groups; g++) {
        for (size_t i = 0; i < size; i++)
            order[i] = g * size + i;
        prep_random_shuffle(&r, order, size);
        for (size_t i = 0; i < quota; i++)
            kept[g * quota + i] = (uint32_t)order[i];
    }
    qsort(kept, (size_t)n_keep, sizeof *kept, ascending);
    free(order);
    return 0;
}

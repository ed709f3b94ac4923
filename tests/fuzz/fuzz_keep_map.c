/* SPDX-License-Identifier: MIT */
/* A map that parses must write, read back and write the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/keep_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_lists(const struct keep_map *m)
{
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct keep_layer *l = &m->layers[i];
        check(l->n_kept > 0 && keep_map_layer(m, l->layer) == l);
        for (int k = 1; k < l->n_kept; k++)
            check(l->kept_parent[k] > l->kept_parent[k - 1] &&
                  l->kept_source[k] > l->kept_source[k - 1]);
        check(!m->full || (l->kept_parent[l->n_kept - 1] < l->n_parent &&
                           l->kept_source[l->n_kept - 1] < m->base_n_routed_experts));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct keep_map m, again = {0};
    struct arena arena;
    struct span a, b;
    arena_init(&arena, 0);
    if (keep_map_parse(&m, (const char *)data, size, "fuzz", &err)) {
        check(err.code == PREP_EDATA && strcmp(err.tag, "KEEP_MAP") == 0);
        arena_fini(&arena);
        return 0;
    }
    check_lists(&m);
    if (m.full) {
        check(keep_map_write(&m, &arena, &a, &err) == 0);
        check(keep_map_parse(&again, (const char *)a.p, a.n, "again", &err) == 0);
        check(keep_map_write(&again, &arena, &b, &err) == 0);
        check(a.n == b.n && memcmp(a.p, b.p, a.n) == 0);
    }
    keep_map_free(&again);
    keep_map_free(&m);
    arena_fini(&arena);
    return 0;
}

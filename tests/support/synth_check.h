/* SPDX-License-Identifier: MIT */
/*
 * synth_check.h - is every byte that pruning writes the one that the keep-map asks for?
 *
 * Knows what the pruned tensors of a synthetic checkpoint must hold, from the names in the plan
 * and the keep-map alone: expert i is expert kept[i] of the source, row i of a router row
 * kept[i]. As a watcher of the store (synth_watch) it compares pages of each write with that:
 * the first, the last and one about every 256 KiB.
 *
 * Ownership  plan and map are borrowed until synth_check_fini()
 * Errors     PREP_ENOMEM; a difference makes the write fail with -EILSEQ
 * Threads    synth_check_write() from many
 */
#ifndef PREP_TESTS_SYNTH_CHECK_H
#define PREP_TESTS_SYNTH_CHECK_H

#include "libprep/format/keep_map.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct synth_origin {
    uint64_t seed;
    const int *rows; /* NULL: all */
    uint64_t row_bytes;
};

struct synth_check {
    const struct plan *plan;
    struct synth_origin *origins; /* by tensor of the plan */
    uint64_t checked_bytes;
    char wrong[256]; /* the first difference, or "" */
};

PREP_MUST_CHECK int synth_check_init(struct synth_check *c, const struct plan *plan,
                                     const struct keep_map *map, struct prep_error *err);
void synth_check_fini(struct synth_check *c); /* accepts a zeroed struct */

/* For synth_watch(); arg is a struct synth_check. */
int synth_check_write(void *arg, const char *path, uint64_t offset, const void *bytes, size_t n);

#ifdef __cplusplus
}
#endif
#endif

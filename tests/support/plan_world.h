/* SPDX-License-Identifier: MIT */
/*
 * plan_world.h - a small random plan with every kind of step, and the bytes it must produce.
 *
 * Two source files of random bytes; three shards, a side file, a config and an index made of
 * copies with several ranges, literals, and calls whose outputs land in different files and which
 * leave notes for the manifest.
 *
 * Ownership  plan_world_init / plan_world_fini; source files live in a temporary folder
 * Errors     fail the running cmocka test
 */
#ifndef PREP_TESTS_PLAN_WORLD_H
#define PREP_TESTS_PLAN_WORLD_H

#include "libprep/store/plan.h"
#include "tests/support/support.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WORLD_FILES = 6, WORLD_SOURCES = 2, WORLD_SOURCE_BYTES = 150000, WORLD_CALLS = 4 };

struct plan_world {
    const char *source_dir;
    struct source_file files[WORLD_SOURCES];
    unsigned char *source[WORLD_SOURCES];
    struct checkpoint ckpt; /* only io and files are set */
    struct plan *plan;
    struct test_bytes want[WORLD_FILES]; /* the finished files */
    const char *names[WORLD_FILES];
    size_t n_calls;                        /* steps with a function */
    unsigned char want_notes[WORLD_CALLS]; /* what they note, in order */
};

void plan_world_init(struct plan_world *w, const struct io *io, uint64_t seed);
void plan_world_fini(struct plan_world *w);
/* NULL when dir holds exactly the finished files and a manifest, else what is wrong. */
const char *plan_world_check(const struct plan_world *w, const char *dir);
/* NULL when every file in dir that has a final name is whole, else what is wrong. */
const char *plan_world_check_unfinished(const struct plan_world *w, const char *dir);

/* The smallest budget the plan runs under. */
uint64_t plan_world_floor(const struct plan_world *w);

#ifdef __cplusplus
}
#endif
#endif

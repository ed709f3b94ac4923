/* SPDX-License-Identifier: MIT */
/*
 * exec_run.h - one run of a plan: its folder, its locks and its journal, and those of other parts.
 *
 * Private to the executor.
 *
 * Ownership  the run owns its journal and its descriptors
 * Errors     PREP_EDATA or PREP_ENOINPUT tag PART_INCOMPLETE, and those of journal.h
 * Threads    the calling thread
 */
#ifndef PREP_STORE_EXEC_RUN_H
#define PREP_STORE_EXEC_RUN_H

#include "libprep/store/exec_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { EXEC_NAME_BYTES = 64 };

struct exec_run {
    const struct plan *plan;
    struct exec_options opt; /* defaults filled in */
    char state[EXEC_PATH_BYTES];
    char journal_name[EXEC_NAME_BYTES];
    int lock, part_lock;
    struct journal journal;
    struct journal_sizes sizes;
    uint32_t *queue;
    size_t n_queue;
    struct arena arena;
};

int exec_is_part(const struct exec_options *opt);
/* "part-0-of-4.journal" */
void exec_part_name(char buf[EXEC_NAME_BYTES], int part, int n_parts, const char *what);
/* All parts must be there and of this plan before a journal of our own claims the folder. */
PREP_MUST_CHECK int exec_check_parts(struct exec_run *r, struct prep_error *err);
/* Take over what part i says of its files; every one of them must be whole. */
PREP_MUST_CHECK int exec_adopt_part(struct exec_run *r, int part, struct prep_error *err);
/* Is this file one that the run makes? */
int exec_is_mine(const struct exec_run *r, size_t file);
/*
 * Take over the whole files of runs of this plan that were split otherwise: one process after
 * four ranks, three after two. What they had done by half is done again.
 */
PREP_MUST_CHECK int exec_adopt_others(struct exec_run *r, struct prep_error *err);
/* Remove every journal, whatever it says. */
PREP_MUST_CHECK int exec_forget(struct exec_run *r, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

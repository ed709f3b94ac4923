/* SPDX-License-Identifier: MIT */
/*
 * cli_ranks.h - a command started as several ranks by mpirun: rank 0 speaks, all work.
 *
 * Ownership  the ranks belong to the struct cli
 * Errors     those of base/ranks.h and of plan_execute(), the same on every rank
 * Threads    the main thread
 */
#ifndef PREP_TOOLS_CLI_RANKS_H
#define PREP_TOOLS_CLI_RANKS_H

#include "libprep/store/executor.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Join, and be silent unless rank 0. host is changed accordingly. */
PREP_MUST_CHECK int cli_join_ranks(struct ranks *r, const struct cli_program *program,
                                   struct cli_host *host, struct prep_error *err);
/* Leave. An error that the ranks could not agree on ends them all. */
void cli_leave_ranks(struct cli *cli, int exit_code);

/*
 * Each rank makes its share of the files, then rank 0 assembles: the bytes of one process. The
 * result is that of all ranks together. opt->stop is watched, and so are the other ranks.
 */
PREP_MUST_CHECK int cli_execute_ranks(struct cli *cli, const struct plan *plan,
                                      const struct exec_options *opt, struct exec_result *result,
                                      struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

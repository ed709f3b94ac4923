/* SPDX-License-Identifier: MIT */
/*
 * cli_plan.h - the second half of every command that writes a checkpoint: show or execute a plan.
 *
 * Ownership  everything is borrowed
 * Errors     those of plan_execute()
 * Threads    the main thread
 */
#ifndef PREP_TOOLS_CLI_PLAN_H
#define PREP_TOOLS_CLI_PLAN_H

#include "libprep/store/executor.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Options that all these commands have; put CLI_PLAN_OPTIONS(struct options, plan) in the table. */
struct cli_plan_options {
    uint64_t shard_bytes, sync_bytes;
    int no_hashes;
};

#define CLI_PLAN_OPTIONS(type, member)                                                             \
    {"max-shard-size",                                                                             \
     0,                                                                                            \
     CLI_SIZE,                                                                                     \
     "SIZE",                                                                                       \
     "cut shards at this size; 5GB when not given",                                                \
     offsetof(type, member.shard_bytes),                                                           \
     0,                                                                                            \
     0},                                                                                           \
        {"no-hashes",                                                                              \
         0,                                                                                        \
         CLI_FLAG,                                                                                 \
         NULL,                                                                                     \
         "compute neither SHA-256 nor XXH3: faster, and nothing to verify with later",             \
         offsetof(type, member.no_hashes),                                                         \
         0,                                                                                        \
         0},                                                                                       \
    {                                                                                              \
        "sync-every", 0, CLI_SIZE, "SIZE",                                                         \
            "bytes of a file between two points a killed run can go on from; 256M when not given", \
            offsetof(type, member.sync_bytes), 0, 0                                                \
    }

/*
 * With --dry-run every check is made and the plan is shown; dir may then be NULL. Otherwise the
 * plan is carried out. Facts go to the report, lines for a person to stdout unless --json.
 */
PREP_MUST_CHECK int cli_run_plan(struct cli *cli, const struct plan *plan,
                                 const struct cli_plan_options *options, const char *dir,
                                 struct report *report, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

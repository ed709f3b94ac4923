/* SPDX-License-Identifier: MIT */
/*
 * cli_quantize.h - what the tools that quantize share: options, overrides in order, the listing.
 *
 * Ownership  lists live in the cli's arena
 * Errors     PREP_EUSAGE
 * Threads    the main thread
 */
#ifndef TOOLS_CLI_QUANTIZE_H
#define TOOLS_CLI_QUANTIZE_H

#include "libprep/release/quantize.h"
#include "tools/cli_plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cli_quantize_options {
    const char *keep_map, *modules, *isa;
    struct cli_list include, exclude;
    int mtp, list, repack;
};

/* The rows of both tools; what their presets and sources are, each says for itself. */
#define CLI_QUANTIZE_OPTIONS(type, member, modules_help, repack_help)                              \
    {"modules", 'm', CLI_TEXT, "PRESET", modules_help, offsetof(type, member.modules), 0, 0},      \
        {"keep-map",                                                                               \
         0,                                                                                        \
         CLI_TEXT,                                                                                 \
         "FILE",                                                                                   \
         "prune by this keep-map in the same pass",                                                \
         offsetof(type, member.keep_map),                                                          \
         0,                                                                                        \
         0},                                                                                       \
        {"include",                                                                                \
         0,                                                                                        \
         CLI_LIST,                                                                                 \
         "PATTERN",                                                                                \
         "quantize these linears too: a glob, or re:EXPRESSION; repeatable",                       \
         offsetof(type, member.include),                                                           \
         0,                                                                                        \
         0},                                                                                       \
        {"exclude",                                                                                \
         0,                                                                                        \
         CLI_LIST,                                                                                 \
         "PATTERN",                                                                                \
         "leave these linears; of --include and --exclude the last match wins",                    \
         offsetof(type, member.exclude),                                                           \
         0,                                                                                        \
         0},                                                                                       \
        {"mtp",                                                                                    \
         0,                                                                                        \
         CLI_CHOICE,                                                                               \
         "bf16|quantize|separate|drop",                                                            \
         "what becomes of the MTP layers",                                                         \
         offsetof(type, member.mtp),                                                               \
         0,                                                                                        \
         0},                                                                                       \
        {"list",                                                                                   \
         0,                                                                                        \
         CLI_FLAG,                                                                                 \
         NULL,                                                                                     \
         "print what each linear becomes and why",                                                 \
         offsetof(type, member.list),                                                              \
         0,                                                                                        \
         0},                                                                                       \
        {"repack", 0, CLI_FLAG, NULL, repack_help, offsetof(type, member.repack), 0, 0},           \
    {                                                                                              \
        "isa", 0, CLI_TEXT, "NAME",                                                                \
            "fastest instructions to use: auto, scalar, avx2, avx512; same bytes with each",       \
            offsetof(type, member.isa), 0, 0                                                       \
    }

/* The shared options into a job. */
PREP_MUST_CHECK int cli_quantize_fill(struct cli *cli, const struct cli_quantize_options *o,
                                      struct quantize_job *job, struct prep_error *err);
/* Make the plan, show it or carry it out. */
PREP_MUST_CHECK int cli_quantize_run(struct cli *cli, const struct quantize_job *job,
                                     const struct cli_quantize_options *o,
                                     const struct cli_plan_options *plan, struct report *report,
                                     struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

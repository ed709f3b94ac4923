/* SPDX-License-Identifier: MIT */
/*
 * cli_talk.h - texts from a model on a terminal: as they come, or as JSON.
 *
 * What a model says is printed in whole characters; control characters but for line feeds and tabs
 * are printed as escapes, so that a terminal does not obey them.
 *
 * Ownership  everything is borrowed
 * Errors     those of talk.h; PREP_EUSAGE for requests that do not go together; PREP_ESTOPPED after
 *            an interrupt, with what was said so far printed
 * Threads    the main thread
 */
#ifndef TOOLS_CLI_TALK_H
#define TOOLS_CLI_TALK_H

#include <math.h>

#include "libprep/release/judge.h"
#include "libprep/release/talk.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

struct cli_talk_options {
    const char *prompt, *prompt_file, *messages, *chat_template, *preset, *kv_cache;
    struct cli_list stops;
    int64_t seed, draft, top_k, new_tokens;
    double temperature, top_p, min_p, repetition_penalty, frequency_penalty;
    int chat, special;
};

/* What the numbers are before the command line is read. */
#define CLI_TALK_DEFAULTS                                                                          \
    {                                                                                              \
        .kv_cache = "bf16", .top_k = -1, .temperature = NAN, .top_p = NAN, .min_p = NAN,           \
        .repetition_penalty = NAN, .frequency_penalty = NAN                                        \
    }

/* Is any of --prompt, --prompt-file, --messages, --chat there? */
int cli_talk_is_wanted(const struct cli_talk_options *o);

/* The job says which model, and how it runs. */
PREP_MUST_CHECK int cli_talk(struct cli *cli, const struct cli_talk_options *o,
                             const struct judge_job *job, struct report *report,
                             struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

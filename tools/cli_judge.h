/* SPDX-License-Identifier: MIT */
/*
 * cli_judge.h - a judgement as text for a terminal.
 *
 * Ownership  everything is borrowed
 * Errors     none: what cannot be written is found when the stream is closed
 * Threads    the main thread
 */
#ifndef TOOLS_CLI_JUDGE_H
#define TOOLS_CLI_JUDGE_H

#include "libprep/release/judge_generate.h"
#include "tools/cli.h"

#ifdef __cplusplus
extern "C" {
#endif

enum cli_judge_amount { JUDGE_BRIEF, JUDGE_NORMAL, JUDGE_DETAILS };
/*
 * Normal: every figure of one model; a line for each of several, and their pairs. Brief: the lines
 * alone. Details: everything.
 */
void cli_judge_print(FILE *f, const struct judgement *j, enum cli_judge_amount amount,
                     size_t n_worst);
void cli_judge_verdicts(FILE *f, const struct judgement *j, const struct judge_verdict *v,
                        size_t n);
void cli_judge_texts(FILE *f, const struct judge_text_made *made, size_t n);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * gguf_made.h - GGUF files made by the library as make-gguf would make them.
 *
 * Ownership  paths live until the process ends
 * Errors     fail the running test, except where a refusal is asked for
 */
#ifndef PREP_TESTS_GGUF_MADE_H
#define PREP_TESTS_GGUF_MADE_H

#include "libprep/release/gguf.h"
#include "libprep/store/executor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A job with the tool's defaults, all instructions this machine has. */
struct gguf_job gguf_made_job(const char *source, const char *const *rungs, size_t n);
/* Carry it out into a new folder, which is returned. */
const char *gguf_made_run(const struct gguf_job *job);
/* Only plan; the error's tag when that fails, else "". */
const char *gguf_made_refusal(const struct gguf_job *job);
/* The message of the last refusal. */
const char *gguf_made_message(void);
/* The warnings of the last run or refusal, tags joined by spaces. */
const char *gguf_made_warnings(void);

#ifdef __cplusplus
}
#endif
#endif

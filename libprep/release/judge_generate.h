/* SPDX-License-Identifier: MIT */
/*
 * judge_generate.h - a short greedy text from each model, to be read beside the original's.
 *
 * Ownership  strings of the request are borrowed; the result lives in the caller's arena
 * Errors     those of judge_model.h, tokenizer.h, generate.h; PREP_EUSAGE for an empty prompt
 * Threads    one call at a time
 */
#ifndef PREP_RELEASE_JUDGE_GENERATE_H
#define PREP_RELEASE_JUDGE_GENERATE_H

#include "libprep/release/judge.h"

#ifdef __cplusplus
extern "C" {
#endif

struct judge_text_made {
    const char *path; /* of the model */
    uint32_t *ids;
    size_t n;
    const char *text; /* of the ids, control characters included */
    size_t n_text;
    size_t same; /* leading ids that are those of the first, the original's where there is one */
};

/* The original, if the job has one, then each model: one after the other, all of run.mem each. */
PREP_MUST_CHECK int judge_generate(struct judge_text_made **made, size_t *n,
                                   const struct judge_job *job, const char *prompt, size_t n_new,
                                   struct arena *arena, struct prep_error *err);

PREP_MUST_CHECK int judge_generate_facts(cJSON *object, const struct judge_text_made *made,
                                         size_t n, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

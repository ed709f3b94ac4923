/* SPDX-License-Identifier: MIT */
/*
 * repair_job.h - what the parts of the repair share. Private to repair*.c.
 *
 * Ownership  everything lives in the result's arena
 * Errors     PREP_ENOMEM, and reading
 */
#ifndef PREP_RELEASE_REPAIR_JOB_H
#define PREP_RELEASE_REPAIR_JOB_H

#include "libprep/release/lint_job.h"
#include "libprep/release/repair.h"
#include "libprep/store/layout.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A tensor that is computed. */
struct rework {
    uint32_t tensor;   /* of the checkpoint: what it replaces */
    uint32_t step;     /* set when the plan is made */
    uint32_t *output;  /* where the layout writes its number */
    struct rework *of; /* the one that has the step; itself for the first */
    step_fn fn;
    const void *arg;
    uint32_t inputs[3]; /* tensors of the checkpoint */
    uint32_t n_inputs;
};

struct repairing {
    const struct repair_job *job;
    struct repair_result *r;
    struct report *report;
    struct lint_job modules; /* only what lint_build_modules() fills, and arena */
    int *new_expert;         /* per module, -1: as it is */
    unsigned char *dropped;  /* per tensor */
    struct rework **rework;  /* per tensor, NULL: copied */
    uint64_t *rows;          /* per tensor: rows that stay, 0: all */
    struct layout_text *texts;
    size_t n_texts;
};

/* Was this code found, for the engines asked for? */
int repair_wants(const struct repairing *k, const char *code);
void repair_mended(struct repairing *k, const char *code, size_t n, const char *text);

/* What becomes of each tensor. */
PREP_MUST_CHECK int repair_tensors(struct repairing *k, struct prep_error *err);
/* The view of what stays. */
PREP_MUST_CHECK int repair_view(struct repairing *k, struct prep_error *err);
/* Edited texts. */
PREP_MUST_CHECK int repair_configs(struct repairing *k, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

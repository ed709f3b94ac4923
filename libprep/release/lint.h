/* SPDX-License-Identifier: MIT */
/*
 * lint.h - what will go wrong when an engine serves this checkpoint, and the mend.
 *
 * Everything that can be told from headers, configs and the small tensors (global scales, block
 * scales, zero points, routers) is held against what the engines were found to require. Codes and
 * values of the weights are not read. A rule has one code, the engines it concerns, what they will
 * do, and the mend; all of them stand in one table, lint_rules.
 *
 * Findings   faults count; notes (rules with `note`) do not
 * Ownership  lint_fini() frees; places and texts live in the arena
 * Errors     PREP_ENOINPUT when there is no checkpoint; PREP_EUSAGE when the path is a thing that
 *            is not served; PREP_EIO, PREP_ENOMEM. What is wrong with the checkpoint, a header that
 *            cannot be read included, is a finding
 * Threads    one call per result; shards are read in parallel
 */
#ifndef PREP_RELEASE_LINT_H
#define PREP_RELEASE_LINT_H

#include <stddef.h>

#include "libprep/base/report.h"
#include "libprep/store/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LINT_SGLANG = 1,
    LINT_VLLM = 2,
    LINT_TRANSFORMERS = 4,
    LINT_LLAMA = 8, /* llama.cpp: its converter and its runtime */
    LINT_ENGINES = 15,
    LINT_PER_CODE = 20, /* the rest is counted */
    LINT_ENGINE_TEXT = 48,
};

struct lint_rule {
    const char *code; /* "GATE_UP_SCALE" */
    unsigned engines; /* all that it can concern */
    const char *will; /* what will happen */
    const char *mend;
    unsigned char repairs; /* `repair` can mend it */
    unsigned char note;    /* worth knowing, no fault */
};

/* Ends with a rule whose code is NULL: for faults of files that have no rule of their own. */
extern const struct lint_rule lint_rules[];
/* The last rule when there is none of this code. */
const struct lint_rule *lint_rule(const char *code);

struct lint_finding {
    const struct lint_rule *rule;
    const char *code;
    unsigned engines;  /* of those asked for */
    const char *place; /* a tensor or module, "layer 3, expert 2", or the name of a file */
    const char *text;  /* found and wanted */
};

struct lint {
    struct lint_finding *items; /* grouped by nothing: in the order in which rules ran */
    size_t n, cap;
    struct lint_count {
        const struct lint_rule *rule;
        const char *code;
        size_t n;
    } * counts; /* how many of a code there were, shown or not */
    size_t n_counts, cap_counts;
    size_t n_faults, n_notes;
    unsigned engines; /* asked for */
    struct arena arena;
    int failed; /* out of memory */
};

struct lint_options {
    unsigned engines;   /* 0: all */
    int tp, ep;         /* ranks of a planned deployment; 0: not said */
    const char *source; /* the checkpoint this one was cut from, or NULL */
    int n_threads;      /* 0: as many as there are */
};

PREP_MUST_CHECK int lint_run(struct lint *out, const struct io *io, const char *path,
                             const struct lint_options *opt, struct prep_error *err);
void lint_fini(struct lint *l); /* accepts a zeroed struct */

size_t lint_count(const struct lint *l, const char *code);
/* "sglang,vllm" */
const char *lint_engines_text(unsigned engines, char buf[LINT_ENGINE_TEXT]);
/* The reverse; -1 when a word is no engine. */
int lint_engines_parse(unsigned *engines, const char *text);
/* {"findings": [{"code", "engines", "place", "text", "will", "mend", "repair", "note"}], ...} */
PREP_MUST_CHECK int lint_facts(cJSON *object, const struct lint *l, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

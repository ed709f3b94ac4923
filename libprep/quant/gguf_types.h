/* SPDX-License-Identifier: MIT */
/*
 * gguf_types.h - the type of every target: the rung's mixture, and what a person says otherwise.
 *
 * In this order: what is never quantized; the types asked for by name for token_embd and output;
 * the first pattern that is found in the name; --pure; the mixture (model/gguf_rule.h). Then rows
 * that are no whole blocks take a smaller type.
 *
 * Ownership  patterns are compiled by gguf_patterns_open() and freed by gguf_patterns_close()
 * Errors     PREP_EUSAGE for a type that is unknown or not written, or a pattern without one;
 *            PREP_EDATA with PATTERN
 * Threads    none: a pattern has scratch memory of its own
 */
#ifndef PREP_QUANT_GGUF_TYPES_H
#define PREP_QUANT_GGUF_TYPES_H

#include "libprep/base/pattern.h"
#include "libprep/quant/gguf_map.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GGUF_NO_TYPE = -1 };

struct gguf_pattern {
    const char *text; /* as given: REGEX=TYPE */
    struct pattern *regex;
    enum ggml_type type;
    uint64_t matched; /* targets, over all rungs */
};

struct gguf_patterns {
    struct gguf_pattern *items;
    size_t n;
};

/* "q4_k", "Q4_K"; GGUF_NO_TYPE for one that is unknown or has no quantizer. */
int gguf_type_from_name(const char *name);

/* Each text is REGEX=TYPE; the regular expression is lower-cased and searched for in names. */
PREP_MUST_CHECK int gguf_patterns_open(struct gguf_patterns *p, const char *const *texts, size_t n,
                                       struct arena *arena, struct prep_error *err);
void gguf_patterns_close(struct gguf_patterns *p); /* accepts a zeroed struct */
/* The same texts from a file: separated by white space, '#' begins a comment at a line's start. */
PREP_MUST_CHECK int gguf_patterns_split(const char ***texts, size_t *n, struct span file,
                                        struct arena *arena, struct prep_error *err);

struct gguf_type_options {
    struct gguf_rule rule;
    int pure;
    int output, embedding; /* a type, or GGUF_NO_TYPE */
    struct gguf_patterns *patterns;
};

/* *wanted is the type before rows decided; equal to *type unless they did. */
PREP_MUST_CHECK int gguf_choose_type(enum ggml_type *type, enum ggml_type *wanted,
                                     const struct gguf_type_options *o, const struct gguf_target *t,
                                     struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

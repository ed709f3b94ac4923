/* SPDX-License-Identifier: MIT */
/*
 * config_read.h - how config.c and its helpers take values out of the parsed file.
 *
 * Private to the config reader. Every function judges type and range and raises one line with
 * file, key, value found and value wanted.
 *
 * Ownership  borrows everything
 * Errors     those of config.h
 */
#ifndef PREP_MODEL_CONFIG_READ_H
#define PREP_MODEL_CONFIG_READ_H

#include "libprep/model/config.h"

#ifdef __cplusplus
extern "C" {
#endif

struct config_reader {
    struct config *c;
    const struct json *d;
    uint32_t object; /* where keys are looked up */
    struct report *report;
    struct prep_error *err;
};

/* Node of a key; JSON_NONE when it is absent or null. */
uint32_t config_find(const struct config_reader *r, const char *key);
/* Raise: "FILE: KEY is VALUE, want WANT". */
int config_bad(const struct config_reader *r, uint32_t node, const char *key, enum prep_code code,
               const char *tag, const char *want);
int config_missing(const struct config_reader *r, const char *key);

/* A node as an integer in lo..hi. */
PREP_MUST_CHECK int config_node_int(const struct config_reader *r, uint32_t node, const char *key,
                                    int64_t lo, int64_t hi, int64_t *v);
/* An optional key: *v stays as it is when the key is absent. */
PREP_MUST_CHECK int config_int(const struct config_reader *r, const char *key, int64_t lo,
                               int64_t hi, int64_t *v);
PREP_MUST_CHECK int config_bool(const struct config_reader *r, const char *key, int *v);
/* A required finite number above 0. */
PREP_MUST_CHECK int config_positive(const struct config_reader *r, const char *key, double *v);
/* An optional string that must be equal to want. */
PREP_MUST_CHECK int config_only(const struct config_reader *r, const char *key, const char *want);

/* is_moe and n_experts; full_indexer. The counts are read already. */
PREP_MUST_CHECK int config_read_mlp_types(const struct config_reader *r);
PREP_MUST_CHECK int config_read_expert_counts(const struct config_reader *r);
PREP_MUST_CHECK int config_read_indexers(const struct config_reader *r);
/* quantization_config, if there is one. */
PREP_MUST_CHECK int config_read_quantization(const struct config_reader *r);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * compare.h - is one checkpoint what the other, seen through a keep-map, must be?
 *
 * A is read as a view: through a keep-map with fewer experts, renumbered, its router rows
 * gathered; without one as it is. Then every tensor of the view must be in B under its name, of
 * the same dtype, shape and bytes, and B may hold nothing else. The config files and what is
 * copied beside the shards are held against what pruning makes of A's. Bytes are compared by
 * reading both (read_data), else by the hashes of both manifests; what neither proves is counted
 * as unproven.
 *
 * Findings   ONLY_IN_A ONLY_IN_B SHAPE DTYPE BYTES, by tensor name as in B; CONFIG, by file and
 *            key; FILE_ONLY_IN_A FILE_ONLY_IN_B FILE_BYTES
 * Ownership  compare_checkpoints / comparison_fini; A, B and the map are borrowed for the call
 * Errors     those of verify.h; with a map those of prune/apply.h, when it does not fit A
 * Threads    one call at a time per result
 */
#ifndef PREP_RELEASE_COMPARE_H
#define PREP_RELEASE_COMPARE_H

#include "libprep/model/findings.h"
#include "libprep/release/inspect.h"
#include "libprep/store/verify.h"

#ifdef __cplusplus
extern "C" {
#endif

struct compare_options {
    const struct keep_map *map; /* NULL: A and B are to be equal as they are */
    int read_data;
    struct verify_options verify;
};

struct compare_count {
    uint64_t tensors, bytes;
};

struct comparison {
    struct findings findings;
    struct compare_count a, b;             /* all tensors of each side */
    uint64_t a_parameters, b_parameters;   /* by the configs, 0 without one */
    int a_experts, b_experts;              /* n_routed_experts, 0 without a config */
    struct compare_count kept;             /* tensors of the view of A */
    struct compare_count renamed;          /* of these, under another expert id */
    struct compare_count gathered;         /* of these, with fewer rows */
    struct compare_count dropped;          /* of A, bytes of dropped rows included */
    struct compare_count identical;        /* proven equal, byte for byte */
    struct compare_count different;        /* of equal shape, but other bytes */
    struct compare_count unproven;         /* of equal shape, bytes not compared */
    uint64_t missing, extra, incompatible; /* tensors: only in A, only in B, other shape or dtype */
    int through_map, from_base;            /* from_base: the map's base ids were taken */
    int read_data;                         /* identical by reading, else by the manifests */
    int config_identical;                  /* B's config.json is byte for byte as expected */
    uint64_t files_equal;                  /* files beside the shards, equal byte for byte */
};

PREP_MUST_CHECK int compare_checkpoints(struct comparison *out, const struct inspected *a,
                                        const struct inspected *b,
                                        const struct compare_options *opt, struct report *report,
                                        struct prep_error *err);
void comparison_fini(struct comparison *c); /* accepts a zeroed struct */

/* Nothing differs as far as was looked; unproven bytes may still. */
int comparison_equal(const struct comparison *c);

/*
 * Differences of two JSON texts by key, as CONFIG findings of file `name`. Numbers are equal when
 * their values are, everything else when spelled the same.
 */
PREP_MUST_CHECK int compare_json(struct findings *out, const char *name, struct span a,
                                 struct span b, struct prep_error *err);

PREP_MUST_CHECK int compare_facts(cJSON *object, const struct comparison *c,
                                  struct prep_error *err);
/* [{"severity", "code", "place", "text"}, ..] under "findings", with the counts beside it. */
PREP_MUST_CHECK int findings_facts(cJSON *object, const struct findings *f, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

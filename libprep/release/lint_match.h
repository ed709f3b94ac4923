/* SPDX-License-Identifier: MIT */
/*
 * lint_match.h - does an exclude list name this module? As each engine asks it.
 *
 *   LIST_CT               "re:" entries: re.match from the start of the name; others exact
 *   LIST_CT_SUFFIX        sglang: an exact entry may also be what follows a dot of the name
 *   LIST_MODELOPT_SGLANG  a glob turned into a regular expression ('.' and '*' only), against the
 *                         whole path and against each of its parts; an entry that ends in a
 *                         low-rank projection also names the fused one beside it
 *   LIST_MODELOPT_VLLM    exact, then anywhere in the name, then as a shell glob
 *   LIST_DYNAMIC          gptq: the first entry that re.match finds decides, "-:" excludes
 *   LIST_EXTRA            auto-round: exact, or re.fullmatch where the entry has special letters
 *   LIST_PATHS            fp8: the module or any module above it
 *
 * Ownership  entries are borrowed; lint_match_fini() accepts a zeroed struct
 * Errors     PREP_ENOMEM; an entry that does not compile matches nothing (the config reader
 *            reports it)
 * Threads    one list, one thread
 */
#ifndef PREP_RELEASE_LINT_MATCH_H
#define PREP_RELEASE_LINT_MATCH_H

#include <stddef.h>

#include "libprep/base/pattern.h"
#include "libprep/base/table.h"

#ifdef __cplusplus
extern "C" {
#endif

enum list_rule {
    LIST_CT,
    LIST_CT_SUFFIX,
    LIST_MODELOPT_SGLANG,
    LIST_MODELOPT_VLLM,
    LIST_DYNAMIC,
    LIST_EXTRA,
    LIST_PATHS,
};

struct lint_match {
    enum list_rule rule;
    const char *const *entries;
    size_t n;
    struct pattern **patterns; /* [n], NULL where the entry is plain */
    struct name_table names;   /* entries as they are -> index */
};

PREP_MUST_CHECK int lint_match_init(struct lint_match *m, enum list_rule rule,
                                    const char *const *entries, size_t n, struct prep_error *err);
void lint_match_fini(struct lint_match *m);

/* Index of the entry that excludes the module, or -1. */
int lint_match(struct lint_match *m, const char *module);
/* Is there an entry spelled exactly so? */
int lint_match_exact(const struct lint_match *m, const char *entry);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * module_list.h - lists of module names in quantization configs, before and after pruning.
 *
 * A plain entry is dropped with its expert, renamed with it, or not touched. An entry may also be
 * a pattern; whether it needs anything is decided by what it matches in the checkpoint: a pattern
 * that matches all experts of a layer or none of them means the same afterwards and stays byte
 * for byte, one that tells experts apart cannot be renumbered.
 *
 * Shapes     modules are the owners of the checkpoint's tensors ("model.layers.3.mlp.gate") and
 *            the experts as a whole ("model.layers.3.mlp.experts.7"), each once
 * Ownership  the list borrows the renumbering; its names live in its arena
 * Errors     PREP_EDATA, tag APPLY_PATTERN_EXPERT_ID; PREP_ENOMEM
 * Threads    one thread at a time: matching uses a buffer of the list
 */
#ifndef PREP_PRUNE_MODULE_LIST_H
#define PREP_PRUNE_MODULE_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/prune/renumber.h"

#ifdef __cplusplus
extern "C" {
#endif

struct module {
    const char *name;
    size_t n;
    uint64_t order; /* of names.h */
    struct renumber_fate fate;
    const char *inside; /* what follows the expert id in name, "" for an expert */
    uint32_t expert;    /* index of the whole expert this lies in, or its own */
};

struct module_list {
    const struct renumber *renumber;
    struct module *modules; /* in the order of our shards */
    size_t n;
    uint32_t *cut; /* modules of experts in pruned layers, by layer and place inside the expert */
    size_t n_cut;
    unsigned char *hit; /* scratch: which modules a pattern matches */
    struct arena arena;
};

/* From the names of all tensors of the input. */
PREP_MUST_CHECK int module_list_init(struct module_list *l, const struct renumber *r,
                                     const char *const *tensors, size_t n_tensors,
                                     struct prep_error *err);
void module_list_fini(struct module_list *l); /* accepts a zeroed struct */

/* How a list's reader takes an entry that is no plain name. */
enum pattern_syntax {
    SYNTAX_GLOB,      /* shell glob over the whole name, unless it begins with re:, +: or -: */
    SYNTAX_MATCH,     /* regular expression from the start of the name: "dynamic" */
    SYNTAX_FULLMATCH, /* regular expression over the whole name: "extra_config" */
};

enum entry_action { ENTRY_KEEP, ENTRY_DROP, ENTRY_REPLACE };

struct entry_fate {
    enum entry_action action;
    const char **names; /* ENTRY_REPLACE: n > 0 entries in its place */
    size_t n;
    int expanded; /* the entry was a pattern */
};

/*
 * The fate of one entry. A pattern that tells experts apart is APPLY_PATTERN_EXPERT_ID, or, with
 * expand, is replaced by the modules that it matched and that stay (a "+:" or "-:" stays in front
 * of each). Where a pattern matches an expert and parts of it, the parts are named.
 */
PREP_MUST_CHECK int module_entry(struct entry_fate *fate, const struct module_list *l,
                                 const char *entry, enum pattern_syntax syntax, int expand,
                                 struct arena *arena, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * apply.h - a checkpoint and a keep-map become everything that is to be written.
 *
 * The result is a view (the pruned tensors, nothing copied), the edited texts of the config files
 * and the names of the files that go along as they are. It is judged whole before it is returned,
 * so that a plan made of it starts from a checkpoint an engine can load. keep_map.json and the
 * index are the writer's.
 *
 * Ownership  checkpoint, config and map are borrowed and must outlive the output, which owns the
 *            rest until prune_output_fini()
 * Errors     those of renumber.h, module_list.h, check.h and view.h; PREP_EUSAGE, tag PLAN_TOPK or
 *            PLAN_GROUP_DIVISIBILITY, when the router cannot choose among so few experts;
 *            PREP_EDATA for a config file that is not JSON
 * Threads    const after building
 */
#ifndef PREP_PRUNE_APPLY_H
#define PREP_PRUNE_APPLY_H

#include <stdint.h>

#include "libprep/base/report.h"
#include "libprep/format/keep_map.h"
#include "libprep/model/config.h"
#include "libprep/store/checkpoint.h"
#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

struct apply_options {
    int drop_mtp;        /* leave out the layers from num_hidden_layers on */
    int expand_patterns; /* see module_list.h */
};

struct edited_file {
    const char *name; /* inside the folder */
    struct span text;
};

struct prune_output {
    struct view view;
    struct edited_file *edited; /* config.json, and what quantizers put beside it */
    size_t n_edited;
    const char **sidecars; /* files of source 0 that are copied as they are */
    size_t n_sidecars;

    uint64_t n_in, n_out, n_dropped; /* tensors */
    uint64_t n_renamed, n_gathered;  /* among n_out */

    int n_routed_experts; /* of the output; the largest count where layers differ */
    int uniform;          /* every MoE layer has that many */
    int n_layers;         /* of the output, MTP layers included */
    int num_nextn_predict_layers;
    int *n_experts; /* [n_layers], 0 for dense layers */
    int from_base;  /* pruned in one pass with the result of several (renumber.h) */
    struct arena arena;
};

/*
 * Warnings go to report (may be NULL): APPLY_SUSPICIOUS_KEY, PLAN_NONUNIFORM. Layers that the map
 * does not name stay as they are; so does an MTP layer, unless drop_mtp.
 */
PREP_MUST_CHECK int prune_apply(struct prune_output *out, const struct checkpoint *ckpt,
                                const struct config *config, const struct keep_map *map,
                                const struct apply_options *options, struct report *report,
                                struct prep_error *err);
void prune_output_fini(struct prune_output *out); /* accepts a zeroed struct */

/* For the edited files and side files of an output; stitch.h builds one, too. */
struct json_patch;
PREP_MUST_CHECK int prune_output_edit(struct prune_output *out, const char *name,
                                      struct json_patch *patch, struct prep_error *err);
/* List the files that go along: all but shards, index, edited files and an earlier pass's own. */
PREP_MUST_CHECK int prune_output_sidecars(struct prune_output *out, const struct checkpoint *ckpt,
                                          struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

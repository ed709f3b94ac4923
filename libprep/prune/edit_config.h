/* SPDX-License-Identifier: MIT */
/*
 * edit_config.h - the config files of a checkpoint after its experts changed.
 *
 * Works on config.json and on the files quantizers put beside it (hf_quant_config.json,
 * quantize_config.json, quantization_config.json) as patches: what is not named here keeps its
 * bytes and its place.
 *
 * Ownership  as in json_patch.h
 * Errors     those of module_list.h; PREP_ENOMEM
 * Threads    one patch, one thread
 */
#ifndef PREP_PRUNE_EDIT_CONFIG_H
#define PREP_PRUNE_EDIT_CONFIG_H

#include <stdint.h>

#include "libprep/base/json_patch.h"
#include "libprep/base/report.h"
#include "libprep/prune/module_list.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers of experts and MTP layers in config.json, before and after. */
struct expert_counts {
    int before, after;         /* n_routed_experts; after is the largest of n_experts */
    int uniform;               /* every MoE layer has `after` */
    const int *n_experts;      /* [n_layers] of the output, 0 for dense layers */
    int n_layers;              /* of the output, MTP layers included */
    int mtp_before, mtp_after; /* num_nextn_predict_layers */
};

/*
 * object is the node that holds the model's keys: the root of config.json or its text_config.
 * Warnings go to report (may be NULL): APPLY_SUSPICIOUS_KEY for an integer that has "expert" in
 * its name and the old count as its value, and is not known to be one.
 */
PREP_MUST_CHECK int edit_expert_counts(struct json_patch *p, uint32_t object,
                                       const struct expert_counts *counts, struct report *report,
                                       struct prep_error *err);

/* Every list of module names of a config.json or of one of the files beside it. */
PREP_MUST_CHECK int edit_module_lists(struct json_patch *p, const struct module_list *modules,
                                      int expand_patterns, struct prep_error *err);

/* The quantization config: a member of config.json, of its text_config or of a file beside it,
 * which with `sidecar` may also be nothing else. JSON_NONE when there is none. */
uint32_t quantization_node(const struct json *doc, int sidecar);

/* Names of the files that edit_module_lists() understands besides config.json; ends in NULL. */
extern const char *const quantization_files[];

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * quantize.h - what quantize-nvfp4 and quantize-gptq do: from files to a plan.
 *
 *   checkpoint (+ keep-map) --apply--> view --find--> linears --preset, overrides--> groups
 *   activation maxima --expert ids--> input scales
 *   groups --steps--> tensors --layout--> plan; config.json edited, lists written anew
 *
 * With a keep-map the checkpoint is pruned in the same pass: the view is that of reap-prune, so
 * the result is the one of pruning first. Nothing is written here; what was decided is in the
 * report and, with the error of every linear, in the manifest.
 *
 * Ownership  a job borrows its strings and lists; a result owns all it holds until
 *            quantize_result_free(), and the plan needs it
 * Errors     those of every step; PREP_EDATA with ALREADY_QUANTIZED (the linears have the target's
 *            form, or the other layout's: --repack), HALF_QUANTIZED (some have), NOT_REPACKABLE;
 *            OBS_EXPERT_COUNT for statistics of another model
 * Threads    one job, one thread (headers are read in parallel)
 */
#ifndef PREP_RELEASE_QUANTIZE_H
#define PREP_RELEASE_QUANTIZE_H

#include "libprep/prune/job.h"
#include "libprep/quant/configs.h"
#include "libprep/quant/importance.h"
#include "libprep/quant/input_scale.h"
#include "libprep/quant/step.h"

#ifdef __cplusplus
extern "C" {
#endif

struct quantize_job {
    const struct io *io;
    const char *tool;     /* "quantize-nvfp4" */
    const char *source;   /* folder, or ORG/NAME[@rev] in the local hub cache */
    const char *keep_map; /* prune in the same pass, or NULL */
    enum quant_layout layout;
    int repack; /* store what is coded in the other layout, exactly */

    /* what */
    const char *modules; /* preset */
    const struct quant_rule *rules;
    size_t n_rules;
    enum quant_mtp mtp;
    int same_input;

    /* how */
    const char *scales; /* "auto" or a method's name, see quantize_scales() */
    uint64_t group_size;
    enum isa isa;
    const char *const *amax; /* files of activation maxima, merged */
    size_t n_amax;
    int mix_semantics, per_expert;
    int64_t min_tokens;
    double assume_amax;     /* 0: none */
    const char *importance; /* a file, or NULL */

    uint64_t shard_bytes; /* 0: the default */
};

struct quantize_result {
    struct prune_result pruned; /* source, keep-map and view; its plan is not made */
    struct linears linears;
    struct quant_select_options select;
    struct quant_selection selection;
    struct input_scales inputs; /* amax is NULL for weights only */
    struct importance importance;
    struct quant_method method, decode;
    struct quant_built built;
    struct quant_configs configs;
    const char *layout, *scales; /* names */
    uint64_t tensor_bytes;       /* of the output */
    struct plan *plan;
    struct arena arena;
    const struct quantize_job *job; /* for the manifest */
};

PREP_MUST_CHECK int quantize_job_run(struct quantize_result *result, const struct quantize_job *job,
                                     struct report *report, struct prep_error *err);
void quantize_result_free(struct quantize_result *result); /* accepts a zeroed struct */

/* What a linear became and why, one line: "NVFP4, preset experts", "BF16, --exclude '*.wk'". */
const char *quantize_verdict(const struct quantize_result *r, size_t linear, struct arena *arena,
                             struct prep_error *err);

/* Private to release/: members of the manifest, facts of the report. */
int quantize_manifest(void *result, const unsigned char *notes, struct json_out *o,
                      struct prep_error *err);
void quantize_facts(const struct quantize_result *r, struct report *report);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * lint_job.h - what the rule families of the linter share. Private to lint*.c.
 *
 * Ownership  everything lives in the job's arena or is borrowed from the opened checkpoint
 * Errors     PREP_ENOMEM, and reading: faults are findings
 */
#ifndef PREP_RELEASE_LINT_JOB_H
#define PREP_RELEASE_LINT_JOB_H

#include "libprep/model/check_module.h"
#include "libprep/model/names.h"
#include "libprep/release/inspect.h"
#include "libprep/release/lint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All tensors of one module. */
struct lint_module {
    const char *name; /* "model.layers.3.mlp.experts.7.up_proj" */
    uint64_t order;   /* of names.h, without the suffix */
    enum role role;
    enum part part;
    int layer, expert; /* -1 when outside */
    enum form form;
    const struct checkpoint_tensor *tensors[SUFFIX_COUNT];
};

/* What the quantization configs say, from config.json or the file beside it. */
struct lint_quant {
    const char *method; /* "" when nothing is said */
    const char *file;   /* that says it */
    const char *algo;   /* modelopt: "NVFP4", or NULL */
    const char *key;    /* of the list */
    const char **entries;
    size_t n_entries;
    int no_targets;  /* compressed-tensors without a group that targets linears */
    int wants_input; /* activations are quantized with a stored scale */
    int symmetric;   /* integers, 1 unless sym is false */
    int desc_act;    /* integers */
    int zero_bias;   /* integers: 1 when zeros are stored less one */
    int modules_key; /* gptq: modules_in_block_to_quantize is there */
};

/* The modules of one layer that are no experts, by part; and the three of its first expert. */
struct lint_layer {
    const struct lint_module *parts[PART_OTHER];
    const struct lint_module *expert[3]; /* gate, up, down; NULL when there is none */
};

struct lint_job {
    struct lint *out;
    const struct lint_options *opt;
    const struct io *io;
    const struct inspected *it;
    const struct checkpoint *ckpt;
    const struct config *c;
    const char *prefix; /* of names, before "layers." */
    struct lint_module *modules;
    size_t n_modules; /* in layout order */
    struct lint_layer *layers;
    const struct lint_module *lm_head;
    struct lint_quant quant;
    struct arena arena;
};

/* Add a finding for these engines; nothing when none of them was asked for. */
void lint_add(struct lint *l, const char *code, unsigned engines, const char *place,
              const char *fmt, ...) PREP_PRINTF(5, 6);
/* n more of a code that were counted elsewhere. */
void lint_add_more(struct lint *l, const char *code, size_t n);
/* "layer 3" and the like, in the caller's buffer. */
static inline const char *layer_place(char buf[48], int layer)
{
    return place_name(buf, 48, layer, -1);
}

static inline int is_quantized(const struct lint_module *m)
{
    return m && m->form > FORM_PLAIN;
}

static inline int is_plain(const struct lint_module *m)
{
    return m && m->form == FORM_PLAIN;
}

static inline int is_nvfp4(const struct lint_module *m)
{
    return m && (m->form == FORM_NVFP4_MODELOPT || m->form == FORM_NVFP4_PACKED);
}

/* Modules, layers, prefix. */
PREP_MUST_CHECK int lint_build_modules(struct lint_job *j, struct prep_error *err);

/* The rule families. */
PREP_MUST_CHECK int lint_files(struct lint_job *j, struct prep_error *err);
PREP_MUST_CHECK int lint_quant_config(struct lint_job *j, struct prep_error *err);
PREP_MUST_CHECK int lint_lists(struct lint_job *j, struct prep_error *err);
PREP_MUST_CHECK int lint_inventory(struct lint_job *j, struct prep_error *err);
PREP_MUST_CHECK int lint_routers(struct lint_job *j, struct prep_error *err);
PREP_MUST_CHECK int lint_scales(struct lint_job *j, struct prep_error *err);
void lint_forms(struct lint_job *j);
void lint_ranks(struct lint_job *j);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * check_module.h - one module of a checkpoint: in which format it is stored, and whether whole.
 *
 * Private to the inventory check. A module is the set of tensors whose names differ in the suffix
 * only.
 *
 * Ownership  borrows everything
 */
#ifndef PREP_MODEL_CHECK_MODULE_H
#define PREP_MODEL_CHECK_MODULE_H

#include "libprep/model/check.h"
#include "libprep/model/inventory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum form {
    FORM_ABSENT, /* no tensor that holds the codes or values */
    FORM_PLAIN,
    FORM_FP8,
    FORM_NVFP4_MODELOPT,
    FORM_NVFP4_PACKED, /* compressed-tensors */
    FORM_INT4_GPTQ,
    FORM_INT4_PACKED, /* compressed-tensors */
    FORM_COUNT
};

struct module {
    const struct tensor_info *tensors[SUFFIX_COUNT]; /* by suffix, NULL when absent */
    size_t n;
};

/* Sums over the whole checkpoint that some findings need. */
struct form_totals {
    size_t with_input_scale[FORM_COUNT], without_input_scale[FORM_COUNT];
    const struct tensor_info *lacking[FORM_COUNT][FINDINGS_PER_CODE]; /* codes of the latter */
    uint64_t group; /* of the first GPTQ linear that disagrees with the config; 0: none does */
    int fp8_unannounced;
};

struct check {
    struct findings *out;
    const struct config *c;
    const char *prefix; /* of this checkpoint's names, before "layers." */
    enum form common;   /* how most linears around are stored: what an absent one would be */
    struct form_totals totals;
};

enum form module_form(const struct module *m);
const char *form_name(enum form form);

/* A linear in whichever form it has. */
void check_linear(struct check *k, const struct tensor_spec *spec, int expert,
                  const struct module *m);
/* A module that is never quantized: its tensors are specs[0..n). */
void check_plain(struct check *k, const struct tensor_spec *specs, int n, const struct module *m);
/* After the walk: linears without an activation scale where others have one. */
void check_input_scales(struct check *k);
/* Every tensor of a module that should not be there. */
void check_unknown(struct check *k, const struct module *m, const char *why);

/* "layer 3, expert 2" or "layer 3", for places. */
const char *place_name(char *buf, size_t size, int layer, int expert);

#ifdef __cplusplus
}
#endif
#endif

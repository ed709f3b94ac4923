/* SPDX-License-Identifier: MIT */
/*
 * input_scale.h - the largest input of every quantized linear, from activation maxima.
 *
 * By default all routed experts of a layer get one value for gate and up and one for down, the
 * largest of the layer: what the main engines use anyway. Per expert, each keeps its own, and an
 * expert that saw fewer tokens than asked for falls back to its layer's. Linears that read the
 * same tensor (a group) share the largest. Nothing is made up: a linear without any maximum is
 * refused unless a value is assumed, and every fallback is reported.
 *
 * Shapes     out[linears->n]; entries of linears that are not taken are 0
 * Ownership  everything is borrowed
 * Errors     PREP_EDATA with OBS_EXPERT_COUNT, OBS_LAYER_UNKNOWN (a module this model does not
 *            have), AMAX_MISSING
 * Threads    any
 */
#ifndef PREP_QUANT_INPUT_SCALE_H
#define PREP_QUANT_INPUT_SCALE_H

#include "libprep/base/report.h"
#include "libprep/format/amax.h"
#include "libprep/quant/ids.h"
#include "libprep/quant/select.h"

#ifdef __cplusplus
extern "C" {
#endif

enum input_origin {
    INPUT_NONE,     /* not quantized, or weights only */
    INPUT_OWN,      /* of the linear, or of the group it shares its input with */
    INPUT_LAYER,    /* largest of the layer's experts, as asked */
    INPUT_FALLBACK, /* the same, because its own is missing or of too few tokens */
    INPUT_ASSUMED,
};

const char *input_origin_name(enum input_origin origin);

struct input_options {
    int per_expert;
    int64_t min_tokens; /* per_expert: fewer than these fall back */
    float assumed;      /* for linears without any; 0: refuse */
    struct quant_ids ids;
    int num_hidden_layers, n_layers; /* of the model; n_layers counts MTP layers too */
};

struct input_scales {
    float *amax;
    unsigned char *origin; /* enum input_origin */
    size_t count[INPUT_ASSUMED + 1];
};

/* a may be NULL: everything is assumed. */
PREP_MUST_CHECK int input_scales_make(struct input_scales *out, const struct linears *all,
                                      const struct quant_selection *s, const struct amax *a,
                                      const struct input_options *options, struct arena *arena,
                                      struct report *report, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * step.h - linears that are computed: the steps of a plan, and the tensors they put in place.
 *
 * Every linear of a view ends in one of three ways: copied as it is stored, decoded to BF16, or
 * made anew by a method. A step makes the linears of one group, which share a global scale; its
 * inputs are the stored tensors, whole, so it works from any form, a chunk of rows at a time.
 *
 *    inputs    tensors of member 0 | importance of member 0, if any | tensors of member 1 | ...
 *    outputs   the tensors of each member's new form, numbered by the layout
 *    note      a struct quant_note per member
 *
 * Shapes     members are [out, in] matrices
 * Units      bytes
 * Ownership  methods, linears and view are borrowed and must outlive the plan; the rest lives in
 *            the plan's arena
 * Errors     of the steps, PREP_EDATA: NONFINITE (tensor, row and column are named), IMPORTANCE,
 *            SCALE_OVERFLOW; those of linear_decode_rows() and linear_repack()
 * Threads    steps are pure
 */
#ifndef PREP_QUANT_STEP_H
#define PREP_QUANT_STEP_H

#include "kernels/int4/int4.h"
#include "kernels/nvfp4/nvfp4.h"
#include "libprep/quant/select.h"
#include "libprep/store/layout.h"
#include "libprep/store/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a linear is made. */
struct quant_method {
    step_fn fn;
    struct linear_want want;
    struct linear_codec codec;
    enum nvfp4_method nvfp4;
    enum int4_rule int4;
};

/* What a step has to say about a member. */
struct quant_note {
    double error, signal;            /* sums of (w - w')^2 and of w^2 */
    double weighted_error, weighted; /* the same, each square times the importance of its input */
    uint64_t zero_scales, overflows; /* of a coded source, see linear_counts */
};

struct quant_member {
    const struct linear *from;
    struct linear to;
    float input_amax;              /* largest |x| of its inputs; used when to has an input scale */
    uint32_t first_input;          /* of its own among the step's */
    uint8_t has_importance;        /* F32 [in], behind the tensors of from */
    uint32_t output[LINEAR_PARTS]; /* number of to.tensors[i] among the step's outputs */
};

struct quant_step {
    const struct quant_method *method;
    struct quant_member *members;
    size_t n;
    uint32_t step; /* of the plan */
};

/* The functions. Work memory: quant_work_bytes() of each. */
int quant_nvfp4_step(const struct step_memory *m, const void *step, struct prep_error *err);
int quant_int4_step(const struct step_memory *m, const void *step, struct prep_error *err);
int quant_decode_step(const struct step_memory *m, const void *step, struct prep_error *err);
int quant_repack_step(const struct step_memory *m, const void *step, struct prep_error *err);
uint64_t quant_work_bytes(const struct quant_step *s);

/* A file of importances, see importance.h; NULL where there is none. */
struct importance;

struct quant_request {
    const struct view *view;
    const uint32_t *first_source; /* [view->n_sources]: plan_add_checkpoint() of each */
    const struct linears *linears;
    const struct quant_selection *selection;
    const struct quant_method *method; /* of what is taken */
    const struct quant_method *decode; /* of coded linears that are not taken */
    int keep_codes;                    /* ... or leave them as they are */
    const float *input_amax;           /* [linears->n], or NULL */
    const struct importance *importance;
    uint32_t importance_source; /* of the plan */
    int apart_from;             /* layers from this one go into shards of their own; -1: none */
};

struct quant_built {
    struct layout_tensor *tensors; /* for struct layout */
    size_t n_tensors;
    struct quant_step *steps; /* of what is taken first, then of what is decoded */
    size_t n_steps, n_taken;  /* steps; linears that are taken */
};

/* Adds the steps to the plan; layout_plan() comes next. */
PREP_MUST_CHECK int quant_build(struct quant_built *b, struct plan *plan,
                                const struct quant_request *r, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif

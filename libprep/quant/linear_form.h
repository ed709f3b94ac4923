/* SPDX-License-Identifier: MIT */
/*
 * linear_form.h - which tensors each form of a linear consists of, and what the config says of it.
 *
 * Private to linear_*.c.
 *
 * Ownership  borrows everything
 * Errors     those of linear.h
 */
#ifndef PREP_QUANT_LINEAR_FORM_H
#define PREP_QUANT_LINEAR_FORM_H

#include "kernels/int4/int4.h"
#include "libprep/quant/linear.h"

#ifdef __cplusplus
extern "C" {
#endif

struct part_rule {
    enum suffix suffix; /* SUFFIX_NONE: the form has no such part */
    int required;
};

const struct part_rule *linear_rule(enum linear_form form, enum linear_part part);

/* Values of a head's keys, at most: decoding holds a row of them on the stack. */
enum { LINEAR_MOST_NOPE = 1024 };

/* What of the config decides how stored codes are read. */
struct linear_settings {
    const struct config *c;
    const char *zeros_unknown; /* why qzeros cannot be read, or NULL */
    uint8_t zero_bias, symmetric;
    int desc_act;      /* GPTQ: g_idx may name any group */
    int powers_of_two; /* FP8: scale_fmt is ue8m0, so a U8 scale is an exponent */
};

PREP_MUST_CHECK int linear_settings_read(struct linear_settings *s, const struct config *c,
                                         struct report *report, struct prep_error *err);

/* The tensors of one module. */
struct linear_module {
    const char *name; /* not NUL-terminated */
    size_t name_n;
    struct name_parts parts; /* of one of its tensors */
    const struct tensor_info *tensors[SUFFIX_COUNT];
    uint32_t index[SUFFIX_COUNT];
    const struct tensor_info *activation_scale; /* of a static FP8 checkpoint */
    uint32_t activation_index;
};

/*
 * Judge a module. *is_linear is 0 when it holds no matrix, or a plain one of which the family makes
 * no linear; else form, shape and tensors of *l are set (the caller sets the rest).
 */
PREP_MUST_CHECK int linear_judge(struct linear *l, int *is_linear, const struct linear_module *m,
                                 const struct linear_settings *s, struct prep_error *err);

/* Compare what the config lists as left alone with what is stored. */
PREP_MUST_CHECK int linear_check_lists(const struct linears *all, const struct config *c,
                                       struct report *report, struct prep_error *err);

/* Are the spans as large as the tensors? PREP_EBUG. */
PREP_MUST_CHECK int linear_check_inputs(const struct linear *l, const struct span *inputs,
                                        struct prep_error *err);
/* GPTQ or pack-quantized: all values judged; g_idx is NULL when it is the natural one. */
PREP_MUST_CHECK int linear_open_int4(struct int4_source *s, const struct linear *l,
                                     const struct span *inputs, struct prep_error *err);

/* "[2048, 6144]" in buf. */
enum { SHAPE_TEXT = 160 };
const char *linear_shape_text(char buf[SHAPE_TEXT], const uint64_t *shape, int n_dims);

#ifdef __cplusplus
}
#endif
#endif

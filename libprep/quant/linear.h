/* SPDX-License-Identifier: MIT */
/*
 * linear.h - one linear of a checkpoint in whichever form it is stored, and its decoding.
 *
 * A linear is the set of tensors of one module that together hold a matrix: one plain tensor, or
 * codes with their scales, zero points and group numbers. linears_of_*() finds all of a checkpoint
 * and judges names, dtypes and shapes against each other; linear_decode_rows() turns stored bytes
 * into numbers, needs no file and no memory of its own, and so can be called from a plan step.
 *
 *    plan inputs: linear.tensors[0..n_tensors), whole, in this order  ->  spans of the same order
 *
 * Shapes     the matrix is [out, in], row-major, whatever the stored layout
 * Units      group counts inputs (columns) per scale; block_* rows and columns per FP8 scale
 * Ownership  a linear borrows names and tensor_infos from the checkpoint or view it was found in,
 *            the arrays live in the caller's arena
 * Errors     PREP_EDATA with a tag. Tables: SRC_FP8_SCALE_MISSING SRC_FP8_SCALE_ORPHAN
 *            SRC_FP8_SCALE_SHAPE SRC_FP8_CONFIG SCALE_MISSING SCALE_ORPHAN SCALE_SHAPE GROUP_SIZE
 *            TENSOR_DTYPE TENSOR_SHAPE TENSOR_MISSING; PREP_EUNSUP with SRC_FP8_SCALE_DTYPE
 *            SRC_FP8_CONFIG or UNSUPPORTED. Values, when decoding: SRC_FP8_SCALE_VALUE
 *            SRC_FP8_NAN_CODE SCALE_VALUE QZEROS G_IDX WEIGHT_SHAPE
 * Threads    const after finding; decoding is pure
 */
#ifndef PREP_QUANT_LINEAR_H
#define PREP_QUANT_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"
#include "libprep/base/report.h"
#include "libprep/model/config.h"
#include "libprep/model/names.h"
#include "libprep/store/view.h"

#ifdef __cplusplus
extern "C" {
#endif

enum linear_form {
    LINEAR_PLAIN,          /* BF16, F16 or F32 */
    LINEAR_FP8_BLOCK,      /* E4M3 with a scale per block of rows and columns */
    LINEAR_NVFP4_MODELOPT, /* E2M1, E4M3 scales, a factor */
    LINEAR_NVFP4_CT,       /* compressed-tensors: the same with a divisor */
    LINEAR_GPTQ,           /* words of 8 inputs, transposed: GPTQ v1, v2, auto-round */
    LINEAR_PACK_QUANTIZED, /* compressed-tensors: words of 8 inputs, row by row */
    LINEAR_GGML,           /* blocks of a GGUF file, of any type we decode */
    LINEAR_GGML_HEADS,     /* kv_b_proj of a GGUF file: keys transposed, values, each a tensor */
    LINEAR_FORM_COUNT
};

/* What a stored tensor is to its linear; the order is that of enum suffix. */
enum linear_part {
    LINEAR_CODES,       /* weight, weight_packed, qweight */
    LINEAR_SCALES,      /* weight_scale_inv, weight_scale, scales */
    LINEAR_GLOBAL,      /* weight_scale_2, weight_global_scale */
    LINEAR_ZEROS,       /* qzeros, weight_zero_point */
    LINEAR_GROUPS,      /* g_idx, weight_g_idx */
    LINEAR_SHAPE,       /* weight_shape */
    LINEAR_INPUT_SCALE, /* input_scale, input_global_scale */
    LINEAR_VALUES,      /* weight_v; its keys are the codes */
    LINEAR_PARTS
};

struct linear_tensor {
    const struct tensor_info *info;
    uint32_t index;        /* into the tensors of the checkpoint or view */
    enum linear_part part; /* ascending inside a linear */
};

struct linear {
    const char *name; /* of the module: "model.layers.3.mlp.experts.7.up_proj" */
    uint64_t order;   /* name_order() of its tensors without the suffix (low 8 bits 0) */
    enum role role;
    enum part part;
    int layer, expert; /* -1 when outside */
    enum linear_form form;
    uint64_t out, in;
    uint64_t group;                  /* inputs per scale; 0 for PLAIN and FP8_BLOCK */
    uint64_t block_rows, block_cols; /* FP8_BLOCK */
    uint8_t zero_bias;               /* GPTQ: 1 when zeros are stored less one (v1), else 0 */
    uint8_t symmetric;               /* integers: the config promises zero = 8 */
    uint8_t any_order;               /* integers: g_idx may name any group (desc_act) */
    const struct linear *whole;      /* of a slice (linear_slice.h): what it is cut from ... */
    uint64_t first_row, first_col;   /* ... and where it begins */
    uint8_t n_tensors;
    struct linear_tensor tensors[LINEAR_PARTS];
};

struct linears {
    struct linear *items; /* in layout order (name_order) */
    size_t n;
    uint32_t *rest; /* every other tensor by index, in layout order: embeddings, norms, routers,
                       biases, KV scales */
    size_t n_rest;
};

const char *linear_form_name(enum linear_form form); /* "FP8 blocks", "NVFP4 (modelopt)", ... */

/*
 * Plain matrices count as linears when the family has a linear there (lm_head, attention, indexer,
 * MLPs, experts, eh_proj); coded ones always do. Warnings go to report (may be NULL): SRC_FP8_LIST
 * and QUANT_LIST where the config's lists say otherwise than the tensors, SRC_FP8_CONFIG for a
 * static activation scale, which is ignored.
 */
PREP_MUST_CHECK int linears_of_checkpoint(struct linears *out, const struct checkpoint *ckpt,
                                          const struct config *c, struct arena *arena,
                                          struct report *report, struct prep_error *err);
PREP_MUST_CHECK int linears_of_view(struct linears *out, const struct view *view,
                                    const struct config *c, struct arena *arena,
                                    struct report *report, struct prep_error *err);
/* By module name; NULL when there is none. */
const struct linear *linears_get(const struct linears *all, const char *name);
/* NULL when the linear has no such tensor. */
const struct linear_tensor *linear_tensor(const struct linear *l, enum linear_part part);

/* The kernels that decode, of one instruction set. */
struct linear_codec {
    const struct convert_kernels *convert;
    const struct fp8_kernels *fp8;
    const struct int4_kernels *int4;
    const struct nvfp4_kernels *nvfp4;
    enum isa isa; /* for ggml_codec() */
};

void linear_codec_init(struct linear_codec *codec, enum isa limit);

/* What decoding met that is no fault; added to. */
struct linear_counts {
    uint64_t zero_scales; /* scales of 0 (SRC_FP8_SCALE_ZERO), counted once per block or group */
    uint64_t overflows;   /* outputs that became infinite (SRC_FP8_OVERFLOW) */
};

/* Which rows to decode, and where to: f32, bf16 or both; each [n, in]. */
struct linear_rows {
    uint64_t first, n;
    float *f32;
    uint16_t *bf16;               /* rounded to nearest even from the f32 value */
    struct linear_counts *counts; /* may be NULL */
};

/*
 * inputs[i] are the bytes of l->tensors[i]. Values that matter to these rows are judged: NaN,
 * negative or infinite scales, codes that are no number, zero points and group numbers. Plain
 * values are not: a NaN there comes out as one. Rows may be decoded in any order and split.
 */
PREP_MUST_CHECK int linear_decode_rows(const struct linear *l, const struct linear_codec *codec,
                                       const struct span *inputs, const struct linear_rows *rows,
                                       struct prep_error *err);

/* How a linear is to be stored. */
struct linear_want {
    enum linear_form form;
    uint64_t group;         /* integers */
    enum dtype scale_dtype; /* integers: of the scales; PLAIN: of the values */
    uint8_t zero_bias;      /* GPTQ: 1 for v1 */
    uint8_t with_g_idx;     /* GPTQ */
    uint8_t with_input;     /* NVFP4: an input scale is there */
};

/*
 * The linear of the same name and shape stored as want says: names, dtypes, shapes and bytes of
 * its tensors, in the arena (info.offset and index are 0). For writers. PREP_EUNSUP when the form
 * cannot hold the shape. FP8_BLOCK is not written.
 */
PREP_MUST_CHECK int linear_layout(struct linear *to, const struct linear *from,
                                  const struct linear_want *want, struct arena *arena,
                                  struct prep_error *err);

/*
 * Can the codes of `from` be stored as `to` (made by linear_layout()) without decoding? modelopt
 * and compressed-tensors NVFP4 in either direction; GPTQ v1, v2 and pack-quantized in any
 * direction if symmetric and in natural order. 0 when not, with the reason in *why (a literal).
 */
int linear_can_repack(const struct linear *to, const struct linear *from, const char **why);
/*
 * The bytes of every tensor of `to`, in its order, outputs[i] as large as its info says. Values
 * that the new form cannot hold are PREP_EUNSUP (a scale beyond F16, an order that is not the
 * natural one). Globals of NVFP4 become their reciprocals, see linear_reciprocal().
 */
PREP_MUST_CHECK int linear_repack(const struct linear *to, unsigned char *const *outputs,
                                  const struct linear *from, const struct linear_codec *codec,
                                  const struct span *inputs, struct prep_error *err);

/*
 * 1/x for the global of the other NVFP4 layout, such that x -> 1/x -> x gives the same bits for
 * every global from 2^-125 to 2^125 that a known writer makes of a BF16 maximum, in either
 * direction; plain reciprocals lose the last bit of one in eight. To compressed-tensors it is
 * f32(1/x) for all that modelopt writes, as in its own converter; elsewhere it may be a last place
 * or two beside that.
 */
float linear_reciprocal(float x, enum linear_form to);

#ifdef __cplusplus
}
#endif
#endif

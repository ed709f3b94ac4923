/* SPDX-License-Identifier: MIT */
/*
 * configs.h - what config.json and the file beside it say about a quantized checkpoint.
 *
 *   layout               config.json: quantization_config      beside it
 *   modelopt             config_groups, ignore, quant_algo     hf_quant_config.json
 *   compressed-tensors   config_groups, format, ignore         -
 *   gptq                 bits, group_size, ..., dynamic        quantize_config.json, the same
 *
 * Lists of what is not quantized are written as each layout's engines read them: modelopt by
 * the shortest prefixes that cover nothing quantized, compressed-tensors name by name, gptq by
 * regular expressions on the names engines use at run time. MTP layers in BF16 get the entries of
 * exclude.h. Package versions are those of the writers whose layout this is.
 *
 * Ownership  texts live in the caller's arena
 * Errors     PREP_ENOMEM
 * Threads    any
 */
#ifndef PREP_QUANT_CONFIGS_H
#define PREP_QUANT_CONFIGS_H

#include "libprep/base/report.h"
#include "libprep/quant/select.h"

#ifdef __cplusplus
extern "C" {
#endif

enum quant_layout { QUANT_MODELOPT, QUANT_COMPRESSED_TENSORS, QUANT_GPTQ };

/* "modelopt_fp4", "nvfp4-pack-quantized", "gptq": as engines and cards call them. */
const char *quant_layout_name(enum quant_layout layout);

struct quant_config_request {
    enum quant_layout layout;
    const struct view *view;
    const struct linears *linears;
    const struct quant_choice *choices; /* [linears->n] */
    int num_hidden_layers;
    int has_input;       /* activations are quantized too: input scales are there */
    uint64_t group_size; /* gptq */
};

struct quant_configs {
    struct span quantization_config; /* a JSON object */
    const char *beside;              /* name of the other file, or NULL */
    struct span beside_text;
};

PREP_MUST_CHECK int quant_configs_make(struct quant_configs *out,
                                       const struct quant_config_request *r, struct arena *arena,
                                       struct prep_error *err);

/* Warnings, tag ENGINE, for choices that an engine is known not to load (nvfp4.md section 3,
 * gptq.md section 5). */
void quant_warn_engines(const struct quant_config_request *r, struct report *report);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * tiny_linear.h - a checkpoint of one module, stored in any form, for tests.
 *
 * Units      rows and cols as for tiny_add()
 * Ownership  folders live until the process ends
 * Errors     fail the running test
 */
#ifndef PREP_TESTS_TINY_LINEAR_H
#define PREP_TESTS_TINY_LINEAR_H

#include "libprep/format/safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The name of the module, and how its config may begin: add more keys and "}". */
#define TINY_MODULE "model.layers.0.self_attn.o_proj"
#define TINY_FP8                                                                                   \
    ", \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]"
#define TINY_GPTQ ", \"quantization_config\": {\"quant_method\": \"gptq\", \"bits\": 4"
#define TINY_ROUND ", \"quantization_config\": {\"quant_method\": \"auto-round\", \"bits\": 4"
#define TINY_MODELOPT ", \"quantization_config\": {\"quant_method\": \"modelopt\""
#define TINY_CT ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\""

enum { TINY_PARTS = 6 };

struct tiny_part {
    enum dtype dtype;
    int rows, cols; /* as for tiny_add() */
    const char *suffix;
};

/* Write a checkpoint with one module of these tensors, and a norm; the folder. */
const char *tiny_write_module(const struct tiny_part parts[TINY_PARTS], const char *extra);

#ifdef __cplusplus
}
#endif
#endif

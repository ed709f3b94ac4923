/* SPDX-License-Identifier: MIT */
/*
 * ggml_type.h - the tensor types of GGUF files: id, block length, bytes per block.
 *
 * Units      bytes; block lengths in elements along a row
 * Errors     none: unknown ids give NULL
 */
#ifndef PREP_FORMAT_GGML_TYPE_H
#define PREP_FORMAT_GGML_TYPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers are those in the file. */
enum ggml_type {
    GGML_F32 = 0,
    GGML_F16 = 1,
    GGML_Q4_0 = 2,
    GGML_Q4_1 = 3,
    GGML_Q5_0 = 6,
    GGML_Q5_1 = 7,
    GGML_Q8_0 = 8,
    GGML_Q2_K = 10,
    GGML_Q3_K = 11,
    GGML_Q4_K = 12,
    GGML_Q5_K = 13,
    GGML_Q6_K = 14,
    GGML_IQ2_XXS = 16,
    GGML_IQ2_XS = 17,
    GGML_IQ3_XXS = 18,
    GGML_IQ1_S = 19,
    GGML_IQ4_NL = 20,
    GGML_IQ3_S = 21,
    GGML_IQ2_S = 22,
    GGML_IQ4_XS = 23,
    GGML_I8 = 24,
    GGML_I16 = 25,
    GGML_I32 = 26,
    GGML_I64 = 27,
    GGML_F64 = 28,
    GGML_IQ1_M = 29,
    GGML_BF16 = 30,
    GGML_TQ1_0 = 34,
    GGML_TQ2_0 = 35,
    GGML_MXFP4 = 39,
    GGML_NVFP4 = 40,
    GGML_Q1_0 = 41,
    GGML_Q2_0 = 42,
};

struct ggml_type_info {
    const char *name;
    uint16_t id;          /* enum ggml_type */
    uint16_t block;       /* elements */
    uint16_t block_bytes; /* bytes of a block */
};

/* NULL when no tensor of a file can have this type. */
const struct ggml_type_info *ggml_type_info(uint32_t id);
/* "Q4_K"; NULL when unknown. */
const struct ggml_type_info *ggml_type_by_name(const char *name);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
#include "libprep/format/ggml_type.h"

#include <string.h>

static const struct ggml_type_info TYPES[] = {
    {"F32", GGML_F32, 1, 4},
    {"F16", GGML_F16, 1, 2},
    {"Q4_0", GGML_Q4_0, 32, 18},
    {"Q4_1", GGML_Q4_1, 32, 20},
    {"Q5_0", GGML_Q5_0, 32, 22},
    {"Q5_1", GGML_Q5_1, 32, 24},
    {"Q8_0", GGML_Q8_0, 32, 34},
    {"Q2_K", GGML_Q2_K, 256, 84},
    {"Q3_K", GGML_Q3_K, 256, 110},
    {"Q4_K", GGML_Q4_K, 256, 144},
    {"Q5_K", GGML_Q5_K, 256, 176},
    {"Q6_K", GGML_Q6_K, 256, 210},
    {"IQ2_XXS", GGML_IQ2_XXS, 256, 66},
    {"IQ2_XS", GGML_IQ2_XS, 256, 74},
    {"IQ3_XXS", GGML_IQ3_XXS, 256, 98},
    {"IQ1_S", GGML_IQ1_S, 256, 50},
    {"IQ4_NL", GGML_IQ4_NL, 32, 18},
    {"IQ3_S", GGML_IQ3_S, 256, 110},
    {"IQ2_S", GGML_IQ2_S, 256, 82},
    {"IQ4_XS", GGML_IQ4_XS, 256, 136},
    {"I8", GGML_I8, 1, 1},
    {"I16", GGML_I16, 1, 2},
    {"I32", GGML_I32, 1, 4},
    {"I64", GGML_I64, 1, 8},
    {"F64", GGML_F64, 1, 8},
    {"IQ1_M", GGML_IQ1_M, 256, 56},
    {"BF16", GGML_BF16, 1, 2},
    {"TQ1_0", GGML_TQ1_0, 256, 54},
    {"TQ2_0", GGML_TQ2_0, 256, 66},
    {"MXFP4", GGML_MXFP4, 32, 17},
    {"NVFP4", GGML_NVFP4, 64, 36},
    {"Q1_0", GGML_Q1_0, 128, 18},
    {"Q2_0", GGML_Q2_0, 64, 18},
};

enum { N_TYPES = sizeof TYPES / sizeof TYPES[0] };

const struct ggml_type_info *ggml_type_info(uint32_t id)
{
    for (int i = 0; i < N_TYPES; i++)
        if (TYPES[i].id == id)
            return &TYPES[i];
    return NULL;
}

const struct ggml_type_info *ggml_type_by_name(const char *name)
{
    for (int i = 0; i < N_TYPES; i++)
        if (strcmp(TYPES[i].name, name) == 0)
            return &TYPES[i];
    return NULL;
}

/* SPDX-License-Identifier: MIT */
/*
 * gguf_rule.h - which ggml type every tensor of the family gets in a GGUF file.
 *
 * llama.cpp's mixtures for its glm-dsa architecture (rule order: unquantizable tensors, base type,
 * mixture by kind of tensor and layer, row-length fallback), and the family mixture, with which
 * the published files were made: expert tensors by the rung's rule, every other one Q8_0.
 *
 * Shapes     a GGUF tensor is rows of n_cols elements; experts are stacked into one tensor
 * Units      bytes, without the padding to 32 that the file adds after each tensor
 * Ownership  plain values
 */
#ifndef PREP_MODEL_GGUF_RULE_H
#define PREP_MODEL_GGUF_RULE_H

#include <stdint.h>

#include "libprep/format/ggml_type.h"
#include "libprep/model/inventory.h"

#ifdef __cplusplus
extern "C" {
#endif

enum gguf_rung {
    RUNG_BF16,
    RUNG_F16,
    RUNG_Q8_0,
    RUNG_Q6_K,
    RUNG_Q5_K_M,
    RUNG_Q5_K_S,
    RUNG_Q5_1,
    RUNG_Q5_0,
    RUNG_Q4_K_M,
    RUNG_Q4_K_S,
    RUNG_Q4_1,
    RUNG_Q4_0,
    RUNG_IQ4_NL,
    RUNG_IQ4_XS,
    RUNG_Q3_K_L,
    RUNG_Q3_K_M,
    RUNG_Q3_K_S,
    RUNG_Q2_K,
    RUNG_Q2_K_S,
    RUNG_COUNT
};

const char *gguf_rung_name(enum gguf_rung rung); /* "Q4_K_M" */
/* RUNG_COUNT when unknown. */
enum gguf_rung gguf_rung_from_name(const char *name);
enum ggml_type gguf_rung_base(enum gguf_rung rung); /* the type of most tensors */
uint32_t gguf_rung_file_type(enum gguf_rung rung);  /* general.file_type */
/* The type itself, or, where rows are no whole blocks of it, the one that llama.cpp takes then. */
enum ggml_type gguf_fit_row(enum ggml_type type, uint64_t n_cols);

struct gguf_rule {
    enum gguf_rung rung;
    int family_mixture;
    int has_imatrix;      /* an importance matrix is used */
    int indexer_proj_f32; /* keep indexer.proj as the converter stores it; llama.cpp does not */
    int block_count;      /* layers in the file */
    int expert_count;     /* routed experts: llama.cpp has a rule for exactly 8 */
    int tied;             /* no output.weight: token_embd is treated as it */
};

struct gguf_tensor {
    const struct tensor_spec *spec;
    uint64_t n_cols, n_rows; /* of all experts together */
    uint8_t fixed_f32;       /* norms, biases, router: never quantized */
};

/* The one or two (kv_b: attn_k_b, attn_v_b) GGUF tensors of a stored tensor. Returns how many. */
int gguf_tensors_of(const struct config *c, const struct tensor_spec *spec,
                    struct gguf_tensor out[2]);
enum ggml_type gguf_type_of(const struct gguf_rule *rule, const struct gguf_tensor *t);
uint64_t gguf_tensor_bytes(const struct gguf_tensor *t, enum ggml_type type);

#ifdef __cplusplus
}
#endif
#endif

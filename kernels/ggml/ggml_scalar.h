/* SPDX-License-Identifier: MIT */
/*
 * ggml_scalar.h - the functions behind the scalar table; what they do is said in ggml.h.
 *
 * Private to the family. The vector tables begin with these and replace what they have.
 */
#ifndef KERNELS_GGML_GGML_SCALAR_H
#define KERNELS_GGML_GGML_SCALAR_H

#include "kernels/ggml/ggml.h"

#ifdef __cplusplus
extern "C" {
#endif

ggml_quantize_fn ggml_quantize_rows_f16_scalar, ggml_quantize_rows_bf16_scalar,
    ggml_quantize_rows_q8_0_scalar, ggml_quantize_rows_q4_0_scalar, ggml_quantize_rows_q4_1_scalar,
    ggml_quantize_rows_q5_0_scalar, ggml_quantize_rows_q5_1_scalar, ggml_quantize_rows_q2_k_scalar,
    ggml_quantize_rows_q3_k_scalar, ggml_quantize_rows_q4_k_scalar, ggml_quantize_rows_q5_k_scalar,
    ggml_quantize_rows_q6_k_scalar, ggml_quantize_rows_iq4_nl_scalar,
    ggml_quantize_rows_iq4_xs_scalar, ggml_quantize_rows_mxfp4_scalar,
    ggml_quantize_rows_nvfp4_scalar;

ggml_dequantize_fn ggml_dequantize_rows_f16_scalar, ggml_dequantize_rows_bf16_scalar,
    ggml_dequantize_rows_q8_0_scalar, ggml_dequantize_rows_q4_0_scalar,
    ggml_dequantize_rows_q4_1_scalar, ggml_dequantize_rows_q5_0_scalar,
    ggml_dequantize_rows_q5_1_scalar, ggml_dequantize_rows_q2_k_scalar,
    ggml_dequantize_rows_q3_k_scalar, ggml_dequantize_rows_q4_k_scalar,
    ggml_dequantize_rows_q5_k_scalar, ggml_dequantize_rows_q6_k_scalar,
    ggml_dequantize_rows_iq4_nl_scalar, ggml_dequantize_rows_iq4_xs_scalar,
    ggml_dequantize_rows_mxfp4_scalar, ggml_dequantize_rows_nvfp4_scalar;

#ifdef __cplusplus
}
#endif
#endif

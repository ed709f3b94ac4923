/* SPDX-License-Identifier: MIT */
/*
 * ggml_variants.h - the functions behind struct ggml_codec; what they do is said in ggml.h.
 *
 * Private to the family.
 */
#ifndef KERNELS_GGML_GGML_VARIANTS_H
#define KERNELS_GGML_GGML_VARIANTS_H

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
ggml_quantize_fn ggml_quantize_rows_f16_avx2, ggml_quantize_rows_bf16_avx2,
    ggml_quantize_rows_q8_0_avx2, ggml_quantize_rows_q4_0_avx2, ggml_quantize_rows_q4_1_avx2,
    ggml_quantize_rows_q5_0_avx2, ggml_quantize_rows_q5_1_avx2, ggml_quantize_rows_q2_k_avx2,
    ggml_quantize_rows_q3_k_avx2, ggml_quantize_rows_q4_k_avx2, ggml_quantize_rows_q5_k_avx2,
    ggml_quantize_rows_q6_k_avx2, ggml_quantize_rows_iq4_nl_avx2, ggml_quantize_rows_iq4_xs_avx2,
    ggml_quantize_rows_mxfp4_avx2, ggml_quantize_rows_nvfp4_avx2;
ggml_quantize_fn ggml_quantize_rows_f16_avx512, ggml_quantize_rows_bf16_avx512,
    ggml_quantize_rows_q8_0_avx512, ggml_quantize_rows_q4_0_avx512, ggml_quantize_rows_q4_1_avx512,
    ggml_quantize_rows_q5_0_avx512, ggml_quantize_rows_q5_1_avx512, ggml_quantize_rows_q2_k_avx512,
    ggml_quantize_rows_q3_k_avx512, ggml_quantize_rows_q4_k_avx512, ggml_quantize_rows_q5_k_avx512,
    ggml_quantize_rows_q6_k_avx512, ggml_quantize_rows_iq4_nl_avx512,
    ggml_quantize_rows_iq4_xs_avx512, ggml_quantize_rows_mxfp4_avx512,
    ggml_quantize_rows_nvfp4_avx512;

ggml_dequantize_fn ggml_dequantize_rows_f16_scalar, ggml_dequantize_rows_bf16_scalar,
    ggml_dequantize_rows_q8_0_scalar, ggml_dequantize_rows_q4_0_scalar,
    ggml_dequantize_rows_q4_1_scalar, ggml_dequantize_rows_q5_0_scalar,
    ggml_dequantize_rows_q5_1_scalar, ggml_dequantize_rows_q2_k_scalar,
    ggml_dequantize_rows_q3_k_scalar, ggml_dequantize_rows_q4_k_scalar,
    ggml_dequantize_rows_q5_k_scalar, ggml_dequantize_rows_q6_k_scalar,
    ggml_dequantize_rows_iq4_nl_scalar, ggml_dequantize_rows_iq4_xs_scalar,
    ggml_dequantize_rows_mxfp4_scalar, ggml_dequantize_rows_nvfp4_scalar;
ggml_dequantize_fn ggml_dequantize_rows_f16_avx2, ggml_dequantize_rows_bf16_avx2,
    ggml_dequantize_rows_q8_0_avx2, ggml_dequantize_rows_q4_0_avx2, ggml_dequantize_rows_q4_1_avx2,
    ggml_dequantize_rows_q5_0_avx2, ggml_dequantize_rows_q5_1_avx2, ggml_dequantize_rows_q2_k_avx2,
    ggml_dequantize_rows_q3_k_avx2, ggml_dequantize_rows_q4_k_avx2, ggml_dequantize_rows_q5_k_avx2,
    ggml_dequantize_rows_q6_k_avx2, ggml_dequantize_rows_iq4_nl_avx2,
    ggml_dequantize_rows_iq4_xs_avx2, ggml_dequantize_rows_mxfp4_avx2,
    ggml_dequantize_rows_nvfp4_avx2;
ggml_dequantize_fn ggml_dequantize_rows_f16_avx512, ggml_dequantize_rows_bf16_avx512,
    ggml_dequantize_rows_q8_0_avx512, ggml_dequantize_rows_q4_0_avx512,
    ggml_dequantize_rows_q4_1_avx512, ggml_dequantize_rows_q5_0_avx512,
    ggml_dequantize_rows_q5_1_avx512, ggml_dequantize_rows_q2_k_avx512,
    ggml_dequantize_rows_q3_k_avx512, ggml_dequantize_rows_q4_k_avx512,
    ggml_dequantize_rows_q5_k_avx512, ggml_dequantize_rows_q6_k_avx512,
    ggml_dequantize_rows_iq4_nl_avx512, ggml_dequantize_rows_iq4_xs_avx512,
    ggml_dequantize_rows_mxfp4_avx512, ggml_dequantize_rows_nvfp4_avx512;

#ifdef __cplusplus
}
#endif
#endif

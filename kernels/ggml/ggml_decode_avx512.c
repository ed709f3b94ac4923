/* SPDX-License-Identifier: MIT */
/* Decoders; ggml_lanes_decode.h says how. */
#include "kernels/ggml/ggml_rows_avx512.h"

#include "kernels/convert/convert.h"
#include "kernels/ggml/ggml_lanes_decode.h"
#include "kernels/ggml/ggml_variants.h"

void ggml_dequantize_rows_f16_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    convert_f16_to_f32_avx512(dst, src, n_rows * n_cols);
}

void ggml_dequantize_rows_bf16_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    convert_bf16_to_f32_avx512(dst, src, n_rows * n_cols);
}

void ggml_dequantize_rows_q8_0_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {32, 34, 1};
    decode_rows(dst, src, n_rows * n_cols, s, half_factors, q8_0_unpack);
}

void ggml_dequantize_rows_q4_0_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {32, 18, 1};
    decode_rows(dst, src, n_rows * n_cols, s, half_factors, q4_0_unpack);
}

void ggml_dequantize_rows_q4_1_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {32, 20, 1};
    decode_rows(dst, src, n_rows * n_cols, s, half_pair_factors, q4_1_unpack);
}

void ggml_dequantize_rows_q5_0_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {32, 22, 1};
    decode_rows(dst, src, n_rows * n_cols, s, half_factors, q5_0_unpack);
}

void ggml_dequantize_rows_q5_1_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {32, 24, 1};
    decode_rows(dst, src, n_rows * n_cols, s, half_pair_factors, q5_1_unpack);
}

void ggml_dequantize_rows_q2_k_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {256, 84, 16};
    decode_rows(dst, src, n_rows * n_cols, s, q2_k_factors, q2_k_unpack);
}

void ggml_dequantize_rows_q3_k_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {256, 110, 16};
    decode_rows(dst, src, n_rows * n_cols, s, q3_k_factors, q3_k_unpack);
}

void ggml_dequantize_rows_q4_k_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {256, 144, 8};
    decode_rows(dst, src, n_rows * n_cols, s, s6_factors, q4_k_unpack);
}

void ggml_dequantize_rows_q5_k_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {256, 176, 8};
    decode_rows(dst, src, n_rows * n_cols, s, s6_factors, q5_k_unpack);
}

void ggml_dequantize_rows_q6_k_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {256, 210, 16};
    decode_rows(dst, src, n_rows * n_cols, s, q6_k_factors, q6_k_unpack);
}

void ggml_dequantize_rows_iq4_nl_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {32, 18, 1};
    decode_rows(dst, src, n_rows * n_cols, s, half_factors, iq4_nl_unpack);
}

void ggml_dequantize_rows_iq4_xs_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {256, 136, 8};
    decode_rows(dst, src, n_rows * n_cols, s, iq4_xs_factors, iq4_xs_unpack);
}

void ggml_dequantize_rows_mxfp4_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {32, 17, 1};
    decode_rows(dst, src, n_rows * n_cols, s, mxfp4_factors, mxfp4_unpack);
}

void ggml_dequantize_rows_nvfp4_avx512(float *dst, const void *src, size_t n_rows, size_t n_cols)
{
    const struct decode_shape s = {64, 36, 4};
    decode_rows(dst, src, n_rows * n_cols, s, nvfp4_factors, nvfp4_unpack);
}

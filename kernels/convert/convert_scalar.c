/* SPDX-License-Identifier: MIT */
#include "kernels/convert/convert.h"

#include "kernels/fp.h"
#include "kernels/load.h"

void convert_bf16_to_f32_scalar(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = f32_from_bf16(load_u16_at(src, i));
}

void convert_f16_to_f32_scalar(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = f32_from_f16(load_u16_at(src, i));
}

void convert_f32_to_bf16_scalar(uint16_t *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = bf16_from_f32(src[i]);
}

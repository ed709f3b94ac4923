/* SPDX-License-Identifier: MIT */
#include "kernels/fp8/fp8.h"

#include "kernels/fp.h"

static float product(uint8_t code, float scale)
{
    const float p = f32_from_e4m3(code) * scale;
    return p != p ? f32_from_bits(0x7FC00000) : p;
}

void fp8_decode_f32_scalar(float *dst, const uint8_t *codes, size_t n, const float *scales,
                           size_t block)
{
    for (size_t j = 0; j < n; j++)
        dst[j] = product(codes[j], scales[j / block]);
}

void fp8_decode_bf16_scalar(uint16_t *dst, const uint8_t *codes, size_t n, const float *scales,
                            size_t block)
{
    for (size_t j = 0; j < n; j++)
        dst[j] = bf16_from_f32(product(codes[j], scales[j / block]));
}

size_t fp8_count_nan_scalar(const uint8_t *codes, size_t n)
{
    size_t count = 0;
    for (size_t j = 0; j < n; j++)
        count += (codes[j] & 0x7F) == 0x7F;
    return count;
}

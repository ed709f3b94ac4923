/* SPDX-License-Identifier: MIT */
#include "kernels/ggml/ggml_block.h"

#include <math.h>

#include "kernels/fp.h"

int ggml_all_finite(const float *x, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t a = f32_bits(x[i]) & 0x7FFFFFFF;
        most = a > most ? a : most;
    }
    return most < 0x7F800000;
}

float ggml_sum_squares(const float *x, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

void ggml_weigh(float *wt, const float *x, const float *w, size_t n, float sigma2)
{
    for (size_t i = 0; i < n; i++)
        wt[i] = w[i] * sqrtf(sigma2 + x[i] * x[i]);
}

void ggml_quantize_scalar(uint8_t *b, const float *src, size_t n_rows, size_t n_cols,
                          const float *imatrix, const struct ggml_type *t)
{
    for (size_t r = 0; r < n_rows; r++, src += n_cols) {
        const float sigma2 = imatrix ? ggml_sum_squares(src, n_cols) / (float)n_cols : 0;
        for (size_t i = 0; i < n_cols; i += t->n, b += t->bytes) {
            const struct ggml_values v = {src + i, imatrix ? imatrix + i : NULL, sigma2};
            if (ggml_all_finite(v.x, t->n))
                t->quantize(b, &v);
            else
                ggml_put_bad(b, t->slot);
        }
    }
}

void ggml_dequantize_scalar(float *dst, const uint8_t *b, size_t n, const struct ggml_type *t)
{
    const size_t run = t->n / t->n_sub;
    for (size_t i = 0; i < n; i += t->n, b += t->bytes) {
        float d[16], m[16];
        int8_t q[256];
        t->factors(d, m, b);
        t->unpack(q, b);
        for (size_t j = 0; j < t->n; j++)
            dst[i + j] = d[j / run] * (float)q[j] - m[j / run];
    }
}

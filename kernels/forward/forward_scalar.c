/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "kernels/forward/forward.h"
#include "kernels/fp.h"

/* 2^n for -126 <= n <= 127. */
static float power_of_two(int n)
{
    return f32_from_bits((uint32_t)(n + 127) << 23);
}

/*
 * The coefficients are the Taylor series of e^r: at |r| <= 0.3466 the first term left out,
 * r^8/40320, is below 6e-9, a tenth of a rounding.
 */
float forward_exp(float x)
{
    if (!(x >= -104.0F)) /* NaN stays */
        return x < -104.0F ? 0.0F : x;
    if (x > 88.73F)
        return INFINITY;
    const float n = rintf(x * 0x1.715476p+0F);
    float r = fmaf(n, -0x1.62e4p-1F, x);
    r = fmaf(n, -0x1.7f7d1cp-20F, r);
    float p = 0x1.a01a02p-13F;
    p = fmaf(p, r, 0x1.6c16c2p-10F);
    p = fmaf(p, r, 0x1.111112p-7F);
    p = fmaf(p, r, 0x1.555556p-5F);
    p = fmaf(p, r, 0x1.555556p-3F);
    p = fmaf(p, r, 0x1p-1F);
    p = fmaf(p, r, 1.0F);
    p = fmaf(p, r, 1.0F);
    const int half = (int)n / 2;
    return p * power_of_two(half) * power_of_two((int)n - half);
}

static float fold(float lane[FORWARD_LANES])
{
    for (int width = FORWARD_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    return lane[0];
}

static float sum(const float *x, size_t n)
{
    float lane[FORWARD_LANES] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % FORWARD_LANES] += x[i];
    return fold(lane);
}

static float sum_of_squares(const float *x, float mean, size_t n)
{
    float lane[FORWARD_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const float d = x[i] - mean;
        lane[i % FORWARD_LANES] = fmaf(d, d, lane[i % FORWARD_LANES]);
    }
    return fold(lane);
}

void forward_rmsnorm_scalar(float *y, const float *x, const float *w, size_t n, float eps)
{
    const float s = 1.0F / sqrtf(sum_of_squares(x, 0.0F, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * s * w[i];
}

void forward_layernorm_scalar(float *y, const float *x, const float *w, const float *b, size_t n,
                              float eps)
{
    const float mean = sum(x, n) / (float)n;
    const float s = 1.0F / sqrtf(sum_of_squares(x, mean, n) / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf((x[i] - mean) * s, w[i], b[i]);
}

void forward_rope_scalar(float *x, const float *cos, const float *sin, size_t half, int interleaved)
{
    const size_t first = interleaved ? 2 : 1, second = interleaved ? 1 : half;
    for (size_t i = 0; i < half; i++) {
        float *const a = x + first * i, *const b = a + second;
        const float u = *a, v = *b;
        *a = fmaf(-v, sin[i], u * cos[i]);
        *b = fmaf(u, sin[i], v * cos[i]);
    }
}

void forward_softmax_scalar(float *x, size_t n, float scale)
{
    float m = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        x[i] *= scale;
        m = x[i] > m ? x[i] : m;
    }
    for (size_t i = 0; i < n; i++)
        x[i] = forward_exp(x[i] - m);
    const float s = sum(x, n);
    for (size_t i = 0; i < n; i++)
        x[i] /= s;
}

void forward_sigmoid_scalar(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = 1.0F / (1.0F + forward_exp(-x[i]));
}

void forward_silu_mul_scalar(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] / (1.0F + forward_exp(-gate[i])) * up[i];
}

void forward_add_scalar(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

void forward_axpy_scalar(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]);
}

void forward_index_scores_scalar(float *y, const float *g, const float *dots, size_t n_heads,
                                 size_t ld, size_t n, float scale)
{
    for (size_t u = 0; u < n; u++) {
        float s = 0;
        for (size_t h = 0; h < n_heads; h++) {
            const float d = dots[h * ld + u] * scale;
            s = fmaf(g[h], d < 0.0F ? 0.0F : d, s);
        }
        y[u] = s;
    }
}

int forward_all_finite_scalar(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((f32_bits(x[i]) & 0x7F800000) == 0x7F800000)
            return 0;
    return 1;
}

/* SPDX-License-Identifier: MIT */
/* The scales of K blocks, the same for every variant. */
#include <math.h>
#include <string.h>

#include "kernels/ggml/ggml_fit.h"
#include "kernels/ggml/ggml_k.h"
#include "kernels/ggml/ggml_layout_q23.h"
#include "kernels/ggml/ggml_layout_q456.h"

/* Scales up to nm, all multiples of what is returned; weight NULL: the largest becomes nm. */
static float round_positive(uint8_t *s, const float *scale, int n, int nm, const float *weight)
{
    float max = 0;
    if (weight)
        return ggml_fit_positive(s, scale, n, nm, weight);
    for (int j = 0; j < n; j++)
        max = scale[j] > max ? scale[j] : max;
    const float inverse = max > 0 ? (float)nm / max : 0;
    for (int j = 0; j < n; j++)
        s[j] = (uint8_t)ggml_nearest(inverse * scale[j]);
    return max / (float)nm;
}

int ggml_q2_k_put_scales(uint8_t *b, const struct ggml_k_fit *fit, int weighted)
{
    uint8_t s[16], m[16];
    ggml_put_half(b, 40, round_positive(s, fit->scale, 16, 15, weighted ? fit->weight : NULL));
    ggml_put_half(b, 41, round_positive(m, fit->min, 16, 15, weighted ? fit->weight : NULL));
    for (int j = 0; j < 16; j++)
        b[j] = (uint8_t)((s[j] & 15) | m[j] << 4);
    return 1;
}

int ggml_q45_k_put_scales(uint8_t *b, const struct ggml_k_fit *fit, int weighted)
{
    uint8_t s[8], m[8];
    ggml_put_half(b, 0, round_positive(s, fit->scale, 8, 63, weighted ? fit->weight : NULL));
    ggml_put_half(b, 1, round_positive(m, fit->min, 8, 63, weighted ? fit->weight : NULL));
    for (int j = 0; j < 8; j++) {
        s[j] = s[j] < 63 ? s[j] : 63;
        m[j] = m[j] < 63 ? m[j] : 63;
    }
    s6_pack(b + 4, s, m);
    return 1;
}

/* The scale of largest magnitude with its sign, the first of equals. */
static float largest(const float *scale, int n)
{
    float amax = 0, m = 0;
    for (int j = 0; j < n; j++) {
        if (fabsf(scale[j]) > amax) {
            amax = fabsf(scale[j]);
            m = scale[j];
        }
    }
    return m;
}

int ggml_q3_k_put_scales(uint8_t *b, const struct ggml_k_fit *fit, int weighted)
{
    uint8_t l[16];
    float d = 0;
    if (weighted) {
        d = ggml_fit_symmetric(l, fit->scale, 16, 32, fit->weight);
    } else {
        const float m = largest(fit->scale, 16), inverse = -32 / m;
        for (int j = 0; j < 16; j++) {
            const int8_t v = m != 0 ? (int8_t)ggml_nearest(inverse * fit->scale[j]) : -32;
            l[j] = (uint8_t)(ggml_clamp(v, -32, 31) + 32);
        }
        d = m != 0 ? 1 / inverse : 0;
    }
    q3_k_put_scales(b, l);
    ggml_put_half(b, 54, d);
    return 1;
}

int ggml_q6_k_put_scales(uint8_t *b, const struct ggml_k_fit *fit, int weighted)
{
    (void)weighted;
    const float m = largest(fit->scale, 16), inverse = -128 / m;
    if (fabsf(m) < GGML_EPS) {
        memset(b, 0, 210);
        return 0;
    }
    for (int j = 0; j < 16; j++) {
        const int v = ggml_nearest(inverse * fit->scale[j]);
        b[192 + j] = (uint8_t)(v < 127 ? v : 127);
    }
    ggml_put_half(b, 104, 1 / inverse);
    return 1;
}

/* d[j] is the product with the scale as it was before it became a half. */
void ggml_iq4_xs_put_scales(uint8_t *b, float *d, const float *scale)
{
    const float all = -largest(scale, 8) / 32, inverse = all != 0 ? 1 / all : 0;
    uint8_t l[8];
    ggml_put_half(b, 0, all);
    for (int j = 0; j < 8; j++) {
        const int v = ggml_clamp(ggml_nearest(inverse * scale[j]), -32, 31);
        d[j] = all * (float)v;
        l[j] = (uint8_t)(v + 32);
    }
    iq4_xs_put_scales(b, l);
}

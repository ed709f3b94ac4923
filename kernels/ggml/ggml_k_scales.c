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

void ggml_q2_k_round(struct ggml_k_scales *r, const struct ggml_k_fit *fit, int weighted)
{
    r->d = round_positive(r->s, fit->scale, 16, 15, weighted ? fit->weight : NULL);
    r->dmin = round_positive(r->m, fit->min, 16, 15, weighted ? fit->weight : NULL);
}

void ggml_q2_k_store(uint8_t *b, const struct ggml_k_scales *r)
{
    for (int j = 0; j < 16; j++)
        b[j] = (uint8_t)((r->s[j] & 15) | r->m[j] << 4);
    ggml_put_half(b, 40, r->d);
    ggml_put_half(b, 41, r->dmin);
}

void ggml_q45_k_round(struct ggml_k_scales *r, const struct ggml_k_fit *fit, int weighted)
{
    r->d = round_positive(r->s, fit->scale, 8, 63, weighted ? fit->weight : NULL);
    r->dmin = round_positive(r->m, fit->min, 8, 63, weighted ? fit->weight : NULL);
}

void ggml_q45_k_store(uint8_t *b, const struct ggml_k_scales *r)
{
    uint8_t s[8], m[8];
    for (int j = 0; j < 8; j++) {
        s[j] = r->s[j] < 63 ? r->s[j] : 63;
        m[j] = r->m[j] < 63 ? r->m[j] : 63;
    }
    ggml_put_half(b, 0, r->d);
    ggml_put_half(b, 1, r->dmin);
    s6_pack(b + 4, s, m);
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

void ggml_q3_k_round(struct ggml_k_scales *r, const struct ggml_k_fit *fit, int weighted)
{
    if (weighted) {
        r->d = ggml_fit_symmetric(r->s, fit->scale, 16, 32, fit->weight);
        return;
    }
    const float m = largest(fit->scale, 16), inverse = -32 / m;
    for (int j = 0; j < 16; j++) {
        const int8_t v = m != 0 ? (int8_t)ggml_nearest(inverse * fit->scale[j]) : -32;
        r->s[j] = (uint8_t)(ggml_clamp(v, -32, 31) + 32);
    }
    r->d = m != 0 ? 1 / inverse : 0;
}

void ggml_q3_k_store(uint8_t *b, const struct ggml_k_scales *r)
{
    q3_k_put_scales(b, r->s);
    ggml_put_half(b, 54, r->d);
}

/* All zeros, and the scale too, where there is nothing to round. */
void ggml_q6_k_round(struct ggml_k_scales *r, const struct ggml_k_fit *fit, int weighted)
{
    (void)weighted;
    const float m = largest(fit->scale, 16), inverse = -128 / m;
    const int some = !(fabsf(m) < GGML_EPS);
    for (int j = 0; j < 16; j++) {
        const int v = some ? ggml_nearest(inverse * fit->scale[j]) : 0;
        r->s[j] = (uint8_t)(v < 127 ? v : 127);
    }
    r->d = some ? 1 / inverse : 0;
}

void ggml_q6_k_store(uint8_t *b, const struct ggml_k_scales *r)
{
    memcpy(b + 192, r->s, 16);
    ggml_put_half(b, 104, r->d);
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

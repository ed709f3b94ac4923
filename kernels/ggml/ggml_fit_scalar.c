/* SPDX-License-Identifier: MIT */
/* The specification of the searches. Letters as in docs/formats/ggml-blocks.md. */
#include "kernels/ggml/ggml_fit.h"

#include <math.h>
#include <string.h>

#include "kernels/ggml/ggml_layout.h"

/* The value of largest magnitude with its sign, the first of equals; 0 when all are tiny. */
static float extreme(const float *x, int n)
{
    float amax = 0, m = 0;
    for (int i = 0; i < n; i++) {
        if (fabsf(x[i]) > amax) {
            amax = fabsf(x[i]);
            m = x[i];
        }
    }
    return amax < GGML_EPS ? 0 : m;
}

/* A = sum w x q, B = sum w q q. */
struct sums {
    float a, b;
};

static struct sums symmetric_sums(const float *x, const float *w, int n, int nm, float s)
{
    struct sums t = {0, 0};
    for (int i = 0; i < n; i++) {
        float q = (float)ggml_symmetric_level(s, x[i], nm);
        t.a += w[i] * x[i] * q;
        t.b += w[i] * q * q;
    }
    return t;
}

float ggml_fit_symmetric(uint8_t *level, const float *x, int n, int nm, const float *w)
{
    float squares[GGML_FIT_MOST];
    const float m = extreme(x, n);
    if (m == 0) {
        memset(level, 0, (size_t)n);
        return 0;
    }
    for (int i = 0; i < n && !w; i++)
        squares[i] = x[i] * x[i];
    w = w ? w : squares;
    float used = (float)-nm / m;
    struct sums t = symmetric_sums(x, w, n, nm, used);
    float scale = t.b != 0 ? t.a / t.b : 0;
    float best = scale * t.a;
    for (int k = -9; k <= 9; k++) {
        if (k == 0)
            continue;
        const float s = -((float)nm + 0.1f * (float)k) / m;
        t = symmetric_sums(x, w, n, nm, s);
        if (t.b > 0 && t.a * t.a > best * t.b) {
            used = s;
            scale = t.a / t.b;
            best = scale * t.a;
        }
    }
    for (int i = 0; i < n; i++)
        level[i] = (uint8_t)(ggml_symmetric_level(used, x[i], nm) + nm);
    return scale;
}

/* One pass over the values, each moved to the level that is best while the others stay. */
static int refine(int *q, const float *x, struct sums *t)
{
    int changed = 0;
    for (int i = 0; i < 16; i++) {
        const float w = x[i] * x[i], l = (float)q[i];
        float a = t->a - w * x[i] * l;
        if (!(a > 0))
            continue;
        float b = t->b - w * l * l;
        const int best = ggml_clamp(ggml_nearest(x[i] * b / a), -4, 3);
        if (best == q[i])
            continue;
        a += w * x[i] * (float)best;
        b += w * (float)best * (float)best;
        if (b > 0 && a * a * t->b > t->a * t->a * b) {
            q[i] = best;
            t->a = a;
            t->b = b;
            changed = 1;
        }
    }
    return changed;
}

float ggml_fit_refined(uint8_t *level, const float *x)
{
    int q[16];
    struct sums t = {0, 0};
    const float m = extreme(x, 16);
    if (m == 0) {
        memset(level, 0, 16);
        return 0;
    }
    for (int i = 0; i < 16; i++) {
        const float w = x[i] * x[i];
        q[i] = ggml_symmetric_level(-4 / m, x[i], 4);
        t.a += w * x[i] * (float)q[i];
        t.b += w * (float)q[i] * (float)q[i];
    }
    for (int pass = 0; pass < 5 && refine(q, x, &t); pass++) {
    }
    for (int i = 0; i < 16; i++)
        level[i] = (uint8_t)(q[i] + 4);
    return t.b > 0 ? t.a / t.b : 0;
}

/* The group of an affine search. */
struct affine {
    const float *x, *w;
    int n;
    const struct ggml_affine_rule *rule;
};

/* Weighted error of the levels that (s, min) gives, decoded with ts and tm. */
static float affine_error(const struct affine *g, float s, float min, float ts, float tm)
{
    float error = 0;
    for (int i = 0; i < g->n; i++) {
        const float d = ts * (float)ggml_affine_level(s, g->x[i], min, g->rule->nm) + tm - g->x[i];
        error += g->w[i] * (g->rule->absolute ? fabsf(d) : d * d);
    }
    return error;
}

/* Best scale and minimum for the levels that (s, min) gives; 0 when the levels do not settle them.
 */
static int affine_solve(const struct affine *g, float s, float min, const float weights[2],
                        float *ts, float *tm)
{
    const float w = weights[0], x = weights[1];
    float p = 0, q = 0, r = 0;
    for (int i = 0; i < g->n; i++) {
        const float l = (float)ggml_affine_level(s, g->x[i], min, g->rule->nm);
        p += g->w[i] * l;
        q += g->w[i] * l * l;
        r += g->w[i] * l * g->x[i];
    }
    const float d = w * q - p * p;
    if (!(d > 0))
        return 0;
    *ts = (w * r - x * p) / d;
    *tm = (q * x - p * r) / d;
    if (*tm > 0) {
        *tm = 0;
        *ts = r / q;
    }
    return 1;
}

float ggml_fit_affine(float *min_out, uint8_t *level, const float *x, const float *w, int n,
                      const struct ggml_affine_rule *rule)
{
    const struct affine g = {x, w, n, rule};
    const float nm = (float)rule->nm;
    float low = x[0], high = x[0], weights[2] = {w[0], w[0] * x[0]};
    for (int i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        weights[0] += w[i];
        weights[1] += w[i] * x[i];
    }
    low = low > 0 ? 0 : low;
    if (high <= low) {
        memset(level, 0, (size_t)n);
        *min_out = -low;
        return 0;
    }
    float min = low, used = nm / (high - low), used_min = low;
    float scale = 1 / used;
    float best = affine_error(&g, used, min, scale, min);
    for (int k = 0; k <= rule->steps; k++) {
        const float s = (rule->r0 + rule->dr * (float)k + nm) / (high - min);
        float ts, tm;
        if (!affine_solve(&g, s, min, weights, &ts, &tm))
            continue;
        const float error = affine_error(&g, s, min, ts, tm);
        if (error < best) {
            used = s;
            used_min = min;
            best = error;
            scale = ts;
            min = tm;
        }
    }
    for (int i = 0; i < n; i++)
        level[i] = (uint8_t)ggml_affine_level(used, x[i], used_min, rule->nm);
    *min_out = -min;
    return scale;
}

/* Level below 256 for the searches over scales, which are not negative. */
static int positive_level(float s, float x, int nm)
{
    const int l = ggml_nearest(s * x);
    return l < nm ? l : nm;
}

static float positive_error(const float *x, const float *w, int n, int nm, float s)
{
    const float step = 1 / s;
    float error = 0;
    for (int i = 0; i < n; i++) {
        const float d = x[i] - step * (float)positive_level(s, x[i], nm);
        error += w[i] * d * d;
    }
    return error;
}

static int positive_refine(int *q, const float *x, const float *w, int n, int nm, struct sums *t)
{
    int changed = 0;
    for (int i = 0; i < n; i++) {
        const float l = (float)q[i];
        float a = t->a - w[i] * x[i] * l;
        float b = t->b - w[i] * l * l;
        if (!(a > 0 && b > 0))
            continue;
        const int nearest = ggml_nearest(x[i] * b / a), best = nearest < nm ? nearest : nm;
        if (best == q[i])
            continue;
        a += w[i] * x[i] * (float)best;
        b += w[i] * (float)best * (float)best;
        if (a * a * t->b > t->a * t->a * b) {
            q[i] = best;
            t->a = a;
            t->b = b;
            changed = 1;
        }
    }
    return changed;
}

float ggml_fit_positive(uint8_t *level, const float *x, int n, int nm, const float *w)
{
    int q[GGML_FIT_MOST];
    float max = 0;
    struct sums t = {0, 0};
    for (int i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    if (max < GGML_EPS) {
        memset(level, 0, (size_t)n);
        return 0;
    }
    float s = (float)nm / max;
    float least = positive_error(x, w, n, nm, s);
    for (int k = -4; k <= 4; k++) {
        const float candidate = (0.1f * (float)k + (float)nm) / max;
        const float error = k ? positive_error(x, w, n, nm, candidate) : INFINITY;
        if (error < least) {
            least = error;
            s = candidate;
        }
    }
    for (int i = 0; i < n; i++) {
        q[i] = positive_level(s, x[i], nm);
        t.a += w[i] * x[i] * (float)q[i];
        t.b += w[i] * (float)q[i] * (float)q[i];
    }
    for (int pass = 0; pass < 5 && positive_refine(q, x, w, n, nm, &t); pass++) {
    }
    for (int i = 0; i < n; i++)
        level[i] = (uint8_t)q[i];
    return t.b > 0 ? t.a / t.b : 0;
}

int ggml_iq4_index(float v)
{
    int low = 0, high = 15;
    if (v <= (float)ggml_iq4_values[0])
        return 0;
    if (v >= (float)ggml_iq4_values[15])
        return 15;
    while (high - low > 1) {
        const int mid = (low + high) / 2;
        if (v < (float)ggml_iq4_values[mid])
            high = mid;
        else
            low = mid;
    }
    return v - (float)ggml_iq4_values[low] < (float)ggml_iq4_values[high] - v ? low : high;
}

static struct sums iq4_sums(const float *x, const float *wt, float id)
{
    struct sums t = {0, 0};
    for (int i = 0; i < 32; i++) {
        const float q = (float)ggml_iq4_values[ggml_iq4_index(id * x[i])];
        t.a += wt[i] * q * x[i];
        t.b += wt[i] * q * q;
    }
    return t;
}

float ggml_fit_iq4(const float *x, const float *wt)
{
    const float m = extreme(x, 32);
    if (m == 0)
        return 0;
    struct sums t = iq4_sums(x, wt, 1 / (m / 127));
    float d = t.b > 0 ? t.a / t.b : 0;
    float best = d * t.a;
    for (int k = -7; k <= 7; k++) {
        t = iq4_sums(x, wt, (float)(k - 127) / m);
        if (t.b > 0 && t.a * t.a > best * t.b) {
            d = t.a / t.b;
            best = d * t.a;
        }
    }
    return d;
}

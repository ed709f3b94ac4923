/* SPDX-License-Identifier: MIT */
/*
 * The specification of the NVFP4 kernels: the formulas of docs/formats/nvfp4.md, one block at a
 * time. Each operation is rounded once to binary32 unless it says double.
 */
#include <math.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4_group.h"

enum { BLOCK = NVFP4_BLOCK };

/* One block: its weights, its place in the output. */
struct block {
    float x[BLOCK];
    float amax;
    const float *importance; /* of its columns, or NULL */
    uint8_t *packed;
    uint8_t *scale;
};

typedef void block_fn(const struct block *b, const struct nvfp4_group *g);

static float load(const struct nvfp4_rows *rows, size_t i)
{
    uint16_t h;
    float x;
    if (rows->dtype == NVFP4_BF16) {
        memcpy(&h, (const unsigned char *)rows->x + 2 * i, 2);
        return f32_from_bf16(h);
    }
    memcpy(&x, (const unsigned char *)rows->x + 4 * i, 4);
    return x;
}

static float magnitude(float x)
{
    return f32_from_bits(f32_bits(x) & 0x7FFFFFFF);
}

/* As numbers, except that NaN is above infinity. */
static float larger(float a, float b)
{
    return f32_bits(a) > f32_bits(b) ? a : b;
}

static float nvfp4_amax_rows_scalar(const struct nvfp4_rows *rows)
{
    float amax = 0;
    for (size_t i = 0; i < rows->n * rows->k; i++)
        amax = larger(amax, magnitude(load(rows, i)));
    return amax;
}

static void pack_quotients(const struct block *b, float d)
{
    for (int j = 0; j < BLOCK / 2; j++)
        b->packed[j] =
            (uint8_t)(e2m1_from_f32(b->x[2 * j] / d) | e2m1_from_f32(b->x[2 * j + 1] / d) << 4);
}

static void pack_products(const struct block *b, float o)
{
    for (int j = 0; j < BLOCK / 2; j++)
        b->packed[j] =
            (uint8_t)(e2m1_from_f32(b->x[2 * j] * o) | e2m1_from_f32(b->x[2 * j + 1] * o) << 4);
}

/* Scales stay between the smallest and the largest number of E4M3. */
static uint8_t clamped_scale(float ps)
{
    ps = ps > 0x1p-9f ? ps : 0x1p-9f;
    return e4m3_from_f32_sat(ps);
}

static void store_modelopt(const struct block *b, const struct nvfp4_group *g, uint8_t scale)
{
    *b->scale = scale;
    pack_quotients(b, f32_from_e4m3(scale) * g->global);
}

static void max_block(const struct block *b, const struct nvfp4_group *g)
{
    float ps = b->amax / g->six_s2;
    store_modelopt(b, g, clamped_scale(ps == 0 ? 1 : ps));
}

static void minmax_block(const struct block *b, const struct nvfp4_group *g)
{
    float sb = b->amax / 6;
    if (g->dtype == NVFP4_BF16)
        sb = f32_from_bf16(bf16_from_f32(sb));
    uint8_t scale = e4m3_from_f32_sat(g->global * sb);
    *b->scale = scale ? scale : g->zero_code;
    pack_quotients(b, f32_from_e4m3(*b->scale) / g->global);
}

static void rtn_block(const struct block *b, const struct nvfp4_group *g)
{
    uint8_t scale = e4m3_from_f32_sat(g->global * (b->amax * (1.0f / 6)));
    *b->scale = scale ? scale : g->zero_code;
    float d = f32_from_e4m3(*b->scale) * g->reciprocal;
    pack_products(b, d == 0 ? 0 : 1 / d);
}

/* The block in units of the group, and the weights of its squares. */
struct search {
    float x[BLOCK]; /* magnitudes */
    float w[BLOCK];
};

static void search_init(struct search *s, const struct block *b, const struct nvfp4_group *g)
{
    int equal = 1;
    for (int i = 0; i < BLOCK; i++) {
        s->x[i] = magnitude(b->x[i]) * g->unit;
        s->w[i] = b->importance ? b->importance[i] : 1;
        equal &= s->w[i] == s->w[0];
    }
    for (int i = 0; equal && i < BLOCK; i++)
        s->w[i] = 1;
}

/* Squared error of the block at a scale; four sums, so that the order suits vectors. */
static float search_loss(const struct search *s, const struct nvfp4_group *g, uint8_t scale)
{
    float d = f32_from_e4m3(scale) * g->unit_s2;
    float r = 1 / d;
    float sum[4] = {0, 0, 0, 0};
    for (int i = 0; i < BLOCK; i++) {
        float e = s->x[i] - f32_from_e2m1(e2m1_from_f32(s->x[i] * r)) * d;
        sum[i % 4] += e * e * s->w[i];
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void sweep_block(const struct block *b, const struct nvfp4_group *g)
{
    struct search s;
    float least = INFINITY;
    uint8_t best = 1;
    search_init(&s, b, g);
    for (uint8_t scale = 1; scale <= NVFP4_SCALE_LARGEST; scale++) {
        float loss = search_loss(&s, g, scale);
        if (loss < least) {
            least = loss;
            best = scale;
        }
    }
    store_modelopt(b, g, best);
}

static uint8_t four_over_six_scale(const struct nvfp4_group *g, float candidate)
{
    float ps = candidate / 6;
    return clamped_scale((ps == 0 ? 1 : ps) * 256 / g->sixth);
}

static void four_over_six_block(const struct block *b, const struct nvfp4_group *g)
{
    uint8_t six = four_over_six_scale(g, b->amax);
    uint8_t four = four_over_six_scale(g, b->amax * 1.5f);
    struct search s;
    search_init(&s, b, g);
    store_modelopt(b, g, search_loss(&s, g, four) < search_loss(&s, g, six) ? four : six);
}

static void nvfp4_quantize_rows_scalar(const struct nvfp4_codes *out, const struct nvfp4_rows *rows,
                                       enum nvfp4_method method, float amax,
                                       const float *importance)
{
    static block_fn *const quantize_block[N_NVFP4_METHODS] = {
        [NVFP4_MAX] = max_block,
        [NVFP4_MINMAX] = minmax_block,
        [NVFP4_RTN] = rtn_block,
        [NVFP4_SWEEP] = sweep_block,
        [NVFP4_FOUR_OVER_SIX] = four_over_six_block,
    };
    const struct nvfp4_group g = nvfp4_group(method, amax, rows->dtype);
    if (method != NVFP4_SWEEP)
        importance = NULL;
    for (size_t i = 0; i < rows->n * rows->k; i += BLOCK) {
        struct block b = {.packed = out->packed + i / 2, .scale = out->scale + i / BLOCK};
        for (size_t j = 0; j < BLOCK; j++) {
            b.x[j] = load(rows, i + j);
            b.amax = larger(b.amax, magnitude(b.x[j]));
        }
        if (importance)
            b.importance = importance + i % rows->k;
        if (isfinite(b.amax)) {
            quantize_block[g.method](&b, &g);
        } else {
            *b.scale = NVFP4_SCALE_NAN;
            memset(b.packed, 0, BLOCK / 2);
        }
    }
}

static float decode(const struct nvfp4_tensor *t, size_t i)
{
    float s = f32_from_e4m3(t->scale[i / BLOCK]);
    float d = t->layout == NVFP4_MODELOPT ? s * t->global : s / t->global;
    return f32_from_e2m1((unsigned)t->packed[i / 2] >> (i % 2 * 4)) * d;
}

static void nvfp4_decode_rows_scalar(void *out, enum nvfp4_dtype dtype,
                                     const struct nvfp4_tensor *t)
{
    unsigned char *p = out;
    for (size_t i = 0; i < t->n * t->k; i++) {
        float x = decode(t, i);
        uint16_t h = bf16_from_f32(x);
        if (dtype == NVFP4_BF16)
            memcpy(p + 2 * i, &h, 2);
        else
            memcpy(p + 4 * i, &x, 4);
    }
}

/* Eight sums by column, so that the order suits vectors. */
static void nvfp4_error_rows_scalar(struct nvfp4_error *out, const struct nvfp4_rows *rows,
                                    const struct nvfp4_tensor *t, const float *importance)
{
    for (size_t row = 0; row < rows->n; row++) {
        double error[8] = {0};
        double signal[8] = {0};
        for (size_t i = 0; i < rows->k; i++) {
            double x = (double)load(rows, row * rows->k + i);
            double e = x - (double)decode(t, row * rows->k + i);
            double w = importance ? (double)importance[i] : 1;
            error[i % 8] += e * e * w;
            signal[i % 8] += x * x * w;
        }
        for (size_t half = 4; half; half /= 2) {
            for (size_t i = 0; i < half; i++) {
                error[i] += error[i + half];
                signal[i] += signal[i + half];
            }
        }
        out[row] = (struct nvfp4_error){error[0], signal[0]};
    }
}

static void nvfp4_inputs_scalar(float *y, const float *x, size_t n, float input_scale)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        float amax = 0;
        for (int j = 0; j < BLOCK; j++)
            amax = larger(amax, magnitude(x[i + (size_t)j]));
        const float d = nvfp4_input_step(amax, input_scale);
        for (size_t j = i; j < i + BLOCK; j++)
            y[j] = d == 0 ? 0 : f32_from_e2m1(e2m1_from_f32(x[j] / d)) * d;
    }
}

const struct nvfp4_kernels nvfp4_kernels_scalar = {
    .isa = ISA_SCALAR,
    .amax = nvfp4_amax_rows_scalar,
    .quantize = nvfp4_quantize_rows_scalar,
    .error = nvfp4_error_rows_scalar,
    .decode = nvfp4_decode_rows_scalar,
    .inputs = nvfp4_inputs_scalar,
};

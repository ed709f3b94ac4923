/* SPDX-License-Identifier: MIT */
#include "libprep/engine/kv_form.h"

#include <math.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"

static const char *const names[N_KV_FORMS] = {"f32", "bf16", "fp8"};

int kv_form_parse(enum kv_form *form, const char *name, struct prep_error *err)
{
    for (int i = 0; i < N_KV_FORMS; i++)
        if (strcmp(names[i], name) == 0) {
            *form = (enum kv_form)i;
            return 0;
        }
    return prep_fail(err, PREP_EUSAGE, "no form of keys is called \"%.40s\": want f32, bf16 or fp8",
                     name);
}

const char *kv_form_name(enum kv_form form)
{
    return names[form];
}

static size_t n_scales(const struct kv_row *row)
{
    return (row->n_scaled + KV_GROUP - 1) / KV_GROUP;
}

size_t kv_row_bytes(const struct kv_row *row)
{
    if (row->form == KV_FP8)
        return row->n_scaled + 4 * n_scales(row) + 2 * (row->n - row->n_scaled);
    return row->n * (row->form == KV_F32 ? 4 : 2);
}

/* 448 = 0.875 2^9, and the largest is f 2^e with 0.5 <= f < 1. */
static float scale_of(const float *x, size_t n)
{
    float largest = 0;
    int e;
    for (size_t i = 0; i < n; i++)
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    if (!(largest > 0))
        return 1;
    const float f = frexpf(largest, &e);
    e -= f <= 0.875F ? 9 : 8;
    return ldexpf(1, e < -126 ? -126 : e);
}

static void store_fp8(unsigned char *to, const struct kv_row *row, const float *x)
{
    unsigned char *scales = to + row->n_scaled, *rest = scales + 4 * n_scales(row);
    for (size_t g = 0, i = 0; i < row->n_scaled; g++, i += KV_GROUP) {
        const size_t n = row->n_scaled - i < KV_GROUP ? row->n_scaled - i : KV_GROUP;
        const float s = scale_of(x + i, n), inverse = 1 / s;
        store_u32_at(scales, g, f32_bits(s));
        for (size_t k = 0; k < n; k++)
            to[i + k] = e4m3_from_f32_sat(x[i + k] * inverse);
    }
    for (size_t i = row->n_scaled; i < row->n; i++)
        store_u16_at(rest, i - row->n_scaled, bf16_from_f32(x[i]));
}

void kv_row_store(void *to, const struct kv_row *row, const float *x)
{
    unsigned char *p = to;
    if (row->form == KV_FP8)
        store_fp8(p, row, x);
    else if (row->form == KV_F32)
        memcpy(p, x, row->n * sizeof *x);
    else
        for (size_t i = 0; i < row->n; i++)
            store_u16_at(p, i, bf16_from_f32(x[i]));
}

void kv_row_load(float *x, const struct kv_row *row, const void *from)
{
    const unsigned char *p = from;
    if (row->form == KV_F32) {
        memcpy(x, p, row->n * sizeof *x);
        return;
    }
    const size_t n = row->form == KV_FP8 ? row->n_scaled : 0;
    const unsigned char *scales = p + n,
                        *rest = row->form == KV_FP8 ? scales + 4 * n_scales(row) : p;
    for (size_t i = 0; i < n; i++)
        x[i] = f32_from_e4m3(p[i]) * f32_from_bits(load_u32_at(scales, i / KV_GROUP));
    for (size_t i = n; i < row->n; i++)
        x[i] = f32_from_bf16(load_u16_at(rest, i - n));
}

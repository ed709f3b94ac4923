/* SPDX-License-Identifier: MIT */
#include "kernels/nvfp4/nvfp4.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4_group.h"

#define MAX_CODES 2688.0f      /* 6 * 448, the largest product of a code and a block scale */
#define MAX_CODES_FOUR 1536.0f /* 6 * 256: leaves room for 1.5 times the scale below 448 */

static float reciprocal(float x)
{
    return x == 0 ? 0 : 1 / x;
}

static float round_to(enum nvfp4_dtype dtype, float x)
{
    return dtype == NVFP4_BF16 ? f32_from_bf16(bf16_from_f32(x)) : x;
}

enum nvfp4_layout nvfp4_method_layout(enum nvfp4_method method)
{
    return method == NVFP4_MINMAX || method == NVFP4_RTN ? NVFP4_COMPRESSED_TENSORS
                                                         : NVFP4_MODELOPT;
}

/* 1 stands in where the peers write 0 or infinity, which engines turn into NaN. */
static float global_or_one(float x)
{
    return isfinite(x) && x > 0 ? x : 1;
}

float nvfp4_global(enum nvfp4_method method, float amax, enum nvfp4_dtype dtype)
{
    switch (method) {
    case NVFP4_MINMAX: {
        float r = round_to(dtype, 1 / (amax > FLT_MIN ? amax : FLT_MIN));
        return global_or_one(round_to(dtype, MAX_CODES * r));
    }
    case NVFP4_RTN:
        return global_or_one(MAX_CODES * reciprocal(amax));
    case NVFP4_FOUR_OVER_SIX:
        return global_or_one(amax / MAX_CODES_FOUR);
    default:
        return global_or_one(amax / MAX_CODES);
    }
}

float nvfp4_global_reciprocal(float global)
{
    float x = 1 / global;
    return x > FLT_MAX ? FLT_MAX : x;
}

struct nvfp4_group nvfp4_group(enum nvfp4_method method, float amax, enum nvfp4_dtype dtype)
{
    struct nvfp4_group g = {.method = method, .dtype = dtype};
    int exponent;
    if (method == NVFP4_SWEEP && amax / MAX_CODES == 0)
        g.method = NVFP4_MAX; /* nothing to search: scales 1, codes 0 */
    g.global = nvfp4_global(method, amax, dtype);
    g.six_s2 = 6 * g.global;
    g.sixth = (amax / MAX_CODES_FOUR == 0 ? MAX_CODES_FOUR : amax) / 6;
    g.reciprocal = reciprocal(g.global);
    /* auto-round writes 0; not where the global had to be replaced. */
    if (method != NVFP4_RTN || g.global != MAX_CODES * reciprocal(amax))
        g.zero_code = NVFP4_SCALE_EIGHTH;
    frexpf(g.global, &exponent);
    g.unit = ldexpf(1, exponent < -137 ? 127 : -10 - exponent);
    g.unit_s2 = g.global * g.unit;
    return g;
}

size_t nvfp4_first_nonfinite(const struct nvfp4_rows *rows)
{
    const unsigned char *p = rows->x;
    size_t count = rows->n * rows->k;
    for (size_t i = 0; i < count; i++) {
        uint16_t h = 0;
        float x = 0;
        if (rows->dtype == NVFP4_BF16)
            memcpy(&h, p + 2 * i, 2);
        else
            memcpy(&x, p + 4 * i, 4);
        if ((h & 0x7F80) == 0x7F80 || !isfinite(x))
            return i;
    }
    return count;
}

/* t + h and t - h in turn; the sign is lost when the quotient is at most half the least number. */
const double nvfp4_cut_factors[2][NVFP4_CUTS] = {
    {0x1p-150, 0.25 + 0x1p-26, 0.75 - 0x1p-25, 1.25 + 0x1p-24, 1.75 - 0x1p-24, 2.5 + 0x1p-23,
     3.5 - 0x1p-23, 5 + 0x1p-22},
    {0x1p-150 * (1 + 0x1p-49), (0.25 + 0x1p-26) * (1 + 0x1p-49), (0.75 - 0x1p-25) * (1 - 0x1p-49),
     (1.25 + 0x1p-24) * (1 + 0x1p-49), (1.75 - 0x1p-24) * (1 - 0x1p-49),
     (2.5 + 0x1p-23) * (1 + 0x1p-49), (3.5 - 0x1p-23) * (1 - 0x1p-49),
     (5 + 0x1p-22) * (1 + 0x1p-49)}};

void nvfp4_each_set(const struct nvfp4_codes *out, const struct nvfp4_rows *rows,
                    const struct nvfp4_group *g, const float *importance, nvfp4_set_fn *fn)
{
    size_t block_bytes = NVFP4_BLOCK * (rows->dtype == NVFP4_BF16 ? 2 : 4);
    size_t n_blocks = rows->n * (rows->k / NVFP4_BLOCK);
    for (size_t block = 0; block < n_blocks; block += NVFP4_SET) {
        struct nvfp4_codes to = {out->packed + block * NVFP4_BLOCK / 2, out->scale + block};
        unsigned char padded[NVFP4_SET * NVFP4_BLOCK * 4];
        uint8_t packed[NVFP4_SET * NVFP4_BLOCK / 2], scale[NVFP4_SET];
        size_t n = n_blocks - block;
        struct nvfp4_set set;
        set.x = (const unsigned char *)rows->x + block * block_bytes;
        set.n = n < NVFP4_SET ? n : NVFP4_SET;
        set.first = block;
        set.k = rows->k;
        set.importance = importance;
        if (set.n % NVFP4_PART == 0) {
            fn(&to, &set, g);
            continue;
        }
        set.n += NVFP4_PART - set.n % NVFP4_PART;
        memset(padded, 0, sizeof padded);
        memcpy(padded, set.x, n * block_bytes);
        set.x = padded;
        fn(&(struct nvfp4_codes){packed, scale}, &set, g);
        memcpy(to.packed, packed, n * NVFP4_BLOCK / 2);
        memcpy(to.scale, scale, n);
    }
}

const struct nvfp4_kernels *nvfp4_kernels(enum isa limit)
{
    static const struct nvfp4_kernels *const variants[N_ISA] = {
        &nvfp4_kernels_scalar, &nvfp4_kernels_avx2, &nvfp4_kernels_avx512};
    return variants[cpu_isa_within(limit)];
}

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

const struct nvfp4_kernels *nvfp4_kernels(enum isa limit)
{
    (void)limit;
    return &nvfp4_kernels_scalar;
}

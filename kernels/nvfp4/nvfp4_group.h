/* SPDX-License-Identifier: MIT */
/*
 * nvfp4_group.h - what the variants of the NVFP4 kernels share: constants of a sharing group.
 *
 * Letters are those of docs/formats/nvfp4.md. Private to this folder.
 */
#ifndef KERNELS_NVFP4_NVFP4_GROUP_H
#define KERNELS_NVFP4_NVFP4_GROUP_H

#include "kernels/nvfp4/nvfp4.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    NVFP4_SCALE_ONE = 0x38,    /* 1.0 */
    NVFP4_SCALE_EIGHTH = 0x20, /* 0.125 */
    NVFP4_SCALE_LARGEST = 0x7E,
    NVFP4_SCALE_NAN = 0x7F
};

struct nvfp4_group {
    enum nvfp4_method method;
    enum nvfp4_dtype dtype;
    float global;      /* s2 or g */
    float six_s2;      /* max, sweep: f32(6 * s2) */
    float sixth;       /* four-over-six: f32(amax / 6) */
    float reciprocal;  /* auto-round: rec(g) */
    uint8_t zero_code; /* compressed-tensors, auto-round: written where the scale rounds to 0 */
    /*
     * The searches work on numbers times this power of two, which brings s2 to about 2^-10 and the
     * largest weight to about 2: squares neither overflow nor vanish.
     */
    float unit;
    float unit_s2; /* s2 * unit, exact */
};

struct nvfp4_group nvfp4_group(enum nvfp4_method method, float amax, enum nvfp4_dtype dtype);

extern const struct nvfp4_kernels nvfp4_kernels_scalar;
extern const struct nvfp4_kernels nvfp4_kernels_avx2;
extern const struct nvfp4_kernels nvfp4_kernels_avx512;

#ifdef __cplusplus
}
#endif
#endif

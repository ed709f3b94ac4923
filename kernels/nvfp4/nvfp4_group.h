/* SPDX-License-Identifier: MIT */
/*
 * nvfp4_group.h - what the variants of the NVFP4 kernels share. Private to this folder.
 *
 * Letters are those of docs/formats/nvfp4.md. Vector variants take the blocks of the rows as one
 * stream, in sets, and a set through one stage after the other, so that the long latencies of its
 * 16 or 8 blocks at a time overlap. Sets that are not full are padded with zero blocks.
 *
 * They find codes without dividing. The code of x is the number of its boundaries that |x / d|
 * passes, and it passes one exactly when |x| exceeds a cut which depends on d only: the quotient
 * rounds above t when |x| / d > t + h, and not below t when |x| / d > t - h, h being half a step
 * (a tie goes to t, which is even). d (t + h) has at most 50 bits, so binary64 holds it; it has
 * more than 24, so no weight equals it, and rounding it down to the weights' grid loses nothing.
 */
#ifndef KERNELS_NVFP4_NVFP4_GROUP_H
#define KERNELS_NVFP4_NVFP4_GROUP_H

#include "kernels/fp.h"
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

enum {
    NVFP4_SET = 64,  /* blocks */
    NVFP4_PART = 16, /* a set has a multiple of these */
    NVFP4_CUTS = 8   /* one for the sign, seven between eight magnitudes */
};

/*
 * A cut is a factor times d, rounded down. The second row is for x * o instead of x / d: there d
 * stands for 1 / o, whose rounding error could cross a weight that lies on the boundary, so
 * factors lean away from it by 2^-49; a weight beside it is 2^-48 away, as x * o has 48 bits.
 */
extern const double nvfp4_cut_factors[2][NVFP4_CUTS];

/* Bits of the cuts of a part as binary32; for BF16 the upper half, twice. */
struct nvfp4_cuts {
    uint32_t at[NVFP4_CUTS][NVFP4_PART];
};

struct nvfp4_set {
    const unsigned char *x;     /* [n, 16] */
    size_t n;                   /* a multiple of 16 */
    size_t first;               /* its first block, counted over all rows */
    size_t k;                   /* columns of the rows */
    const float *importance;    /* [k], or NULL: all equal */
    uint32_t maxima[NVFP4_SET]; /* bits of binary32; NaN is above infinity */
    uint32_t scale[NVFP4_SET];  /* codes */
    uint32_t other[NVFP4_SET];  /* to choose from */
};

/* Walk rows as sets: fn finds x to importance set, and writes packed [n, 8] and scale [n]. */
typedef void nvfp4_set_fn(const struct nvfp4_codes *out, struct nvfp4_set *set,
                          const struct nvfp4_group *g);
void nvfp4_each_set(const struct nvfp4_codes *out, const struct nvfp4_rows *rows,
                    const struct nvfp4_group *g, const float *importance, nvfp4_set_fn *fn);

/* Largest magnitudes of a part. */
void nvfp4_maxima_avx2(uint32_t maxima[NVFP4_PART], const unsigned char *x, enum nvfp4_dtype dtype);

/* Codes of a part, packed [16, 8]. */
void nvfp4_codes_avx2(uint8_t *packed, const unsigned char *x, enum nvfp4_dtype dtype,
                      const struct nvfp4_cuts *cuts);

/* The same for BF16, with cuts rearranged from plain binary32 by nvfp4_table_avx512(). */
void nvfp4_table_avx512(struct nvfp4_cuts *cuts);
void nvfp4_codes_avx512(uint8_t *packed, const unsigned char *x, const struct nvfp4_cuts *cuts);

/* Replace `scale`, as chosen by NVFP4_MAX, by the scales of the sweep. */
void nvfp4_sweep_avx2(struct nvfp4_set *set, const struct nvfp4_group *g);
void nvfp4_sweep_avx512(struct nvfp4_set *set, const struct nvfp4_group *g);

/* Replace `scale` by `other` where that errs less. */
void nvfp4_choose_avx2(struct nvfp4_set *set, const struct nvfp4_group *g);
void nvfp4_choose_avx512(struct nvfp4_set *set, const struct nvfp4_group *g);

/* d of a block of activations whose largest magnitude is amax. */
static inline float nvfp4_input_step(float amax, float input_scale)
{
    return f32_from_e4m3(e4m3_from_f32_sat(amax / 6 / input_scale)) * input_scale;
}

nvfp4_amax_fn nvfp4_amax_rows_avx2;
nvfp4_error_fn nvfp4_error_rows_avx2, nvfp4_error_rows_avx512;
nvfp4_decode_fn nvfp4_decode_rows_avx2, nvfp4_decode_rows_avx512;
nvfp4_inputs_fn nvfp4_inputs_avx2, nvfp4_inputs_avx512;

extern const struct nvfp4_kernels nvfp4_kernels_scalar;
extern const struct nvfp4_kernels nvfp4_kernels_avx2;
extern const struct nvfp4_kernels nvfp4_kernels_avx512;

#ifdef __cplusplus
}
#endif
#endif

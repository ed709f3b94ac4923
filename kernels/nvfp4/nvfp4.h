/* SPDX-License-Identifier: MIT */
/*
 * nvfp4.h - NVFP4 weights: 4-bit E2M1 codes, one E4M3 scale per 16 columns, one F32 per tensor.
 *
 * A weight is w' = value(code) * d, where d comes from the block's scale byte S and the tensor's
 * global scale. The two layouts write the reciprocal of each other's global:
 *
 *   modelopt             d = f32(value(S) * s2)     weight_scale_2 = s2, shape []
 *   compressed-tensors   d = f32(value(S) / g)      weight_global_scale = g, shape [1]
 *
 *   packed byte j of a row    code of column 2j | code of column 2j + 1 << 4
 *   scale byte b of a row     columns 16b ... 16b + 15
 *
 * docs/formats/nvfp4.md has the arithmetic of each method; nvfp4_scalar.c is its specification.
 *
 * Shapes     weights [n, k] BF16 or F32, packed [n, k/2], scale [n, k/16], all row-major without
 *            gaps and of any alignment; k is a multiple of 16; n = 0 is allowed
 * Exact      every variant gives the bytes of the scalar one for all inputs. A NaN in struct
 *            nvfp4_error is any NaN
 * Input      amax is finite, not negative and at least the largest magnitude of the rows; a global
 *            is finite and positive; importance is finite and not negative. Whoever quantizes
 *            refuses non-finite weights first (amax says so); a block which holds one all the same
 *            gets scale 0x7F (NaN) and codes 0
 * Ownership  everything is borrowed for the call
 * Errors     none
 * Threads    pure functions, serial; rows are independent, so any split of them gives the same
 */
#ifndef KERNELS_NVFP4_NVFP4_H
#define KERNELS_NVFP4_NVFP4_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { NVFP4_BLOCK = 16 };

enum nvfp4_dtype { NVFP4_BF16, NVFP4_F32 };

enum nvfp4_layout { NVFP4_MODELOPT, NVFP4_COMPRESSED_TENSORS };

/* How the scale of a block is chosen. The first three write what the named peer writes. */
enum nvfp4_method {
    NVFP4_MAX,           /* modelopt max: the largest magnitude becomes 6 */
    NVFP4_MINMAX,        /* compressed-tensors min/max; statistics in the dtype of the weights */
    NVFP4_RTN,           /* auto-round without tuning */
    NVFP4_SWEEP,         /* all 126 scales, least squared error; importance weighs the columns */
    NVFP4_FOUR_OVER_SIX, /* the largest magnitude becomes 6 or 4, whichever errs less */
    N_NVFP4_METHODS
};

/* The layout in which a method's global is expressed. */
enum nvfp4_layout nvfp4_method_layout(enum nvfp4_method method);

/*
 * The global scale of a group of tensors with this largest magnitude; always finite and positive.
 * NVFP4_MAX and NVFP4_MINMAX also give the input scales of their layouts (dtype: the activations').
 */
float nvfp4_global(enum nvfp4_method method, float amax, enum nvfp4_dtype dtype);

/* The same global for the other layout: f32(1 / global), kept finite and positive. */
float nvfp4_global_reciprocal(float global);

struct nvfp4_rows {
    const void *x; /* [n, k] */
    size_t n, k;
    enum nvfp4_dtype dtype;
};

struct nvfp4_codes {
    uint8_t *packed; /* [n, k/2] */
    uint8_t *scale;  /* [n, k/16] */
};

/* Stored weights: what the kernels read. */
struct nvfp4_tensor {
    const uint8_t *packed; /* [n, k/2] */
    const uint8_t *scale;  /* [n, k/16] */
    size_t n, k;
    enum nvfp4_layout layout;
    float global; /* weight_scale_2 or weight_global_scale */
};

/* Squared error of a row, and the squares of the source; NMSE is sum of one / sum of the other. */
struct nvfp4_error {
    double error, signal;
};

/* Index into x of the first NaN or infinity; n * k when there is none. */
size_t nvfp4_first_nonfinite(const struct nvfp4_rows *rows);

/* The largest magnitude, 0 for no rows. Infinity when the rows hold one, NaN when they hold one. */
typedef float nvfp4_amax_fn(const struct nvfp4_rows *rows);

/* amax is that of the group which shares the global; importance [k] or NULL, for the sweep only. */
typedef void nvfp4_quantize_fn(const struct nvfp4_codes *out, const struct nvfp4_rows *rows,
                               enum nvfp4_method method, float amax, const float *importance);

/* out [n]: sums over a row in binary64, each square times importance[column] unless that is NULL.
 */
typedef void nvfp4_error_fn(struct nvfp4_error *out, const struct nvfp4_rows *rows,
                            const struct nvfp4_tensor *tensor, const float *importance);

/* out [n, k]: f32(value(code) * d), for BF16 rounded once more. */
typedef void nvfp4_decode_fn(void *out, enum nvfp4_dtype dtype, const struct nvfp4_tensor *tensor);

/*
 * Activations as a W4A4 engine sees them: x in blocks of 16, n a multiple of that,
 *
 *    s = e4m3(min(448, f32(f32(ab / 6) / input_scale)))    ab: the block's largest magnitude
 *    d = f32(value(s) * input_scale)
 *    y = f32(value(e2m1(f32(x / d))) * d), and 0 where d is 0
 *
 * input_scale, finite and positive, is amax / 2688. y may be x. A block with a NaN becomes NaN.
 */
typedef void nvfp4_inputs_fn(float *y, const float *x, size_t n, float input_scale);

struct nvfp4_kernels {
    enum isa isa;
    nvfp4_amax_fn *amax;
    nvfp4_quantize_fn *quantize;
    nvfp4_error_fn *error;
    nvfp4_decode_fn *decode;
    nvfp4_inputs_fn *inputs;
};

/* The fastest variant this machine has up to the limit. */
const struct nvfp4_kernels *nvfp4_kernels(enum isa limit);

#ifdef __cplusplus
}
#endif
#endif

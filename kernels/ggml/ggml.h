/* SPDX-License-Identifier: MIT */
/*
 * ggml.h - the block types of GGUF files: quantizers and decoders.
 *
 * A row is cut into blocks; a block is a few bytes of scales and a code per value. Quantizers write
 * the bytes which ggml's own portable quantizers write, with and without importance weights.
 * docs/formats/ggml-blocks.md has bytes and arithmetic; the *_scalar.c files are the specification.
 *
 *   blocks of 32     Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 IQ4_NL MXFP4;  of 64: NVFP4
 *   blocks of 256    Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS
 *   single values    F16 BF16
 *
 * Shapes     values [n_rows, n_cols] F32, blocks [n_rows, n_cols / block], both row-major without
 *            gaps; blocks at any address; n_cols is a multiple of the block; n_rows = 0 is allowed
 * Weights    imatrix [n_cols], finite and not negative, shared by the rows; or NULL. Types without
 *            a weighted algorithm (F16, BF16, Q8_0, MXFP4, NVFP4) do not look at it
 * Exact      every variant gives the bytes of the scalar one for all values and for all blocks
 * Input      whoever quantizes refuses NaN and infinity first. A block which holds one all the same
 *            gets a NaN as its scale and zeros, in every type but F16 and BF16; ggml_first_bad()
 *            finds it, and blocks whose scale overflowed
 * Ownership  everything is borrowed for the call
 * Errors     none
 * Threads    pure functions, serial. Any split into whole rows gives the same bytes; a row cannot
 *            be cut: weighted blocks of 32 look at all of it
 */
#ifndef KERNELS_GGML_GGML_H
#define KERNELS_GGML_GGML_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void ggml_quantize_fn(void *dst, const float *src, size_t n_rows, size_t n_cols,
                              const float *imatrix);

typedef void ggml_dequantize_fn(float *dst, const void *src, size_t n_rows, size_t n_cols);

struct ggml_codec {
    uint16_t type;        /* the number in the file: enum ggml_type of format/ggml_type.h */
    uint16_t block;       /* values */
    uint16_t block_bytes; /* bytes of a block */
    uint16_t weighted;    /* does it look at imatrix */
    ggml_quantize_fn *quantize_rows;
    ggml_dequantize_fn *dequantize_rows;
};

/* The fastest variant this machine has up to the limit; NULL when there is none for the type. */
const struct ggml_codec *ggml_codec(enum isa limit, unsigned type);

/*
 * The first of n blocks with a scale that is NaN or infinite (for F16 and BF16: such a value); n
 * when there is none. ggml refuses to load such tensors.
 */
size_t ggml_first_bad(const struct ggml_codec *codec, const void *src, size_t n);

#ifdef __cplusplus
}
#endif
#endif

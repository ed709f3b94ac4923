/* SPDX-License-Identifier: MIT */
/*
 * ggml_lanes_decode.h - decoders: codes out of their places, then d * q - m for sixteen at a time.
 *
 * Private to the vector variants.
 */
#ifndef KERNELS_GGML_GGML_LANES_DECODE_H
#define KERNELS_GGML_GGML_LANES_DECODE_H

#include "kernels/ggml/ggml_lanes.h"
#include "kernels/ggml/ggml_layout_q23.h"
#include "kernels/ggml/ggml_layout_q456.h"

#ifdef GGML_LANES

#ifdef __cplusplus
extern "C" {
#endif

struct decode_shape {
    size_t n, bytes, n_sub; /* values, bytes, runs with one pair of factors, of a block */
};

__attribute__((always_inline)) static inline void
decode_rows(float *dst, const uint8_t *b, size_t n, struct decode_shape s,
            void (*factors)(float *, float *, const uint8_t *),
            void (*unpack)(int8_t *, const uint8_t *))
{
    const size_t run = s.n / s.n_sub;
    for (size_t i = 0; i < n; i += s.n, b += s.bytes, dst += s.n) {
        float d[16], m[16];
        int8_t q[256];
        factors(d, m, b);
        unpack(q, b);
        for (size_t j = 0; j < s.n; j += 16)
            put_values_16(dst + j, q + j, d[j / run], m[j / run]);
    }
}

#ifdef __cplusplus
}
#endif
#endif
#endif

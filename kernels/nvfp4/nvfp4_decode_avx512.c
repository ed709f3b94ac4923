/* SPDX-License-Identifier: MIT */
/* Stored weights back to numbers, and their error; sixteen columns at a time. */
#include <immintrin.h>
#include <string.h>

#include "kernels/nvfp4/nvfp4_e4m3_avx512.h"
#include "kernels/nvfp4/nvfp4_group.h"

enum { BLOCK = NVFP4_BLOCK };

/* d of up to sixteen blocks. */
static void load_scales(float d[BLOCK], const uint8_t *scale, size_t n,
                        const struct nvfp4_tensor *t)
{
    const __m512 global = _mm512_set1_ps(t->global);
    __mmask16 some = (__mmask16)(n < BLOCK ? (1u << n) - 1 : 0xFFFF);
    __m512 s = e4m3_decode_avx512(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(some, scale)));
    _mm512_storeu_ps(d, t->layout == NVFP4_MODELOPT ? _mm512_mul_ps(s, global)
                                                    : _mm512_div_ps(s, global));
}

static inline __m512 decode_block(const uint8_t *packed, float d)
{
    const __m512 value =
        _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
    const __m512i shift =
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const __m512i half = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    __m512i bytes = _mm512_castsi128_si512(_mm_loadl_epi64((const __m128i *)(const void *)packed));
    __m512i code = _mm512_srlv_epi32(_mm512_permutexvar_epi32(half, bytes), shift);
    return _mm512_mul_ps(_mm512_permutexvar_ps(code, value), _mm512_set1_ps(d));
}

static inline __m256i round_bf16(__m512 x)
{
    __m512i u = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, u, _mm512_set1_epi32(0x00400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

void nvfp4_decode_rows_avx512(void *out, enum nvfp4_dtype dtype, const struct nvfp4_tensor *t)
{
    unsigned char *to = out;
    size_t n_blocks = t->n * (t->k / BLOCK);
    float d[BLOCK];
    for (size_t b = 0; b < n_blocks; b++) {
        if (b % BLOCK == 0)
            load_scales(d, t->scale + b, n_blocks - b, t);
        __m512 x = decode_block(t->packed + 8 * b, d[b % BLOCK]);
        if (dtype == NVFP4_F32)
            _mm512_storeu_ps(to + 64 * b, x);
        else
            _mm256_storeu_si256((__m256i *)(to + 32 * b), round_bf16(x));
    }
}

/* Eight columns in binary64, or sums over columns equal modulo 8. */
struct sums {
    __m512d error, signal;
};

static inline struct sums add_squares(struct sums s, __m256 source, __m256 stored, __m512d w)
{
    __m512d x = _mm512_cvtps_pd(source);
    __m512d e = _mm512_sub_pd(x, _mm512_cvtps_pd(stored));
    s.error = _mm512_add_pd(s.error, _mm512_mul_pd(_mm512_mul_pd(e, e), w));
    s.signal = _mm512_add_pd(s.signal, _mm512_mul_pd(_mm512_mul_pd(x, x), w));
    return s;
}

static double total(__m512d v)
{
    double a[8];
    _mm512_storeu_pd(a, v);
    for (size_t half = 4; half; half /= 2) {
        for (size_t i = 0; i < half; i++)
            a[i] += a[i + half];
    }
    return a[0];
}

static struct nvfp4_error row_error(const unsigned char *x, const struct nvfp4_rows *rows,
                                    const struct nvfp4_tensor *t, size_t row,
                                    const float *importance)
{
    const size_t n_blocks = rows->k / BLOCK;
    const __m512d one = _mm512_set1_pd(1);
    struct sums s = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    float d[BLOCK];
    for (size_t b = 0; b < n_blocks; b++) {
        size_t i = row * n_blocks + b;
        if (b % BLOCK == 0)
            load_scales(d, t->scale + i, n_blocks - b, t);
        __m512 stored = decode_block(t->packed + 8 * i, d[b % BLOCK]);
        __m512 source;
        if (rows->dtype == NVFP4_F32) {
            source = _mm512_loadu_ps(x + 64 * i);
        } else {
            __m256i h = _mm256_loadu_si256((const __m256i *)(x + 32 * i));
            source = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
        }
        const float *w = importance ? importance + BLOCK * b : NULL;
        s = add_squares(s, _mm512_castps512_ps256(source), _mm512_castps512_ps256(stored),
                        w ? _mm512_cvtps_pd(_mm256_loadu_ps(w)) : one);
        s = add_squares(s, _mm512_extractf32x8_ps(source, 1), _mm512_extractf32x8_ps(stored, 1),
                        w ? _mm512_cvtps_pd(_mm256_loadu_ps(w + 8)) : one);
    }
    return (struct nvfp4_error){total(s.error), total(s.signal)};
}

void nvfp4_error_rows_avx512(struct nvfp4_error *out, const struct nvfp4_rows *rows,
                             const struct nvfp4_tensor *t, const float *importance)
{
    for (size_t row = 0; row < rows->n; row++)
        out[row] = row_error(rows->x, rows, t, row, importance);
}

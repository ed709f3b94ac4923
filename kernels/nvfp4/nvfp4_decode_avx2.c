/* SPDX-License-Identifier: MIT */
/* Stored weights back to numbers, and their error; eight columns at a time. */
#include <immintrin.h>
#include <string.h>

#include "kernels/nvfp4/nvfp4_e4m3_avx2.h"
#include "kernels/nvfp4/nvfp4_group.h"

enum { BLOCK = NVFP4_BLOCK, LANES = 8 };

/* d of up to eight blocks. */
static void load_scales(float d[LANES], const uint8_t *scale, size_t n,
                        const struct nvfp4_tensor *t)
{
    const __m256 global = _mm256_set1_ps(t->global);
    uint8_t bytes[8] = {0};
    memcpy(bytes, scale, n < LANES ? n : LANES);
    __m256i code = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
    __m256 s = e4m3_decode_avx2(code);
    _mm256_storeu_ps(d, t->layout == NVFP4_MODELOPT ? _mm256_mul_ps(s, global)
                                                    : _mm256_div_ps(s, global));
}

/* Half a block: four bytes. */
static inline __m256 decode_half(const uint8_t *packed, float d)
{
    const __m256 value = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
    const __m256i shift = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    int bytes;
    memcpy(&bytes, packed, 4);
    __m256i code = _mm256_srlv_epi32(_mm256_set1_epi32(bytes), shift);
    __m256i sign = _mm256_and_si256(_mm256_slli_epi32(code, 28), _mm256_set1_epi32(INT32_MIN));
    __m256 x = _mm256_permutevar8x32_ps(value, code); /* looks at three bits */
    return _mm256_mul_ps(_mm256_or_ps(x, _mm256_castsi256_ps(sign)), _mm256_set1_ps(d));
}

/* In 32-bit lanes. */
static inline __m256i round_bf16(__m256 x)
{
    __m256i u = _mm256_castps_si256(x);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd);
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x00400000));
    return _mm256_srli_epi32(blend_avx2(up, quiet, _mm256_cmp_ps(x, x, _CMP_UNORD_Q)), 16);
}

void nvfp4_decode_rows_avx2(void *out, enum nvfp4_dtype dtype, const struct nvfp4_tensor *t)
{
    unsigned char *to = out;
    size_t n_blocks = t->n * (t->k / BLOCK);
    float d[LANES];
    for (size_t b = 0; b < n_blocks; b++) {
        if (b % LANES == 0)
            load_scales(d, t->scale + b, n_blocks - b, t);
        __m256 low = decode_half(t->packed + 8 * b, d[b % LANES]);
        __m256 high = decode_half(t->packed + 8 * b + 4, d[b % LANES]);
        if (dtype == NVFP4_F32) {
            _mm256_storeu_ps((float *)(void *)(to + 64 * b), low);
            _mm256_storeu_ps((float *)(void *)(to + 64 * b + 32), high);
        } else {
            __m256i h = _mm256_packus_epi32(round_bf16(low), round_bf16(high));
            _mm256_storeu_si256((__m256i *)(to + 32 * b), _mm256_permute4x64_epi64(h, 0xD8));
        }
    }
}

/* Sums over columns equal modulo 8. */
struct sums {
    __m256d error[2], signal[2];
};

static inline void add_four(struct sums *s, int i, __m128 source, __m128 stored, const float *w)
{
    __m256d x = _mm256_cvtps_pd(source);
    __m256d e = _mm256_sub_pd(x, _mm256_cvtps_pd(stored));
    __m256d ee = _mm256_mul_pd(e, e), xx = _mm256_mul_pd(x, x);
    if (w) {
        __m256d weight = _mm256_cvtps_pd(_mm_loadu_ps(w));
        ee = _mm256_mul_pd(ee, weight);
        xx = _mm256_mul_pd(xx, weight);
    }
    s->error[i] = _mm256_add_pd(s->error[i], ee);
    s->signal[i] = _mm256_add_pd(s->signal[i], xx);
}

static double total(const __m256d v[2])
{
    double a[4];
    _mm256_storeu_pd(a, _mm256_add_pd(v[0], v[1]));
    return (a[0] + a[2]) + (a[1] + a[3]);
}

static __m256 load_half(const unsigned char *x, size_t half, enum nvfp4_dtype dtype)
{
    if (dtype == NVFP4_F32)
        return _mm256_loadu_ps((const float *)(const void *)(x + 32 * half));
    __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(x + 16 * half)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(h, 16));
}

static struct nvfp4_error row_error(const struct nvfp4_rows *rows, const struct nvfp4_tensor *t,
                                    size_t row, const float *importance)
{
    const size_t n_blocks = rows->k / BLOCK;
    const __m256d zero = _mm256_setzero_pd();
    struct sums s = {{zero, zero}, {zero, zero}};
    float d[LANES];
    for (size_t half = 0; half < 2 * n_blocks; half++) {
        size_t b = half / 2, i = row * n_blocks + b;
        if (half % (2 * LANES) == 0)
            load_scales(d, t->scale + i, n_blocks - b, t);
        __m256 stored = decode_half(t->packed + 8 * i + 4 * (half % 2), d[b % LANES]);
        __m256 source = load_half(rows->x, 2 * i + half % 2, rows->dtype);
        const float *w = importance ? importance + 8 * half : NULL;
        add_four(&s, 0, _mm256_castps256_ps128(source), _mm256_castps256_ps128(stored), w);
        add_four(&s, 1, _mm256_extractf128_ps(source, 1), _mm256_extractf128_ps(stored, 1),
                 w ? w + 4 : NULL);
    }
    return (struct nvfp4_error){total(s.error), total(s.signal)};
}

void nvfp4_error_rows_avx2(struct nvfp4_error *out, const struct nvfp4_rows *rows,
                           const struct nvfp4_tensor *t, const float *importance)
{
    for (size_t row = 0; row < rows->n; row++)
        out[row] = row_error(rows, t, row, importance);
}

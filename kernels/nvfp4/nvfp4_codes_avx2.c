/* SPDX-License-Identifier: MIT */
/* Maxima of blocks, and codes by comparison with cuts (nvfp4_group.h); used by AVX-512 as well. */
#include <immintrin.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4_group.h"

static __m256i load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* The largest of the eight numbers. */
static uint32_t largest(__m256i v)
{
    uint32_t lane[8];
    uint32_t m = 0;
    _mm256_storeu_si256((__m256i *)lane, v);
    for (int i = 0; i < 8; i++)
        m = lane[i] > m ? lane[i] : m;
    return m;
}

static float amax_bf16(const unsigned char *p, size_t n_blocks)
{
    const __m256i magnitude = _mm256_set1_epi16(0x7FFF);
    __m256i m[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                    _mm256_setzero_si256()};
    size_t i = 0;
    for (; i + 4 <= n_blocks; i += 4) {
        for (size_t j = 0; j < 4; j++) {
            __m256i x = _mm256_and_si256(load(p + 32 * (i + j)), magnitude);
            m[j] = _mm256_max_epu16(m[j], x);
        }
    }
    for (; i < n_blocks; i++)
        m[0] = _mm256_max_epu16(m[0], _mm256_and_si256(load(p + 32 * i), magnitude));
    m[0] = _mm256_max_epu16(_mm256_max_epu16(m[0], m[1]), _mm256_max_epu16(m[2], m[3]));
    m[0] = _mm256_max_epu16(m[0], _mm256_slli_epi32(m[0], 16));
    return f32_from_bits(largest(m[0]) & 0xFFFF0000);
}

static float amax_f32(const unsigned char *p, size_t n_blocks)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i m[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t i = 0; i < n_blocks; i++) {
        for (size_t j = 0; j < 2; j++) {
            __m256i x = _mm256_and_si256(load(p + 64 * i + 32 * j), magnitude);
            m[j] = _mm256_max_epu32(m[j], x);
        }
    }
    return f32_from_bits(largest(_mm256_max_epu32(m[0], m[1])));
}

float nvfp4_amax_rows_avx2(const struct nvfp4_rows *rows)
{
    size_t n_blocks = rows->n * (rows->k / NVFP4_BLOCK);
    return rows->dtype == NVFP4_BF16 ? amax_bf16(rows->x, n_blocks) : amax_f32(rows->x, n_blocks);
}

/* 16 bytes at each address: the lower lane, the upper lane. */
static __m256i load_lanes(const unsigned char *low, const unsigned char *high)
{
    __m128i v = _mm_loadu_si128((const __m128i *)low);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(v),
                                   _mm_loadu_si128((const __m128i *)high), 1);
}

/* Four numbers of block i in the lower lane, of block i + 8 in the upper: their largest is kept. */
static __m256i fold_bf16(const unsigned char *p, int i)
{
    const unsigned char *a = p + 32 * i, *b = a + 32 * 8;
    __m256i x = _mm256_add_epi16(load_lanes(a, b), load_lanes(a, b));
    __m256i y = _mm256_add_epi16(load_lanes(a + 16, b + 16), load_lanes(a + 16, b + 16));
    __m256i m = _mm256_max_epu16(x, y); /* twice the bits, which drops the sign */
    m = _mm256_max_epu16(m, _mm256_slli_epi32(m, 16));
    return _mm256_and_si256(_mm256_srli_epi32(m, 1), _mm256_set1_epi32(0x7FFF0000));
}

static __m256i fold_f32(const unsigned char *p, int i)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
    const unsigned char *a = p + 64 * i, *b = a + 64 * 8;
    __m256i m = _mm256_setzero_si256();
    for (int j = 0; j < 64; j += 16)
        m = _mm256_max_epu32(m, _mm256_and_si256(load_lanes(a + j, b + j), magnitude));
    return m;
}

static __m256i max_shuffled(__m256i a, __m256i b)
{
    __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    return _mm256_max_epu32(_mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88)),
                            _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xDD)));
}

void nvfp4_maxima_avx2(uint32_t maxima[NVFP4_PART], const unsigned char *x, enum nvfp4_dtype dtype)
{
    __m256i m[8];
    for (int i = 0; i < 8; i++)
        m[i] = dtype == NVFP4_BF16 ? fold_bf16(x, i) : fold_f32(x, i);
    /* Two numbers of blocks i, i + 1; then one of blocks i ... i + 3. */
    for (int i = 0; i < 8; i += 2)
        m[i] = _mm256_max_epu32(_mm256_unpacklo_epi64(m[i], m[i + 1]),
                                _mm256_unpackhi_epi64(m[i], m[i + 1]));
    m[0] = max_shuffled(m[0], m[2]);
    m[4] = max_shuffled(m[4], m[6]);
    _mm256_storeu_si256((__m256i *)maxima, _mm256_permute2x128_si256(m[0], m[4], 0x20));
    _mm256_storeu_si256((__m256i *)(maxima + 8), _mm256_permute2x128_si256(m[0], m[4], 0x31));
}

/* One more where a exceeds cut j of the block; a comparison that holds is -1. */
static inline __m256i pass_16(__m256i code, __m256i a, const struct nvfp4_cuts *cuts, int j, int b)
{
    return _mm256_sub_epi16(code, _mm256_cmpgt_epi16(a, _mm256_set1_epi32((int)cuts->at[j][b])));
}

static inline __m256i pass_32(__m256i code, __m256i a, const struct nvfp4_cuts *cuts, int j, int b)
{
    return _mm256_sub_epi32(code, _mm256_cmpgt_epi32(a, _mm256_set1_epi32((int)cuts->at[j][b])));
}

/* The codes of block b in 16-bit lanes. */
static inline __m256i codes_bf16(const unsigned char *p, const struct nvfp4_cuts *cuts, int b)
{
    __m256i x = load(p + 32 * b);
    __m256i a = _mm256_and_si256(x, _mm256_set1_epi16(INT16_MAX));
    __m256i minus = _mm256_xor_si256(x, _mm256_set1_epi16(INT16_MIN)); /* |x| if x < 0, else < 0 */
    __m256i code = pass_16(_mm256_setzero_si256(), minus, cuts, 0, b);
    code = _mm256_slli_epi16(code, 3);
    code = pass_16(code, a, cuts, 1, b);
    code = pass_16(code, a, cuts, 2, b);
    code = pass_16(code, a, cuts, 3, b);
    code = pass_16(code, a, cuts, 4, b);
    code = pass_16(code, a, cuts, 5, b);
    code = pass_16(code, a, cuts, 6, b);
    return pass_16(code, a, cuts, 7, b);
}

/* Of half a block, in 32-bit lanes. */
static inline __m256i codes_half(const unsigned char *p, const struct nvfp4_cuts *cuts, int b)
{
    __m256i x = load(p);
    __m256i a = _mm256_and_si256(x, _mm256_set1_epi32(INT32_MAX));
    __m256i minus = _mm256_xor_si256(x, _mm256_set1_epi32(INT32_MIN));
    __m256i code = pass_32(_mm256_setzero_si256(), minus, cuts, 0, b);
    code = _mm256_slli_epi32(code, 3);
    code = pass_32(code, a, cuts, 1, b);
    code = pass_32(code, a, cuts, 2, b);
    code = pass_32(code, a, cuts, 3, b);
    code = pass_32(code, a, cuts, 4, b);
    code = pass_32(code, a, cuts, 5, b);
    code = pass_32(code, a, cuts, 6, b);
    return pass_32(code, a, cuts, 7, b);
}

static __m256i codes_f32(const unsigned char *p, const struct nvfp4_cuts *cuts, int b)
{
    __m256i low = codes_half(p + 64 * b, cuts, b);
    __m256i high = codes_half(p + 64 * b + 32, cuts, b);
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);
}

void nvfp4_codes_avx2(uint8_t *packed, const unsigned char *x, enum nvfp4_dtype dtype,
                      const struct nvfp4_cuts *cuts)
{
    const __m256i pair = _mm256_set1_epi32(0x00100001); /* even column + 16 * odd column */
    const __m256i by_block = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int block = 0; block < NVFP4_PART; block += 4) {
        __m256i c[4];
        for (int j = 0; j < 4; j++) {
            c[j] = dtype == NVFP4_BF16 ? codes_bf16(x, cuts, block + j)
                                       : codes_f32(x, cuts, block + j);
            c[j] = _mm256_madd_epi16(c[j], pair);
        }
        c[0] =
            _mm256_packus_epi16(_mm256_packus_epi32(c[0], c[1]), _mm256_packus_epi32(c[2], c[3]));
        c[0] = _mm256_permutevar8x32_epi32(c[0], by_block);
        _mm256_storeu_si256((__m256i *)(packed + 8 * block), c[0]);
    }
}

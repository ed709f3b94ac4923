/* SPDX-License-Identifier: MIT */
/*
 * Codes of BF16 weights, two blocks at a time. Each 16-bit lane searches the eight cuts of its
 * block in a table of four blocks: cut 4, then 2 or 6, then an odd one; cut 0 is for the sign.
 */
#include <immintrin.h>

#include "kernels/nvfp4/nvfp4_group.h"

/* cuts->at[c]: cut j of block 4 l + c in 16-bit lane 8 l + j. */
void nvfp4_table_avx512(struct nvfp4_cuts *cuts)
{
    const __m512i upper = _mm512_set1_epi32((int)0xFFFF0000);
    __m512i pair[4]; /* two cuts per block, blocks in order */
    for (int j = 0; j < 4; j++) {
        __m512i even = _mm512_srli_epi32(_mm512_loadu_si512(cuts->at[2 * j]), 16);
        __m512i odd = _mm512_and_si512(_mm512_loadu_si512(cuts->at[2 * j + 1]), upper);
        pair[j] = _mm512_or_si512(even, odd);
    }
    __m512i a = _mm512_unpacklo_epi32(pair[0], pair[1]),
            b = _mm512_unpackhi_epi32(pair[0], pair[1]);
    __m512i c = _mm512_unpacklo_epi32(pair[2], pair[3]),
            d = _mm512_unpackhi_epi32(pair[2], pair[3]);
    _mm512_storeu_si512(cuts->at[0], _mm512_unpacklo_epi64(a, c));
    _mm512_storeu_si512(cuts->at[1], _mm512_unpackhi_epi64(a, c));
    _mm512_storeu_si512(cuts->at[2], _mm512_unpacklo_epi64(b, d));
    _mm512_storeu_si512(cuts->at[3], _mm512_unpackhi_epi64(b, d));
}

/* base: where the block of a lane begins in the table. */
static inline __m512i search(__m512i x, __m512i table, __m512i base)
{
    const __m512i one = _mm512_set1_epi16(1), eight = _mm512_set1_epi16(8);
    __m512i a = _mm512_and_si512(x, _mm512_set1_epi16(INT16_MAX));
    __m512i minus = _mm512_xor_si512(x, _mm512_set1_epi16(INT16_MIN)); /* |x| if x < 0, else < 0 */
    __mmask32 negative = _mm512_cmpgt_epi16_mask(minus, _mm512_permutexvar_epi16(base, table));
    __m512i at = _mm512_or_si512(base, _mm512_set1_epi16(4));
    __mmask32 above = _mm512_cmpgt_epi16_mask(a, _mm512_permutexvar_epi16(at, table));
    at = _mm512_or_si512(base, _mm512_set1_epi16(2));
    at = _mm512_mask_add_epi16(at, above, at, _mm512_set1_epi16(4));
    above = _mm512_cmpgt_epi16_mask(a, _mm512_permutexvar_epi16(at, table));
    at = _mm512_mask_add_epi16(_mm512_sub_epi16(at, one), above, at, one);
    above = _mm512_cmpgt_epi16_mask(a, _mm512_permutexvar_epi16(at, table));
    at = _mm512_mask_mov_epi16(_mm512_sub_epi16(at, one), above, at);
    at = _mm512_and_si512(at, _mm512_set1_epi16(7));
    return _mm512_mask_add_epi16(at, negative, at, eight);
}

static inline void pack_two(uint8_t *packed, const unsigned char *x, int block, __m512i table,
                            __m512i base)
{
    const unsigned char *p = x + 32 * block; /* and the fourth block after it */
    __m512i v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)p));
    v = _mm512_inserti64x4(v, _mm256_loadu_si256((const __m256i *)(p + 32 * 4)), 1);
    v = _mm512_madd_epi16(search(v, table, base), _mm512_set1_epi32(0x00100001));
    __m128i bytes = _mm512_cvtepi32_epi8(v);
    _mm_storel_epi64((__m128i *)(void *)(packed + 8 * block), bytes);
    _mm_storel_epi64((__m128i *)(void *)(packed + 8 * (block + 4)),
                     _mm_unpackhi_epi64(bytes, bytes));
}

void nvfp4_codes_avx512(uint8_t *packed, const unsigned char *x, const struct nvfp4_cuts *cuts)
{
    const __m512i base = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(8), 1);
    const __m512i next = _mm512_add_epi16(base, _mm512_set1_epi16(16));
    for (int c = 0; c < 4; c++) {
        __m512i table = _mm512_loadu_si512(cuts->at[c]);
        pack_two(packed, x, c, table, base);
        pack_two(packed, x, 8 + c, table, next);
    }
}

/* SPDX-License-Identifier: MIT */
/*
 * Layouts: everything that is the same for all instruction sets.
 */
#include "kernels/int4/int4.h"

#include <string.h>

#include "kernels/fp.h"
#include "kernels/int4/int4_variants.h"
#include "kernels/load.h"

/* Rows and words of a tile that is turned around before it is decoded. */
enum { TILE_ROWS = 16, TILE_WORDS = 64 };

static const struct int4_kernels TABLES[N_ISA] = {
    [ISA_SCALAR] = {int4_rtn_scalar, int4_decode_f32_scalar, int4_decode_bf16_scalar,
                    int4_transpose_scalar, int4_error_sums_scalar},
    [ISA_AVX2] = {int4_rtn_avx2, int4_decode_f32_avx2, int4_decode_bf16_avx2, int4_transpose_avx2,
                  int4_error_sums_avx2},
    [ISA_AVX512] = {int4_rtn_avx512, int4_decode_f32_avx512, int4_decode_bf16_avx512,
                    int4_transpose_avx512, int4_error_sums_avx512},
};

const struct int4_kernels *int4_kernels(enum isa limit)
{
    return &TABLES[cpu_isa_within(limit)];
}

void int4_pack(uint32_t *words, const uint8_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint32_t word = 0;
        for (unsigned k = 0; k < 8; k++)
            word |= (uint32_t)(codes[i + k] & 15) << 4 * k;
        *words++ = word;
    }
}

void int4_unpack(uint8_t *codes, const void *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        codes[i] = (uint8_t)(load_u32_at(words, i / 8) >> 4 * (i % 8) & 15);
}

void int4_store_gptq(const struct int4_kernels *k, const struct int4_gptq *to,
                     const uint32_t *words, const uint16_t *scales, size_t out, size_t in,
                     size_t group)
{
    const size_t n_groups = in / group;
    k->transpose(to->qweight, out, words, in / 8, out, in / 8);
    for (size_t j = 0; j < n_groups; j++)
        for (size_t o = 0; o < out; o++)
            store_u16_at(to->scales, j * out + o, scales[o * n_groups + j]);
    memset(to->qzeros, to->zero_bias ? 0x77 : 0x88, n_groups * (out / 8) * 4);
    for (size_t i = 0; i < in && to->g_idx; i++)
        store_u32_at(to->g_idx, i, (uint32_t)(i / group));
}

void int4_source_gptq(struct int4_source *s, size_t out, size_t in, size_t group)
{
    *s = (struct int4_source){
        .in = in,
        .group = group,
        .word_row_step = 1,
        .word_step = out,
        .scale_row_step = 1,
        .scale_group_step = out,
        .zero_word_step = 1,
        .zero_group_step = out / 8,
    };
}

void int4_source_packed(struct int4_source *s, size_t in, size_t group)
{
    *s = (struct int4_source){
        .in = in,
        .group = group,
        .word_row_step = in / 8,
        .word_step = 1,
        .scale_row_step = in / group,
        .scale_group_step = 1,
        .zero_word_step = in / group,
        .zero_group_step = 1,
    };
}

float int4_source_scale(const struct int4_source *s, size_t row, size_t group)
{
    const size_t at = row * s->scale_row_step + group * s->scale_group_step;
    if (s->scale_type == INT4_SCALE_F32)
        return f32_from_bits(load_u32_at(s->scales, at));
    const uint16_t h = load_u16_at(s->scales, at);
    return s->scale_type == INT4_SCALE_F16 ? f32_from_f16(h) : f32_from_bf16(h);
}

int int4_source_zero(const struct int4_source *s, size_t row, size_t group)
{
    if (!s->zeros)
        return 8;
    const size_t at = row / 8 * s->zero_word_step + group * s->zero_group_step;
    return (int)(load_u32_at(s->zeros, at) >> 4 * (row % 8) & 15) + s->zero_bias;
}

/* Part of one row: words[0..n_words) are its words from `first_word` on. */
static void decode_words(const struct int4_kernels *k, const struct int4_source *s, size_t row,
                         const unsigned char *words, size_t first_word, size_t n_words, float *f32,
                         uint16_t *bf16)
{
    const size_t group_words = s->group / 8;
    for (size_t at = first_word, end = first_word + n_words; at < end;) {
        const size_t group = at / group_words, rest = (group + 1) * group_words - at;
        const size_t n = rest < end - at ? rest : end - at;
        const unsigned char *p = words + 4 * (at - first_word);
        const float scale = int4_source_scale(s, row, group);
        const int zero = int4_source_zero(s, row, group);
        if (f32)
            k->decode_f32(f32 + 8 * at, p, 8 * n, scale, zero);
        if (bf16)
            k->decode_bf16(bf16 + 8 * at, p, 8 * n, scale, zero);
        at += n;
    }
}

/* Inputs whose group is anything: element by element. */
static void decode_scattered(const struct int4_source *s, size_t row, float *f32, uint16_t *bf16)
{
    const size_t first = row * s->word_row_step;
    for (size_t i = 0; i < s->in; i++) {
        const size_t group = load_u32_at(s->g_idx, i);
        const uint32_t word = load_u32_at(s->words, first + i / 8 * s->word_step);
        const int code = (int)(word >> 4 * (i % 8) & 15) - int4_source_zero(s, row, group);
        const float p = (float)code * int4_source_scale(s, row, group);
        if (f32)
            f32[i] = p;
        if (bf16)
            bf16[i] = bf16_from_f32(p);
    }
}

/* Up to TILE_ROWS rows of the transposed layout. */
static void decode_band(const struct int4_kernels *k, const struct int4_source *s, size_t first,
                        size_t n_rows, float *f32, uint16_t *bf16)
{
    uint32_t tile[TILE_ROWS][TILE_WORDS];
    const size_t n_words = s->in / 8;
    for (size_t at = 0; at < n_words; at += TILE_WORDS) {
        const size_t n = n_words - at < TILE_WORDS ? n_words - at : TILE_WORDS;
        const unsigned char *corner =
            (const unsigned char *)s->words + 4 * (at * s->word_step + first);
        k->transpose(tile, TILE_WORDS, corner, s->word_step, n, n_rows);
        for (size_t r = 0; r < n_rows; r++)
            decode_words(k, s, first + r, (const unsigned char *)tile[r], at, n,
                         f32 ? f32 + r * s->in : NULL, bf16 ? bf16 + r * s->in : NULL);
    }
}

void int4_decode_rows(const struct int4_kernels *k, const struct int4_source *s, size_t first,
                      size_t n_rows, float *f32, uint16_t *bf16)
{
    const int transposed = s->word_step != 1 && !s->g_idx;
    for (size_t r = 0, n = 0; r < n_rows; r += n) {
        const size_t row = first + r;
        float *f = f32 ? f32 + r * s->in : NULL;
        uint16_t *b = bf16 ? bf16 + r * s->in : NULL;
        n = !transposed ? 1 : n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
        if (s->g_idx)
            decode_scattered(s, row, f, b);
        else if (transposed)
            decode_band(k, s, row, n, f, b);
        else
            decode_words(k, s, row, (const unsigned char *)s->words + 4 * row * s->word_row_step, 0,
                         s->in / 8, f, b);
    }
}

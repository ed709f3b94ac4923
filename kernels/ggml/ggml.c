/* SPDX-License-Identifier: MIT */
#include "kernels/ggml/ggml.h"

#include <string.h>

#include "kernels/ggml/ggml_block.h"
#include "kernels/ggml/ggml_layout.h"
#include "kernels/ggml/ggml_variants.h"

/* Type, number in the file, values and bytes of a block, does it look at weights. */
#define CODECS(isa)                                                                                \
    {                                                                                              \
        CODEC(F16, 1, 1, 2, 0, f16, isa), CODEC(BF16, 30, 1, 2, 0, bf16, isa),                     \
            CODEC(Q8_0, 8, 32, 34, 0, q8_0, isa), CODEC(Q4_0, 2, 32, 18, 1, q4_0, isa),            \
            CODEC(Q4_1, 3, 32, 20, 1, q4_1, isa), CODEC(Q5_0, 6, 32, 22, 1, q5_0, isa),            \
            CODEC(Q5_1, 7, 32, 24, 1, q5_1, isa), CODEC(Q2_K, 10, 256, 84, 1, q2_k, isa),          \
            CODEC(Q3_K, 11, 256, 110, 1, q3_k, isa), CODEC(Q4_K, 12, 256, 144, 1, q4_k, isa),      \
            CODEC(Q5_K, 13, 256, 176, 1, q5_k, isa), CODEC(Q6_K, 14, 256, 210, 1, q6_k, isa),      \
            CODEC(IQ4_NL, 20, 32, 18, 1, iq4_nl, isa),                                             \
            CODEC(IQ4_XS, 23, 256, 136, 1, iq4_xs, isa), CODEC(MXFP4, 39, 32, 17, 0, mxfp4, isa),  \
            CODEC(NVFP4, 40, 64, 36, 0, nvfp4, isa)                                                \
    }
#define CODEC(TYPE, number, n, bytes, weighted, name, isa)                                         \
    [SLOT_##TYPE] = {                                                                              \
        number,                                                                                    \
        n,                                                                                         \
        bytes,                                                                                     \
        weighted,                                                                                  \
        ggml_quantize_rows_##name##_##isa,                                                         \
        ggml_dequantize_rows_##name##_##isa,                                                       \
    }

static const struct ggml_codec TABLES[N_ISA][N_SLOTS] = {
    [ISA_SCALAR] = CODECS(scalar),
    [ISA_AVX2] = CODECS(avx2),
    [ISA_AVX512] = CODECS(avx512),
};

/* Where the scales of a block are that are floats. */
enum scale_kind { SCALE_F16, SCALE_BF16, SCALE_E8M0, SCALE_UE4M3 };

static const struct scales {
    uint16_t at;
    uint8_t n;
    uint8_t kind;
} SCALES[N_SLOTS] = {
    [SLOT_F16] = {0, 1, SCALE_F16},    [SLOT_BF16] = {0, 1, SCALE_BF16},
    [SLOT_Q8_0] = {0, 1, SCALE_F16},   [SLOT_Q4_0] = {0, 1, SCALE_F16},
    [SLOT_Q4_1] = {0, 2, SCALE_F16},   [SLOT_Q5_0] = {0, 1, SCALE_F16},
    [SLOT_Q5_1] = {0, 2, SCALE_F16},   [SLOT_Q2_K] = {80, 2, SCALE_F16},
    [SLOT_Q3_K] = {108, 1, SCALE_F16}, [SLOT_Q4_K] = {0, 2, SCALE_F16},
    [SLOT_Q5_K] = {0, 2, SCALE_F16},   [SLOT_Q6_K] = {208, 1, SCALE_F16},
    [SLOT_IQ4_NL] = {0, 1, SCALE_F16}, [SLOT_IQ4_XS] = {0, 1, SCALE_F16},
    [SLOT_MXFP4] = {0, 1, SCALE_E8M0}, [SLOT_NVFP4] = {0, 4, SCALE_UE4M3},
};

const struct ggml_codec *ggml_codec(enum isa limit, unsigned type)
{
    const struct ggml_codec *table = TABLES[cpu_isa_within(limit)];
    for (int i = 0; i < N_SLOTS; i++)
        if (table[i].type == type)
            return &table[i];
    return NULL;
}

void ggml_put_bad(uint8_t *b, enum ggml_slot slot)
{
    const struct scales *s = &SCALES[slot];
    memset(b, 0, TABLES[ISA_SCALAR][slot].block_bytes);
    if (s->kind == SCALE_E8M0)
        b[s->at] = 0xFF;
    else if (s->kind == SCALE_UE4M3)
        b[s->at] = 0x7F;
    else
        store_u16_at(b + s->at, 0, 0x7E00);
}

static int is_bad(const uint8_t *p, enum scale_kind kind)
{
    switch (kind) {
    case SCALE_E8M0:
        return p[0] == 0xFF;
    case SCALE_UE4M3:
        return (p[0] & 0x7F) == 0x7F;
    case SCALE_BF16:
        return (load_u16_at(p, 0) & 0x7F80) == 0x7F80;
    default:
        return (load_u16_at(p, 0) & 0x7C00) == 0x7C00;
    }
}

size_t ggml_first_bad(const struct ggml_codec *codec, const void *src, size_t n)
{
    const uint8_t *b = src;
    int slot = 0;
    while (TABLES[ISA_SCALAR][slot].type != codec->type)
        slot++;
    const struct scales *s = &SCALES[slot];
    const size_t step = s->kind == SCALE_F16 || s->kind == SCALE_BF16 ? 2 : 1;
    for (size_t i = 0; i < n; i++, b += codec->block_bytes)
        for (size_t j = 0; j < s->n; j++)
            if (is_bad(b + s->at + step * j, (enum scale_kind)s->kind))
                return i;
    return n;
}

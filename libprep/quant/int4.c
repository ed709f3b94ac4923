/* SPDX-License-Identifier: MIT */
/* Rounding to 4-bit integers, row by row; the GPTQ layout is the transpose of what comes out. */
#include <inttypes.h>
#include <math.h>

#include "kernels/fp.h"
#include "libprep/quant/rows.h"

/* Work memory, in this order. */
struct int4_work {
    float *rows;      /* a chunk */
    float *decoded;   /* one row */
    uint32_t *words;  /* [out, in / 8] */
    uint16_t *scales; /* [out, in / group] */
};

static uint64_t align64(uint64_t n)
{
    return (n + 63) / 64 * 64;
}

static uint64_t int4_work_bytes(const struct quant_member *me, struct int4_work *w, void *base)
{
    const struct linear *l = me->from;
    unsigned char *p = base;
    uint64_t rows = align64(quant_chunk_bytes(l)), row = align64(l->in * 4);
    uint64_t words = align64(l->out * l->in / 2),
             scales = align64(l->out * (l->in / me->to.group) * 2);
    if (w)
        *w = (struct int4_work){(float *)(void *)p, (float *)(void *)(p + rows),
                                (uint32_t *)(void *)(p + rows + row),
                                (uint16_t *)(void *)(p + rows + row + words)};
    return rows + row + words + scales;
}

static int check_scales(const struct quant_member *me, const uint16_t *scales, uint64_t row,
                        struct prep_error *err)
{
    const uint64_t n = me->from->in / me->to.group;
    for (uint64_t g = 0; g < n; g++)
        if (!isfinite(f32_from_f16(scales[g])))
            return prep_fail_tag(err, PREP_EDATA, "SCALE_OVERFLOW",
                                 "%s: row %" PRIu64 ", columns from %" PRIu64
                                 " are too large for a scale in F16",
                                 me->from->name, row, g * me->to.group);
    return 0;
}

static int quantize_rows(const struct quant_step *s, size_t i, const struct step_memory *m,
                         const struct int4_work *w, struct prep_error *err)
{
    const struct quant_member *me = &s->members[i];
    const struct linear *l = me->from;
    const struct int4_kernels *k = s->method->codec.int4;
    const uint64_t chunk = quant_chunk_rows(l), n_groups = l->in / me->to.group;
    struct quant_note *note = quant_note(m, i);
    struct quant_source src;
    struct int4_source made = {0};
    quant_source_init(&src, s, i, m, w->rows);
    int4_source_packed(&made, (size_t)l->in, (size_t)me->to.group);
    made.words = w->words;
    made.scales = w->scales;
    made.scale_type = INT4_SCALE_F16;
    for (uint64_t r = 0; r < l->out; r++) {
        struct nvfp4_rows rows;
        uint64_t at = r % chunk;
        if (at == 0 &&
            (quant_source_rows(&src, r, l->out - r < chunk ? l->out - r : chunk, 1, &rows, err) ||
             quant_check_finite(&src, r, &rows, err)))
            return -1;
        const float *x = w->rows + at * l->in;
        uint16_t *scales = w->scales + r * n_groups;
        double sums[2];
        k->rtn(w->words + r * (l->in / 8), scales, x, (size_t)l->in, (size_t)me->to.group,
               s->method->int4);
        if (check_scales(me, scales, r, err))
            return -1;
        int4_decode_rows(k, &made, (size_t)r, 1, w->decoded, NULL);
        k->error_sums(sums, x, w->decoded, (size_t)l->in);
        note->error += sums[0];
        note->signal += sums[1];
    }
    note->zero_scales = src.counts.zero_scales;
    note->overflows = src.counts.overflows;
    return 0;
}

int quant_int4_step(const struct step_memory *m, const void *step, struct prep_error *err)
{
    const struct quant_step *s = step;
    for (size_t i = 0; i < s->n; i++) {
        const struct quant_member *me = &s->members[i];
        struct int4_work w;
        int4_work_bytes(me, &w, m->work);
        if (quantize_rows(s, i, m, &w, err))
            return -1;
        const struct int4_gptq to = {.qweight = quant_output(me, LINEAR_CODES, m),
                                     .qzeros = quant_output(me, LINEAR_ZEROS, m),
                                     .scales = quant_output(me, LINEAR_SCALES, m),
                                     .g_idx = quant_output(me, LINEAR_GROUPS, m),
                                     .zero_bias = me->to.zero_bias};
        int4_store_gptq(s->method->codec.int4, &to, w.words, w.scales, (size_t)me->to.out,
                        (size_t)me->to.in, (size_t)me->to.group);
    }
    return 0;
}

/* A chunk in F32, and what the method needs besides; members use the memory one after another. */
uint64_t quant_work_bytes(const struct quant_step *s)
{
    uint64_t most = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct quant_member *me = &s->members[i];
        uint64_t need = quant_chunk_bytes(me->from);
        if (s->method->fn == quant_int4_step)
            need = int4_work_bytes(me, NULL, NULL);
        most = need > most ? need : most;
    }
    return most + QUANT_CHUNK_ROWS * sizeof(struct nvfp4_error);
}

/* SPDX-License-Identifier: MIT */
/* NVFP4: first the largest magnitude of the whole group, then codes and scales of each member. */
#include <math.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/quant/rows.h"

/* Work memory: a chunk of F32, then the errors of its rows. */
static struct nvfp4_error *row_errors(const struct quant_step *s, const struct step_memory *m)
{
    uint64_t most = 0;
    for (size_t i = 0; i < s->n; i++)
        if (quant_chunk_bytes(s->members[i].from) > most)
            most = quant_chunk_bytes(s->members[i].from);
    return (struct nvfp4_error *)(void *)((unsigned char *)m->work + most);
}

static int member_amax(const struct quant_step *s, size_t i, const struct step_memory *m,
                       float *amax, struct prep_error *err)
{
    struct quant_source src;
    quant_source_init(&src, s, i, m, m->work);
    const struct linear *l = s->members[i].from;
    const uint64_t chunk = quant_chunk_rows(l);
    for (uint64_t r = 0; r < l->out; r += chunk) {
        struct nvfp4_rows rows;
        if (quant_source_rows(&src, r, l->out - r < chunk ? l->out - r : chunk, 0, &rows, err))
            return -1;
        float a = s->method->codec.nvfp4->amax(&rows);
        if (!isfinite(a) && quant_check_finite(&src, r, &rows, err))
            return -1;
        if (a > *amax)
            *amax = a;
    }
    return 0;
}

static void store_f32(unsigned char *p, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (p)
        store_le32(p, bits);
}

static int is_modelopt(const struct quant_member *me)
{
    return me->to.form == LINEAR_NVFP4_MODELOPT;
}

/* Sums of rows are added in order, so chunks do not show. */
static void add_errors(struct quant_note *note, const struct nvfp4_error *e, size_t n, int weighted)
{
    for (size_t r = 0; r < n; r++) {
        *(weighted ? &note->weighted_error : &note->error) += e[r].error;
        *(weighted ? &note->weighted : &note->signal) += e[r].signal;
    }
}

static int quantize_member(const struct quant_step *s, size_t i, const struct step_memory *m,
                           float amax, struct prep_error *err)
{
    const struct quant_member *me = &s->members[i];
    const struct quant_method *method = s->method;
    const struct nvfp4_kernels *k = method->codec.nvfp4;
    const struct linear *l = me->from;
    const uint64_t chunk = quant_chunk_rows(l), packed_row = l->in / 2, scale_row = l->in / 16;
    unsigned char *packed = quant_output(me, LINEAR_CODES, m);
    unsigned char *scale = quant_output(me, LINEAR_SCALES, m);
    struct nvfp4_error *errors = row_errors(s, m);
    struct quant_note *note = quant_note(m, i);
    struct quant_source src;
    const float *importance;
    float global = 0;
    quant_source_init(&src, s, i, m, m->work);
    if (quant_importance(&src, &importance, err))
        return -1;
    for (uint64_t r = 0; r < l->out; r += chunk) {
        struct nvfp4_rows rows;
        if (quant_source_rows(&src, r, l->out - r < chunk ? l->out - r : chunk, 0, &rows, err))
            return -1;
        const struct nvfp4_codes to = {packed + r * packed_row, scale + r * scale_row};
        global = nvfp4_global(method->nvfp4, amax, rows.dtype);
        k->quantize(&to, &rows, method->nvfp4, amax, importance);
        const struct nvfp4_tensor made = {
            to.packed, to.scale, rows.n, rows.k, nvfp4_method_layout(method->nvfp4), global};
        k->error(errors, &rows, &made, NULL);
        add_errors(note, errors, rows.n, 0);
        if (importance) {
            k->error(errors, &rows, &made, importance);
            add_errors(note, errors, rows.n, 1);
        }
    }
    note->zero_scales = src.counts.zero_scales;
    note->overflows = src.counts.overflows;
    if (is_modelopt(me) != (nvfp4_method_layout(method->nvfp4) == NVFP4_MODELOPT))
        global = nvfp4_global_reciprocal(global);
    store_f32(quant_output(me, LINEAR_GLOBAL, m), global);
    store_f32(quant_output(me, LINEAR_INPUT_SCALE, m),
              nvfp4_global(is_modelopt(me) ? NVFP4_MAX : NVFP4_MINMAX, me->input_amax, NVFP4_BF16));
    return 0;
}

int quant_nvfp4_step(const struct step_memory *m, const void *step, struct prep_error *err)
{
    const struct quant_step *s = step;
    float amax = 0;
    for (size_t i = 0; i < s->n; i++)
        if (member_amax(s, i, m, &amax, err))
            return -1;
    for (size_t i = 0; i < s->n; i++)
        if (quantize_member(s, i, m, amax, err))
            return -1;
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/quant/rows.h"

#include <inttypes.h>
#include <math.h>

uint64_t quant_chunk_rows(const struct linear *l)
{
    uint64_t n = QUANT_CHUNK_BYTES / (4 * l->in);
    return n < 1 ? 1 : n > QUANT_CHUNK_ROWS ? QUANT_CHUNK_ROWS : n;
}

uint64_t quant_chunk_bytes(const struct linear *l)
{
    return quant_chunk_rows(l) * l->in * 4;
}

void quant_source_init(struct quant_source *s, const struct quant_step *step, size_t member,
                       const struct step_memory *m, float *work)
{
    const struct quant_member *me = &step->members[member];
    *s = (struct quant_source){.member = me,
                               .codec = &step->method->codec,
                               .inputs = m->inputs + me->first_input,
                               .work = work};
}

int quant_source_rows(struct quant_source *s, uint64_t first, uint64_t n, int as_f32,
                      struct nvfp4_rows *rows, struct prep_error *err)
{
    const struct linear *l = s->member->from;
    enum dtype dtype = (enum dtype)l->tensors[0].info->dtype;
    int plain = l->form == LINEAR_PLAIN;
    *rows = (struct nvfp4_rows){.n = (size_t)n, .k = (size_t)l->in, .dtype = NVFP4_F32};
    if (plain && dtype == DTYPE_BF16 && !as_f32) {
        rows->x = s->inputs[0].p + first * l->in * 2;
        rows->dtype = NVFP4_BF16;
        return 0;
    }
    if (plain && dtype == DTYPE_F32 && !as_f32) {
        rows->x = s->inputs[0].p + first * l->in * 4;
        return 0;
    }
    rows->x = s->work;
    const struct linear_rows want = {.first = first, .n = n, .f32 = s->work, .counts = &s->counts};
    return linear_decode_rows(l, s->codec, s->inputs, &want, err);
}

int quant_check_finite(const struct quant_source *s, uint64_t first, const struct nvfp4_rows *rows,
                       struct prep_error *err)
{
    /* The maximum of rows that hold a NaN or an infinity is one: only then look for its place. */
    if (rows->k % NVFP4_BLOCK == 0 && isfinite(s->codec->nvfp4->amax(rows)))
        return 0;
    size_t at = nvfp4_first_nonfinite(rows);
    if (at == rows->n * rows->k)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "NONFINITE",
                         "%s: row %" PRIu64 ", column %zu is no finite number; such weights cannot "
                         "be quantized",
                         s->member->from->tensors[0].info->name, first + at / rows->k,
                         at % rows->k);
}

int quant_importance(const struct quant_source *s, const float **importance, struct prep_error *err)
{
    const struct linear *l = s->member->from;
    *importance = NULL;
    if (!s->member->has_importance)
        return 0;
    const float *v = (const float *)(const void *)s->inputs[l->n_tensors].p; /* aligned, plan.h */
    for (uint64_t i = 0; i < l->in; i++)
        if (!isfinite(v[i]) || v[i] < 0)
            return prep_fail_tag(err, PREP_EDATA, "IMPORTANCE",
                                 "%s: importance of column %" PRIu64
                                 " is %g, want a finite number >= 0",
                                 l->name, i, (double)v[i]);
    *importance = v;
    return 0;
}

unsigned char *quant_output(const struct quant_member *member, enum linear_part part,
                            const struct step_memory *m)
{
    for (int i = 0; i < member->to.n_tensors; i++)
        if (member->to.tensors[i].part == part)
            return m->outputs[member->output[i]];
    return NULL;
}

struct quant_note *quant_note(const struct step_memory *m, size_t member)
{
    return (struct quant_note *)m->note + member;
}

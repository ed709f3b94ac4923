/* SPDX-License-Identifier: MIT */
#include "libprep/engine/inputs.h"

#include <math.h>

#include "kernels/fp.h"
#include "kernels/nvfp4/nvfp4.h"
#include "libprep/base/hash.h"
#include "libprep/engine/runtime_parts.h"

/* ---- maxima ---- */

static int see(void *arg, const struct tap_rows *rows, struct prep_error *err)
{
    struct inputs_amax *a = arg;
    const struct nvfp4_kernels *k = nvfp4_kernels(cpu_isa());
    (void)err;
    if (rows->layer < 0 || rows->layer >= a->n_layers)
        return 0;
    float *most = &a->amax[rows->layer * PART_OTHER + (int)rows->part];
    for (size_t i = 0; i < rows->n; i++) {
        const struct nvfp4_rows row = {rows->x + i * rows->ld, 1, rows->cols, NVFP4_F32};
        const float x = k->amax(&row);
        *most = x > *most ? x : *most;
    }
    return 0;
}

int inputs_amax_init(struct inputs_amax *a, const struct runtime *r, struct arena *arena,
                     struct prep_error *err)
{
    a->n_layers = r->n_layers;
    a->amax = arena_calloc(arena, (size_t)r->n_layers * PART_OTHER, sizeof *a->amax, err);
    a->taps = (struct taps){.arg = a, .input = see};
    return a->amax ? 0 : -1;
}

/* ---- scales ---- */

static int is_rounded(const struct runtime *r, const struct linear *l)
{
    if (r->inputs == INPUTS_NVFP4_EXPERTS)
        return l->role == ROLE_EXPERT;
    return r->inputs == INPUTS_NVFP4 && l->layer >= 0 &&
           (l->form == LINEAR_NVFP4_MODELOPT || l->form == LINEAR_NVFP4_CT);
}

/* The scale a linear is stored with; compressed-tensors writes its reciprocal. */
static int stored_scale(float *scale, struct source_reader *reader, const struct linear *l,
                        const struct linear_tensor *t, struct prep_error *err)
{
    unsigned char bytes[4];
    if (source_read(reader, t->index, 0, bytes, sizeof bytes, err))
        return -1;
    *scale = f32_from_bits(load_le32(bytes));
    if (l->form == LINEAR_NVFP4_CT)
        *scale = nvfp4_global_reciprocal(*scale);
    return 0;
}

static int find_scale(float *scale, struct source_reader *reader, const struct inputs_amax *a,
                      const struct linear *l, struct prep_error *err)
{
    const struct linear_tensor *t = linear_tensor(l, LINEAR_INPUT_SCALE);
    const int nvfp4 = l->form == LINEAR_NVFP4_MODELOPT || l->form == LINEAR_NVFP4_CT;
    if (l->part == PART_KV_B || l->in % NVFP4_BLOCK)
        return prep_fail(err, PREP_EUNSUP, "%s: its inputs cannot be rounded: it is %s", l->name,
                         l->part == PART_KV_B ? "multiplied with the queries"
                                              : "no multiple of 16 wide");
    if (nvfp4 && t) {
        if (stored_scale(scale, reader, l, t, err))
            return -1;
    } else if (a && l->layer < a->n_layers) {
        const float amax = a->amax[l->layer * PART_OTHER + (int)tap_site(l->part)];
        /* nvfp4_global() makes 1 of what is no scale */
        *scale = amax > 0 && isfinite(amax) ? nvfp4_global(NVFP4_MAX, amax, NVFP4_F32) : amax;
    }
    if (*scale > 0 && isfinite(*scale))
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "INPUT_SCALE",
                         nvfp4 && t ? "%s: its input scale is %g, want a finite number above 0"
                                    : "%s: no input scale is stored with it and a calibration text "
                                      "gave none (%g); give a text that reaches it",
                         l->name, (double)*scale);
}

int runtime_round_inputs(struct runtime *r, const struct inputs_amax *a, struct prep_error *err)
{
    struct source_reader reader;
    float *scales = arena_calloc(&r->arena, r->linears.n, sizeof *scales, err);
    int rc = scales ? 0 : -1;
    source_reader_init(&reader, &r->source);
    for (size_t i = 0; !rc && i < r->linears.n; i++) {
        const struct linear *l = &r->linears.items[i];
        const int needed = is_rounded(r, l) && l->layer < r->config->num_hidden_layers;
        if (needed)
            rc = find_scale(&scales[i], &reader, a, l, err);
    }
    source_reader_fini(&reader);
    if (!rc)
        r->input_scales = scales;
    return rc;
}

/* Routers are matrices, too, but none of the linears. */
float runtime_input_scale(const struct runtime *r, const struct weight *w)
{
    const uintptr_t first = (uintptr_t)r->linears.items,
                    end = (uintptr_t)(r->linears.items + r->linears.n);
    const uintptr_t at = (uintptr_t)w->linear;
    return r->input_scales && at >= first && at < end
               ? r->input_scales[w->linear - r->linears.items]
               : 0;
}

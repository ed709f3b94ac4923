/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libprep/release/lint_job.h"
#include "libprep/release/lint_scan.h"

struct scales {
    struct lint_job *j;
    struct scan *scans; /* by tensor */
};

static const struct scan *scan_of(const struct scales *s, const struct checkpoint_tensor *t)
{
    return &s->scans[t - s->j->ckpt->tensors];
}

static int is_one_f32(const struct checkpoint_tensor *t)
{
    return t && t->info.dtype == DTYPE_F32 && t->info.bytes == 4;
}

static int is_float_type(const struct checkpoint_tensor *t)
{
    return t->info.dtype == DTYPE_F32 || t->info.dtype == DTYPE_BF16 || t->info.dtype == DTYPE_F16;
}

/* ---- what to read ---- */

static void ask(struct scales *s, const struct checkpoint_tensor *t, enum scan_kind kind,
                uint32_t want)
{
    if (!t || t->info.bytes == 0)
        return;
    if ((kind == SCAN_ONE && !is_one_f32(t)) || (kind == SCAN_FLOATS && !is_float_type(t)) ||
        (kind == SCAN_E4M3 && t->info.dtype != DTYPE_F8_E4M3) ||
        ((kind == SCAN_WORDS || kind == SCAN_GROUPS) && t->info.dtype != DTYPE_I32))
        return;
    struct scan *scan = &s->scans[t - s->j->ckpt->tensors];
    scan->kind = kind;
    scan->want = want;
}

/* Inputs per scale of a GPTQ linear, 0 when its tensors do not say. */
static uint32_t group_of(const struct lint_module *m)
{
    const struct checkpoint_tensor *q = m->tensors[SUFFIX_QWEIGHT], *z = m->tensors[SUFFIX_SCALES];
    if (!q || !z || q->info.n_dims != 2 || z->info.n_dims != 2 || !z->info.shape[0] ||
        q->info.shape[0] > UINT32_MAX / 8)
        return 0;
    uint64_t in = q->info.shape[0] * 8;
    return in % z->info.shape[0] ? 0 : (uint32_t)(in / z->info.shape[0]);
}

static void ask_module(struct scales *s, const struct lint_module *m)
{
    const struct lint_quant *q = &s->j->quant;
    const struct checkpoint_tensor *const *t = m->tensors;
    switch (m->form) {
    case FORM_NVFP4_MODELOPT:
        ask(s, t[SUFFIX_WEIGHT_SCALE], SCAN_E4M3, 0);
        ask(s, t[SUFFIX_WEIGHT_SCALE_2], SCAN_ONE, 0);
        ask(s, t[SUFFIX_INPUT_SCALE], SCAN_ONE, 0);
        break;
    case FORM_NVFP4_PACKED:
        ask(s, t[SUFFIX_WEIGHT_SCALE], SCAN_E4M3, 0);
        ask(s, t[SUFFIX_WEIGHT_GLOBAL_SCALE], SCAN_ONE, 0);
        ask(s, t[SUFFIX_INPUT_GLOBAL_SCALE], SCAN_ONE, 0);
        break;
    case FORM_FP8:
        ask(s, t[SUFFIX_WEIGHT_SCALE_INV], SCAN_FLOATS, 0);
        break;
    case FORM_INT4_GPTQ:
        ask(s, t[SUFFIX_SCALES], SCAN_FLOATS, 0);
        if (q->symmetric)
            ask(s, t[SUFFIX_QZEROS], SCAN_WORDS, q->zero_bias ? 0x77777777u : 0x88888888u);
        if (!q->desc_act && group_of(m))
            ask(s, t[SUFFIX_G_IDX], SCAN_GROUPS, group_of(m));
        break;
    case FORM_INT4_PACKED:
        ask(s, t[SUFFIX_WEIGHT_SCALE], SCAN_FLOATS, 0);
        break;
    default:
        break;
    }
}

/* ---- one tensor ---- */

static void say_one(struct scales *s, const struct checkpoint_tensor *t)
{
    if (!t || scan_of(s, t)->kind != SCAN_ONE)
        return;
    const float v = scan_of(s, t)->value;
    if (!isfinite(v))
        lint_add(s->j->out, "SCALE_NONFINITE", LINT_ENGINES, t->info.name,
                 "is %s, want a finite number above 0", isnan(v) ? "NaN" : "infinite");
    else if (v == 0)
        lint_add(s->j->out, "SCALE_ZERO", LINT_ENGINES, t->info.name,
                 "is 0, want a finite number above 0");
    else if (v < 0)
        lint_add(s->j->out, "SCALE_NEGATIVE", LINT_ENGINES, t->info.name,
                 "is %g, want a finite number above 0", (double)v);
}

static uint64_t columns(const struct checkpoint_tensor *t)
{
    return t->info.n_dims == 2 && t->info.shape[1] ? t->info.shape[1] : 1;
}

static void say_at(struct scales *s, const char *code, const struct checkpoint_tensor *t,
                   const char *what, uint64_t count, uint64_t first, const char *unit)
{
    const uint64_t n = columns(t);
    lint_add(s->j->out, code, LINT_ENGINES, t->info.name,
             "%llu %s %s, the first at row %llu, %s %llu", (unsigned long long)count, what,
             count == 1 ? "scale" : "scales", (unsigned long long)(first / n), unit,
             (unsigned long long)(first % n));
}

static void say_blocks(struct scales *s, const struct checkpoint_tensor *t)
{
    const struct scan *scan = t ? scan_of(s, t) : NULL;
    if (!scan || scan->kind != SCAN_E4M3)
        return;
    if (scan->wrong)
        say_at(s, "SCALE_NONFINITE", t, "NaN", scan->wrong, scan->first_wrong, "block");
    if (scan->negative)
        say_at(s, "SCALE_NEGATIVE", t, "negative", scan->negative, scan->first_negative, "block");
}

static void say_floats(struct scales *s, const struct checkpoint_tensor *t, int fp8)
{
    const struct scan *scan = t ? scan_of(s, t) : NULL;
    if (!scan || scan->kind != SCAN_FLOATS)
        return;
    if (scan->wrong)
        say_at(s, fp8 ? "FP8_SCALE_VALUE" : "SCALE_NONFINITE", t, "NaN or infinite", scan->wrong,
               scan->first_wrong, "column");
    if (scan->negative && fp8)
        say_at(s, "FP8_SCALE_VALUE", t, "negative", scan->negative, scan->first_negative, "column");
    if (scan->zero)
        say_at(s, "SCALE_ZERO", t, "zero", scan->zero, scan->first_zero, "column");
}

static void say_integers(struct scales *s, const struct lint_module *m)
{
    const struct checkpoint_tensor *zeros = m->tensors[SUFFIX_QZEROS];
    const struct checkpoint_tensor *groups = m->tensors[SUFFIX_G_IDX];
    const struct scan *z = zeros ? scan_of(s, zeros) : NULL,
                      *g = groups ? scan_of(s, groups) : NULL;
    if (z && z->kind == SCAN_WORDS && z->wrong)
        lint_add(s->j->out, "QZEROS_CONVENTION", LINT_ENGINES, zeros->info.name,
                 "%llu words differ, the first is 0x%08x, want 0x%08x (%s)",
                 (unsigned long long)z->wrong, (unsigned)z->word, (unsigned)z->want,
                 s->j->quant.zero_bias ? "checkpoint_format gptq stores zeros less one"
                                       : "zeros are stored as they are");
    if (g && g->kind == SCAN_GROUPS && g->wrong)
        lint_add(s->j->out, "G_IDX", LINT_ENGINES, groups->info.name,
                 "input %llu has group %u, want %llu: desc_act is false, groups are in order",
                 (unsigned long long)g->first_wrong, (unsigned)g->word,
                 (unsigned long long)(g->first_wrong / g->want));
}

static void say_module(struct scales *s, const struct lint_module *m)
{
    const struct checkpoint_tensor *const *t = m->tensors;
    say_one(s, t[SUFFIX_WEIGHT_SCALE_2]);
    say_one(s, t[SUFFIX_WEIGHT_GLOBAL_SCALE]);
    say_one(s, t[SUFFIX_INPUT_SCALE]);
    say_one(s, t[SUFFIX_INPUT_GLOBAL_SCALE]);
    say_blocks(s, t[SUFFIX_WEIGHT_SCALE]);
    say_floats(s, t[SUFFIX_WEIGHT_SCALE], 0);
    say_floats(s, t[SUFFIX_SCALES], 0);
    say_floats(s, t[SUFFIX_WEIGHT_SCALE_INV], 1);
    if (m->form == FORM_INT4_GPTQ)
        say_integers(s, m);
}

/* ---- two that are computed as one ---- */

static const struct checkpoint_tensor *global_of(const struct lint_module *m)
{
    return m->form == FORM_NVFP4_MODELOPT ? m->tensors[SUFFIX_WEIGHT_SCALE_2]
                                          : m->tensors[SUFFIX_WEIGHT_GLOBAL_SCALE];
}

/* Both values, positive and finite; 0 when there are no such. */
static int both(const struct scales *s, const struct checkpoint_tensor *a,
                const struct checkpoint_tensor *b, float v[2])
{
    if (!is_one_f32(a) || !is_one_f32(b))
        return 0;
    v[0] = scan_of(s, a)->value;
    v[1] = scan_of(s, b)->value;
    return isfinite(v[0]) && isfinite(v[1]) && v[0] > 0 && v[1] > 0;
}

static void say_pair(struct scales *s, const char *code, const struct lint_module *a,
                     const struct lint_module *b)
{
    char where[48];
    float v[2];
    if (a->form != b->form || !is_nvfp4(a) || !both(s, global_of(a), global_of(b), v) ||
        v[0] == v[1])
        return;
    double ratio = v[0] > v[1] ? (double)v[0] / (double)v[1] : (double)v[1] / (double)v[0];
    place_name(where, sizeof where, a->layer, a->expert);
    const char *one = strrchr(a->name, '.') + 1, *two = strrchr(b->name, '.') + 1;
    const char *kind = a->role == ROLE_SHARED_EXPERT ? ", shared expert" : "";
    char place[80];
    snprintf(place, sizeof place, "%s%s", where, kind);
    lint_add(s->j->out, code, LINT_ENGINES, place, "%s has %s %.9g, %s has %.9g: ratio %.4g", one,
             a->form == FORM_NVFP4_MODELOPT ? "weight_scale_2" : "weight_global_scale",
             (double)v[0], two, (double)v[1], ratio);
}

static void say_pairs(struct scales *s)
{
    const struct lint_job *j = s->j;
    for (size_t i = 0; i + 1 < j->n_modules; i++) {
        const struct lint_module *a = &j->modules[i], *b = a + 1;
        if (a->layer != b->layer || a->expert != b->expert || a->role != b->role)
            continue;
        if ((a->part == PART_GATE && b->part == PART_UP) ||
            (a->part == PART_SHARED_GATE && b->part == PART_SHARED_UP))
            say_pair(s, "GATE_UP_SCALE", a, b);
    }
    for (int i = 0; i < j->c->n_layers; i++) {
        const struct lint_module *q = j->layers[i].parts[PART_Q_A];
        const struct lint_module *kv = j->layers[i].parts[PART_KV_A];
        if (q && kv)
            say_pair(s, "FUSED_SCALE", q, kv);
    }
}

/* Activations are to be quantized, but no linear says with which scale. */
static void say_no_input(struct scales *s)
{
    const struct lint_job *j = s->j;
    size_t with = 0, without = 0;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        if (!is_nvfp4(m))
            continue;
        int has = m->tensors[SUFFIX_INPUT_SCALE] || m->tensors[SUFFIX_INPUT_GLOBAL_SCALE];
        with += (size_t)has;
        without += (size_t)!has;
    }
    if (j->quant.wants_input && without && !with)
        lint_add(j->out, "SCALE_MISSING", LINT_ENGINES, j->quant.file,
                 "activations are to be quantized, but none of %zu linears has an input scale: "
                 "want them, or the weight-only form (%s)",
                 without, j->quant.algo ? "quant_algo W4A16_NVFP4" : "input_activations null");
}

int lint_scales(struct lint_job *j, struct prep_error *err)
{
    struct scales s = {.j = j};
    s.scans = arena_calloc(&j->arena, j->ckpt->n_tensors, sizeof *s.scans, err);
    if (!s.scans)
        return -1;
    for (size_t i = 0; i < j->n_modules; i++)
        ask_module(&s, &j->modules[i]);
    if (lint_scan(s.scans, j->ckpt, j->opt->n_threads, err))
        return -1;
    for (size_t i = 0; i < j->n_modules; i++)
        say_module(&s, &j->modules[i]);
    say_pairs(&s);
    say_no_input(&s);
    return 0;
}

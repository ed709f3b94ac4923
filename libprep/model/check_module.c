/* SPDX-License-Identifier: MIT */
#include "libprep/model/check_module.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PARTS = 6, SHAPE_TEXT = 128 };

/* What the shape of a part is, for a linear of [rows, cols]. */
enum shape_rule {
    SHAPE_FULL,      /* [rows, cols] */
    SHAPE_HALF,      /* [rows, cols / 2] */
    SHAPE_BLOCKS_16, /* [rows, cols / 16] */
    SHAPE_SCALAR,    /* [] or [1] */
    SHAPE_FP8_GRID,  /* [ceil(rows / b0), ceil(cols / b1)] */
    SHAPE_WORDS,     /* [rows, cols / 8] */
    SHAPE_GROUPS,    /* [rows, cols / g] */
    SHAPE_T_WORDS,   /* [cols / 8, rows] */
    SHAPE_T_GROUPS,  /* [cols / g, rows] */
    SHAPE_T_ZEROS,   /* [cols / g, rows / 8] */
    SHAPE_COLS,      /* [cols] */
    SHAPE_TWO,       /* [2] */
};

struct part_rule {
    enum suffix suffix;
    enum shape_rule shape;
    enum dtype dtype; /* DTYPE_COUNT: any */
    int required;
};

static const struct form_rule {
    const char *name;
    struct part_rule parts[MAX_PARTS]; /* the one with the codes first */
    int n;
} FORMS[FORM_COUNT] = {
    [FORM_ABSENT] = {"absent", {{0}}, 0},
    [FORM_PLAIN] = {"unquantized", {{SUFFIX_WEIGHT, SHAPE_FULL, DTYPE_COUNT, 1}}, 1},
    [FORM_FP8] = {"FP8",
                  {{SUFFIX_WEIGHT, SHAPE_FULL, DTYPE_F8_E4M3, 1},
                   {SUFFIX_WEIGHT_SCALE_INV, SHAPE_FP8_GRID, DTYPE_COUNT, 1}},
                  2},
    [FORM_NVFP4_MODELOPT] = {"NVFP4 (modelopt)",
                             {{SUFFIX_WEIGHT, SHAPE_HALF, DTYPE_U8, 1},
                              {SUFFIX_WEIGHT_SCALE, SHAPE_BLOCKS_16, DTYPE_F8_E4M3, 1},
                              {SUFFIX_WEIGHT_SCALE_2, SHAPE_SCALAR, DTYPE_F32, 1},
                              {SUFFIX_INPUT_SCALE, SHAPE_SCALAR, DTYPE_F32, 0}},
                             4},
    [FORM_NVFP4_PACKED] = {"NVFP4 (compressed-tensors)",
                           {{SUFFIX_WEIGHT_PACKED, SHAPE_HALF, DTYPE_U8, 1},
                            {SUFFIX_WEIGHT_SCALE, SHAPE_BLOCKS_16, DTYPE_F8_E4M3, 1},
                            {SUFFIX_WEIGHT_GLOBAL_SCALE, SHAPE_SCALAR, DTYPE_F32, 1},
                            {SUFFIX_INPUT_GLOBAL_SCALE, SHAPE_SCALAR, DTYPE_F32, 0}},
                           4},
    [FORM_INT4_GPTQ] = {"W4A16 (GPTQ)",
                        {{SUFFIX_QWEIGHT, SHAPE_T_WORDS, DTYPE_I32, 1},
                         {SUFFIX_SCALES, SHAPE_T_GROUPS, DTYPE_COUNT, 1},
                         {SUFFIX_QZEROS, SHAPE_T_ZEROS, DTYPE_I32, 1},
                         {SUFFIX_G_IDX, SHAPE_COLS, DTYPE_I32, 0}},
                        4},
    [FORM_INT4_PACKED] = {"W4A16 (compressed-tensors)",
                          {{SUFFIX_WEIGHT_PACKED, SHAPE_WORDS, DTYPE_I32, 1},
                           {SUFFIX_WEIGHT_SCALE, SHAPE_GROUPS, DTYPE_COUNT, 1},
                           {SUFFIX_WEIGHT_SHAPE, SHAPE_TWO, DTYPE_I64, 1},
                           {SUFFIX_WEIGHT_G_IDX, SHAPE_COLS, DTYPE_I32, 0}},
                          4},
};

const char *form_name(enum form form)
{
    return FORMS[form].name;
}

const char *place_name(char *buf, size_t size, int layer, int expert)
{
    if (expert >= 0)
        snprintf(buf, size, "layer %d, expert %d", layer, expert);
    else
        snprintf(buf, size, "layer %d", layer);
    return buf;
}

enum form module_form(const struct module *m)
{
    const struct tensor_info *t = m->tensors[SUFFIX_WEIGHT];
    if (m->tensors[SUFFIX_QWEIGHT])
        return FORM_INT4_GPTQ;
    if (m->tensors[SUFFIX_WEIGHT_PACKED])
        return m->tensors[SUFFIX_WEIGHT_PACKED]->dtype == DTYPE_I32 ? FORM_INT4_PACKED
                                                                    : FORM_NVFP4_PACKED;
    if (!t)
        return FORM_ABSENT;
    if (t->dtype == DTYPE_U8)
        return FORM_NVFP4_MODELOPT;
    return t->dtype == DTYPE_F8_E4M3 ? FORM_FP8 : FORM_PLAIN;
}

static const char *shape_text(char *buf, const uint64_t *shape, int n_dims)
{
    size_t at = 0;
    buf[at++] = '[';
    for (int i = 0; i < n_dims && at < SHAPE_TEXT - 32; i++)
        at += (size_t)snprintf(buf + at, SHAPE_TEXT - at, "%s%llu", i ? "," : "",
                               (unsigned long long)shape[i]);
    buf[at++] = ']';
    buf[at] = 0;
    return buf;
}

static int same_shape(const struct tensor_info *t, const uint64_t *shape, int n_dims)
{
    if (t->n_dims != n_dims)
        return 0;
    for (int i = 0; i < n_dims; i++)
        if (t->shape[i] != shape[i])
            return 0;
    return 1;
}

static void wrong_shape(struct check *k, const char *code, const struct tensor_info *t,
                        const uint64_t *want, int n_dims, const char *why)
{
    char found[SHAPE_TEXT], wanted[SHAPE_TEXT];
    findings_add(k->out, FINDING_ERROR, code, t->name, "shape %s, want %s%s",
                 shape_text(found, t->shape, t->n_dims), shape_text(wanted, want, n_dims), why);
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return b ? (a + b - 1) / b : 0;
}

/* The shape of a part; g is the group size, 0 when it cannot be told. Returns n_dims. */
static int rule_shape(const struct check *k, enum shape_rule rule, uint64_t rows, uint64_t cols,
                      uint64_t g, uint64_t shape[2])
{
    const uint64_t groups = g ? cols / g : 1;
    const uint64_t b0 = (uint64_t)k->c->quant_block[0], b1 = (uint64_t)k->c->quant_block[1];
    const struct {
        uint64_t shape[2];
        int n_dims;
    } table[] = {
        [SHAPE_FULL] = {{rows, cols}, 2},
        [SHAPE_HALF] = {{rows, cols / 2}, 2},
        [SHAPE_BLOCKS_16] = {{rows, cols / 16}, 2},
        [SHAPE_SCALAR] = {{1, 1}, 0},
        [SHAPE_FP8_GRID] = {{divide_up(rows, b0), divide_up(cols, b1)}, 2},
        [SHAPE_WORDS] = {{rows, cols / 8}, 2},
        [SHAPE_GROUPS] = {{rows, groups}, 2},
        [SHAPE_T_WORDS] = {{cols / 8, rows}, 2},
        [SHAPE_T_GROUPS] = {{groups, rows}, 2},
        [SHAPE_T_ZEROS] = {{groups, rows / 8}, 2},
        [SHAPE_COLS] = {{cols, 1}, 1},
        [SHAPE_TWO] = {{2, 1}, 1},
    };
    shape[0] = table[rule].shape[0];
    shape[1] = table[rule].shape[1];
    return table[rule].n_dims;
}

/* Inputs per scale, from the stored groups; 0 when they do not divide the inputs. */
static uint64_t stored_group(const struct module *m, enum form form, uint64_t cols)
{
    const struct tensor_info *t = NULL;
    uint64_t groups = 0;
    if (form == FORM_INT4_GPTQ)
        t = m->tensors[SUFFIX_SCALES] ? m->tensors[SUFFIX_SCALES] : m->tensors[SUFFIX_QZEROS];
    else if (form == FORM_INT4_PACKED)
        t = m->tensors[SUFFIX_WEIGHT_SCALE];
    if (t && t->n_dims == 2)
        groups = t->shape[form == FORM_INT4_PACKED];
    return groups > 0 && cols % groups == 0 ? cols / groups : 0;
}

static void check_group(struct check *k, enum form form, uint64_t cols, uint64_t g)
{
    const int said = k->c->quant_group_size;
    const uint64_t want = said < 0 ? cols : (uint64_t)said;
    if (form == FORM_INT4_GPTQ && said != 0 && g != 0 && g != want && k->totals.group == 0)
        k->totals.group = g;
}

static const char *scale_code(enum form form, enum suffix suffix, const char *fp8,
                              const char *scale, const char *other)
{
    if (suffix == SUFFIX_WEIGHT_SCALE_INV)
        return fp8;
    if (form != FORM_PLAIN && (suffix == SUFFIX_WEIGHT_SCALE || suffix == SUFFIX_SCALES ||
                               suffix == SUFFIX_WEIGHT_SCALE_2 || suffix == SUFFIX_INPUT_SCALE ||
                               suffix == SUFFIX_WEIGHT_GLOBAL_SCALE || suffix == SUFFIX_QZEROS ||
                               suffix == SUFFIX_INPUT_GLOBAL_SCALE))
        return scale;
    return other;
}

static int is_float(uint8_t dtype)
{
    return dtype == DTYPE_BF16 || dtype == DTYPE_F16 || dtype == DTYPE_F32;
}

static void check_part_dtype(struct check *k, const struct part_rule *rule,
                             const struct tensor_info *t)
{
    const int fp8_scale = rule->suffix == SUFFIX_WEIGHT_SCALE_INV;
    int good = rule->dtype == DTYPE_COUNT ? is_float(t->dtype) : t->dtype == rule->dtype;
    if (fp8_scale && t->dtype == DTYPE_F16)
        good = 0;
    if (fp8_scale && (t->dtype == DTYPE_F8_E8M0 || t->dtype == DTYPE_U8))
        good = 1; /* powers of two */
    if (!good)
        findings_add(k->out, FINDING_ERROR, fp8_scale ? "SRC_FP8_SCALE_DTYPE" : "TENSOR_DTYPE",
                     t->name, "dtype %s, want %s", dtype_name((enum dtype)t->dtype),
                     rule->dtype == DTYPE_COUNT ? "BF16, F16 or F32" : dtype_name(rule->dtype));
}

static void check_part(struct check *k, enum form form, const struct part_rule *rule,
                       const struct tensor_info *t, uint64_t rows, uint64_t cols, uint64_t g)
{
    uint64_t want[2];
    check_part_dtype(k, rule, t);
    if (rule->shape == SHAPE_FP8_GRID && k->c->quant_block[0] == 0)
        return; /* the config says nothing of blocks: reported once, for all */
    int n_dims = rule_shape(k, rule->shape, rows, cols, g, want);
    if (same_shape(t, want, n_dims) ||
        (rule->shape == SHAPE_SCALAR && t->n_dims == 1 && t->shape[0] == 1))
        return;
    const char *why = "";
    if (rule->shape == SHAPE_FP8_GRID && t->n_dims == 2 && t->shape[0] == want[1] &&
        t->shape[1] == want[0])
        why = ": the grid is transposed";
    if (rule->shape == SHAPE_BLOCKS_16 && t->n_dims == 2 && t->shape[0] > want[0] &&
        t->shape[0] % 128 == 0)
        why = ": padded rows are a load-time layout in a file";
    wrong_shape(
        k, scale_code(form, rule->suffix, "SRC_FP8_SCALE_SHAPE", "SCALE_SHAPE", "TENSOR_SHAPE"), t,
        want, n_dims, why);
}

/* Name of a part that is not stored. */
static const char *part_name(const struct check *k, const struct tensor_spec *spec, int expert,
                             enum suffix suffix, char buf[INVENTORY_NAME_BYTES])
{
    struct tensor_spec part = *spec;
    part.suffix = suffix;
    return inventory_name(&part, k->prefix, expert, buf);
}

static void missing_part(struct check *k, const struct tensor_spec *spec, int expert,
                         enum form form, enum suffix suffix)
{
    char name[INVENTORY_NAME_BYTES], place[48];
    const char *code = spec->role == ROLE_EXPERT ? "EXPERT_INCOMPLETE" : "TENSOR_MISSING";
    if (form != FORM_ABSENT)
        code = scale_code(form, suffix, "SRC_FP8_SCALE_MISSING", "SCALE_MISSING", code);
    findings_add(k->out, FINDING_ERROR, code, part_name(k, spec, expert, suffix, name),
                 "not stored; %s%s%s", place_name(place, sizeof place, spec->layer, expert),
                 form > FORM_PLAIN ? " has this module as " : "",
                 form > FORM_PLAIN ? form_name(form) : "");
}

static void check_left_over(struct check *k, enum form form, const struct module *m)
{
    for (int s = 0; s < SUFFIX_COUNT; s++) {
        const struct form_rule *rule = &FORMS[form];
        int known = m->tensors[s] == NULL;
        for (int i = 0; i < rule->n && !known; i++)
            known = rule->parts[i].suffix == (enum suffix)s;
        if (known)
            continue;
        findings_add(k->out, FINDING_ERROR,
                     s == SUFFIX_WEIGHT_SCALE_INV ? "SRC_FP8_SCALE_ORPHAN" : "TENSOR_UNKNOWN",
                     m->tensors[s]->name, "does not belong to a module that is %s",
                     form_name(form));
    }
}

static void note_input_scale(struct check *k, enum form form, const struct module *m)
{
    struct form_totals *t = &k->totals;
    if (form != FORM_NVFP4_MODELOPT && form != FORM_NVFP4_PACKED)
        return;
    const struct part_rule *codes = &FORMS[form].parts[0], *scale = &FORMS[form].parts[3];
    if (m->tensors[scale->suffix]) {
        t->with_input_scale[form]++;
        return;
    }
    size_t i = t->without_input_scale[form]++;
    if (i < FINDINGS_PER_CODE)
        t->lacking[form][i] = m->tensors[codes->suffix];
}

/* codes is the name of the tensor beside the one that is missing. */
static void missing_input_scale(struct check *k, enum form form, const char *codes, size_t with)
{
    const char *dot = strrchr(codes, '.'), *suffix = suffix_name(FORMS[form].parts[3].suffix);
    char name[INVENTORY_NAME_BYTES + 64];
    snprintf(name, sizeof name, "%.*s.%s", (int)(dot ? dot - codes : 0), codes, suffix);
    findings_add(k->out, FINDING_ERROR, "SCALE_MISSING", name,
                 "not stored; the other %zu linears have one", with);
}

/* A checkpoint without any is a weight-only one; some without, and engines misread those. */
void check_input_scales(struct check *k)
{
    static const enum form NVFP4[] = {FORM_NVFP4_MODELOPT, FORM_NVFP4_PACKED};
    for (size_t f = 0; f < sizeof NVFP4 / sizeof NVFP4[0]; f++) {
        const enum form form = NVFP4[f];
        const size_t with = k->totals.with_input_scale[form];
        const size_t without = k->totals.without_input_scale[form];
        const size_t shown = without < FINDINGS_PER_CODE ? without : FINDINGS_PER_CODE;
        for (size_t i = 0; i < shown && with > 0; i++)
            missing_input_scale(k, form, k->totals.lacking[form][i]->name, with);
        if (without > shown && with > 0)
            findings_add(k->out, FINDING_ERROR, "SCALE_MISSING", k->c->name,
                         "%zu linears have no %s, %zu have one", without,
                         suffix_name(FORMS[form].parts[3].suffix), with);
    }
}

void check_linear(struct check *k, const struct tensor_spec *spec, int expert,
                  const struct module *m)
{
    const enum form form = module_form(m);
    const struct form_rule *rule = &FORMS[form];
    if (form == FORM_ABSENT) {
        if (m->n > 0 || !spec->optional)
            missing_part(k, spec, expert, form, FORMS[k->common].parts[0].suffix);
        check_left_over(k, form, m);
        return;
    }
    const uint64_t g = stored_group(m, form, spec->cols);
    if (form == FORM_FP8 && k->c->quant_block[0] == 0)
        k->totals.fp8_unannounced = 1;
    check_group(k, form, spec->cols, g);
    note_input_scale(k, form, m);
    for (int i = 0; i < rule->n; i++) {
        const struct tensor_info *t = m->tensors[rule->parts[i].suffix];
        if (t)
            check_part(k, form, &rule->parts[i], t, spec->rows, spec->cols, g);
        else if (rule->parts[i].required)
            missing_part(k, spec, expert, form, rule->parts[i].suffix);
    }
    check_left_over(k, form, m);
}

void check_plain(struct check *k, const struct tensor_spec *specs, int n, const struct module *m)
{
    struct module rest = *m;
    char name[INVENTORY_NAME_BYTES], why[80];
    for (int i = 0; i < n; i++) {
        const struct tensor_spec *s = &specs[i];
        const struct tensor_info *t = m->tensors[s->suffix];
        rest.tensors[s->suffix] = NULL;
        if (!t) {
            if (!s->optional || m->n > 0)
                findings_add(k->out, FINDING_ERROR, "TENSOR_MISSING",
                             inventory_name(s, k->prefix, -1, name), "not stored");
            continue;
        }
        const uint64_t want[2] = {s->rows, s->cols};
        if (!same_shape(t, want, s->n_dims)) {
            snprintf(why, sizeof why, ": one row for each expert of layer %d", s->layer);
            wrong_shape(k, s->role == ROLE_ROUTER ? "ROUTER_SHAPE" : "TENSOR_SHAPE", t, want,
                        s->n_dims, s->role == ROLE_ROUTER ? why : "");
        }
        if (s->suffix == SUFFIX_CORRECTION_BIAS && t->dtype != DTYPE_F32)
            findings_add(k->out, FINDING_ERROR, "BIAS_DTYPE", t->name,
                         "dtype %s, want F32: fewer bits collapse its values and change the "
                         "routing",
                         dtype_name((enum dtype)t->dtype));
        else if (!is_float(t->dtype))
            findings_add(k->out, FINDING_ERROR, "TENSOR_DTYPE", t->name,
                         "dtype %s, want %s: this module is never quantized",
                         dtype_name((enum dtype)t->dtype), dtype_name((enum dtype)s->dtype));
    }
    check_unknown(k, &rest, "is not part of this module");
}

void check_unknown(struct check *k, const struct module *m, const char *why)
{
    for (int s = 0; s < SUFFIX_COUNT; s++)
        if (m->tensors[s])
            findings_add(k->out, FINDING_ERROR, "TENSOR_UNKNOWN", m->tensors[s]->name, "%s", why);
}

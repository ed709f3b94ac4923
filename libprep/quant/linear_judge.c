/* SPDX-License-Identifier: MIT */
/*
 * One module: which form it has, and whether its tensors fit each other.
 */
#include <string.h>

#include "kernels/ggml/ggml.h"
#include "libprep/format/ggml_type.h"
#include "libprep/quant/linear_form.h"

static int is_float(uint8_t dtype)
{
    return dtype == DTYPE_BF16 || dtype == DTYPE_F16 || dtype == DTYPE_F32;
}

/* Is there a linear of the family behind this name? */
static int family_linear(const struct name_parts *p)
{
    switch (p->role) {
    case ROLE_LM_HEAD:
    case ROLE_DENSE_MLP:
    case ROLE_EXPERT:
    case ROLE_SHARED_EXPERT:
        return p->part != PART_OTHER;
    case ROLE_ATTENTION:
        return p->part == PART_Q_A || p->part == PART_Q_B || p->part == PART_KV_A ||
               p->part == PART_KV_B || p->part == PART_O;
    case ROLE_INDEXER:
        return p->part == PART_INDEXER_WQ_B || p->part == PART_INDEXER_WK ||
               p->part == PART_INDEXER_WEIGHTS;
    case ROLE_MTP_GLUE:
        return p->part == PART_EH_PROJ || p->part == PART_MTP_HEAD;
    case ROLE_OTHER:
    case ROLE_EMBED:
    case ROLE_FINAL_NORM:
    case ROLE_LAYER_NORM:
    case ROLE_ROUTER:
    case ROLE_FUSED_EXPERTS:
        break;
    }
    return 0;
}

/* The form told by the tensor that holds the codes; LINEAR_FORM_COUNT when there is none. */
static enum linear_form form_of(const struct linear_module *m)
{
    const struct tensor_info *packed = m->tensors[SUFFIX_WEIGHT_PACKED];
    const struct tensor_info *weight = m->tensors[SUFFIX_WEIGHT];
    if (m->tensors[SUFFIX_QWEIGHT])
        return LINEAR_GPTQ;
    if (m->tensors[SUFFIX_WEIGHT_K] && m->tensors[SUFFIX_WEIGHT_K]->ggml)
        return LINEAR_GGML_HEADS;
    if (weight && weight->ggml)
        return LINEAR_GGML;
    if (packed)
        return packed->dtype == DTYPE_I32 ? LINEAR_PACK_QUANTIZED : LINEAR_NVFP4_CT;
    if (!weight)
        return LINEAR_FORM_COUNT;
    if (weight->dtype == DTYPE_U8)
        return LINEAR_NVFP4_MODELOPT;
    return weight->dtype == DTYPE_F8_E4M3 ? LINEAR_FP8_BLOCK : LINEAR_PLAIN;
}

/* Suffixes that mean nothing without codes. */
static int is_satellite(int suffix)
{
    return suffix >= SUFFIX_WEIGHT_SCALE && suffix <= SUFFIX_INPUT_GLOBAL_SCALE;
}

static int orphan(const struct tensor_info *t, enum linear_form form, struct prep_error *err)
{
    const size_t n = strlen(t->name), k = strlen("weight_scale_inv");
    const char *what = form == LINEAR_FORM_COUNT ? "its codes are not stored"
                                                 : "it does not belong to a module that is ";
    const char *which = form == LINEAR_FORM_COUNT ? "" : linear_form_name(form);
    if (n >= k && strcmp(t->name + n - k, "weight_scale_inv") == 0)
        return prep_fail_tag(err, PREP_EDATA, "SRC_FP8_SCALE_ORPHAN", "%s: %s%s", t->name, what,
                             which);
    return prep_fail_tag(err, PREP_EDATA, "SCALE_ORPHAN", "%s: %s%s", t->name, what, which);
}

/* Every tensor of the module that the form does not know must be one that stands alone. */
static int refuse_orphans(const struct linear_module *m, enum linear_form form,
                          struct prep_error *err)
{
    for (int s = 0; s < SUFFIX_COUNT; s++) {
        int known = !m->tensors[s];
        for (int p = 0; p < LINEAR_PARTS && form != LINEAR_FORM_COUNT && !known; p++)
            known = linear_rule(form, (enum linear_part)p)->suffix == (enum suffix)s;
        if (known)
            continue;
        const int codes = s == SUFFIX_WEIGHT || s == SUFFIX_WEIGHT_PACKED || s == SUFFIX_QWEIGHT;
        if (codes)
            return prep_fail_tag(err, PREP_EDATA, "TENSOR_UNKNOWN",
                                 "%s: the module is stored a second time, as %s",
                                 m->tensors[s]->name, linear_form_name(form));
        if (is_satellite(s))
            return orphan(m->tensors[s], form, err);
    }
    return 0;
}

static int missing(const struct linear_module *m, enum linear_form form, enum suffix suffix,
                   struct prep_error *err)
{
    if (form == LINEAR_FP8_BLOCK)
        return prep_fail_tag(err, PREP_EDATA, "SRC_FP8_SCALE_MISSING",
                             "%.*s.weight is F8_E4M3 but %.*s.weight_scale_inv is not stored (the "
                             "suffix .scale of other families is not read)",
                             (int)m->name_n, m->name, (int)m->name_n, m->name);
    return prep_fail_tag(err, PREP_EDATA, "SCALE_MISSING", "%.*s.%s: not stored; the module is %s",
                         (int)m->name_n, m->name, suffix_name(suffix), linear_form_name(form));
}

static int take_tensors(struct linear *l, const struct linear_module *m, struct prep_error *err)
{
    for (int p = 0; p < LINEAR_PARTS; p++) {
        const struct part_rule *rule = linear_rule(l->form, (enum linear_part)p);
        if (rule->suffix == SUFFIX_NONE)
            continue;
        const struct tensor_info *t = m->tensors[rule->suffix];
        if (!t && rule->required)
            return missing(m, l->form, rule->suffix, err);
        if (t)
            l->tensors[l->n_tensors++] =
                (struct linear_tensor){t, m->index[rule->suffix], (enum linear_part)p};
    }
    if (l->form == LINEAR_FP8_BLOCK && m->activation_scale)
        l->tensors[l->n_tensors++] =
            (struct linear_tensor){m->activation_scale, m->activation_index, LINEAR_INPUT_SCALE};
    return 0;
}

/* Shapes and dtypes */

static const struct tensor_info *info_of(const struct linear *l, enum linear_part part)
{
    const struct linear_tensor *t = linear_tensor(l, part);
    return t ? t->info : NULL;
}

static int want_dtype(const struct tensor_info *t, enum dtype dtype, struct prep_error *err)
{
    if (!t || t->dtype == dtype)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "TENSOR_DTYPE", "%s: dtype %s, want %s", t->name,
                         dtype_name((enum dtype)t->dtype), dtype_name(dtype));
}

static int want_float(const struct tensor_info *t, struct prep_error *err)
{
    if (is_float(t->dtype))
        return 0;
    return prep_fail_tag(err, PREP_EUNSUP, "TENSOR_DTYPE", "%s: dtype %s, want BF16, F16 or F32",
                         t->name, dtype_name((enum dtype)t->dtype));
}

static int has_shape(const struct tensor_info *t, const uint64_t *shape, int n_dims)
{
    return t->n_dims == n_dims && memcmp(t->shape, shape, (size_t)n_dims * sizeof *shape) == 0;
}

/* tag is a literal. */
static int want_shape(const struct tensor_info *t, const char *tag, uint64_t rows, uint64_t cols,
                      const char *why, struct prep_error *err)
{
    const uint64_t want[2] = {rows, cols};
    char found[SHAPE_TEXT], wanted[SHAPE_TEXT];
    if (!t || has_shape(t, want, 2))
        return 0;
    return prep_fail_tag(err, PREP_EDATA, tag, "%s: shape %s, want %s%s", t->name,
                         linear_shape_text(found, t->shape, t->n_dims),
                         linear_shape_text(wanted, want, 2), why);
}

static int want_vector(const struct tensor_info *t, const char *tag, uint64_t n,
                       struct prep_error *err)
{
    char found[SHAPE_TEXT];
    if (!t || has_shape(t, &n, 1))
        return 0;
    return prep_fail_tag(err, PREP_EDATA, tag, "%s: shape %s, want [%llu]", t->name,
                         linear_shape_text(found, t->shape, t->n_dims), (unsigned long long)n);
}

static int want_scalar(const struct tensor_info *t, struct prep_error *err)
{
    char found[SHAPE_TEXT];
    if (!t || t->n_dims == 0 || (t->n_dims == 1 && t->shape[0] == 1))
        return want_dtype(t, DTYPE_F32, err);
    return prep_fail_tag(err, PREP_EDATA, "SCALE_SHAPE", "%s: shape %s, want [] or [1]", t->name,
                         linear_shape_text(found, t->shape, t->n_dims));
}

/* A matrix that is not empty. */
static int want_matrix(const struct tensor_info *t, const char *tag, struct prep_error *err)
{
    char found[SHAPE_TEXT];
    if (t->n_dims == 2 && t->shape[0] > 0 && t->shape[1] > 0)
        return 0;
    return prep_fail_tag(err, t->n_dims == 3 ? PREP_EUNSUP : PREP_EDATA, tag,
                         "%s: shape %s, want a matrix%s", t->name,
                         linear_shape_text(found, t->shape, t->n_dims),
                         t->n_dims == 3 ? "; experts stacked in one tensor are not read" : "");
}

static uint64_t divide_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static int judge_plain(struct linear *l, struct prep_error *err)
{
    const struct tensor_info *w = info_of(l, LINEAR_CODES);
    if (want_matrix(w, "TENSOR_SHAPE", err) || want_float(w, err))
        return -1;
    l->out = w->shape[0];
    l->in = w->shape[1];
    return 0;
}

static int judge_fp8(struct linear *l, const struct linear_settings *s, struct prep_error *err)
{
    const struct tensor_info *w = info_of(l, LINEAR_CODES), *scale = info_of(l, LINEAR_SCALES);
    const int64_t *block = s->c->quant_block;
    if (want_matrix(w, "TENSOR_SHAPE", err))
        return -1;
    if (block[0] < 1 || block[1] < 1)
        return prep_fail_tag(err, PREP_EDATA, "SRC_FP8_CONFIG",
                             "%s is F8_E4M3, but %s has no quantization_config of method fp8 with "
                             "a weight_block_size",
                             w->name, s->c->name);
    l->out = w->shape[0];
    l->in = w->shape[1];
    l->block_rows = (uint64_t)block[0];
    l->block_cols = (uint64_t)block[1];
    if (scale->dtype != DTYPE_F32 && scale->dtype != DTYPE_BF16 && scale->dtype != DTYPE_F8_E8M0 &&
        !(scale->dtype == DTYPE_U8 && s->powers_of_two))
        return prep_fail_tag(err, PREP_EUNSUP, "SRC_FP8_SCALE_DTYPE",
                             "%s: dtype %s, want F32, BF16, F8_E8M0, or U8 with scale_fmt ue8m0",
                             scale->name, dtype_name((enum dtype)scale->dtype));
    const uint64_t rows = divide_up(l->out, l->block_rows), cols = divide_up(l->in, l->block_cols);
    const uint64_t turned[2] = {cols, rows};
    return want_shape(scale, "SRC_FP8_SCALE_SHAPE", rows, cols,
                      rows != cols && has_shape(scale, turned, 2) ? ": the grid is transposed" : "",
                      err);
}

static int judge_nvfp4(struct linear *l, struct prep_error *err)
{
    const struct tensor_info *w = info_of(l, LINEAR_CODES), *scale = info_of(l, LINEAR_SCALES);
    if (want_dtype(w, DTYPE_U8, err) || want_matrix(w, "TENSOR_SHAPE", err) ||
        want_dtype(scale, DTYPE_F8_E4M3, err) || want_scalar(info_of(l, LINEAR_GLOBAL), err) ||
        want_scalar(info_of(l, LINEAR_INPUT_SCALE), err))
        return -1;
    if (w->shape[1] % 8 != 0 || w->shape[1] > UINT64_MAX / 2)
        return prep_fail_tag(err, PREP_EDATA, "TENSOR_SHAPE",
                             "%s: %llu bytes in a row, want a multiple of 8 (blocks of 16 inputs)",
                             w->name, (unsigned long long)w->shape[1]);
    l->out = w->shape[0];
    l->in = 2 * w->shape[1];
    l->group = 16;
    const int padded = scale->n_dims == 2 && scale->shape[0] > l->out && scale->shape[0] % 128 == 0;
    return want_shape(scale, "SCALE_SHAPE", l->out, l->in / 16,
                      padded ? ": padded rows are a layout of engines, not of files" : "", err);
}

/* Groups from the stored scales, held against the config. */
static int judge_group(struct linear *l, const struct tensor_info *scale, uint64_t n_groups,
                       const struct linear_settings *s, struct prep_error *err)
{
    const int said = l->form == LINEAR_GPTQ ? s->c->quant_group_size : 0;
    if (n_groups == 0 || l->in % n_groups != 0)
        return prep_fail_tag(err, PREP_EDATA, "SCALE_SHAPE",
                             "%s: %llu groups do not divide %llu inputs", scale->name,
                             (unsigned long long)n_groups, (unsigned long long)l->in);
    l->group = l->in / n_groups;
    if (l->group % 8 != 0)
        return prep_fail_tag(err, PREP_EUNSUP, "GROUP_SIZE",
                             "%s: groups of %llu inputs, want a multiple of 8", scale->name,
                             (unsigned long long)l->group);
    const uint64_t want = said <= 0 || (uint64_t)said > l->in ? l->in : (uint64_t)said;
    if (said != 0 && l->group != want)
        return prep_fail_tag(err, PREP_EDATA, "GROUP_SIZE",
                             "%s: groups of %llu inputs, but %s says %d", scale->name,
                             (unsigned long long)l->group, s->c->name, said);
    return 0;
}

static int judge_words(const struct tensor_info *t, uint64_t words, struct prep_error *err)
{
    if (words <= UINT64_MAX / 8)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "TENSOR_SHAPE", "%s: too large", t->name);
}

static int judge_gptq(struct linear *l, const struct linear_settings *s, struct prep_error *err)
{
    const struct tensor_info *w = info_of(l, LINEAR_CODES), *scale = info_of(l, LINEAR_SCALES);
    const struct tensor_info *zeros = info_of(l, LINEAR_ZEROS), *order = info_of(l, LINEAR_GROUPS);
    if (s->zeros_unknown)
        return prep_fail_tag(err, PREP_EUNSUP, "UNSUPPORTED",
                             "%s: cannot tell how zero points are stored: in %s, %s", w->name,
                             s->c->name, s->zeros_unknown);
    if (want_dtype(w, DTYPE_I32, err) || want_matrix(w, "TENSOR_SHAPE", err) ||
        judge_words(w, w->shape[0], err) || want_matrix(scale, "SCALE_SHAPE", err) ||
        want_float(scale, err) || want_dtype(zeros, DTYPE_I32, err) ||
        want_dtype(order, DTYPE_I32, err))
        return -1;
    l->in = 8 * w->shape[0];
    l->out = w->shape[1];
    l->zero_bias = s->zero_bias;
    l->symmetric = s->symmetric;
    l->any_order = order && s->desc_act;
    if (l->out % 8 != 0)
        return prep_fail_tag(err, PREP_EDATA, "TENSOR_SHAPE",
                             "%s: %llu outputs, want a multiple of 8", w->name,
                             (unsigned long long)l->out);
    const uint64_t groups = scale->shape[0];
    return want_shape(scale, "SCALE_SHAPE", groups, l->out, "", err) ||
           judge_group(l, scale, groups, s, err) ||
           want_shape(zeros, "SCALE_SHAPE", groups, l->out / 8, "", err) ||
           want_vector(order, "TENSOR_SHAPE", l->in, err);
}

static int judge_packed(struct linear *l, const struct linear_settings *s, struct prep_error *err)
{
    const struct tensor_info *w = info_of(l, LINEAR_CODES), *scale = info_of(l, LINEAR_SCALES);
    const struct tensor_info *zeros = info_of(l, LINEAR_ZEROS), *order = info_of(l, LINEAR_GROUPS);
    const struct tensor_info *shape = info_of(l, LINEAR_SHAPE);
    if (want_matrix(w, "TENSOR_SHAPE", err) || judge_words(w, w->shape[1], err) ||
        want_matrix(scale, "SCALE_SHAPE", err) || want_float(scale, err) ||
        want_dtype(zeros, DTYPE_I32, err) || want_dtype(order, DTYPE_I32, err) ||
        (shape->dtype != DTYPE_I32 && want_dtype(shape, DTYPE_I64, err)))
        return -1;
    l->out = w->shape[0];
    l->in = 8 * w->shape[1];
    l->symmetric = zeros == NULL;
    l->any_order = order != NULL;
    const uint64_t groups = scale->shape[1];
    return want_shape(scale, "SCALE_SHAPE", l->out, groups, "", err) ||
           judge_group(l, scale, groups, s, err) ||
           want_shape(zeros, "SCALE_SHAPE", divide_up(l->out, 8), groups, "", err) ||
           want_vector(order, "TENSOR_SHAPE", l->in, err) ||
           want_vector(shape, "TENSOR_SHAPE", 2, err);
}

/* A type that we decode, with rows of whole blocks. */
static int want_blocks(const struct tensor_info *t, uint64_t cols, struct prep_error *err)
{
    const struct ggml_codec *codec = t->ggml ? ggml_codec(ISA_SCALAR, t->ggml - 1u) : NULL;
    if (t->ggml == GGML_F32 + 1)
        return 0;
    if (!codec)
        return prep_fail_tag(err, PREP_EUNSUP, "UNSUPPORTED", "%s: type %d of ggml is not decoded",
                             t->name, t->ggml - 1);
    if (cols % codec->block == 0)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "TENSOR_SHAPE", "%s: rows of %llu in blocks of %d",
                         t->name, (unsigned long long)cols, codec->block);
}

static int judge_ggml(struct linear *l, struct prep_error *err)
{
    const struct tensor_info *w = info_of(l, LINEAR_CODES);
    if (want_matrix(w, "TENSOR_SHAPE", err) || want_blocks(w, w->shape[1], err))
        return -1;
    l->out = w->shape[0];
    l->in = w->shape[1];
    return 0;
}

/* Keys [heads, kv_lora, nope] and values [heads, v, kv_lora]. */
static int judge_heads(struct linear *l, struct prep_error *err)
{
    const struct tensor_info *k = info_of(l, LINEAR_CODES), *v = info_of(l, LINEAR_VALUES);
    char found[SHAPE_TEXT], other[SHAPE_TEXT];
    if (k->n_dims != 3 || v->n_dims != 3 || k->shape[0] != v->shape[0] ||
        k->shape[1] != v->shape[2])
        return prep_fail_tag(err, PREP_EDATA, "TENSOR_SHAPE",
                             "%s: shape %s does not go with values of shape %s", k->name,
                             linear_shape_text(found, k->shape, k->n_dims),
                             linear_shape_text(other, v->shape, v->n_dims));
    if (want_blocks(k, k->shape[2], err) || want_blocks(v, v->shape[2], err))
        return -1;
    if (k->shape[2] > LINEAR_MOST_NOPE)
        return prep_fail_tag(err, PREP_EUNSUP, "UNSUPPORTED",
                             "%s: keys of %llu values, want at "
                             "most %d",
                             k->name, (unsigned long long)k->shape[2], LINEAR_MOST_NOPE);
    l->out = k->shape[0] * (k->shape[2] + v->shape[1]);
    l->in = k->shape[1];
    return 0;
}

static int judge_form(struct linear *l, const struct linear_settings *s, struct prep_error *err)
{
    switch (l->form) {
    case LINEAR_PLAIN:
        return judge_plain(l, err);
    case LINEAR_FP8_BLOCK:
        return judge_fp8(l, s, err);
    case LINEAR_NVFP4_MODELOPT:
    case LINEAR_NVFP4_CT:
        return judge_nvfp4(l, err);
    case LINEAR_GPTQ:
        return judge_gptq(l, s, err);
    case LINEAR_PACK_QUANTIZED:
        return judge_packed(l, s, err);
    case LINEAR_GGML:
        return judge_ggml(l, err);
    case LINEAR_GGML_HEADS:
        return judge_heads(l, err);
    case LINEAR_FORM_COUNT:
        break;
    }
    return prep_fail(err, PREP_EBUG, "no form");
}

int linear_judge(struct linear *l, int *is_linear, const struct linear_module *m,
                 const struct linear_settings *s, struct prep_error *err)
{
    const enum linear_form form = form_of(m);
    *is_linear = 0;
    if (refuse_orphans(m, form, err))
        return -1;
    if (form == LINEAR_FORM_COUNT || (form == LINEAR_PLAIN && !family_linear(&m->parts)))
        return 0;
    l->form = form;
    l->n_tensors = 0;
    *is_linear = 1;
    return take_tensors(l, m, err) || judge_form(l, s, err) ? -1 : 0;
}

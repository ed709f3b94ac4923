/* SPDX-License-Identifier: MIT */
#include "libprep/quant/linear_form.h"

#include <stdio.h>
#include <string.h>

static const struct part_rule RULES[LINEAR_FORM_COUNT][LINEAR_PARTS] = {
    [LINEAR_PLAIN] = {[LINEAR_CODES] = {SUFFIX_WEIGHT, 1}},
    /* The input scale is activation_scale, which has no suffix of its own (linear_find.c). */
    [LINEAR_FP8_BLOCK] =
        {[LINEAR_CODES] = {SUFFIX_WEIGHT, 1}, [LINEAR_SCALES] = {SUFFIX_WEIGHT_SCALE_INV, 1}},
    [LINEAR_NVFP4_MODELOPT] = {[LINEAR_CODES] = {SUFFIX_WEIGHT, 1},
                               [LINEAR_SCALES] = {SUFFIX_WEIGHT_SCALE, 1},
                               [LINEAR_GLOBAL] = {SUFFIX_WEIGHT_SCALE_2, 1},
                               [LINEAR_INPUT_SCALE] = {SUFFIX_INPUT_SCALE, 0}},
    [LINEAR_NVFP4_CT] = {[LINEAR_CODES] = {SUFFIX_WEIGHT_PACKED, 1},
                         [LINEAR_SCALES] = {SUFFIX_WEIGHT_SCALE, 1},
                         [LINEAR_GLOBAL] = {SUFFIX_WEIGHT_GLOBAL_SCALE, 1},
                         [LINEAR_INPUT_SCALE] = {SUFFIX_INPUT_GLOBAL_SCALE, 0}},
    [LINEAR_GPTQ] = {[LINEAR_CODES] = {SUFFIX_QWEIGHT, 1},
                     [LINEAR_SCALES] = {SUFFIX_SCALES, 1},
                     [LINEAR_ZEROS] = {SUFFIX_QZEROS, 1},
                     [LINEAR_GROUPS] = {SUFFIX_G_IDX, 0}},
    [LINEAR_PACK_QUANTIZED] = {[LINEAR_CODES] = {SUFFIX_WEIGHT_PACKED, 1},
                               [LINEAR_SCALES] = {SUFFIX_WEIGHT_SCALE, 1},
                               [LINEAR_ZEROS] = {SUFFIX_WEIGHT_ZERO_POINT, 0},
                               [LINEAR_GROUPS] = {SUFFIX_WEIGHT_G_IDX, 0},
                               [LINEAR_SHAPE] = {SUFFIX_WEIGHT_SHAPE, 1}},
    [LINEAR_GGML] = {[LINEAR_CODES] = {SUFFIX_WEIGHT, 1}},
    [LINEAR_GGML_HEADS] =
        {[LINEAR_CODES] = {SUFFIX_WEIGHT_K, 1}, [LINEAR_VALUES] = {SUFFIX_WEIGHT_V, 1}},
};

static const char *const NAMES[LINEAR_FORM_COUNT] = {
    [LINEAR_PLAIN] = "unquantized",
    [LINEAR_FP8_BLOCK] = "FP8 blocks",
    [LINEAR_NVFP4_MODELOPT] = "NVFP4 (modelopt)",
    [LINEAR_NVFP4_CT] = "NVFP4 (compressed-tensors)",
    [LINEAR_GPTQ] = "W4A16 (GPTQ)",
    [LINEAR_PACK_QUANTIZED] = "W4A16 (pack-quantized)",
    [LINEAR_GGML] = "GGUF blocks",
    [LINEAR_GGML_HEADS] = "GGUF blocks, keys and values apart",
};

const struct part_rule *linear_rule(enum linear_form form, enum linear_part part)
{
    return &RULES[form][part];
}

const char *linear_form_name(enum linear_form form)
{
    return NAMES[form];
}

const struct linear_tensor *linear_tensor(const struct linear *l, enum linear_part part)
{
    for (int i = 0; i < l->n_tensors; i++)
        if (l->tensors[i].part == part)
            return &l->tensors[i];
    return NULL;
}

const char *linear_shape_text(char buf[SHAPE_TEXT], const uint64_t *shape, int n_dims)
{
    size_t at = 0;
    buf[at++] = '[';
    for (int i = 0; i < n_dims && at < SHAPE_TEXT - 32; i++)
        at += (size_t)snprintf(buf + at, SHAPE_TEXT - at, "%s%llu", i ? ", " : "",
                               (unsigned long long)shape[i]);
    buf[at++] = ']';
    buf[at] = 0;
    return buf;
}

/* What the config says */

static int value_is(const struct config *c, const char *key, const char *value)
{
    const uint32_t node = json_get(&c->json, c->quantization, key);
    return node != JSON_NONE && json_type(&c->json, node) == JSON_STRING &&
           json_equal(&c->json, node, value);
}

static int is_absent(const struct config *c, const char *key)
{
    const uint32_t node = json_get(&c->json, c->quantization, key);
    return node == JSON_NONE || json_type(&c->json, node) == JSON_NULL;
}

static int is_true(const struct config *c, const char *key)
{
    const uint32_t node = json_get(&c->json, c->quantization, key);
    return node != JSON_NONE && json_type(&c->json, node) == JSON_TRUE;
}

static void read_zeros(struct linear_settings *s)
{
    const struct config *c = s->c;
    const uint32_t sym = json_get(&c->json, c->quantization, "sym");
    s->desc_act = is_true(c, "desc_act");
    s->symmetric = sym == JSON_NONE || json_type(&c->json, sym) != JSON_FALSE;
    s->zeros_unknown = NULL;
    if (strcmp(c->quant_method, "gptq") == 0) {
        if (is_absent(c, "checkpoint_format") || value_is(c, "checkpoint_format", "gptq"))
            s->zero_bias = 1;
        else if (!value_is(c, "checkpoint_format", "gptq_v2"))
            s->zeros_unknown = "checkpoint_format is neither gptq nor gptq_v2";
        return;
    }
    if (value_is(c, "packing_format", "auto_round:auto_gptq"))
        s->zero_bias = 1;
    else if (!value_is(c, "packing_format", "auto_round") &&
             !value_is(c, "packing_format", "auto_round:gptqmodel"))
        s->zeros_unknown = "packing_format is not auto_round, auto_round:auto_gptq or "
                           "auto_round:gptqmodel";
}

static int read_fp8(struct linear_settings *s, struct report *report, struct prep_error *err)
{
    const struct config *c = s->c;
    s->powers_of_two = value_is(c, "scale_fmt", "ue8m0");
    if (!s->powers_of_two && !is_absent(c, "scale_fmt"))
        return prep_fail_tag(err, PREP_EUNSUP, "SRC_FP8_CONFIG",
                             "%s: scale_fmt is something else than ue8m0", c->name);
    if (value_is(c, "activation_scheme", "static"))
        report_warn(report, "SRC_FP8_CONFIG",
                    "%s: activation_scheme is static; activation scales are ignored", c->name);
    return 0;
}

int linear_settings_read(struct linear_settings *s, const struct config *c, struct report *report,
                         struct prep_error *err)
{
    *s = (struct linear_settings){
        .c = c, .symmetric = 1, .zeros_unknown = "quant_method is neither gptq nor auto-round"};
    if (c->quantization == JSON_NONE)
        return 0;
    if (strcmp(c->quant_method, "gptq") == 0 || strcmp(c->quant_method, "auto-round") == 0)
        read_zeros(s);
    if (strcmp(c->quant_method, "fp8") == 0)
        return read_fp8(s, report, err);
    return 0;
}

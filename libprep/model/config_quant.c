/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "libprep/base/pattern.h"
#include "libprep/model/config_read.h"

/* Probes for slow patterns over one config: at most half a second, whatever the file holds. */
enum { PROBE_BUDGET = 256 };

struct pattern_check {
    int budget, warned;
};

static int check_pattern(const struct config_reader *r, struct pattern_check *check,
                         const char *text, size_t n, enum pattern_anchor anchor)
{
    struct pattern *p;
    if (pattern_compile(&p, text, n, anchor, r->err)) {
        prep_note(r->err, "%s", r->d->name);
        return -1;
    }
    if (!check->warned && pattern_is_slow(p, &check->budget)) {
        check->warned = 1;
        report_warn(r->report, "PATTERN_LIMIT",
                    "%s: pattern \"%.*s\" can take exponential time; matching stops at a limit",
                    r->d->name, (int)(n < 200 ? n : 200), text);
    }
    pattern_free(p);
    return 0;
}

/* A list of module names; entries that begin with "re:" are patterns. */
static int check_names(const struct config_reader *r, struct pattern_check *check, const char *key)
{
    uint32_t list = config_find(r, key);
    if (list == JSON_NONE)
        return 0;
    if (json_type(r->d, list) != JSON_ARRAY)
        return config_bad(r, list, key, PREP_EDATA, "CONFIG_TYPE", "a list of strings");
    for (uint32_t i = json_first(r->d, list); i != JSON_NONE; i = json_next(r->d, i)) {
        if (json_type(r->d, i) != JSON_STRING)
            return config_bad(r, i, key, PREP_EDATA, "CONFIG_TYPE", "strings");
        const struct json_node *node = &r->d->nodes[i];
        if (node->end - node->start < 5 || memcmp(r->d->text + node->start, "\"re:", 4) != 0)
            continue;
        size_t n;
        const char *s = json_string(r->d, i, &r->c->arena, &n, r->err);
        if (!s || check_pattern(r, check, s + 3, n - 3, PATTERN_START))
            return -1;
    }
    return 0;
}

/* Keys of an object as patterns: gptq's dynamic ("-:" and "+:" lead), auto-round's extra_config. */
static int check_keys(const struct config_reader *r, struct pattern_check *check, const char *key,
                      int dynamic)
{
    uint32_t object = config_find(r, key);
    if (object == JSON_NONE)
        return 0;
    if (json_type(r->d, object) != JSON_OBJECT)
        return config_bad(r, object, key, PREP_EDATA, "CONFIG_TYPE", "an object");
    for (uint32_t i = json_first(r->d, object); i != JSON_NONE;
         i = json_next(r->d, json_next(r->d, i))) {
        size_t n;
        const char *s = json_string(r->d, i, &r->c->arena, &n, r->err);
        if (!s)
            return -1;
        if (dynamic && n >= 2 && (s[0] == '-' || s[0] == '+') && s[1] == ':') {
            s += 2;
            n -= 2;
        }
        if (!dynamic && strcspn(s, "*+?^$()[]{}|\\") == n)
            continue; /* an exact name */
        if (check_pattern(r, check, s, n, dynamic ? PATTERN_START : PATTERN_WHOLE))
            return -1;
    }
    return 0;
}

static int check_integer_bits(const struct config_reader *r)
{
    int64_t bits = 4, group = 0;
    int flag = 0;
    if (config_int(r, "bits", 1, 64, &bits) || config_int(r, "group_size", -1, INT32_MAX, &group) ||
        config_bool(r, "sym", &flag) || config_bool(r, "desc_act", &flag) ||
        config_bool(r, "lm_head", &flag))
        return -1;
    if (bits != 4)
        return config_bad(r, config_find(r, "bits"), "bits", PREP_EUNSUP, "UNSUPPORTED", "4");
    if (group == 0 && config_find(r, "group_size") != JSON_NONE)
        return config_bad(r, config_find(r, "group_size"), "group_size", PREP_EDATA, "CONFIG_RANGE",
                          "-1 or a positive number");
    r->c->quant_group_size = (int)group;
    return 0;
}

static int check_fp8(const struct config_reader *r)
{
    static const char KEY[] = "weight_block_size";
    uint32_t node = config_find(r, KEY);
    if (node == JSON_NONE)
        return prep_fail_tag(r->err, PREP_EUNSUP, "UNSUPPORTED",
                             "%s: FP8 without weight_block_size (one scale per tensor), want "
                             "blocks such as [128, 128]",
                             r->d->name);
    if (json_type(r->d, node) != JSON_ARRAY || json_count(r->d, node) != 2)
        return config_bad(r, node, KEY, PREP_EDATA, "CONFIG_TYPE", "two integers");
    uint32_t rows = json_first(r->d, node);
    if (config_node_int(r, rows, KEY, 1, 65536, &r->c->quant_block[0]) ||
        config_node_int(r, json_next(r->d, rows), KEY, 1, 65536, &r->c->quant_block[1]) ||
        config_only(r, "fmt", "e4m3"))
        return -1;
    node = config_find(r, "expert_dtype");
    if (node != JSON_NONE && json_type(r->d, node) == JSON_STRING && json_equal(r->d, node, "fp4"))
        return config_bad(r, node, "expert_dtype", PREP_EUNSUP, "UNSUPPORTED",
                          "FP8 experts, not packed 4-bit ones");
    return 0;
}

static int check_groups(const struct config_reader *r, struct pattern_check *check)
{
    uint32_t groups = config_find(r, "config_groups");
    if (groups == JSON_NONE)
        return 0;
    if (json_type(r->d, groups) != JSON_OBJECT)
        return config_bad(r, groups, "config_groups", PREP_EDATA, "CONFIG_TYPE", "an object");
    for (uint32_t i = json_first(r->d, groups); i != JSON_NONE;
         i = json_next(r->d, json_next(r->d, i))) {
        struct config_reader group = *r;
        group.object = json_next(r->d, i);
        if (json_type(r->d, group.object) != JSON_OBJECT)
            return config_bad(r, group.object, "config_groups", PREP_EDATA, "CONFIG_TYPE",
                              "objects");
        if (check_names(&group, check, "targets"))
            return -1;
    }
    return 0;
}

/* quant_method, in our spelling. */
static int read_method(const struct config_reader *r)
{
    static const char *const KNOWN[] = {"fp8", "modelopt", "compressed-tensors", "gptq",
                                        "auto-round"};
    uint32_t node = config_find(r, "quant_method");
    if (node == JSON_NONE && config_find(r, "quant_algo") != JSON_NONE) {
        r->c->quant_method = "modelopt"; /* 2025 files say no more than this */
        return 0;
    }
    if (node == JSON_NONE)
        return config_missing(r, "quantization_config.quant_method");
    if (json_type(r->d, node) != JSON_STRING)
        return config_bad(r, node, "quant_method", PREP_EDATA, "CONFIG_TYPE", "a string");
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++)
        if (json_equal(r->d, node, KNOWN[i]))
            r->c->quant_method = KNOWN[i];
    if (json_equal(r->d, node, "modelopt_fp4"))
        r->c->quant_method = "modelopt";
    if (r->c->quant_method[0])
        return 0;
    return config_bad(r, node, "quant_method", PREP_EUNSUP, "UNSUPPORTED",
                      "fp8, modelopt, compressed-tensors, gptq or auto-round");
}

int config_read_quantization(const struct config_reader *outer)
{
    static const char *const LISTS[] = {"ignore", "exclude_modules", "modules_to_not_convert",
                                        "modules_to_not_quantize", "ignored_layers"};
    struct config_reader r = *outer;
    struct config *c = r.c;
    c->quantization = config_find(&r, "quantization_config");
    if (c->quantization == JSON_NONE) {
        r.object = 0; /* beside a text_config */
        c->quantization = config_find(&r, "quantization_config");
    }
    if (c->quantization == JSON_NONE)
        return 0;
    if (json_type(r.d, c->quantization) != JSON_OBJECT)
        return config_bad(&r, c->quantization, "quantization_config", PREP_EDATA, "CONFIG_TYPE",
                          "an object");
    r.object = c->quantization;
    struct pattern_check check = {PROBE_BUDGET, 0};
    if (read_method(&r) || check_groups(&r, &check) || check_keys(&r, &check, "dynamic", 1) ||
        check_keys(&r, &check, "extra_config", 0))
        return -1;
    for (size_t i = 0; i < sizeof LISTS / sizeof LISTS[0]; i++)
        if (check_names(&r, &check, LISTS[i]))
            return -1;
    if (strcmp(c->quant_method, "gptq") == 0 || strcmp(c->quant_method, "auto-round") == 0)
        return check_integer_bits(&r);
    return strcmp(c->quant_method, "fp8") == 0 ? check_fp8(&r) : 0;
}

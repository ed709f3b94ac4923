/* SPDX-License-Identifier: MIT */
/*
 * What the config lists as left alone, against what is stored. The tensors win; the lists are what
 * engines go by, so a difference is worth a warning.
 *
 *   fp8                  modules_to_not_convert, ignored_layers   paths, whole or up to a dot
 *   modelopt             ignore, exclude_modules                  the same, or globs
 *   compressed-tensors   ignore                                   names, or "re:" and a pattern
 *   gptq                 dynamic                                  "-:" and a pattern
 *   auto-round           extra_config with 16 bits                names or patterns
 *
 * Of routed experts only number 0 is looked at, as engines do: one answer stands for the layer.
 */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/pattern.h"
#include "libprep/base/table.h"
#include "libprep/quant/linear_form.h"

enum { MAX_PATTERNS = 64 };

struct listed {
    const struct config *c;
    struct name_table names;
    int by_prefix; /* a name also covers what lies under it */
    const char **globs;
    size_t n_globs, cap_globs;
    struct pattern *patterns[MAX_PATTERNS]; /* NULL: given up */
    size_t n_patterns;
    struct arena arena;
};

static int add_pattern(struct listed *l, const char *s, size_t n, enum pattern_anchor anchor,
                       struct prep_error *err)
{
    if (l->n_patterns == MAX_PATTERNS)
        return 0;
    return pattern_compile(&l->patterns[l->n_patterns++], s, n, anchor, err);
}

static int add_name(struct listed *l, const char *s, size_t n, struct prep_error *err)
{
    uint32_t old;
    if (l->by_prefix && memchr(s, '*', n)) {
        if (prep_grow(&l->globs, &l->cap_globs, l->n_globs, sizeof *l->globs, err))
            return -1;
        l->globs[l->n_globs++] = s;
        return 0;
    }
    return name_table_add(&l->names, s, n, 1, &old, err);
}

static int read_list(struct listed *l, const char *key, struct prep_error *err)
{
    const struct json *d = &l->c->json;
    const uint32_t list = json_get(d, l->c->quantization, key);
    if (list == JSON_NONE || json_type(d, list) != JSON_ARRAY)
        return 0;
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i)) {
        size_t n;
        const char *s = json_string(d, i, &l->arena, &n, err);
        if (!s)
            return -1;
        const int is_pattern = n > 3 && memcmp(s, "re:", 3) == 0;
        if (is_pattern ? add_pattern(l, s + 3, n - 3, PATTERN_START, err) : add_name(l, s, n, err))
            return -1;
    }
    return 0;
}

static int read_dynamic(struct listed *l, struct prep_error *err)
{
    const struct json *d = &l->c->json;
    const uint32_t object = json_get(d, l->c->quantization, "dynamic");
    if (object == JSON_NONE || json_type(d, object) != JSON_OBJECT)
        return 0;
    for (uint32_t i = json_first(d, object); i != JSON_NONE; i = json_next(d, json_next(d, i))) {
        size_t n;
        const char *s = json_string(d, i, &l->arena, &n, err);
        if (!s)
            return -1;
        if (n > 2 && memcmp(s, "-:", 2) == 0 && add_pattern(l, s + 2, n - 2, PATTERN_START, err))
            return -1;
    }
    return 0;
}

static int read_extra(struct listed *l, struct prep_error *err)
{
    const struct json *d = &l->c->json;
    const uint32_t object = json_get(d, l->c->quantization, "extra_config");
    if (object == JSON_NONE || json_type(d, object) != JSON_OBJECT)
        return 0;
    for (uint32_t i = json_first(d, object); i != JSON_NONE; i = json_next(d, json_next(d, i))) {
        size_t n;
        int64_t bits = 0;
        const uint32_t value = json_next(d, i);
        const uint32_t node =
            json_type(d, value) == JSON_OBJECT ? json_get(d, value, "bits") : JSON_NONE;
        const char *s = json_string(d, i, &l->arena, &n, err);
        if (!s)
            return -1;
        if (node == JSON_NONE || json_i64(d, node, &bits) || bits < 16)
            continue;
        if (strcspn(s, "*+?^$()[]{}|\\") < n ? add_pattern(l, s, n, PATTERN_WHOLE, err)
                                             : add_name(l, s, n, err))
            return -1;
    }
    return 0;
}

static int read_lists(struct listed *l, struct prep_error *err)
{
    static const char *const KEYS[] = {"ignore", "exclude_modules", "modules_to_not_convert",
                                       "modules_to_not_quantize", "ignored_layers"};
    const char *method = l->c->quant_method;
    l->by_prefix = strcmp(method, "fp8") == 0 || strcmp(method, "modelopt") == 0;
    if (strcmp(method, "gptq") == 0)
        return read_dynamic(l, err);
    if (strcmp(method, "auto-round") == 0)
        return read_extra(l, err);
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++)
        if (read_list(l, KEYS[i], err))
            return -1;
    return 0;
}

/* '*' is any run of bytes. Linear: only the last star is ever tried again. */
static int glob_match(const char *glob, const char *s)
{
    const char *star = NULL, *from = NULL;
    while (*s) {
        if (*glob == '*') {
            star = glob++;
            from = s;
        } else if (*glob == *s || *glob == '?') {
            glob++;
            s++;
        } else if (star) {
            glob = star + 1;
            s = ++from;
        } else {
            return 0;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == 0;
}

static int is_listed(struct listed *l, const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 1; i <= n && l->by_prefix; i++)
        if ((i == n || name[i] == '.') && name_table_get(&l->names, name, i) != NAME_NONE)
            return 1;
    if (name_table_get(&l->names, name, n) != NAME_NONE)
        return 1;
    for (size_t i = 0; i < l->n_globs; i++)
        if (glob_match(l->globs[i], name))
            return 1;
    for (size_t i = 0; i < l->n_patterns; i++) {
        const enum pattern_result r =
            l->patterns[i] ? pattern_match(l->patterns[i], name, n) : PATTERN_NO;
        if (r == PATTERN_YES)
            return 1;
        if (r == PATTERN_LIMIT) {
            pattern_free(l->patterns[i]);
            l->patterns[i] = NULL;
        }
    }
    return 0;
}

/* Plain linears that no list has to name. */
static int may_be_plain(const struct linear *l, const struct config *c)
{
    return l->part == PART_LM_HEAD || l->part == PART_EH_PROJ || l->part == PART_INDEXER_WEIGHTS ||
           l->layer >= c->num_hidden_layers;
}

/* gptq and auto-round name what they leave out by other keys as well. */
static int lists_are_complete(const struct config *c)
{
    return strcmp(c->quant_method, "gptq") != 0 && strcmp(c->quant_method, "auto-round") != 0;
}

static void compare(struct listed *l, const struct linears *all, struct report *report)
{
    const char *coded = NULL, *plain = NULL;
    size_t n_coded = 0, n_plain = 0;
    const char *tag = strcmp(l->c->quant_method, "fp8") == 0 ? "SRC_FP8_LIST" : "QUANT_LIST";
    for (size_t i = 0; i < all->n; i++) {
        const struct linear *x = &all->items[i];
        if (x->expert > 0)
            continue;
        const int listed = is_listed(l, x->name);
        if (listed && x->form != LINEAR_PLAIN && n_coded++ == 0)
            coded = x->name;
        if (!listed && x->form == LINEAR_PLAIN && lists_are_complete(l->c) &&
            !may_be_plain(x, l->c) && n_plain++ == 0)
            plain = x->name;
    }
    if (coded)
        report_warn(report, tag, "%s lists %s as not quantized, but it is (%zu such)", l->c->name,
                    coded, n_coded);
    if (plain)
        report_warn(report, tag, "%s does not list %s, but it is not quantized (%zu such)",
                    l->c->name, plain, n_plain);
}

int linear_check_lists(const struct linears *all, const struct config *c, struct report *report,
                       struct prep_error *err)
{
    struct listed l = {.c = c};
    int rc = -1;
    if (!report || c->quantization == JSON_NONE)
        return 0;
    arena_init(&l.arena, 0);
    if (name_table_init(&l.names, 64, err) || read_lists(&l, err))
        goto out;
    compare(&l, all, report);
    rc = 0;
out:
    for (size_t i = 0; i < l.n_patterns; i++)
        pattern_free(l.patterns[i]);
    free(l.globs);
    name_table_free(&l.names);
    arena_fini(&l.arena);
    return rc;
}

/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "libprep/release/lint_job.h"

enum { MAX_SIDE_FILES = 4, VALUE_BYTES = 80 };

/* One JSON file that may say how the checkpoint is quantized. */
struct said {
    const char *file;
    struct json doc;
    uint32_t object; /* the quantization config in it, or JSON_NONE */
    int ours;        /* doc is to be freed */
};

struct configs {
    struct said main;                 /* config.json */
    struct said side[MAX_SIDE_FILES]; /* hf_quant_config.json and the like */
    size_t n_side;
};

static uint32_t get(const struct said *s, uint32_t object, const char *key)
{
    uint32_t node = object == JSON_NONE || json_type(&s->doc, object) != JSON_OBJECT
                        ? JSON_NONE
                        : json_get(&s->doc, object, key);
    return node != JSON_NONE && json_type(&s->doc, node) == JSON_NULL ? JSON_NONE : node;
}

static uint32_t path(const struct said *s, uint32_t object, const char *a, const char *b,
                     const char *c)
{
    object = get(s, object, a);
    object = b ? get(s, object, b) : object;
    return c ? get(s, object, c) : object;
}

/* ---- the files ---- */

static int open_side(struct lint_job *j, struct configs *all, const char *name,
                     struct prep_error *err)
{
    struct said *s = &all->side[all->n_side];
    struct prep_error why = PREP_ERROR_INIT;
    struct span text;
    int file = checkpoint_file(j->ckpt, name);
    *s = (struct said){.file = name, .object = JSON_NONE};
    if (file < 0)
        return 0;
    if (checkpoint_read_file(j->ckpt, name, &j->arena, &text, &why) == 0 &&
        json_parse(&s->doc, (const char *)text.p, text.n, name, &why) == 0) {
        s->ours = 1;
        s->object = get(s, 0, "quantization");
        if (s->object == JSON_NONE)
            s->object = get(s, 0, "quantization_config");
        if (s->object == JSON_NONE && json_type(&s->doc, 0) == JSON_OBJECT)
            s->object = 0;
        all->n_side++;
        return 0;
    }
    if (why.code != PREP_EDATA) {
        *err = why;
        return -1;
    }
    lint_add(j->out, "CONFIG_JSON", LINT_ENGINES, name, "%s", why.msg);
    return 0;
}

static void close_all(struct configs *all)
{
    for (size_t i = 0; i < all->n_side; i++)
        if (all->side[i].ours)
            json_free(&all->side[i].doc);
}

/* ---- the list ---- */

static int take_strings(struct lint_job *j, const struct said *s, uint32_t list,
                        struct prep_error *err)
{
    int pairs = json_type(&s->doc, list) == JSON_OBJECT;
    struct lint_quant *q = &j->quant;
    q->entries = arena_calloc(&j->arena, json_count(&s->doc, list), sizeof *q->entries, err);
    if (!q->entries)
        return -1;
    for (uint32_t i = json_first(&s->doc, list); i != JSON_NONE;) {
        uint32_t value = pairs ? json_next(&s->doc, i) : i;
        int64_t bits = 16;
        if (pairs && json_type(&s->doc, value) == JSON_OBJECT)
            (void)json_i64(
                &s->doc, get(s, value, "bits") == JSON_NONE ? value : get(s, value, "bits"), &bits);
        if (json_type(&s->doc, i) == JSON_STRING && bits >= 16) {
            q->entries[q->n_entries] = json_string(&s->doc, i, &j->arena, NULL, err);
            if (!q->entries[q->n_entries++])
                return -1;
        }
        i = json_next(&s->doc, value);
    }
    return 0;
}

static int take_list(struct lint_job *j, const struct said *s, struct prep_error *err)
{
    static const char *const keys[] = {
        "ignore",         "exclude_modules", "modules_to_not_convert",
        "ignored_layers", "dynamic",         "extra_config"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint32_t list = get(s, s->object, keys[i]);
        if (list == JSON_NONE ||
            (json_type(&s->doc, list) != JSON_ARRAY && json_type(&s->doc, list) != JSON_OBJECT))
            continue;
        j->quant.key = keys[i];
        return take_strings(j, s, list, err);
    }
    return 0;
}

/* ---- what is said ---- */

static const char *text_of(struct lint_job *j, const struct said *s, uint32_t node,
                           struct prep_error *err)
{
    return node != JSON_NONE && json_type(&s->doc, node) == JSON_STRING
               ? json_string(&s->doc, node, &j->arena, NULL, err)
               : NULL;
}

static int is(const struct said *s, uint32_t node, const char *text)
{
    return node != JSON_NONE && json_type(&s->doc, node) == JSON_STRING &&
           json_equal(&s->doc, node, text);
}

static int is_true(const struct said *s, const char *key, int otherwise)
{
    uint32_t node = get(s, s->object, key);
    return node == JSON_NONE ? otherwise : json_type(&s->doc, node) == JSON_TRUE;
}

/* The first group of config_groups. */
static uint32_t first_group(const struct said *s)
{
    uint32_t groups = get(s, s->object, "config_groups");
    uint32_t key = groups == JSON_NONE ? JSON_NONE : json_first(&s->doc, groups);
    return key == JSON_NONE ? JSON_NONE : json_next(&s->doc, key);
}

static int targets_linear(const struct said *s)
{
    uint32_t targets = get(s, first_group(s), "targets");
    if (targets == JSON_NONE || json_type(&s->doc, targets) != JSON_ARRAY)
        return 0;
    for (uint32_t i = json_first(&s->doc, targets); i != JSON_NONE; i = json_next(&s->doc, i))
        if (is(s, i, "Linear"))
            return 1;
    return 0;
}

static int wants_input(const struct said *s, const char *algo)
{
    if (algo)
        return strcmp(algo, "NVFP4") == 0 || strcmp(algo, "NVFP4_AWQ") == 0;
    return get(s, first_group(s), "input_activations") != JSON_NONE;
}

static int read_said(struct lint_job *j, const struct said *s, const char *method,
                     struct prep_error *err)
{
    struct lint_quant *q = &j->quant;
    q->method = method;
    q->file = s->file;
    q->algo = text_of(j, s, get(s, s->object, "quant_algo"), err);
    q->no_targets = strcmp(method, "compressed-tensors") == 0 && !targets_linear(s);
    q->wants_input = wants_input(s, q->algo);
    q->symmetric = is_true(s, "sym", 1);
    q->desc_act = is_true(s, "desc_act", 0);
    q->modules_key = get(s, s->object, "modules_in_block_to_quantize") != JSON_NONE;
    /* auto-round stores zeros less one only in its auto_gptq packing. */
    uint32_t packing = get(s, s->object, "packing_format");
    q->zero_bias = packing != JSON_NONE ? is(s, packing, "auto_round:auto_gptq")
                                        : !is(s, get(s, s->object, "checkpoint_format"), "gptq_v2");
    return err->code != PREP_OK ? -1 : take_list(j, s, err);
}

/* ---- do the files agree? ---- */

static const char *value_text(const struct said *s, uint32_t node, char buf[VALUE_BYTES])
{
    if (node == JSON_NONE)
        return "not said";
    const struct json_node *n = &s->doc.nodes[node];
    snprintf(buf, VALUE_BYTES, "%.*s", (int)(n->end - n->start), s->doc.text + n->start);
    return buf;
}

static int same_text(const struct said *a, uint32_t x, const struct said *b, uint32_t y)
{
    const struct json_node *m = &a->doc.nodes[x], *n = &b->doc.nodes[y];
    return m->end - m->start == n->end - n->start &&
           memcmp(a->doc.text + m->start, b->doc.text + n->start, m->end - m->start) == 0;
}

static void compare_values(struct lint_job *j, const char *key, const struct said *a, uint32_t x,
                           const struct said *b, uint32_t y)
{
    char one[VALUE_BYTES], two[VALUE_BYTES];
    if (x == JSON_NONE || y == JSON_NONE || same_text(a, x, b, y))
        return;
    lint_add(j->out, "QUANT_CONFIG_DISAGREE", LINT_ENGINES, b->file, "%s is %s in %s, %s in %s",
             key, value_text(b, y, two), b->file, value_text(a, x, one), a->file);
}

/* Lists as sets: both are sorted by nobody. Returns an element of a that b lacks. */
static uint32_t lacking(const struct said *a, uint32_t x, const struct said *b, uint32_t y,
                        struct name_table *seen, struct arena *arena, struct prep_error *err)
{
    uint32_t old;
    if (name_table_init(seen, json_count(&b->doc, y), err))
        return JSON_NONE;
    for (uint32_t i = json_first(&b->doc, y); i != JSON_NONE; i = json_next(&b->doc, i)) {
        size_t n;
        const char *s =
            json_type(&b->doc, i) == JSON_STRING ? json_string(&b->doc, i, arena, &n, err) : NULL;
        if (s && name_table_add(seen, s, n, 1, &old, err))
            return JSON_NONE;
    }
    for (uint32_t i = json_first(&a->doc, x); i != JSON_NONE; i = json_next(&a->doc, i)) {
        size_t n;
        const char *s =
            json_type(&a->doc, i) == JSON_STRING ? json_string(&a->doc, i, arena, &n, err) : NULL;
        if (s && name_table_get(seen, s, n) == NAME_NONE)
            return i;
    }
    return JSON_NONE;
}

static int compare_lists(struct lint_job *j, const struct said *a, uint32_t x, const struct said *b,
                         uint32_t y, struct prep_error *err)
{
    const struct said *from[2] = {a, b}, *to[2] = {b, a};
    const uint32_t lists[2] = {x, y}, others[2] = {y, x};
    if (x == JSON_NONE || y == JSON_NONE || json_type(&a->doc, x) != JSON_ARRAY ||
        json_type(&b->doc, y) != JSON_ARRAY)
        return 0;
    for (int k = 0; k < 2; k++) {
        struct name_table seen = {0};
        char text[VALUE_BYTES];
        struct prep_error why = PREP_ERROR_INIT;
        uint32_t odd = lacking(from[k], lists[k], to[k], others[k], &seen, &j->arena, &why);
        name_table_free(&seen);
        if (why.code != PREP_OK) {
            *err = why;
            return -1;
        }
        if (odd != JSON_NONE)
            lint_add(j->out, "QUANT_CONFIG_DISAGREE", LINT_ENGINES, b->file,
                     "%s is excluded in %s, not in %s", value_text(from[k], odd, text),
                     from[k]->file, to[k]->file);
    }
    return 0;
}

static uint32_t first_of(const struct said *s, const char *a, const char *b)
{
    uint32_t node = get(s, s->object, a);
    return node != JSON_NONE ? node : get(s, s->object, b);
}

static uint32_t group_size_of(const struct said *s)
{
    uint32_t node = get(s, s->object, "group_size");
    return node != JSON_NONE ? node : path(s, first_group(s), "weights", "group_size", NULL);
}

/* One has FP8 for the KV cache, the other nothing; they spell it differently. */
static void compare_kv(struct lint_job *j, const struct said *a, const struct said *b)
{
    int one = get(a, a->object, "kv_cache_scheme") != JSON_NONE ||
              get(a, a->object, "kv_cache_quant_algo") != JSON_NONE;
    int two = get(b, b->object, "kv_cache_quant_algo") != JSON_NONE ||
              get(b, b->object, "kv_cache_scheme") != JSON_NONE;
    if (one != two)
        lint_add(j->out, "QUANT_CONFIG_DISAGREE", LINT_ENGINES, b->file,
                 "the KV cache is %s in %s, %s in %s", two ? "quantized" : "not quantized", b->file,
                 one ? "quantized" : "not quantized", a->file);
}

static int compare_files(struct lint_job *j, const struct said *a, const struct said *b,
                         struct prep_error *err)
{
    static const char *const keys[] = {"quant_method", "quant_algo", "bits",   "sym",
                                       "desc_act",     "lm_head",    "format", "checkpoint_format"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        compare_values(j, keys[i], a, get(a, a->object, keys[i]), b, get(b, b->object, keys[i]));
    compare_values(j, "group_size", a, group_size_of(a), b, group_size_of(b));
    if (get(a, a->object, "quant_algo") != JSON_NONE)
        compare_kv(j, a, b);
    return compare_lists(j, a, first_of(a, "ignore", "exclude_modules"), b,
                         first_of(b, "exclude_modules", "ignore"), err);
}

/* ---- do they fit the tensors? ---- */

static const char *method_of(enum form form)
{
    switch (form) {
    case FORM_FP8:
        return "fp8";
    case FORM_NVFP4_MODELOPT:
        return "modelopt";
    case FORM_NVFP4_PACKED:
    case FORM_INT4_PACKED:
        return "compressed-tensors";
    case FORM_INT4_GPTQ:
        return "gptq";
    default:
        return NULL;
    }
}

static void check_method(struct lint_job *j)
{
    const struct lint_module *first[FORM_COUNT] = {0};
    for (size_t i = 0; i < j->n_modules; i++)
        if (!first[j->modules[i].form])
            first[j->modules[i].form] = &j->modules[i];
    for (int f = FORM_PLAIN + 1; f < FORM_COUNT; f++) {
        const char *want = method_of((enum form)f), *is_said = j->quant.method;
        if (!first[f] || (f == FORM_FP8 && !*is_said)) /* SRC_FP8_CONFIG */
            continue;
        if (!*is_said)
            lint_add(j->out, "QUANT_CONFIG_MISSING", LINT_ENGINES, "config.json",
                     "%s is %s, but there is no quantization_config", first[f]->name,
                     form_name((enum form)f));
        else if (strcmp(is_said, want) != 0 &&
                 !(f == FORM_INT4_GPTQ && strcmp(is_said, "auto-round") == 0))
            lint_add(j->out, "QUANT_CONFIG_DISAGREE", LINT_ENGINES, j->quant.file,
                     "quant_method is %s, but %s is %s", is_said, first[f]->name,
                     form_name((enum form)f));
    }
}

/* The keys without which a method is not recognised. */
static void check_keys(struct lint_job *j, const struct said *s)
{
    static const char *const gptq[] = {"bits", "group_size", "sym", "desc_act"};
    static const char *const algos[] = {"NVFP4", "NVFP4_AWQ", "W4A16_NVFP4", "MIXED_PRECISION",
                                        "FP8"};
    struct lint_quant *q = &j->quant;
    if (strcmp(q->method, "gptq") == 0)
        for (size_t i = 0; i < sizeof gptq / sizeof *gptq; i++)
            if (get(s, s->object, gptq[i]) == JSON_NONE)
                lint_add(j->out, "QUANT_CONFIG_KEY", LINT_SGLANG, s->file,
                         "no %s: the checkpoint is not taken as gptq_marlin", gptq[i]);
    if (strcmp(q->method, "modelopt") != 0)
        return;
    int known = q->algo == NULL;
    for (size_t i = 0; i < sizeof algos / sizeof *algos; i++)
        known = known || strcmp(q->algo, algos[i]) == 0;
    if (!q->algo || !known)
        lint_add(j->out, "QUANT_CONFIG_KEY", LINT_SGLANG | LINT_VLLM, s->file,
                 "quant_algo is %s, want NVFP4, NVFP4_AWQ, W4A16_NVFP4 or FP8",
                 q->algo ? q->algo : "not said");
    if (!q->key)
        lint_add(j->out, "QUANT_CONFIG_KEY", LINT_SGLANG, s->file,
                 "no list of excluded modules, want one, if only empty");
}

static int is_f16(const struct lint_job *j)
{
    const struct said s = {.doc = j->c->json};
    uint32_t dtype = get(&s, j->c->object, "dtype");
    if (dtype == JSON_NONE)
        dtype = get(&s, j->c->object, "torch_dtype");
    return is(&s, dtype, "float16");
}

static void check_dtype(struct lint_job *j)
{
    const struct checkpoint_tensor *norm = NULL;
    for (size_t i = 0; i < j->n_modules && !norm; i++)
        if (j->modules[i].role == ROLE_FINAL_NORM)
            norm = j->modules[i].tensors[SUFFIX_WEIGHT];
    if (norm && norm->info.dtype == DTYPE_BF16 && is_f16(j))
        lint_add(j->out, "CONFIG_DTYPE", LINT_ENGINES, "config.json",
                 "dtype is float16, the tensors are BF16");
}

int lint_quant_config(struct lint_job *j, struct prep_error *err)
{
    static const char *const names[MAX_SIDE_FILES] = {
        "hf_quant_config.json", "quantize_config.json", "quantization_config.json", NULL};
    struct configs all = {
        .main = {.file = "config.json", .doc = j->c->json, .object = j->c->quantization}};
    int rc = -1;
    j->quant = (struct lint_quant){.method = "", .file = "config.json"};
    check_dtype(j);
    for (size_t i = 0; names[i]; i++)
        if (open_side(j, &all, names[i], err))
            goto out;
    const struct said *first = all.main.object != JSON_NONE ? &all.main : &all.side[0];
    const char *method = j->c->quant_method;
    if (all.main.object == JSON_NONE && all.n_side)
        method = get(first, first->object, "quant_algo") != JSON_NONE ? "modelopt" : "gptq";
    if (*method && read_said(j, first, method, err))
        goto out;
    for (size_t i = 0; i < all.n_side; i++)
        if (&all.side[i] != first && compare_files(j, first, &all.side[i], err))
            goto out;
    check_method(j);
    if (*method)
        check_keys(j, first);
    rc = 0;
out:
    close_all(&all);
    return rc;
}

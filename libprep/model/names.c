/* SPDX-License-Identifier: MIT */
#include "libprep/model/names.h"

#include <stdio.h>
#include <string.h>

#include "libprep/base/hash.h"

struct module_name {
    const char *path; /* whole components */
    enum role role;
    enum part part;
};

static const struct module_name GLOBALS[] = {
    {"embed_tokens", ROLE_EMBED, PART_EMBED},
    {"norm", ROLE_FINAL_NORM, PART_FINAL_NORM},
    {"lm_head", ROLE_LM_HEAD, PART_LM_HEAD},
};

static const struct module_name LAYER[] = {
    {"input_layernorm", ROLE_LAYER_NORM, PART_INPUT_NORM},
    {"post_attention_layernorm", ROLE_LAYER_NORM, PART_POST_NORM},
    {"self_attn.q_a_proj", ROLE_ATTENTION, PART_Q_A},
    {"self_attn.q_a_layernorm", ROLE_ATTENTION, PART_Q_A_NORM},
    {"self_attn.q_b_proj", ROLE_ATTENTION, PART_Q_B},
    {"self_attn.kv_a_proj_with_mqa", ROLE_ATTENTION, PART_KV_A},
    {"self_attn.kv_a_layernorm", ROLE_ATTENTION, PART_KV_A_NORM},
    {"self_attn.kv_b_proj", ROLE_ATTENTION, PART_KV_B},
    {"self_attn.o_proj", ROLE_ATTENTION, PART_O},
    {"self_attn.indexer.wq_b", ROLE_INDEXER, PART_INDEXER_WQ_B},
    {"self_attn.indexer.wk", ROLE_INDEXER, PART_INDEXER_WK},
    {"self_attn.indexer.k_norm", ROLE_INDEXER, PART_INDEXER_K_NORM},
    {"self_attn.indexer.weights_proj", ROLE_INDEXER, PART_INDEXER_WEIGHTS},
    /* What FP8 configs call weights_proj; no tensor has this name. */
    {"self_attn.indexers_proj", ROLE_INDEXER, PART_INDEXER_WEIGHTS},
    {"mlp.gate", ROLE_ROUTER, PART_ROUTER},
    {"mlp.gate_proj", ROLE_DENSE_MLP, PART_GATE},
    {"mlp.up_proj", ROLE_DENSE_MLP, PART_UP},
    {"mlp.down_proj", ROLE_DENSE_MLP, PART_DOWN},
    {"mlp.gate_up_proj", ROLE_DENSE_MLP, PART_OTHER},
    {"mlp.shared_experts.gate_proj", ROLE_SHARED_EXPERT, PART_SHARED_GATE},
    {"mlp.shared_experts.up_proj", ROLE_SHARED_EXPERT, PART_SHARED_UP},
    {"mlp.shared_experts.down_proj", ROLE_SHARED_EXPERT, PART_SHARED_DOWN},
    {"enorm", ROLE_MTP_GLUE, PART_ENORM},
    {"hnorm", ROLE_MTP_GLUE, PART_HNORM},
    {"eh_proj", ROLE_MTP_GLUE, PART_EH_PROJ},
    {"shared_head.norm", ROLE_MTP_GLUE, PART_SHARED_HEAD_NORM},
    {"embed_tokens", ROLE_MTP_GLUE, PART_MTP_EMBED},
    {"shared_head.head", ROLE_MTP_GLUE, PART_MTP_HEAD},
};

/* A block of the layer whose further modules have its role though we do not list them. */
static const struct module_name BLOCKS[] = {
    {"self_attn.indexer", ROLE_INDEXER, PART_OTHER},
    {"self_attn", ROLE_ATTENTION, PART_OTHER},
    {"mlp.shared_experts", ROLE_SHARED_EXPERT, PART_OTHER},
    {"shared_head", ROLE_MTP_GLUE, PART_OTHER},
};

static const struct module_name EXPERT[] = {
    {"gate_proj", ROLE_EXPERT, PART_GATE},
    {"up_proj", ROLE_EXPERT, PART_UP},
    {"down_proj", ROLE_EXPERT, PART_DOWN},
};

static const char *const SUFFIXES[SUFFIX_COUNT] = {
    [SUFFIX_NONE] = "",
    [SUFFIX_WEIGHT] = "weight",
    [SUFFIX_WEIGHT_PACKED] = "weight_packed",
    [SUFFIX_QWEIGHT] = "qweight",
    [SUFFIX_WEIGHT_SCALE] = "weight_scale",
    [SUFFIX_WEIGHT_SCALE_INV] = "weight_scale_inv",
    [SUFFIX_WEIGHT_SCALE_2] = "weight_scale_2",
    [SUFFIX_WEIGHT_GLOBAL_SCALE] = "weight_global_scale",
    [SUFFIX_SCALES] = "scales",
    [SUFFIX_QZEROS] = "qzeros",
    [SUFFIX_WEIGHT_ZERO_POINT] = "weight_zero_point",
    [SUFFIX_G_IDX] = "g_idx",
    [SUFFIX_WEIGHT_G_IDX] = "weight_g_idx",
    [SUFFIX_WEIGHT_SHAPE] = "weight_shape",
    [SUFFIX_INPUT_SCALE] = "input_scale",
    [SUFFIX_INPUT_GLOBAL_SCALE] = "input_global_scale",
    [SUFFIX_BIAS] = "bias",
    [SUFFIX_CORRECTION_BIAS] = "e_score_correction_bias",
    [SUFFIX_K_SCALE] = "k_scale",
    [SUFFIX_V_SCALE] = "v_scale",
    [SUFFIX_WEIGHT_K] = "weight_k",
    [SUFFIX_WEIGHT_V] = "weight_v",
};

enum { LAYER_SHIFT = 42, EXPERT_SHIFT = 16, SECTION_SHIFT = 62 };
enum { SECTION_GLOBAL, SECTION_LAYER, SECTION_OTHER };

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* Does s begin with these components? Their length, or 0. */
static size_t match_path(const char *s, size_t n, const char *path)
{
    size_t len = strlen(path);
    if (n < len || memcmp(s, path, len) != 0)
        return 0;
    return n == len || s[len] == '.' ? len : 0;
}

/* Length of the module at the front of s that the table knows, or 0. */
static size_t match_table(const struct module_name *table, size_t rows, const char *s, size_t n,
                          struct name_parts *out)
{
    for (size_t i = 0; i < rows; i++) {
        size_t len = match_path(s, n, table[i].path);
        if (len > 0) {
            out->role = table[i].role;
            out->part = table[i].part;
            return len;
        }
    }
    return 0;
}

static size_t component(const char *s, size_t n)
{
    const char *dot = memchr(s, '.', n);
    return dot ? (size_t)(dot - s) : n;
}

/* A decimal component without leading zeros, at most max; its length, or 0. */
static size_t parse_id(const char *s, size_t n, int max, int *id)
{
    size_t len = component(s, n);
    if (len == 0 || len > 8 || (len > 1 && s[0] == '0'))
        return 0;
    int v = 0; /* below 10^8: cannot overflow */
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '0' || s[i] > '9')
            return 0;
        v = v * 10 + (s[i] - '0');
    }
    if (v > max)
        return 0;
    *id = v;
    return len;
}

static void set_module(struct name_parts *p, const char *module, size_t module_n, size_t n)
{
    p->module = module;
    p->module_n = module_n;
    p->suffix = module + (module_n < n ? module_n + 1 : module_n);
    p->suffix_n = module_n < n ? n - module_n - 1 : 0;
}

/* Everything before the last dot is the module. */
static void set_module_by_last_dot(struct name_parts *p, const char *s, size_t n)
{
    const char *dot = memrchr(s, '.', n);
    set_module(p, s, dot ? (size_t)(dot - s) : n, n);
}

/* s is what follows "layers.L."; at is where "experts." ends in it. */
static void parse_experts(struct name_parts *p, const char *name, const char *s, size_t n,
                          size_t at)
{
    if (at >= n) {
        if (at > n) { /* the block as a module name */
            p->role = ROLE_FUSED_EXPERTS;
            set_module(p, s, n, n);
        }
        return;
    }
    size_t id_n = parse_id(s + at, n - at, NAME_MAX_EXPERT, &p->expert);
    if (id_n == 0) {
        if (s[at] >= '0' && s[at] <= '9')
            return; /* 007, 3x, 99999999: no id, and no name of a fused tensor */
        p->role = ROLE_FUSED_EXPERTS;
        set_module(p, s, at + component(s + at, n - at), n);
        return;
    }
    p->role = ROLE_EXPERT;
    p->expert_at = (size_t)(s + at - name);
    p->expert_n = id_n;
    at += id_n;
    if (at == n) {
        set_module(p, s, n, n); /* a whole expert as a module name */
        return;
    }
    at++;
    size_t len = match_table(EXPERT, COUNT(EXPERT), s + at, n - at, p);
    if (len > 0)
        set_module(p, s, at + len, n);
}

static void parse_in_layer(struct name_parts *p, const char *name, const char *s, size_t n)
{
    set_module_by_last_dot(p, s, n);
    size_t len = match_path(s, n, "mlp.experts");
    if (len > 0) {
        parse_experts(p, name, s, n, len + 1);
        return;
    }
    len = match_table(LAYER, COUNT(LAYER), s, n, p);
    if (len > 0) {
        set_module(p, s, len, n);
        return;
    }
    len = match_table(BLOCKS, COUNT(BLOCKS), s, n, p);
    if (len > 0) {
        if (len == n)
            set_module(p, s, n, n);
        return;
    }
    if (match_path(s, n, "mlp") > 0 && name_suffix(p) == SUFFIX_CORRECTION_BIAS) {
        p->role = ROLE_ROUTER;
        p->part = PART_ROUTER;
    }
}

static int is_model_prefix(const char *s, size_t n)
{
    return n == 0 || (n >= 6 && memcmp(s + n - 6, "model.", 6) == 0);
}

static void parse_global(struct name_parts *p, const char *name, size_t n)
{
    for (size_t at = 0; at < n; at += component(name + at, n - at) + 1) {
        size_t len = match_table(GLOBALS, COUNT(GLOBALS), name + at, n - at, p);
        if (len == 0)
            continue;
        if (is_model_prefix(name, at)) {
            set_module(p, name, at + len, n);
            p->prefix_n = at;
            return;
        }
        p->role = ROLE_OTHER;
        p->part = PART_OTHER;
    }
}

struct name_parts name_parse(const char *name, size_t n)
{
    struct name_parts p = {
        .role = ROLE_OTHER, .part = PART_OTHER, .layer = -1, .expert = -1, .module = name};
    set_module_by_last_dot(&p, name, n);
    for (size_t at = 0; at < n; at += component(name + at, n - at) + 1) {
        size_t len = match_path(name + at, n - at, "layers");
        if (len == 0 || at + len == n)
            continue;
        size_t id_at = at + len + 1;
        size_t id_n = parse_id(name + id_at, n - id_at, NAME_MAX_LAYER, &p.layer);
        if (id_n == 0)
            return p;
        size_t rest = id_at + id_n;
        p.prefix_n = at;
        if (rest < n)
            parse_in_layer(&p, name, name + rest + 1, n - rest - 1);
        return p;
    }
    parse_global(&p, name, n);
    return p;
}

int name_suffix_is(const struct name_parts *parts, const char *s)
{
    return parts->suffix_n == strlen(s) && memcmp(parts->suffix, s, parts->suffix_n) == 0;
}

char *name_with_expert(struct arena *arena, const char *name, const struct name_parts *parts,
                       int expert, struct prep_error *err)
{
    return arena_printf(arena, err, "%.*s%d%s", (int)parts->expert_at, name, expert,
                        name + parts->expert_at + parts->expert_n);
}

enum suffix name_suffix(const struct name_parts *p)
{
    for (int i = 0; i < SUFFIX_COUNT; i++)
        if (name_suffix_is(p, SUFFIXES[i]))
            return (enum suffix)i;
    return SUFFIX_OTHER;
}

const char *suffix_name(enum suffix suffix)
{
    return suffix < SUFFIX_COUNT ? SUFFIXES[suffix] : "";
}

uint64_t name_order(const struct name_parts *p)
{
    uint64_t low = (uint64_t)p->part << 8 | (uint64_t)name_suffix(p);
    if (p->layer >= 0)
        return (uint64_t)SECTION_LAYER << SECTION_SHIFT | (uint64_t)p->layer << LAYER_SHIFT |
               (uint64_t)(p->expert + 1) << EXPERT_SHIFT | low;
    if (p->role == ROLE_OTHER)
        return (uint64_t)SECTION_OTHER << SECTION_SHIFT | low;
    return (uint64_t)SECTION_GLOBAL << SECTION_SHIFT | (uint64_t)p->part << EXPERT_SHIFT | low;
}

uint64_t name_group(const struct name_parts *p)
{
    uint64_t group = name_order(p) >> EXPERT_SHIFT;
    /* Modules of which nothing is known may be large: they need not stay together. */
    if (p->layer < 0 && p->role == ROLE_OTHER)
        group |= hash64(p->module, p->module_n) >> 20;
    return group;
}

/* SPDX-License-Identifier: MIT */
/*
 * Exclude lists, asked as the engines ask them: which name, against which kind of entry.
 *
 *                       name asked                                  list
 *   transformers        every linear of the main layers             LIST_CT
 *   vLLM                leaves (compressed-tensors), else fused      LIST_CT, _MODELOPT_VLLM, ...
 *   sglang              fused; the MTP layer as model.decoder        LIST_CT_SUFFIX, ...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/release/lint_job.h"
#include "libprep/release/lint_match.h"

enum { NAME_BYTES = 256, TEXT_BYTES = 600 };

/* What an engine builds as one linear. */
static const struct unit_kind {
    enum part a, b; /* b PART_OTHER: a alone */
    const char *name;
    int hf_only; /* engines build it without asking */
} kinds[] = {
    {PART_Q_A, PART_KV_A, "self_attn.fused_qkv_a_proj_with_mqa", 0},
    {PART_Q_B, PART_OTHER, "self_attn.q_b_proj", 0},
    {PART_KV_B, PART_OTHER, "self_attn.kv_b_proj", 0},
    {PART_O, PART_OTHER, "self_attn.o_proj", 0},
    {PART_INDEXER_WQ_B, PART_OTHER, "self_attn.indexer.wq_b", 0},
    {PART_INDEXER_WK, PART_OTHER, "self_attn.indexer.wk", 1},
    {PART_INDEXER_WEIGHTS, PART_OTHER, "self_attn.indexer.weights_proj", 1},
    {PART_GATE, PART_UP, "mlp.gate_up_proj", 0},
    {PART_DOWN, PART_OTHER, "mlp.down_proj", 0},
    {PART_SHARED_GATE, PART_SHARED_UP, "mlp.shared_experts.gate_up_proj", 0},
    {PART_SHARED_DOWN, PART_OTHER, "mlp.shared_experts.down_proj", 0},
};

enum { N_KINDS = sizeof kinds / sizeof *kinds };

enum method { METHOD_CT, METHOD_MODELOPT, METHOD_GPTQ, METHOD_AUTO_ROUND, METHOD_FP8, N_METHODS };

static const char *const method_names[N_METHODS] = {"compressed-tensors", "modelopt", "gptq",
                                                    "auto-round", "fp8"};

/* One engine asking one list. */
struct asker {
    struct lint_job *j;
    unsigned engine;
    enum method method;
    struct lint_match list;
    size_t *hits;       /* per entry: quantized modules it excludes */
    const char **first; /* the first of them */
};

/* One linear of an engine in one layer. */
struct unit {
    char name[NAME_BYTES]; /* as the engine calls it */
    const struct lint_module *leaf[2];
    char leaf_name[2][NAME_BYTES]; /* as the engine calls the layer */
    int n;
};

static int is_mtp(const struct lint_job *j, int layer)
{
    return layer >= j->c->num_hidden_layers;
}

/* ---- names ---- */

static void name_in(const struct asker *k, int layer, const char *inside, char buf[NAME_BYTES])
{
    if (k->engine == LINT_SGLANG && is_mtp(k->j, layer))
        snprintf(buf, NAME_BYTES, "model.decoder.%s", inside);
    else
        snprintf(buf, NAME_BYTES, "%slayers.%d.%s", k->j->prefix, layer, inside);
}

/* What follows "layers.L." in the name of a module. */
static const char *inside_layer(const struct lint_module *m)
{
    const char *p = strstr(m->name, "layers.");
    p = p ? strchr(p + strlen("layers."), '.') : NULL;
    return p ? p + 1 : m->name;
}

static void add_leaf(const struct asker *k, struct unit *u, const struct lint_module *m)
{
    if (!m || m->form == FORM_ABSENT)
        return;
    u->leaf[u->n] = m;
    name_in(k, m->layer, inside_layer(m), u->leaf_name[u->n]);
    u->n++;
}

/* ---- asking ---- */

static int asks_leaves(const struct asker *k)
{
    return k->engine == LINT_TRANSFORMERS || (k->engine == LINT_VLLM && k->method == METHOD_CT);
}

/* The entry that excludes a leaf, or -1. */
static int ask_leaf(struct asker *k, const struct unit *u, int i)
{
    if (k->method == METHOD_MODELOPT && k->engine == LINT_VLLM)
        return lint_match_exact(&k->list, u->leaf_name[i]) ? lint_match(&k->list, u->leaf_name[i])
                                                           : -1;
    return lint_match(&k->list, u->leaf_name[i]);
}

/* Does the engine fall back from the fused name to its leaves? */
static int expands(const struct asker *k)
{
    return k->method == METHOD_CT || k->engine != LINT_SGLANG;
}

/* An entry that excludes the unit as a whole, or -1. */
static int ask(struct asker *k, const struct unit *u)
{
    int entry = asks_leaves(k) ? -1 : lint_match(&k->list, u->name);
    if (entry >= 0 || !(asks_leaves(k) || expands(k)))
        return entry;
    for (int i = 0; i < u->n; i++) {
        entry = ask_leaf(k, u, i);
        if (entry < 0)
            return -1;
    }
    return entry;
}

/* ---- a unit stored plainly must be excluded ---- */

static void say_missing(struct asker *k, const struct unit *u)
{
    char text[TEXT_BYTES], place[48];
    size_t at = 0;
    int n = 0, listed = 0;
    for (int i = 0; i < u->n; i++) {
        int known = ask_leaf(k, u, i) >= 0;
        listed += known;
        if (known && asks_leaves(k))
            continue;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", n ? " and " : "",
                               u->leaf[i]->name);
        n++;
    }
    const char *key = k->j->quant.key ? k->j->quant.key : "the exclude list";
    layer_place(place, u->leaf[0]->layer);
    if (listed == u->n) /* by their own names, but not by the one that is asked */
        lint_add(k->j->out, "EXCLUDE_FUSED_MISSING", k->engine, place,
                 "%s %s not quantized and in %s, but the engine asks for %s", text,
                 n > 1 ? "are" : "is", key, u->name);
    else
        lint_add(k->j->out, "EXCLUDE_LEAF_MISSING", k->engine, place,
                 "%s %s not quantized, and %s does not name %s", text, n > 1 ? "are" : "is", key,
                 n > 1 ? "them" : "it");
}

static const char *mtp_entry(const struct asker *k, int layer, char buf[NAME_BYTES])
{
    switch (k->method) {
    case METHOD_CT:
        if (k->engine == LINT_SGLANG)
            snprintf(buf, NAME_BYTES, "re:model\\.decoder\\..*");
        else
            snprintf(buf, NAME_BYTES, "re:.*layers\\.%d\\..*", layer);
        break;
    case METHOD_GPTQ:
        snprintf(buf, NAME_BYTES, "-:.*layers\\.%d\\..*", layer);
        break;
    case METHOD_AUTO_ROUND:
        snprintf(buf, NAME_BYTES, ".*layers\\.%d\\..*", layer);
        break;
    default:
        snprintf(buf, NAME_BYTES, "%slayers.%d*", k->j->prefix, layer);
        break;
    }
    return buf;
}

static void say_mtp(struct asker *k, int layer, const char *asked)
{
    char place[48], entry[NAME_BYTES];
    lint_add(k->j->out, "MTP_NOT_EXCLUDED", k->engine, layer_place(place, layer),
             "%slayers.%d is not quantized, but %s does not exclude %s: add \"%s\"", k->j->prefix,
             layer, k->j->quant.key ? k->j->quant.key : "the list", asked,
             mtp_entry(k, layer, entry));
}

/* 1 when the unit is plain and not excluded. */
static int judge_unit(struct asker *k, const struct unit *u)
{
    if (u->n == 0 || (u->n == 2 && is_quantized(u->leaf[0]) != is_quantized(u->leaf[1])))
        return 0; /* FUSED_PAIR_SPLIT */
    int entry = ask(k, u);
    if (is_plain(u->leaf[0]))
        return entry < 0;
    if (entry < 0 && u->n == 2 && asks_leaves(k)) /* one of the two is enough to be wrong */
        for (int i = 0; i < 2 && entry < 0; i++)
            entry = ask_leaf(k, u, i);
    if (entry < 0)
        return 0;
    if (k->hits[entry]++ == 0)
        k->first[entry] = arena_strndup(&k->j->arena, asks_leaves(k) ? u->leaf[0]->name : u->name,
                                        strlen(asks_leaves(k) ? u->leaf[0]->name : u->name),
                                        &(struct prep_error)PREP_ERROR_INIT);
    return 0;
}

/* The draft model is not there, is built without the list, or is not asked for. */
static int skips_mtp(const struct asker *k)
{
    return k->engine == LINT_TRANSFORMERS || (k->engine == LINT_SGLANG && k->method != METHOD_CT);
}

/* sglang and gptq: experts are always quantized, whatever the list says. */
static int asks_for_experts(const struct asker *k)
{
    return !(k->engine == LINT_SGLANG && k->method == METHOD_GPTQ);
}

static int judge_experts(struct asker *k, int layer)
{
    const struct lint_layer *l = &k->j->layers[layer];
    struct unit u = {.n = 0};
    if (!l->expert[0] || !asks_for_experts(k))
        return 0;
    name_in(k, layer, "mlp.experts", u.name);
    add_leaf(k, &u, l->expert[0]);
    return judge_unit(k, &u);
}

static void judge_layer(struct asker *k, int layer)
{
    const struct lint_layer *l = &k->j->layers[layer];
    const int mtp = is_mtp(k->j, layer);
    char asked[NAME_BYTES] = "", place[48];
    if (mtp && skips_mtp(k))
        return;
    for (int i = 0; i < N_KINDS; i++) {
        struct unit u = {.n = 0};
        if (kinds[i].hf_only && k->engine != LINT_TRANSFORMERS)
            continue;
        name_in(k, layer, kinds[i].name, u.name);
        add_leaf(k, &u, l->parts[kinds[i].a]);
        if (kinds[i].b != PART_OTHER)
            add_leaf(k, &u, l->parts[kinds[i].b]);
        if (!judge_unit(k, &u) || k->method == METHOD_AUTO_ROUND)
            continue;
        if (mtp && !*asked)
            memcpy(asked, u.name, sizeof asked);
        else if (!mtp && !(k->method == METHOD_GPTQ && k->engine != LINT_SGLANG))
            say_missing(k, &u);
    }
    if (judge_experts(k, layer) && k->method != METHOD_AUTO_ROUND) {
        if (mtp && !*asked)
            name_in(k, layer, "mlp.experts", asked);
        else if (!mtp)
            lint_add(k->j->out, "EXCLUDE_LEAF_MISSING", k->engine, layer_place(place, layer),
                     "the experts are not quantized, and %s does not name them",
                     k->j->quant.key ? k->j->quant.key : "the exclude list");
    }
    if (mtp && *asked)
        say_mtp(k, layer, asked);
}

/* ---- what is asked once ---- */

/* transformers sees every expert; the others build one module of all. */
static void judge_every_expert(struct asker *k)
{
    const struct lint_job *j = k->j;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        struct unit u = {.n = 0};
        if (m->role != ROLE_EXPERT || is_mtp(j, m->layer) || !is_quantized(m))
            continue;
        add_leaf(k, &u, m);
        judge_unit(k, &u);
    }
}

static void judge_head(struct asker *k)
{
    const struct lint_module *m = k->j->lm_head;
    struct unit u = {.n = 0};
    if (!m || m->form == FORM_ABSENT)
        return;
    u.leaf[0] = m;
    u.n = 1;
    snprintf(u.name, NAME_BYTES, "%s", m->name);
    snprintf(u.leaf_name[0], NAME_BYTES, "%s", m->name);
    if (judge_unit(k, &u))
        lint_add(k->j->out, "EXCLUDE_LEAF_MISSING", k->engine, m->name,
                 "is not quantized, and %s does not name it", k->j->quant.key);
}

static void judge_routers(struct asker *k)
{
    const struct lint_job *j = k->j;
    for (int i = 0; i < j->c->num_hidden_layers; i++) {
        const struct lint_module *m = j->layers[i].parts[PART_ROUTER];
        if (is_plain(m) && lint_match(&k->list, m->name) < 0)
            lint_add(j->out, "ROUTER_NOT_EXCLUDED", k->engine, m->name, "%s does not name it",
                     j->quant.key ? j->quant.key : "the exclude list");
    }
}

/* vLLM's draft model asks for the head of the MTP layer, though none is stored. */
static void judge_shared_heads(struct asker *k)
{
    if (lint_count(k->j->out, "MTP_NOT_EXCLUDED"))
        return; /* the entry to add covers it */
    for (int i = k->j->c->num_hidden_layers; i < k->j->c->n_layers; i++) {
        char name[NAME_BYTES];
        name_in(k, i, "shared_head.head", name);
        if (is_plain(k->j->layers[i].parts[PART_O]) && lint_match(&k->list, name) < 0)
            say_mtp(k, i, "it");
    }
}

static void say_too_wide(struct asker *k)
{
    for (size_t i = 0; i < k->list.n; i++)
        if (k->hits[i])
            lint_add(k->j->out, "EXCLUDE_TOO_WIDE", k->engine, k->j->quant.file,
                     "\"%s\" in %s also excludes %zu quantized module%s, the first is %s",
                     k->list.entries[i], k->j->quant.key ? k->j->quant.key : "the list", k->hits[i],
                     k->hits[i] == 1 ? "" : "s", k->first[i] ? k->first[i] : "?");
}

static int run_asker(struct asker *k, enum list_rule rule, struct prep_error *err)
{
    const struct lint_quant *q = &k->j->quant;
    int rc = -1;
    k->hits = arena_calloc(&k->j->arena, q->n_entries, sizeof *k->hits, err);
    k->first = arena_calloc(&k->j->arena, q->n_entries, sizeof *k->first, err);
    if (!k->hits || !k->first || lint_match_init(&k->list, rule, q->entries, q->n_entries, err))
        goto out;
    for (int i = 0; i < k->j->c->n_layers; i++)
        judge_layer(k, i);
    if (k->engine == LINT_TRANSFORMERS) {
        judge_every_expert(k);
        if (k->method == METHOD_CT)
            judge_head(k);
    }
    if (k->method == METHOD_MODELOPT)
        judge_routers(k);
    if (k->method == METHOD_MODELOPT && k->engine == LINT_VLLM)
        judge_shared_heads(k);
    say_too_wide(k);
    rc = 0;
out:
    lint_match_fini(&k->list);
    return rc;
}

/* ---- lists of other kinds ---- */

/* FP8: tensors decide, the list is only held against them. */
static int judge_fp8(struct lint_job *j, struct prep_error *err)
{
    static const enum part parts[] = {
        PART_Q_A,          PART_Q_B,        PART_KV_A,       PART_KV_B, PART_O,
        PART_INDEXER_WQ_B, PART_INDEXER_WK, PART_GATE,       PART_UP,   PART_DOWN,
        PART_SHARED_GATE,  PART_SHARED_UP,  PART_SHARED_DOWN};
    struct lint_match list = {0};
    int rc = lint_match_init(&list, LIST_PATHS, j->quant.entries, j->quant.n_entries, err);
    for (size_t i = 0; i < j->n_modules && !rc; i++) {
        const struct lint_module *m = &j->modules[i];
        int entry = lint_match(&list, m->name), linear = 0;
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
            linear = linear || m->part == parts[p];
        if (m->form == FORM_FP8 && entry >= 0)
            lint_add(j->out, "SRC_FP8_LIST", LINT_ENGINES, m->name, "is FP8, but \"%s\" names it",
                     j->quant.entries[entry]);
        else if (m->form == FORM_PLAIN && linear && entry < 0)
            lint_add(j->out, "SRC_FP8_LIST", LINT_ENGINES, m->name,
                     "is not FP8, and %s does not name it",
                     j->quant.key ? j->quant.key : "modules_to_not_convert");
    }
    lint_match_fini(&list);
    return rc;
}

/* modules_in_block_to_quantize says for every layer what holds for some. */
static int judge_modules_key(struct lint_job *j, struct prep_error *err)
{
    int quantized[PART_OTHER] = {0};
    struct lint_match list = {0};
    int rc = lint_match_init(&list, LIST_DYNAMIC, j->quant.entries, j->quant.n_entries, err);
    for (int i = 0; i < j->c->n_layers && !rc; i++)
        for (int p = 0; p < PART_OTHER; p++)
            quantized[p] |= is_quantized(j->layers[i].parts[p]);
    for (int i = 0; i < j->c->n_layers && !rc; i++) {
        for (int p = 0; p < PART_OTHER; p++) {
            const struct lint_module *m = j->layers[i].parts[p];
            if (!quantized[p] || !is_plain(m) || lint_match(&list, m->name) >= 0)
                continue;
            lint_add(j->out, "GPTQ_MODULES_KEY", LINT_VLLM, j->quant.file,
                     "modules_in_block_to_quantize takes %s in every layer, but %s is not "
                     "quantized",
                     inside_layer(m), m->name);
            goto out;
        }
    }
out:
    lint_match_fini(&list);
    return rc;
}

int lint_lists(struct lint_job *j, struct prep_error *err)
{
    static const struct {
        enum method method;
        unsigned engine;
        enum list_rule rule;
    } askers[] = {
        {METHOD_CT, LINT_SGLANG, LIST_CT_SUFFIX},
        {METHOD_CT, LINT_VLLM, LIST_CT},
        {METHOD_CT, LINT_TRANSFORMERS, LIST_CT},
        {METHOD_MODELOPT, LINT_SGLANG, LIST_MODELOPT_SGLANG},
        {METHOD_MODELOPT, LINT_VLLM, LIST_MODELOPT_VLLM},
        {METHOD_GPTQ, LINT_SGLANG, LIST_DYNAMIC},
        {METHOD_GPTQ, LINT_VLLM, LIST_DYNAMIC},
        {METHOD_AUTO_ROUND, LINT_SGLANG, LIST_EXTRA},
        {METHOD_AUTO_ROUND, LINT_VLLM, LIST_EXTRA},
    };
    int method = 0;
    while (method < N_METHODS && strcmp(j->quant.method, method_names[method]) != 0)
        method++;
    if (method == N_METHODS || j->quant.no_targets)
        return 0;
    if (method == METHOD_FP8)
        return judge_fp8(j, err);
    if (j->quant.modules_key && method == METHOD_GPTQ && judge_modules_key(j, err))
        return -1;
    for (size_t i = 0; i < sizeof askers / sizeof *askers; i++) {
        struct asker k = {.j = j, .engine = askers[i].engine, .method = askers[i].method};
        if ((int)askers[i].method != method || !(askers[i].engine & j->out->engines))
            continue;
        if (run_asker(&k, askers[i].rule, err))
            return -1;
    }
    return 0;
}

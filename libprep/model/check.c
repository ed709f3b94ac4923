/* SPDX-License-Identifier: MIT */
#include "libprep/model/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/check_module.h"

/* A tensor of the checkpoint under its place in the family's order. */
struct stored {
    uint64_t order;
    const struct tensor_info *info;
};

/* One walk over the stored tensors, sorted; [at, end) is what is left. */
struct walk {
    struct check k;
    const struct stored *at, *end;
    int *stored_experts; /* per layer; -1: no expert tensors at all */
    struct arena arena;
};

static int by_order(const void *a, const void *b)
{
    const struct stored *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->info->name, y->info->name);
}

static struct name_parts parts_of(const struct stored *s)
{
    return name_parse(s->info->name, strlen(s->info->name));
}

static uint64_t module_key(uint64_t order)
{
    return order >> 8;
}

static uint64_t block_key(uint64_t order) /* an expert, or the rest of a layer */
{
    return order >> 16;
}

static void unknown(struct walk *w, const struct tensor_info *t, const char *why)
{
    findings_add(w->k.out, FINDING_ERROR, "TENSOR_UNKNOWN", t->name, "%s", why);
}

/* Takes the tensors of one module off the walk. */
static void take_module(struct walk *w, struct module *m)
{
    const uint64_t key = module_key(w->at->order);
    *m = (struct module){.n = 0};
    for (; w->at < w->end && module_key(w->at->order) == key; w->at++) {
        const unsigned suffix = w->at->order & 0xff;
        if (suffix >= SUFFIX_COUNT)
            unknown(w, w->at->info, "has a suffix of no format that is known");
        else if (m->tensors[suffix])
            unknown(w, w->at->info, "is stored twice, under two prefixes");
        else
            m->tensors[suffix] = w->at->info;
        m->n++;
    }
}

/* Modules that no spec of a layer names, though they may be there. */
static void check_extra(struct walk *w, int layer)
{
    const struct config *c = w->k.c;
    const struct name_parts p = parts_of(w->at);
    const struct tensor_info *t = w->at->info;
    const int in_mtp = layer >= c->num_hidden_layers;
    const enum suffix suffix = name_suffix(&p);
    if (in_mtp && (p.part == PART_MTP_EMBED || p.part == PART_MTP_HEAD) &&
        suffix == SUFFIX_WEIGHT) {
        if (t->n_dims != 2 || t->shape[0] != (uint64_t)c->vocab_size ||
            t->shape[1] != (uint64_t)c->hidden_size)
            findings_add(w->k.out, FINDING_ERROR, "TENSOR_SHAPE", t->name,
                         "not the shape of the embedding, of which it should be a copy");
    } else if (p.role == ROLE_FUSED_EXPERTS) {
        if (t->n_dims == 3)
            w->stored_experts[layer] =
                t->shape[0] <= CONFIG_MAX_EXPERTS ? (int)t->shape[0] : CONFIG_MAX_EXPERTS + 1;
    } else if (suffix != SUFFIX_K_SCALE && suffix != SUFFIX_V_SCALE) {
        unknown(w, t,
                p.role == ROLE_OTHER ? "is no name of this family" : "is not part of this layer");
    }
    w->at++;
}

/* Specs of one module: they are neighbours. */
static int specs_of_module(const struct tensor_spec *specs, int n)
{
    int m = 1;
    while (m < n && specs[m].part == specs[0].part && specs[m].role == specs[0].role)
        m++;
    return m;
}

/* What is stored beside the experts, against specs[0..n). end is exclusive. */
static void check_block(struct walk *w, struct tensor_spec *specs, int n, const struct stored *end)
{
    const int layer = specs[0].layer;
    for (int i = 0, m; i < n; i += m) {
        struct module module = {.n = 0};
        const uint64_t key = module_key(inventory_order(&specs[i], -1));
        m = specs_of_module(specs + i, n - i);
        while (w->at < end && module_key(w->at->order) < key)
            check_extra(w, layer);
        if (w->at < end && module_key(w->at->order) == key)
            take_module(w, &module);
        if (specs[i].linear && specs[i].role != ROLE_LM_HEAD)
            check_linear(&w->k, &specs[i], -1, &module);
        else
            check_plain(&w->k, &specs[i], m, &module);
    }
    while (w->at < end)
        check_extra(w, layer);
}

static const struct stored *end_of_block(const struct walk *w)
{
    const struct stored *end = w->at;
    while (end < w->end && block_key(end->order) == block_key(w->at->order))
        end++;
    return end;
}

/* The form most linears of the layer's experts have. */
static enum form common_form(const struct walk *w, const struct stored *end)
{
    size_t seen[FORM_COUNT] = {0};
    struct walk scout = *w;
    struct findings none;
    findings_init(&none); /* what the scout finds is found again by the check */
    scout.k.out = &none;
    scout.end = end;
    while (scout.at < scout.end) {
        struct module m;
        take_module(&scout, &m);
        seen[module_form(&m)]++;
    }
    findings_fini(&none);
    enum form best = FORM_PLAIN;
    for (int f = FORM_PLAIN; f < FORM_COUNT; f++)
        if (seen[f] > seen[best])
            best = (enum form)f;
    return best;
}

static void check_expert(struct walk *w, const struct tensor_spec specs[3], int expert,
                         const struct stored *end)
{
    const enum form common = w->k.common;
    char place[48];
    for (int i = 0; i < 3; i++) {
        struct module module = {.n = 0};
        const uint64_t key = module_key(inventory_order(&specs[i], expert));
        if (w->at < end && module_key(w->at->order) == key)
            take_module(w, &module);
        const enum form form = module_form(&module);
        if (form != FORM_ABSENT && form != common)
            findings_add(w->k.out, FINDING_ERROR, "EXPERT_FORMATS_MIXED",
                         place_name(place, sizeof place, specs[i].layer, expert),
                         "%s is %s, most of the layer is %s: engines want one format per layer",
                         specs[i].path, form_name(form), form_name(common));
        check_linear(&w->k, &specs[i], expert, &module);
    }
    while (w->at < end)
        unknown(w, w->at++->info, "is no part of an expert");
}

/* "0..10, 12" in the arena; NULL when out of memory. */
static const char *id_ranges(struct walk *w, const int *ids, int n, struct prep_error *err)
{
    const char *text = "";
    for (int i = 0, ranges = 0; i < n; ranges++) {
        int last = i;
        while (last + 1 < n && ids[last + 1] == ids[last] + 1)
            last++;
        const char *comma = i ? ", " : "";
        if (ranges == 8)
            return arena_printf(&w->arena, err, "%s, ... %d", text, ids[n - 1]);
        text = last == i
                   ? arena_printf(&w->arena, err, "%s%s%d", text, comma, ids[i])
                   : arena_printf(&w->arena, err, "%s%s%d..%d", text, comma, ids[i], ids[last]);
        if (!text)
            return NULL;
        i = last + 1;
    }
    return text;
}

static int count_blocks(const struct stored *at, const struct stored *end)
{
    int n = 0;
    for (const struct stored *s = at; s < end; s++)
        n += s == at || block_key(s[-1].order) != block_key(s->order);
    return n;
}

/* The experts of one layer; end is past its last tensor. */
static int check_experts(struct walk *w, const struct tensor_spec *specs, int layer,
                         const struct stored *end, struct prep_error *err)
{
    const int n = count_blocks(w->at, end);
    if (n == 0)
        return 0;
    int *ids = arena_calloc(&w->arena, (size_t)n, sizeof *ids, err);
    if (!ids)
        return -1;
    w->k.common = common_form(w, end);
    for (int i = 0; i < n; i++) {
        ids[i] = parts_of(w->at).expert;
        check_expert(w, specs, ids[i], end_of_block(w));
    }
    w->k.common = FORM_PLAIN;
    w->stored_experts[layer] = n;
    if (ids[n - 1] == n - 1) /* ascending and distinct */
        return 0;
    char place[48];
    const char *ranges = id_ranges(w, ids, n, err);
    if (!ranges)
        return -1;
    findings_add(w->k.out, FINDING_ERROR, "EXPERT_IDS", place_name(place, sizeof place, layer, -1),
                 "%d experts with the ids %s, want 0..%d without a gap", n, ranges, n - 1);
    return 0;
}

static const struct stored *end_of_layer(const struct walk *w, int layer)
{
    const struct stored *end = w->at;
    while (end < w->end && parts_of(end).layer == layer)
        end++;
    return end;
}

/* The router has to match the experts that are there; the config is compared for all layers. */
static void adapt_router(struct tensor_spec *specs, int n, int stored)
{
    for (int i = 0; i < n && stored > 0; i++)
        if (specs[i].role == ROLE_ROUTER)
            specs[i].rows = (uint64_t)stored;
}

static int check_layer(struct walk *w, int layer, struct prep_error *err)
{
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    const int n = inventory_layer(w->k.c, layer, specs);
    const int n_rest = w->k.c->is_moe[layer] ? n - 3 : n;
    const struct stored *end = end_of_layer(w, layer), *experts = w->at;
    char place[48];
    if (w->at == end) {
        if (layer < w->k.c->num_hidden_layers)
            findings_add(w->k.out, FINDING_ERROR, "TENSOR_MISSING",
                         place_name(place, sizeof place, layer, -1), "the whole layer is missing");
        return 0;
    }
    while (experts < end && parts_of(experts).expert < 0)
        experts++;
    if (n_rest < n)
        adapt_router(specs, n_rest, count_blocks(experts, end));
    check_block(w, specs, n_rest, experts);
    if (n_rest < n)
        return check_experts(w, specs + n_rest, layer, end, err);
    while (w->at < end)
        unknown(w, w->at++->info, "is an expert of a dense layer");
    return 0;
}

static void check_globals(struct walk *w)
{
    const struct config *c = w->k.c;
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    int n = inventory_layer(c, INVENTORY_GLOBALS, specs), n_known = n;
    const struct stored *end = w->at, *head = NULL;
    for (; end < w->end && parts_of(end).layer < 0 && parts_of(end).role != ROLE_OTHER; end++)
        if (parts_of(end).role == ROLE_LM_HEAD)
            head = end;
    if (c->tie_word_embeddings && head) {
        findings_add(w->k.out, FINDING_WARNING, "TIED_HEAD", head->info->name,
                     "stored, though tie_word_embeddings is true: some loaders drop it");
        end = head;
    }
    if (!c->tie_word_embeddings && !head) {
        findings_add(w->k.out, FINDING_ERROR, "LM_HEAD_MISSING", "lm_head.weight",
                     "not stored, and tie_word_embeddings is false");
        n_known--; /* the last one */
    }
    check_block(w, specs, n_known, end);
    while (w->at < w->end && parts_of(w->at).layer < 0 && parts_of(w->at).role != ROLE_OTHER)
        w->at++; /* the tied head */
}

/* Layers past the last one of the config, then names outside the family. */
static void check_strays(struct walk *w)
{
    char place[48];
    while (w->at < w->end && parts_of(w->at).layer >= 0) {
        const int layer = parts_of(w->at).layer;
        const struct stored *end = end_of_layer(w, layer);
        findings_add(
            w->k.out, FINDING_WARNING, "STRAY_LAYER", place_name(place, sizeof place, layer, -1),
            "%zu tensors; the config has %d layers and %d MTP layers", (size_t)(end - w->at),
            w->k.c->num_hidden_layers, w->k.c->num_nextn_predict_layers);
        w->at = end;
    }
    for (; w->at < w->end; w->at++)
        unknown(w, w->at->info, "is no name of this family");
}

static void check_mtp_layers(struct walk *w, const unsigned char *seen)
{
    const struct config *c = w->k.c;
    const int wanted = c->num_nextn_predict_layers, first = c->num_hidden_layers;
    int stored = 0;
    char place[48];
    for (int i = first; i < c->n_layers; i++)
        stored += seen[i];
    if (stored == wanted)
        return;
    if (stored == 0)
        findings_add(w->k.out, FINDING_ERROR, "MTP_MISSING",
                     place_name(place, sizeof place, first, -1),
                     "num_nextn_predict_layers is %d, no tensor of the layer is stored "
                     "(stitch-mtp takes it from the source)",
                     wanted);
    else
        findings_add(w->k.out, FINDING_ERROR, "MTP_COUNT", c->name,
                     "num_nextn_predict_layers is %d in the config, %d in the tensors", wanted,
                     stored);
}

/* Experts stored against experts promised: one line when all layers agree among themselves. */
static void check_expert_counts(struct walk *w, const unsigned char *seen)
{
    const struct config *c = w->k.c;
    int layers = 0, wrong = 0, common = -2;
    char place[48];
    for (int i = 0; i < c->n_layers; i++) {
        if (!c->is_moe[i] || !seen[i])
            continue;
        const int n = w->stored_experts[i];
        layers++;
        wrong += n != c->n_experts[i];
        common = common == -2 || common == n ? n : -1;
    }
    if (wrong == layers && wrong > 1 && common > 0) {
        findings_add(w->k.out, FINDING_ERROR, "EXPERT_COUNT", c->name,
                     "n_routed_experts is %d in the config, %d in the tensors of all %d layers",
                     c->n_routed_experts, common, layers);
        return;
    }
    for (int i = 0; i < c->n_layers; i++) {
        if (!c->is_moe[i] || !seen[i] || w->stored_experts[i] == c->n_experts[i])
            continue;
        findings_add(
            w->k.out, FINDING_ERROR, "EXPERT_COUNT", place_name(place, sizeof place, i, -1),
            "%d experts in the tensors, %d in the config", w->stored_experts[i], c->n_experts[i]);
    }
}

static void check_totals(struct walk *w)
{
    const struct form_totals *t = &w->k.totals;
    if (t->group != 0)
        findings_add(w->k.out, FINDING_ERROR, "GROUP_SIZE", w->k.c->name,
                     "group_size is %d in the config, %llu by the scales in the tensors",
                     w->k.c->quant_group_size, (unsigned long long)t->group);
    if (t->fp8_unannounced)
        findings_add(w->k.out, FINDING_ERROR, "SRC_FP8_CONFIG", w->k.c->name,
                     "there are FP8 tensors, but no quantization_config with weight_block_size");
}

/* What stands before "layers." in the first name that has it, else "model.". */
static const char *find_prefix(struct walk *w, struct prep_error *err)
{
    for (const struct stored *s = w->at; s < w->end; s++) {
        const struct name_parts p = parts_of(s);
        if (p.layer >= 0)
            return arena_strndup(&w->arena, s->info->name, p.prefix_n, err);
    }
    return "model.";
}

static int run(struct walk *w, const struct stored *all, size_t n, struct prep_error *err)
{
    const struct config *c = w->k.c;
    unsigned char *seen = arena_calloc(&w->arena, (size_t)c->n_layers, 1, err);
    w->stored_experts =
        arena_calloc(&w->arena, (size_t)c->n_layers, sizeof *w->stored_experts, err);
    if (!seen || !w->stored_experts)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const int layer = parts_of(&all[i]).layer;
        if (layer >= 0 && layer < c->n_layers)
            seen[layer] = 1;
    }
    w->at = all;
    w->end = all + n;
    w->k.prefix = find_prefix(w, err);
    if (!w->k.prefix)
        return -1;
    check_globals(w);
    for (int layer = 0; layer < c->n_layers; layer++)
        if (check_layer(w, layer, err))
            return -1;
    check_strays(w);
    check_mtp_layers(w, seen);
    check_expert_counts(w, seen);
    check_input_scales(&w->k);
    check_totals(w);
    return 0;
}

int check_inventory(struct findings *out, const struct config *c,
                    const struct tensor_info *const *tensors, size_t n, struct prep_error *err)
{
    struct walk w = {.k = {.out = out, .c = c, .common = FORM_PLAIN}};
    int rc = -1;
    arena_init(&w.arena, 0);
    struct stored *all = arena_calloc(&w.arena, n, sizeof *all, err);
    if (!all)
        goto out;
    for (size_t i = 0; i < n; i++) {
        const struct name_parts p = name_parse(tensors[i]->name, strlen(tensors[i]->name));
        all[i] = (struct stored){name_order(&p), tensors[i]};
    }
    qsort(all, n, sizeof *all, by_order);
    rc = run(&w, all, n, err);
out:
    arena_fini(&w.arena);
    return rc;
}

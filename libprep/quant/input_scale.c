/* SPDX-License-Identifier: MIT */
#include "libprep/quant/input_scale.h"

#include <string.h>

enum { SHOWN = 5 }; /* names in a warning */

const char *input_origin_name(enum input_origin origin)
{
    static const char *const names[] = {[INPUT_NONE] = "none",
                                        [INPUT_OWN] = "own",
                                        [INPUT_LAYER] = "layer",
                                        [INPUT_FALLBACK] = "layer, for want of its own",
                                        [INPUT_ASSUMED] = "assumed"};
    return names[origin];
}

struct inputs {
    struct input_scales *out;
    const struct linears *all;
    const struct quant_selection *s;
    const struct amax *a;
    const struct input_options *o;
    const struct amax_entry **own; /* [all->n], NULL: none */
    float *layer[2];               /* by layer: largest of gate and up, of down, of its experts */
    int n_layers;
};

/* ---- is it this model's? ---- */

static int check_modules(const struct inputs *in, struct prep_error *err)
{
    for (size_t i = 0; i < in->a->n; i++) {
        const char *name = in->a->entries[i].module;
        struct name_parts p = name_parse(name, strlen(name));
        int n = in->a->n_routed_experts;
        /* Experts of a base that were pruned here, and a layer that is left out, are fine. */
        int elsewhere =
            p.layer < in->o->n_layers &&
            ((p.role == ROLE_EXPERT && (n == 0 || p.expert < n) && p.part != PART_OTHER) ||
             p.layer >= in->o->num_hidden_layers);
        if (!elsewhere && !linears_get(in->all, name))
            return prep_fail_tag(err, PREP_EDATA, "OBS_LAYER_UNKNOWN",
                                 "activation maxima: %s is no linear of this model", name);
    }
    return 0;
}

/* ---- values ---- */

static int kind(const struct linear *l)
{
    return l->part == PART_DOWN;
}

static int enough(const struct inputs *in, const struct amax_entry *e)
{
    return e && e->amax > 0 && e->tokens >= in->o->min_tokens;
}

static int find_own(struct inputs *in, struct arena *arena, struct prep_error *err)
{
    for (size_t i = 0; i < in->all->n; i++) {
        const struct linear *l = &in->all->items[i];
        if (!in->s->choices[i].take || !in->a)
            continue;
        const char *name = quant_ids_name(&in->o->ids, l, arena, err);
        if (!name)
            return -1;
        in->own[i] = amax_find(in->a, name);
        if (!in->own[i] || l->role != ROLE_EXPERT)
            continue;
        float *most = &in->layer[kind(l)][l->layer];
        if (in->own[i]->amax > *most)
            *most = in->own[i]->amax;
    }
    return 0;
}

/* What a group's members read is one tensor: the largest of their maxima, 0 for none. */
static float group_own(const struct inputs *in, size_t g)
{
    float most = 0;
    for (uint32_t k = in->s->first[g]; k < in->s->first[g + 1]; k++) {
        uint32_t i = in->s->taken[k];
        int expert = in->all->items[i].role == ROLE_EXPERT;
        const struct amax_entry *e = in->own[i];
        if (e && (!expert || enough(in, e)) && e->amax > most)
            most = e->amax;
    }
    return most;
}

static int set_group(struct inputs *in, size_t g, struct prep_error *err)
{
    const struct linear *l = &in->all->items[in->s->taken[in->s->first[g]]];
    int expert = l->role == ROLE_EXPERT;
    float own = group_own(in, g), layer = expert ? in->layer[kind(l)][l->layer] : 0;
    float v = own;
    enum input_origin origin = INPUT_OWN;
    if (expert && !in->o->per_expert && layer > 0) {
        v = layer;
        origin = INPUT_LAYER;
    } else if (v == 0 && layer > 0) {
        v = layer;
        origin = INPUT_FALLBACK;
    } else if (v == 0) {
        v = in->o->assumed;
        origin = INPUT_ASSUMED;
    }
    if (v == 0)
        return prep_fail_tag(err, PREP_EDATA, "AMAX_MISSING",
                             "%s: the activation maxima have none for it; --assume-amax gives one, "
                             "--exclude leaves the linear in BF16",
                             l->name);
    for (uint32_t k = in->s->first[g]; k < in->s->first[g + 1]; k++) {
        in->out->amax[in->s->taken[k]] = v;
        in->out->origin[in->s->taken[k]] = (unsigned char)origin;
        in->out->count[origin]++;
    }
    return 0;
}

/* ---- saying so ---- */

static void warn_some(const struct inputs *in, enum input_origin origin, const char *tag,
                      const char *what, struct report *report)
{
    char names[400] = "";
    size_t n = 0;
    for (size_t i = 0; i < in->all->n && n < SHOWN; i++) {
        size_t at = strlen(names), len = strlen(in->all->items[i].name);
        if (in->out->origin[i] != origin || at + len + 3 > sizeof names)
            continue;
        memcpy(names + at, ", ", 2);
        memcpy(names + at + 2, in->all->items[i].name, len + 1);
        n++;
    }
    if (n)
        report_warn(report, tag, "%zu linears %s: %s%s", in->out->count[origin], what, names + 2,
                    in->out->count[origin] > n ? ", ..." : "");
}

/* A fact that finds no memory is remembered by the report. */
static void add_name(cJSON *list, const char *name, struct report *report)
{
    cJSON *item = cJSON_CreateString(name);
    if (!cJSON_AddItemToArray(list, item)) {
        cJSON_Delete(item);
        report->failed = 1;
    }
}

static void list_fallbacks(const struct inputs *in, struct report *report)
{
    if (!report)
        return;
    cJSON *list = cJSON_AddArrayToObject(report->facts, "input_scale_fallbacks");
    for (size_t i = 0; i < in->all->n; i++)
        if (in->out->origin[i] == INPUT_FALLBACK || in->out->origin[i] == INPUT_ASSUMED)
            add_name(list, in->all->items[i].name, report);
    warn_some(in, INPUT_FALLBACK, "AMAX_FALLBACK", "take their layer's activation maximum", report);
    warn_some(in, INPUT_ASSUMED, "AMAX_ASSUMED", "take the assumed activation maximum", report);
}

int input_scales_make(struct input_scales *out, const struct linears *all,
                      const struct quant_selection *s, const struct amax *a,
                      const struct input_options *options, struct arena *arena,
                      struct report *report, struct prep_error *err)
{
    struct inputs in = {.out = out, .all = all, .s = s, .a = a, .o = options};
    *out = (struct input_scales){0};
    for (size_t i = 0; i < all->n; i++)
        if (all->items[i].layer >= in.n_layers)
            in.n_layers = all->items[i].layer + 1;
    out->amax = arena_calloc(arena, all->n, sizeof *out->amax, err);
    out->origin = arena_calloc(arena, all->n, 1, err);
    in.own = arena_calloc(arena, all->n, sizeof *in.own, err);
    in.layer[0] = arena_calloc(arena, (size_t)in.n_layers, sizeof(float), err);
    in.layer[1] = arena_calloc(arena, (size_t)in.n_layers, sizeof(float), err);
    if (!out->amax || !out->origin || !in.own || !in.layer[0] || !in.layer[1] ||
        (a && check_modules(&in, err)) || find_own(&in, arena, err))
        return -1;
    for (size_t g = 0; g < s->n_groups; g++)
        if (set_group(&in, g, err))
            return -1;
    list_fallbacks(&in, report);
    return 0;
}

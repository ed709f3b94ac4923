/* SPDX-License-Identifier: MIT */
#include "libprep/quant/step.h"

#include <string.h>

#include "libprep/quant/importance.h"
#include "libprep/quant/rows.h"

/* ---- the two simple steps ---- */

int quant_decode_step(const struct step_memory *m, const void *step, struct prep_error *err)
{
    const struct quant_step *s = step;
    for (size_t i = 0; i < s->n; i++) {
        const struct quant_member *me = &s->members[i];
        struct quant_note *note = quant_note(m, i);
        struct linear_counts counts = {0};
        const struct linear_rows all = {.n = me->from->out,
                                        .bf16 =
                                            (uint16_t *)(void *)quant_output(me, LINEAR_CODES, m),
                                        .counts = &counts};
        if (linear_decode_rows(me->from, &s->method->codec, m->inputs + me->first_input, &all, err))
            return -1;
        note->zero_scales = counts.zero_scales;
        note->overflows = counts.overflows;
    }
    return 0;
}

int quant_repack_step(const struct step_memory *m, const void *step, struct prep_error *err)
{
    const struct quant_step *s = step;
    for (size_t i = 0; i < s->n; i++) {
        const struct quant_member *me = &s->members[i];
        unsigned char *outputs[LINEAR_PARTS];
        for (int t = 0; t < me->to.n_tensors; t++)
            outputs[t] = m->outputs[me->output[t]];
        if (linear_repack(&me->to, outputs, me->from, &s->method->codec,
                          m->inputs + me->first_input, err))
            return -1;
    }
    return 0;
}

/* ---- building ---- */

struct builder {
    struct quant_built *out;
    struct plan *plan;
    const struct quant_request *r;
    struct plan_range *ranges; /* of the step at hand */
    size_t n_ranges, cap_tensors;
    unsigned char *replaced; /* [view->n_tensors] */
};

static int add_tensor(struct builder *b, struct layout_tensor t, struct prep_error *err)
{
    struct quant_built *out = b->out;
    struct name_parts parts = name_parse(t.info.name, strlen(t.info.name));
    t.order = name_order(&parts);
    t.group = name_group(&parts);
    t.apart = b->r->apart_from >= 0 && parts.layer >= b->r->apart_from;
    if (out->n_tensors == b->cap_tensors)
        return prep_fail(err, PREP_EBUG, "more tensors than counted");
    out->tensors[out->n_tensors++] = t;
    return 0;
}

/* The whole of a stored tensor as an input of the step. */
static int add_range(struct builder *b, const struct linear_tensor *t, struct prep_error *err)
{
    const struct view_tensor *v = &b->r->view->tensors[t->index];
    const struct checkpoint_tensor *src = view_source(b->r->view, v);
    if (v->rows)
        return prep_fail(err, PREP_EUNSUP, "%s: rows of a linear were gathered", v->info.name);
    b->ranges[b->n_ranges++] = (struct plan_range){b->r->first_source[v->source] + src->file,
                                                   src->info.offset, src->info.bytes};
    b->replaced[t->index] = 1;
    return 0;
}

static int add_importance(struct builder *b, struct quant_member *me, struct prep_error *err)
{
    const struct tensor_info *t = NULL;
    if (!b->r->importance)
        return 0;
    if (importance_find(b->r->importance, me->from, &t, &b->plan->arena, err))
        return -1;
    if (t) {
        me->has_importance = 1;
        b->ranges[b->n_ranges++] =
            (struct plan_range){b->r->importance_source, t->offset, t->bytes};
    }
    return 0;
}

static int add_member(struct builder *b, struct quant_step *s, uint32_t linear,
                      struct prep_error *err)
{
    struct quant_member *me = &s->members[s->n++];
    me->from = &b->r->linears->items[linear];
    me->first_input = (uint32_t)b->n_ranges;
    me->input_amax = b->r->input_amax ? b->r->input_amax[linear] : 0;
    if (linear_layout(&me->to, me->from, &s->method->want, &b->plan->arena, err))
        return -1;
    for (int i = 0; i < me->from->n_tensors; i++)
        if (add_range(b, &me->from->tensors[i], err))
            return -1;
    return s->method == b->r->method ? add_importance(b, me, err) : 0;
}

/* Steps exist before the files do: the tensors are told which step makes them. */
static int add_outputs(struct builder *b, const struct quant_step *s, struct prep_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        struct quant_member *me = &s->members[i];
        for (int t = 0; t < me->to.n_tensors; t++) {
            struct layout_tensor out = {
                .info = *me->to.tensors[t].info, .step = s->step, .output = &me->output[t]};
            if (add_tensor(b, out, err))
                return -1;
        }
    }
    return 0;
}

static int add_step(struct builder *b, const struct quant_method *method, const uint32_t *linears,
                    size_t n, struct prep_error *err)
{
    struct quant_step *s = &b->out->steps[b->out->n_steps++];
    s->method = method;
    s->members = arena_calloc(&b->plan->arena, n, sizeof *s->members, err);
    if (!s->members)
        return -1;
    b->n_ranges = 0;
    for (size_t i = 0; i < n; i++)
        if (add_member(b, s, linears[i], err))
            return -1;
    return plan_add_call(b->plan, method->fn, s, quant_work_bytes(s), b->ranges, b->n_ranges,
                         &s->step, err) ||
                   plan_note(b->plan, (uint32_t)(n * sizeof(struct quant_note)), err) ||
                   add_outputs(b, s, err)
               ? -1
               : 0;
}

static int is_decoded(const struct builder *b, uint32_t i)
{
    return !b->r->selection->choices[i].take && !b->r->keep_codes &&
           b->r->linears->items[i].form != LINEAR_PLAIN;
}

static int reserve(struct builder *b, struct prep_error *err)
{
    const struct quant_selection *sel = b->r->selection;
    struct arena *arena = &b->plan->arena;
    size_t n_decoded = 0, most = 1;
    for (uint32_t i = 0; i < b->r->linears->n; i++)
        n_decoded += (size_t)is_decoded(b, i);
    for (size_t g = 0; g < sel->n_groups; g++)
        if (sel->first[g + 1] - sel->first[g] > most)
            most = sel->first[g + 1] - sel->first[g];
    b->cap_tensors = b->r->view->n_tensors + LINEAR_PARTS * (sel->n_taken + n_decoded);
    b->ranges = arena_calloc(arena, most * (LINEAR_PARTS + 1), sizeof *b->ranges, err);
    b->replaced = arena_calloc(arena, b->r->view->n_tensors, 1, err);
    b->out->steps = arena_calloc(arena, sel->n_groups + n_decoded, sizeof *b->out->steps, err);
    b->out->tensors = arena_calloc(arena, b->cap_tensors, sizeof *b->out->tensors, err);
    return b->ranges && b->replaced && b->out->steps && b->out->tensors ? 0 : -1;
}

int quant_build(struct quant_built *out, struct plan *plan, const struct quant_request *r,
                struct prep_error *err)
{
    const struct quant_selection *sel = r->selection;
    struct builder b = {.out = out, .plan = plan, .r = r};
    *out = (struct quant_built){.n_taken = sel->n_taken};
    if (reserve(&b, err))
        return -1;
    for (size_t g = 0; g < sel->n_groups; g++)
        if (add_step(&b, r->method, sel->taken + sel->first[g], sel->first[g + 1] - sel->first[g],
                     err))
            return -1;
    for (uint32_t i = 0; i < r->linears->n; i++)
        if (is_decoded(&b, i) && add_step(&b, r->decode, &i, 1, err))
            return -1;
    for (size_t i = 0; i < r->view->n_tensors; i++) {
        const struct view_tensor *t = &r->view->tensors[i];
        if (!b.replaced[i] &&
            add_tensor(&b, (struct layout_tensor){.info = t->info, .copy = t}, err))
            return -1;
    }
    return 0;
}

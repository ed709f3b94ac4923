/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/release/lint_job.h"

/* A tensor under its place in the family's order. */
struct ordered {
    uint64_t order;
    const struct checkpoint_tensor *tensor;
};

static int by_order(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->tensor->info.name, y->tensor->info.name);
}

static uint64_t module_order(uint64_t order)
{
    return order & ~(uint64_t)0xff;
}

/* Name of the module: the tensor's without its suffix. */
static const char *module_name(struct lint_job *j, const char *tensor, const struct name_parts *p,
                               struct prep_error *err)
{
    size_t n = strlen(tensor);
    n -= p->suffix_n ? p->suffix_n + 1 : 0;
    return arena_strndup(&j->arena, tensor, n, err);
}

/* Modules of unknown parts share an order: each name is a module of its own. */
static int same_module(const struct lint_module *m, const struct ordered *t,
                       const struct name_parts *p)
{
    const char *name = t->tensor->info.name;
    size_t n = strlen(name) - (p->suffix_n ? p->suffix_n + 1 : 0);
    return m->order == module_order(t->order) && strlen(m->name) == n &&
           memcmp(m->name, name, n) == 0;
}

static enum form form_of(const struct lint_module *m)
{
    struct module plain = {.n = 0};
    for (int s = 0; s < SUFFIX_COUNT; s++)
        plain.tensors[s] = m->tensors[s] ? &m->tensors[s]->info : NULL;
    return module_form(&plain);
}

static int add_tensor(struct lint_job *j, const struct ordered *t, struct prep_error *err)
{
    const struct name_parts p = name_parse(t->tensor->info.name, strlen(t->tensor->info.name));
    const enum suffix suffix = name_suffix(&p);
    struct lint_module *m = j->n_modules ? &j->modules[j->n_modules - 1] : NULL;
    if (!m || !same_module(m, t, &p)) {
        m = &j->modules[j->n_modules++];
        *m = (struct lint_module){.order = module_order(t->order),
                                  .role = p.role,
                                  .part = p.part,
                                  .layer = p.layer,
                                  .expert = p.expert};
        m->name = module_name(j, t->tensor->info.name, &p, err);
        if (!m->name)
            return -1;
    }
    if (suffix < SUFFIX_COUNT)
        m->tensors[suffix] = t->tensor;
    return 0;
}

static int sort_tensors(struct lint_job *j, struct ordered *all, struct prep_error *err)
{
    const struct checkpoint *c = j->ckpt;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const char *name = c->tensors[i].info.name;
        const struct name_parts p = name_parse(name, strlen(name));
        all[i] = (struct ordered){name_order(&p), &c->tensors[i]};
        if (!j->prefix && p.layer >= 0) {
            j->prefix = arena_strndup(&j->arena, name, p.prefix_n, err);
            if (!j->prefix)
                return -1;
        }
    }
    if (!j->prefix)
        j->prefix = "model.";
    if (c->n_tensors)
        qsort(all, c->n_tensors, sizeof *all, by_order);
    return 0;
}

/* Where the rules about layers look things up. */
static void place_in_layer(struct lint_job *j, const struct lint_module *m)
{
    if (m->role == ROLE_LM_HEAD)
        j->lm_head = m;
    if (m->layer < 0 || m->layer >= j->c->n_layers || m->part >= PART_OTHER)
        return;
    struct lint_layer *l = &j->layers[m->layer];
    if (m->expert < 0)
        l->parts[m->part] = m;
    else if (m->part >= PART_GATE && m->part <= PART_DOWN && !l->expert[m->part - PART_GATE])
        l->expert[m->part - PART_GATE] = m;
}

int lint_build_modules(struct lint_job *j, struct prep_error *err)
{
    const size_t n = j->ckpt->n_tensors;
    struct ordered *all = arena_calloc(&j->arena, n, sizeof *all, err);
    j->modules = arena_calloc(&j->arena, n, sizeof *j->modules, err);
    j->layers = arena_calloc(&j->arena, (size_t)j->c->n_layers, sizeof *j->layers, err);
    if (!all || !j->modules || !j->layers || sort_tensors(j, all, err))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (add_tensor(j, &all[i], err))
            return -1;
    for (size_t i = 0; i < j->n_modules; i++) {
        j->modules[i].form = form_of(&j->modules[i]);
        place_in_layer(j, &j->modules[i]);
    }
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/prune/check.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/model/names.h"

/* How one part of an expert (its up_proj) is stored. */
struct form {
    uint64_t place;  /* hash of the part's name */
    uint64_t weight; /* hash of its first tensor: suffix, dtype, shape */
    uint64_t all;    /* the same of all its tensors */
    int expert;      /* where it was seen first */
};

/* One layer, fed with its tensors in the order of the view: router first, then expert by expert. */
struct layer_check {
    int layer, n;  /* n experts are wanted */
    int n_routers; /* tensors that hold the router's weight */
    int n_fused;
    int next;         /* experts 0..next-1 were seen, next-1 is current */
    uint64_t places;  /* of the current expert */
    uint64_t places0; /* of expert 0 */
    struct form part; /* being gathered */
    int in_part;
    struct form *forms;
    size_t n_forms, cap_forms;
};

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    uint64_t words[2] = {h, hash64(p, n)};
    return hash64(words, sizeof words);
}

static int incomplete(const struct layer_check *c, const char *what, int expert,
                      struct prep_error *err)
{
    return prep_fail_tag(err, PREP_EDATA, "APPLY_INCOMPLETE", "layer %d: expert %d %s", c->layer,
                         expert, what);
}

static int end_part(struct layer_check *c, struct prep_error *err)
{
    if (!c->in_part)
        return 0;
    c->in_part = 0;
    for (size_t i = 0; i < c->n_forms; i++) {
        const struct form *f = &c->forms[i];
        if (f->place != c->part.place || f->weight != c->part.weight)
            continue;
        if (f->all == c->part.all)
            return 0;
        return prep_fail_tag(err, PREP_EDATA, "APPLY_INCOMPLETE",
                             "layer %d: expert %d has other tensors beside a weight than expert "
                             "%d beside the same kind of weight",
                             c->layer, c->part.expert, f->expert);
    }
    if (prep_grow(&c->forms, &c->cap_forms, c->n_forms, sizeof *c->forms, err))
        return -1;
    c->forms[c->n_forms++] = c->part;
    return 0;
}

static int end_expert(struct layer_check *c, struct prep_error *err)
{
    if (end_part(c, err))
        return -1;
    if (c->next == 1)
        c->places0 = c->places;
    if (c->next > 0 && c->places != c->places0)
        return incomplete(c, "has not the same parts as expert 0", c->next - 1, err);
    return 0;
}

static int is_weight(const struct name_parts *p)
{
    return name_suffix_is(p, "weight") || name_suffix_is(p, "weight_packed") ||
           name_suffix_is(p, "qweight");
}

static int take_expert(struct layer_check *c, const struct tensor_info *t,
                       const struct name_parts *p, struct prep_error *err)
{
    if (p->expert != c->next - 1) {
        if (end_expert(c, err))
            return -1;
        if (p->expert != c->next || c->next >= c->n)
            return incomplete(c, p->expert > c->next ? "is missing" : "is one too many", c->next,
                              err);
        c->next++;
        c->places = 0;
    }
    const char *inside = t->name + p->expert_at + p->expert_n;
    size_t n_inside = (size_t)(p->module + p->module_n - inside);
    uint64_t place = hash64(inside, n_inside);
    if (!c->in_part || place != c->part.place) {
        if (end_part(c, err))
            return -1;
        if (p->part != PART_OTHER && !is_weight(p))
            return prep_fail_tag(err, PREP_EDATA, "APPLY_INCOMPLETE", "%s has no weight beside it",
                                 t->name);
        c->part = (struct form){.place = place, .expert = p->expert};
        c->places = mix(c->places, inside, n_inside);
    }
    c->part.all = mix(c->part.all, p->suffix, p->suffix_n);
    c->part.all = mix(c->part.all, &t->dtype, sizeof t->dtype);
    c->part.all = mix(c->part.all, t->shape, t->n_dims * sizeof *t->shape);
    if (!c->in_part)
        c->part.weight = c->part.all;
    c->in_part = 1;
    return 0;
}

static int has_rows(const struct tensor_info *t, int n)
{
    return t->n_dims > 0 && t->shape[0] == (uint64_t)n;
}

static int take_tensor(struct layer_check *c, const struct tensor_info *t,
                       const struct name_parts *p, struct prep_error *err)
{
    int rows_ok = 1;
    switch (p->role) {
    case ROLE_EXPERT:
        return take_expert(c, t, p, err);
    case ROLE_FUSED_EXPERTS:
        c->n_fused++;
        rows_ok = t->n_dims == 0 || t->shape[0] == 1 || has_rows(t, c->n);
        break;
    case ROLE_ROUTER:
        c->n_routers += is_weight(p);
        if (name_suffix_is(p, "weight") || name_suffix_is(p, "e_score_correction_bias"))
            rows_ok = has_rows(t, c->n);
        break;
    default:
        break;
    }
    if (rows_ok)
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "APPLY_INCOMPLETE", "%s has %llu rows, want %d", t->name,
                         t->n_dims ? (unsigned long long)t->shape[0] : 0, c->n);
}

static int end_layer(struct layer_check *c, struct prep_error *err)
{
    if (end_expert(c, err))
        return -1;
    if (c->next < c->n && !(c->next == 0 && c->n_fused))
        return incomplete(c, "is missing", c->next, err);
    if (c->n_routers != 1)
        return prep_fail_tag(err, PREP_EDATA, "APPLY_INCOMPLETE",
                             "layer %d has %d router weights, want 1", c->layer, c->n_routers);
    return 0;
}

/* The tensors [*i, ...) of one layer; *i moves behind them. */
static int check_layer(const struct view *v, size_t *i, int layer, int n, struct layer_check *c,
                       struct prep_error *err)
{
    *c = (struct layer_check){.layer = layer, .n = n, .forms = c->forms, .cap_forms = c->cap_forms};
    for (; *i < v->n_tensors; ++*i) {
        const struct tensor_info *t = &v->tensors[*i].info;
        struct name_parts p = name_parse(t->name, strlen(t->name));
        if (p.layer != layer)
            break;
        if (n > 0 && take_tensor(c, t, &p, err))
            return -1;
    }
    return n > 0 ? end_layer(c, err) : 0;
}

/* None of the layers [from, to) may have experts, for none of them has tensors. */
static int check_absent(const int *n_experts, int from, int to, struct prep_error *err)
{
    for (int layer = from; layer < to; layer++)
        if (n_experts[layer])
            return prep_fail_tag(err, PREP_EDATA, "APPLY_INCOMPLETE",
                                 "no tensor of layer %d is there", layer);
    return 0;
}

int prune_check_view(const struct view *v, const int *n_experts, int n_layers,
                     int num_hidden_layers, struct prep_error *err)
{
    struct layer_check c = {0};
    int next = 0, rc = 0; /* next: the first layer that has not come yet */
    for (size_t i = 0; i < v->n_tensors && !rc;) {
        const char *name = v->tensors[i].info.name;
        int layer = name_parse(name, strlen(name)).layer;
        if (layer < 0 || layer >= n_layers) {
            i++;
            continue;
        }
        int last = layer < num_hidden_layers ? layer : num_hidden_layers;
        rc = check_absent(n_experts, next, last, err) ||
             check_layer(v, &i, layer, n_experts[layer], &c, err);
        next = layer + 1;
    }
    if (!rc)
        rc = check_absent(n_experts, next, num_hidden_layers, err);
    free(c.forms);
    return rc ? -1 : 0;
}

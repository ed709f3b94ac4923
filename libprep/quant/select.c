/* SPDX-License-Identifier: MIT */
#include "libprep/quant/select.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/pattern.h"

enum { PART_SHIFT = 8 }; /* of enum part in name_order() */

int quant_preset(enum module_set *set, const char *name)
{
    static const struct {
        const char *name;
        enum module_set set;
    } presets[] = {{"experts", MODULES_EXPERTS},
                   {"linears", MODULES_LINEARS},
                   {"portable", MODULES_PORTABLE},
                   {"llama", MODULES_LLAMA},
                   {"all", MODULES_ALL}};
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(name, presets[i].name) == 0) {
            *set = presets[i].set;
            return 0;
        }
    }
    return -1;
}

/* ---- preset and rules ---- */

static int in_mtp(const struct linear *l, const struct quant_select_options *o)
{
    return l->layer >= o->num_hidden_layers;
}

static int preset_takes(const struct linear *l, const struct quant_select_options *o)
{
    const struct tensor_spec spec = {
        .role = l->role, .part = l->part, .layer = l->layer, .linear = 1};
    int llama_apart = o->mtp == QUANT_MTP_SEPARATE && o->preset == MODULES_LLAMA;
    if (in_mtp(l, o) && o->mtp != QUANT_MTP_QUANTIZE && !llama_apart)
        return 0;
    if (in_mtp(l, o) && llama_apart && l->part == PART_EH_PROJ)
        return 1;
    return spec_in_modules(&spec, o->preset);
}

struct matcher {
    struct pattern *regex; /* NULL: a glob */
    const char *glob;
};

static int matcher_init(struct matcher *m, const char *text, struct prep_error *err)
{
    *m = (struct matcher){.glob = text};
    if (strncmp(text, "re:", 3) == 0)
        return pattern_compile(&m->regex, text + 3, strlen(text + 3), PATTERN_START, err);
    return 0;
}

/* 1, 0, or -1 for an expression that does not come to an end. */
static int matches(struct matcher *m, const char *name)
{
    if (!m->regex)
        return fnmatch(m->glob, name, 0) == 0;
    enum pattern_result r = pattern_match(m->regex, name, strlen(name));
    return r == PATTERN_LIMIT ? -1 : r == PATTERN_YES;
}

static int apply_rule(struct quant_selection *s, const struct linears *all,
                      const struct quant_select_options *o, int rule, struct prep_error *err)
{
    const struct quant_rule *r = &o->rules[rule];
    const char *option = r->take ? "--include" : "--exclude";
    struct matcher m;
    size_t n = 0;
    int rc = 0;
    if (matcher_init(&m, r->pattern, err))
        return prep_note(err, "%s", option);
    for (size_t i = 0; i < all->n && !rc; i++) {
        int hit = matches(&m, all->items[i].name);
        if (hit < 0)
            rc = prep_fail_tag(err, PREP_EDATA, "PATTERN", "%s '%s': takes too long on %s", option,
                               r->pattern, all->items[i].name);
        if (hit <= 0)
            continue;
        n++;
        s->choices[i] = (struct quant_choice){.take = (uint8_t)r->take, .rule = rule};
    }
    pattern_free(m.regex);
    if (!rc && n == 0)
        rc = prep_fail_tag(err, PREP_EUSAGE, "MODULES_NO_MATCH",
                           "%s '%s': matches none of the %zu linears, %s for one", option,
                           r->pattern, all->n, all->n ? all->items[0].name : "which are none");
    return rc;
}

/* ---- what must go together ---- */

/* The part whose scale this part shares, or the part itself. */
static enum part leader(enum part part, int same_input)
{
    switch (part) {
    case PART_UP:
        return PART_GATE;
    case PART_SHARED_UP:
        return PART_SHARED_GATE;
    case PART_KV_A:
        return PART_Q_A;
    case PART_INDEXER_WK:
    case PART_INDEXER_WEIGHTS:
        return same_input ? PART_Q_A : part;
    case PART_INDEXER_WQ_B:
        return same_input ? PART_Q_B : part;
    default:
        return part;
    }
}

/* Equal for linears of one group. */
static uint64_t group_key(const struct linear *l, int same_input)
{
    uint64_t module = l->order >> PART_SHIFT;
    return (module & ~UINT64_C(0xFF)) | (uint64_t)leader(l->part, same_input);
}

static int split(const struct linear *taken, const struct linear *left, struct prep_error *err)
{
    return prep_fail_tag(err, PREP_EUSAGE, "MODULES_SPLIT",
                         "%s would be quantized and %s not, but engines load the two as one: take "
                         "both or neither",
                         taken->name, left->name);
}

/* a and b are neighbours in layout order, so pieces lie close together. */
static int check_pieces(const struct quant_selection *s, const struct linears *all,
                        struct prep_error *err)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct linear *a = &all->items[i];
        for (size_t k = i + 1; k < all->n && all->items[k].layer == a->layer; k++) {
            const struct linear *b = &all->items[k];
            int piece = a->role == ROLE_EXPERT ? b->role == ROLE_EXPERT
                                               : group_key(a, 0) == group_key(b, 0);
            if (piece && s->choices[i].take != s->choices[k].take)
                return s->choices[i].take ? split(a, b, err) : split(b, a, err);
            if (a->role == ROLE_EXPERT)
                break; /* experts follow each other: neighbours suffice */
        }
    }
    return 0;
}

static int check_shapes(const struct quant_selection *s, const struct linears *all,
                        const struct quant_select_options *o, struct prep_error *err)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct linear *l = &all->items[i];
        if (s->choices[i].take && (l->in % o->in_multiple || l->out % o->out_multiple))
            return prep_fail_tag(err, PREP_EDATA, "SHAPE",
                                 "%s: is [%" PRIu64 ", %" PRIu64
                                 "], the format holds [multiples of "
                                 "%" PRIu64 ", multiples of %" PRIu64 "]; --exclude it",
                                 l->name, l->out, l->in, o->out_multiple, o->in_multiple);
    }
    return 0;
}

/* ---- groups ---- */

struct keyed {
    uint64_t key;
    uint32_t linear;
};

static int by_key(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->linear > y->linear) - (x->linear < y->linear);
}

static int make_groups(struct quant_selection *s, const struct linears *all, int same_input,
                       struct arena *arena, struct prep_error *err)
{
    struct keyed *keys = arena_calloc(arena, s->n_taken, sizeof *keys, err);
    s->taken = arena_calloc(arena, s->n_taken, sizeof *s->taken, err);
    s->first = arena_calloc(arena, s->n_taken + 1, sizeof *s->first, err);
    if (!keys || !s->taken || !s->first)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++)
        if (s->choices[i].take)
            keys[n++] = (struct keyed){group_key(&all->items[i], same_input), (uint32_t)i};
    qsort(keys, n, sizeof *keys, by_key);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || keys[i].key != keys[i - 1].key)
            s->first[s->n_groups++] = (uint32_t)i;
        s->taken[i] = keys[i].linear;
        s->choices[keys[i].linear].group = (uint32_t)(s->n_groups - 1);
    }
    s->first[s->n_groups] = (uint32_t)n;
    return 0;
}

int quant_select(struct quant_selection *s, const struct linears *all,
                 const struct quant_select_options *options, struct arena *arena,
                 struct prep_error *err)
{
    *s = (struct quant_selection){0};
    s->choices = arena_calloc(arena, all->n, sizeof *s->choices, err);
    if (!s->choices)
        return -1;
    for (size_t i = 0; i < all->n; i++)
        s->choices[i] = (struct quant_choice){
            .take = (uint8_t)preset_takes(&all->items[i], options), .rule = -1};
    for (size_t r = 0; r < options->n_rules; r++)
        if (apply_rule(s, all, options, (int)r, err))
            return -1;
    for (size_t i = 0; i < all->n; i++)
        s->n_taken += s->choices[i].take;
    if (s->n_taken == 0)
        return prep_fail_tag(err, PREP_EUSAGE, "MODULES_NONE",
                             "preset %s and the overrides leave none of %zu linears to quantize",
                             options->preset_name, all->n);
    return check_pieces(s, all, err) || check_shapes(s, all, options, err) ||
                   make_groups(s, all, options->same_input, arena, err)
               ? -1
               : 0;
}

int quant_select_form(struct quant_selection *s, const struct linears *all, enum linear_form form,
                      struct arena *arena, struct prep_error *err)
{
    *s = (struct quant_selection){0};
    s->choices = arena_calloc(arena, all->n, sizeof *s->choices, err);
    s->taken = arena_calloc(arena, all->n, sizeof *s->taken, err);
    s->first = arena_calloc(arena, all->n + 1, sizeof *s->first, err);
    if (!s->choices || !s->taken || !s->first)
        return -1;
    for (uint32_t i = 0; i < all->n; i++) {
        s->choices[i].rule = -1;
        if (all->items[i].form != form)
            continue;
        s->choices[i].take = 1;
        s->choices[i].group = (uint32_t)s->n_groups;
        s->first[s->n_groups++] = (uint32_t)s->n_taken;
        s->taken[s->n_taken++] = i;
    }
    s->first[s->n_groups] = (uint32_t)s->n_taken;
    return 0;
}

/* SPDX-License-Identifier: MIT */
#include "libprep/quant/config_lists.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/quant/exclude.h"

void name_list_free(struct name_list *l)
{
    free(l->names);
    *l = (struct name_list){0};
}

static int push(struct name_list *l, const char *name, struct prep_error *err)
{
    if (!name || prep_grow(&l->names, &l->cap, l->n, sizeof *l->names, err))
        return -1;
    l->names[l->n++] = name;
    return 0;
}

static int has(const struct name_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->names[i], name) == 0)
            return 1;
    return 0;
}

/* ---- modules ---- */

struct modules {
    struct listed *items; /* layer by layer, as they are laid out; lm_head and embedding first */
    size_t n;
    int first_mtp, n_mtp; /* layers behind the last; one is unquantized as a whole when ... */
    int *mtp_taken;       /* [n_mtp] ... this is 0 */
    const char *prefix;   /* before "layers." */
};

static int list_rest(struct modules *m, const struct quant_config_request *r, struct arena *arena,
                     struct prep_error *err)
{
    for (size_t i = 0; i < r->linears->n_rest; i++) {
        const char *name = r->view->tensors[r->linears->rest[i]].info.name;
        struct name_parts p = name_parse(name, strlen(name));
        size_t n = strlen(name) - p.suffix_n - (p.suffix_n ? 1 : 0);
        int wanted =
            (p.role == ROLE_EMBED || p.role == ROLE_ROUTER) && name_suffix(&p) == SUFFIX_WEIGHT;
        if (!wanted)
            continue;
        char *module = arena_strndup(arena, name, n, err);
        if (!module)
            return -1;
        m->items[m->n++] = (struct listed){module, p.role, p.part, p.layer, 0, name_order(&p)};
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int find_layers(struct modules *m, const struct quant_config_request *r, struct arena *arena,
                       struct prep_error *err)
{
    m->first_mtp = r->num_hidden_layers;
    for (size_t i = 0; i < m->n; i++) {
        const struct listed *l = &m->items[i];
        if (l->layer >= m->first_mtp + m->n_mtp)
            m->n_mtp = l->layer - m->first_mtp + 1;
        struct name_parts p = name_parse(l->name, strlen(l->name));
        if (l->layer >= 0 && !m->prefix)
            m->prefix = arena_strndup(arena, l->name, p.prefix_n, err);
        if (l->layer >= 0 && !m->prefix)
            return -1;
    }
    m->mtp_taken = arena_calloc(arena, (size_t)m->n_mtp, sizeof *m->mtp_taken, err);
    if (!m->mtp_taken)
        return -1;
    for (size_t i = 0; i < m->n; i++)
        if (m->items[i].layer >= m->first_mtp)
            m->mtp_taken[m->items[i].layer - m->first_mtp] |= m->items[i].take;
    return 0;
}

static int list_modules(struct modules *m, const struct quant_config_request *r,
                        struct arena *arena, struct prep_error *err)
{
    *m = (struct modules){0};
    m->items = arena_calloc(arena, r->linears->n + r->linears->n_rest, sizeof *m->items, err);
    if (!m->items || list_rest(m, r, arena, err))
        return -1;
    for (size_t i = 0; i < r->linears->n; i++) {
        const struct linear *l = &r->linears->items[i];
        m->items[m->n++] =
            (struct listed){l->name, l->role, l->part, l->layer, r->choices[i].take, l->order};
    }
    qsort(m->items, m->n, sizeof *m->items, by_place);
    return find_layers(m, r, arena, err);
}

/* The layer is an MTP layer of which nothing is quantized. */
static int plain_mtp(const struct modules *m, int layer)
{
    return layer >= m->first_mtp && !m->mtp_taken[layer - m->first_mtp];
}

static int push_mtp(struct name_list *out, const struct modules *m, const char *method,
                    struct arena *arena, struct prep_error *err)
{
    for (int i = 0; i < m->n_mtp; i++) {
        const char *entries[EXCLUDE_MAX_ENTRIES], *value;
        size_t n;
        if (m->mtp_taken[i])
            continue;
        if (exclude_entries(entries, &n, &value, method, m->prefix, m->first_mtp + i, arena, err))
            return -1;
        for (size_t k = 0; k < n; k++)
            if (!has(out, entries[k]) && push(out, entries[k], err))
                return -1;
    }
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- modelopt: prefixes ---- */

/* Does a name in the sorted list begin with text[0..n), followed by `next` unless that is 0? */
static int begins(const struct name_list *sorted, const char *text, size_t n, char next)
{
    size_t low = 0, high = sorted->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = strncmp(sorted->names[mid], text, n);
        if (c == 0 && next && sorted->names[mid][n])
            c = (unsigned char)sorted->names[mid][n] - (unsigned char)next;
        else if (c == 0 && next)
            c = -1;
        if (c == 0)
            return 1;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return 0;
}

/* The shortest prefix, cut at a dot, below which nothing is quantized: "P*", or "P.*" where a
 * quantized name begins with P too (layer 1 beside layers 10 to 19). */
static const char *cover(const struct name_list *taken, const char *name, struct arena *arena,
                         struct prep_error *err)
{
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t n = (size_t)(dot - name);
        if (begins(taken, name, n, '.'))
            continue;
        return arena_printf(arena, err, "%.*s%s*", (int)n, name,
                            begins(taken, name, n, 0) ? "." : "");
    }
    return name;
}

int quant_list_modelopt(struct name_list *out, const struct quant_config_request *r,
                        struct arena *arena, struct prep_error *err)
{
    struct modules m;
    struct name_list taken = {0};
    int rc = list_modules(&m, r, arena, err);
    for (size_t i = 0; i < m.n && !rc; i++)
        if (m.items[i].take)
            rc = push(&taken, m.items[i].name, err);
    if (!rc && taken.n)
        qsort(taken.names, taken.n, sizeof *taken.names, by_text);
    for (size_t i = 0; i < m.n && !rc; i++) {
        if (m.items[i].take)
            continue;
        const char *entry = cover(&taken, m.items[i].name, arena, err);
        /* Modules of one subtree follow each other. */
        if (!entry || out->n == 0 || strcmp(out->names[out->n - 1], entry) != 0)
            rc = push(out, entry, err);
    }
    if (!rc)
        rc = push_mtp(out, &m, "modelopt", arena, err);
    if (!rc && out->n) {
        qsort(out->names, out->n, sizeof *out->names, by_text);
        size_t n = 1;
        for (size_t i = 1; i < out->n; i++)
            if (strcmp(out->names[i], out->names[n - 1]) != 0)
                out->names[n++] = out->names[i];
        out->n = n;
    }
    name_list_free(&taken);
    return rc;
}

/* ---- patterns ---- */

/* before + the module's path with its dots escaped + "$". */
static const char *exact(struct arena *arena, const char *before, const char *path,
                         struct prep_error *err)
{
    size_t n = strlen(before), extra = 0;
    for (const char *p = path; *p; p++)
        extra += *p == '.' ? 2 : 1;
    char *text = arena_calloc(arena, n + extra + 2, 1, err), *at = text;
    if (!text)
        return NULL;
    memcpy(at, before, n);
    at += n;
    for (const char *p = path; *p; p++) {
        if (*p == '.')
            *at++ = '\\';
        *at++ = *p;
    }
    *at = '$';
    return text;
}

/* The same module as engines call it in a draft model. */
static const char *draft_name(struct arena *arena, const char *before, const struct listed *l,
                              struct prep_error *err)
{
    struct name_parts p = name_parse(l->name, strlen(l->name));
    char *module = arena_strndup(arena, p.module, p.module_n, err);
    return module ? exact(arena, before, module, err) : NULL;
}

/* ---- compressed-tensors: name by name ---- */

int quant_list_compressed(struct name_list *out, const struct quant_config_request *r,
                          struct arena *arena, struct prep_error *err)
{
    struct modules m;
    if (list_modules(&m, r, arena, err))
        return -1;
    for (int globals = 0; globals < 2; globals++) {
        for (size_t i = 0; i < m.n; i++) {
            const struct listed *l = &m.items[i];
            if (l->take || (l->layer < 0) != globals || l->role == ROLE_EMBED ||
                plain_mtp(&m, l->layer))
                continue;
            if (push(out, l->name, err) ||
                (l->layer >= m.first_mtp &&
                 push(out, draft_name(arena, "re:model\\.(decoder\\.)?", l, err), err)))
                return -1;
        }
    }
    return push_mtp(out, &m, "compressed-tensors", arena, err);
}

/* ---- gptq: patterns by path ---- */

/* How many of these linears in the main layers are quantized, and how many not. */
struct tally {
    size_t taken, left;
};

static struct tally count(const struct modules *m, enum role role, enum part part)
{
    struct tally t = {0, 0};
    for (size_t i = 0; i < m->n; i++) {
        const struct listed *l = &m->items[i];
        if (l->layer >= m->first_mtp || l->role != role || (part != PART_OTHER && l->part != part))
            continue;
        t.taken += (size_t)l->take;
        t.left += (size_t)!l->take;
    }
    return t;
}

static int all_left(const struct modules *m, enum role role, enum part part)
{
    struct tally t = count(m, role, part);
    return t.left > 0 && t.taken == 0;
}

/* "-:.*layers\.[0-2]\.mlp\..*"; dense layers come first in this family. */
static const char *dense_pattern(const struct modules *m, struct arena *arena,
                                 struct prep_error *err)
{
    int last = -1;
    for (size_t i = 0; i < m->n; i++)
        if (m->items[i].role == ROLE_DENSE_MLP && m->items[i].layer < m->first_mtp &&
            m->items[i].layer > last)
            last = m->items[i].layer;
    if (last == 0)
        return "-:.*layers\\.0\\.mlp\\..*";
    if (last < 10)
        return arena_printf(arena, err, "-:.*layers\\.[0-%d]\\.mlp\\..*", last);
    const char *ids = "0";
    for (int i = 1; i <= last && ids; i++)
        ids = arena_printf(arena, err, "%s|%d", ids, i);
    return ids ? arena_printf(arena, err, "-:.*layers\\.(%s)\\.mlp\\..*", ids) : NULL;
}

/* Dense layers 0..k, and no other kind of layer among them. */
static int dense_first(const struct modules *m)
{
    int dense = -1, sparse = m->first_mtp;
    for (size_t i = 0; i < m->n; i++) {
        const struct listed *l = &m->items[i];
        if (l->role == ROLE_DENSE_MLP && l->layer < m->first_mtp && l->layer > dense)
            dense = l->layer;
        if (l->role == ROLE_ROUTER && l->layer < sparse)
            sparse = l->layer;
    }
    return dense < sparse;
}

static const char *attention_pattern(const struct modules *m, struct arena *arena,
                                     struct prep_error *err)
{
    static const struct {
        enum part part;
        const char *name;
    } parts[] = {{PART_Q_A, "q_a_proj"},
                 {PART_KV_A, "kv_a_proj_with_mqa|fused_qkv_a_proj_with_mqa"},
                 {PART_Q_B, "q_b_proj"},
                 {PART_KV_B, "kv_b_proj"},
                 {PART_O, "o_proj"}};
    const char *names = "";
    for (size_t i = 0; i < sizeof parts / sizeof *parts && names; i++)
        if (all_left(m, ROLE_ATTENTION, parts[i].part))
            names = arena_printf(arena, err, "%s%s%s", names, *names ? "|" : "", parts[i].name);
    if (!names || !*names)
        return names;
    return arena_printf(arena, err, "-:.*self_attn\\.(%s).*", names);
}

/* Is the module covered by a pattern that names all of its kind? */
static int is_covered(const struct modules *m, const struct listed *l, int dense)
{
    switch (l->role) {
    case ROLE_DENSE_MLP:
        return dense;
    case ROLE_ATTENTION:
        return all_left(m, l->role, l->part);
    case ROLE_INDEXER:
        return all_left(m, l->role, PART_OTHER) || all_left(m, l->role, l->part);
    case ROLE_SHARED_EXPERT:
    case ROLE_EXPERT:
        return all_left(m, l->role, PART_OTHER);
    case ROLE_EMBED: /* no linear; neither is the router for GPTQ loaders */
    case ROLE_ROUTER:
    case ROLE_LM_HEAD:
        return 1;
    default:
        return 0;
    }
}

static int push_kinds(struct name_list *out, const struct modules *m, int dense,
                      struct arena *arena, struct prep_error *err)
{
    static const struct {
        enum part part;
        const char *pattern;
    } indexer[] = {{PART_INDEXER_WQ_B, "-:.*indexer\\.wq_b.*"},
                   {PART_INDEXER_WK, "-:.*indexer\\.wk.*"},
                   {PART_INDEXER_WEIGHTS, "-:.*indexer\\.(weights_proj|wk_weights_proj).*"}};
    const char *attention = attention_pattern(m, arena, err);
    if (!attention || (dense && push(out, dense_pattern(m, arena, err), err)) ||
        (*attention && push(out, attention, err)))
        return -1;
    if (all_left(m, ROLE_INDEXER, PART_OTHER)) {
        if (push(out, "-:.*indexer.*", err))
            return -1;
    } else {
        for (size_t i = 0; i < sizeof indexer / sizeof *indexer; i++)
            if (all_left(m, ROLE_INDEXER, indexer[i].part) && push(out, indexer[i].pattern, err))
                return -1;
    }
    if ((all_left(m, ROLE_SHARED_EXPERT, PART_OTHER) &&
         push(out, "-:.*mlp\\.shared_experts.*", err)) ||
        (all_left(m, ROLE_EXPERT, PART_OTHER) && push(out, "-:.*mlp\\.experts.*", err)))
        return -1;
    return all_left(m, ROLE_LM_HEAD, PART_OTHER) ? push(out, "-:.*lm_head.*", err) : 0;
}

int quant_list_gptq(struct name_list *out, const struct quant_config_request *r,
                    struct arena *arena, struct prep_error *err)
{
    struct modules m;
    if (list_modules(&m, r, arena, err))
        return -1;
    int dense = all_left(&m, ROLE_DENSE_MLP, PART_OTHER) && dense_first(&m);
    if (push_kinds(out, &m, dense, arena, err))
        return -1;
    for (size_t i = 0; i < m.n; i++) {
        const struct listed *l = &m.items[i];
        int mtp = l->layer >= m.first_mtp;
        if (l->take || plain_mtp(&m, l->layer) || (mtp && l->role == ROLE_ROUTER) ||
            is_covered(&m, l, dense))
            continue;
        if (push(out, exact(arena, "-:", l->name, err), err) ||
            (mtp && push(out, draft_name(arena, "-:model\\.(decoder\\.)?", l, err), err)))
            return -1;
    }
    return push_mtp(out, &m, "gptq", arena, err);
}

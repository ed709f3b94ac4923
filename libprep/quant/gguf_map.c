/* SPDX-License-Identifier: MIT */
#include "libprep/quant/gguf_map.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct builder {
    struct gguf_map *m;
    const struct gguf_map_request *r;
    struct arena *arena;
    struct prep_error *err;
    size_t cap;
    int n_layers;             /* of the view */
    struct gguf_target *exps; /* [n_layers][3]: gate, up, down; name NULL until begun */
};

/* ---- one source ---- */

static int is_dropped(const char *name)
{
    static const char *const ends[] = {".attention.masked_bias", ".attention.bias",
                                       ".rotary_emb.inv_freq", ".k_scale", ".v_scale"};
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const size_t m = strlen(ends[i]);
        if (n >= m && strcmp(name + n - m, ends[i]) == 0)
            return 1;
    }
    return 0;
}

/* What is no linear, seen as a plain one: a vector is one row. */
static const struct linear *plain_of(struct builder *b, uint32_t index,
                                     const struct name_parts *parts)
{
    const struct tensor_info *t = &b->r->view->tensors[index].info;
    if (t->n_dims > 2 || t->n_dims < 1 ||
        (t->dtype != DTYPE_BF16 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_F32)) {
        prep_fail_tag(b->err, PREP_EDATA, "TENSOR_DTYPE",
                      "%s: dtype %s with %d dimensions, want BF16, F16 or F32 with 1 or 2", t->name,
                      dtype_name((enum dtype)t->dtype), t->n_dims);
        return NULL;
    }
    struct linear *l = arena_calloc(b->arena, 1, sizeof *l, b->err);
    if (!l)
        return NULL;
    l->name = t->name;
    l->role = parts->role;
    l->part = parts->part;
    l->layer = parts->layer;
    l->expert = -1;
    l->form = LINEAR_PLAIN;
    l->out = t->n_dims == 2 ? t->shape[0] : 1;
    l->in = t->n_dims == 2 ? t->shape[1] : t->shape[0];
    l->n_tensors = 1;
    l->tensors[0] = (struct linear_tensor){t, index, LINEAR_CODES};
    return l;
}

/* Where the converter meets it. */
static void place_of(const struct builder *b, const struct linear *l, uint32_t *file,
                     const char **place)
{
    const struct view_tensor *v = &b->r->view->tensors[l->tensors[0].index];
    *file = view_source(b->r->view, v)->file;
    *place = v->info.name;
}

static int comes_later(const struct gguf_target *t, uint32_t file, const char *place)
{
    return !t->place || file > t->file || (file == t->file && strcmp(place, t->place) > 0);
}

/* ---- targets ---- */

static int wants_layer(const struct builder *b, const struct name_parts *parts)
{
    const int is_mtp = parts->layer >= b->r->config->num_hidden_layers;
    return parts->layer < 0 || b->r->mtp == GGUF_MTP_KEEP || is_mtp == (b->r->mtp == GGUF_MTP_ONLY);
}

static int unknown(struct builder *b, const char *name)
{
    return prep_fail_tag(b->err, PREP_EDATA, "TENSOR_UNKNOWN",
                         "%s: the "
                         "glm-dsa"
                         " format of GGUF has no such tensor",
                         name);
}

static int fill_target(struct builder *b, struct gguf_target *t, const struct name_parts *parts,
                       const struct linear *l, enum gguf_half half)
{
    char buf[GGUF_NAME_BYTES];
    const struct tensor_info *info = l->tensors[0].info;
    const enum suffix stored = name_suffix(parts);
    const int vector = l->form == LINEAR_PLAIN && info->n_dims == 1;
    *t = (struct gguf_target){.half = half, .n_dims = vector ? 1 : 2, .slices = 1};
    t->spec = (struct tensor_spec){
        .role = parts->role,
        .part = parts->part,
        .layer = parts->layer < 0 ? INVENTORY_GLOBALS : parts->layer,
        .copies = 1,
        .suffix =
            stored == SUFFIX_BIAS || stored == SUFFIX_CORRECTION_BIAS ? stored : SUFFIX_WEIGHT,
        .rows = l->out,
        .cols = l->in,
        .n_dims = vector ? 1 : 2};
    if (!gguf_name(&t->spec, half, buf))
        return unknown(b, info->name);
    t->name = arena_strndup(b->arena, buf, strlen(buf), b->err);
    if (!t->name)
        return -1;
    t->n_cols = l->in;
    t->n_rows = l->out;
    for (int i = 0; i < GGUF_MAX_DIMS; i++)
        t->dims[i] = 1;
    t->dims[0] = l->in;
    t->dims[1] = vector ? 1 : l->out;
    t->fixed_f32 = vector || parts->role == ROLE_ROUTER;
    place_of(b, l, &t->file, &t->place);
    return 0;
}

static struct gguf_target *next_target(struct builder *b)
{
    if (prep_grow(&b->m->targets, &b->cap, b->m->n, sizeof *b->m->targets, b->err))
        return NULL;
    return &b->m->targets[b->m->n];
}

static int set_source(struct builder *b, struct gguf_target *t, const struct linear *l)
{
    t->sources = arena_calloc(b->arena, 1, sizeof *t->sources, b->err);
    if (!t->sources)
        return -1;
    t->sources[0] = l;
    t->n_sources = 1;
    b->m->n++;
    return 0;
}

static int add_whole(struct builder *b, const struct name_parts *parts, const struct linear *l)
{
    struct gguf_target *t = next_target(b);
    return !t || fill_target(b, t, parts, l, GGUF_WHOLE) || set_source(b, t, l) ? -1 : 0;
}

/* kv_b_proj [heads * (nope + v), kv_lora]: keys transposed, values as they are. */
static int add_kv_b(struct builder *b, const struct name_parts *parts, const struct linear *l)
{
    const struct config *c = b->r->config;
    const uint64_t heads = (uint64_t)c->num_attention_heads, kv = (uint64_t)c->kv_lora_rank;
    const uint64_t nope = (uint64_t)c->qk_nope_head_dim, v = (uint64_t)c->v_head_dim;
    if (l->in != kv || l->out != heads * (nope + v))
        return prep_fail_tag(b->err, PREP_EDATA, "TENSOR_SHAPE",
                             "%s: [%" PRIu64 ", %" PRIu64 "], want [%" PRIu64 ", %" PRIu64 "]",
                             l->name, l->out, l->in, heads * (nope + v), kv);
    for (int half = GGUF_K_B; half <= GGUF_V_B; half++) {
        struct gguf_target *t = next_target(b);
        if (!t || fill_target(b, t, parts, l, (enum gguf_half)half) || set_source(b, t, l))
            return -1;
        const int k = half == GGUF_K_B;
        t->n_dims = 3;
        t->dims[0] = t->n_cols = k ? nope : kv;
        t->dims[1] = k ? kv : v;
        t->dims[2] = t->slices = heads;
        t->n_rows = t->dims[1] * heads;
    }
    return 0;
}

static int bad_expert(struct builder *b, int layer, const char *what)
{
    return prep_fail_tag(b->err, PREP_EDATA, "EXPERT_COUNT",
                         "layer %d %s; a GGUF file has one count for all layers (config.json: %d); "
                         "%s",
                         layer, what, b->r->config->n_routed_experts,
                         layer >= b->r->config->num_hidden_layers
                             ? "prune the MTP layer with the others, or leave it out: --no-mtp"
                             : "the checkpoint is not whole, or its layers were pruned unevenly");
}

static int add_expert(struct builder *b, const struct name_parts *parts, const struct linear *l)
{
    const uint32_t n = (uint32_t)b->r->config->n_routed_experts;
    const int at = parts->part == PART_GATE ? 0 : parts->part == PART_UP ? 1 : 2;
    uint32_t file;
    const char *place;
    if (parts->layer >= b->n_layers)
        return unknown(b, l->name);
    struct gguf_target *t = &b->exps[3 * parts->layer + at];
    if (!t->name) {
        if (fill_target(b, t, parts, l, GGUF_WHOLE))
            return -1;
        t->sources = arena_calloc(b->arena, n, sizeof *t->sources, b->err);
        if (!t->sources)
            return -1;
        t->spec.copies = (int)n;
        t->n_dims = 3;
        t->dims[2] = t->slices = n;
        t->n_rows = l->out * n;
    }
    if ((uint32_t)parts->expert >= n)
        return bad_expert(b, parts->layer, "has more experts than the others");
    if (l->out != t->dims[1] || l->in != t->dims[0])
        return prep_fail_tag(b->err, PREP_EDATA, "TENSOR_SHAPE",
                             "%s: [%" PRIu64 ", %" PRIu64 "], the layer's first expert is [%" PRIu64
                             ", %" PRIu64 "]",
                             l->name, l->out, l->in, t->dims[1], t->dims[0]);
    t->sources[parts->expert] = l;
    t->n_sources++;
    place_of(b, l, &file, &place);
    if (comes_later(t, file, place)) {
        t->file = file;
        t->place = place;
    }
    return 0;
}

/* The converter emits a layer's three together, where it has met the last of all its experts. */
static int finish_experts(struct builder *b)
{
    const uint32_t n = (uint32_t)b->r->config->n_routed_experts;
    for (int layer = 0; layer < b->n_layers; layer++) {
        struct gguf_target *three = &b->exps[3 * layer], *last = three;
        const int some = three[0].name || three[1].name || three[2].name;
        for (int i = 0; i < 3 && some; i++) {
            if (three[i].n_sources != n)
                return bad_expert(b, layer, "lacks experts");
            if (comes_later(last, three[i].file, three[i].place))
                last = &three[i];
        }
        const uint32_t file = last->file;
        const char *place = last->place;
        for (int i = 0; i < 3 && some; i++) {
            struct gguf_target *t = next_target(b);
            if (!t)
                return -1;
            *t = three[i];
            t->file = file;
            t->place = place;
            b->m->n++;
        }
    }
    return 0;
}

static int add_source(struct builder *b, const struct name_parts *parts, const struct linear *l)
{
    if (!wants_layer(b, parts))
        return 0;
    if (parts->part == PART_LM_HEAD && b->r->config->tie_word_embeddings)
        return 0; /* the runtime takes token_embd for it */
    if (parts->role == ROLE_EXPERT && parts->part != PART_OTHER)
        return add_expert(b, parts, l);
    if (parts->part == PART_KV_B)
        return add_kv_b(b, parts, l);
    return add_whole(b, parts, l);
}

static int add_rest(struct builder *b, uint32_t index)
{
    const char *name = b->r->view->tensors[index].info.name;
    const struct name_parts parts = name_parse(name, strlen(name));
    if (is_dropped(name)) {
        b->m->ignored[b->m->n_ignored++] = name;
        return 0;
    }
    if (parts.role == ROLE_OTHER || parts.part == PART_OTHER)
        return unknown(b, name);
    const struct linear *l = plain_of(b, index, &parts);
    return l ? add_source(b, &parts, l) : -1;
}

static void count_parameters(struct gguf_map *m)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct gguf_target *t = &m->targets[i];
        const uint64_t n = t->n_cols * t->n_rows;
        if (t->spec.role == ROLE_EXPERT)
            m->n_expert += n / t->slices;
        else
            m->n_shared += n;
    }
}

int gguf_map_build(struct gguf_map *m, const struct gguf_map_request *r, struct arena *arena,
                   struct prep_error *err)
{
    struct builder b = {
        .m = m, .r = r, .arena = arena, .err = err, .n_layers = r->config->n_layers};
    int rc = 0;
    *m = (struct gguf_map){0};
    b.exps = arena_calloc(arena, 3 * (size_t)b.n_layers, sizeof *b.exps, err);
    m->ignored = arena_calloc(arena, r->linears->n_rest, sizeof *m->ignored, err);
    if (!b.exps || !m->ignored)
        return -1;
    for (size_t i = 0; i < r->linears->n && !rc; i++) {
        const struct linear *l = &r->linears->items[i];
        const char *name = l->tensors[0].info->name;
        const struct name_parts parts = name_parse(name, strlen(name));
        rc = add_source(&b, &parts, l);
    }
    for (size_t i = 0; i < r->linears->n_rest && !rc; i++)
        rc = add_rest(&b, r->linears->rest[i]);
    rc = rc || finish_experts(&b);
    /* The list grows on the heap; what stays is in the arena. */
    struct gguf_target *kept = rc ? NULL : arena_calloc(arena, m->n, sizeof *kept, err);
    if (kept && m->n)
        memcpy(kept, m->targets, m->n * sizeof *kept);
    free(m->targets);
    m->targets = kept;
    if (!kept)
        return -1;
    count_parameters(m);
    gguf_map_sort(m, GGUF_QUANTIZER);
    return 0;
}

/* ---- order ---- */

static int by_name(const void *a, const void *b)
{
    const struct gguf_target *x = a, *y = b;
    return gguf_name_compare(x->name, y->name);
}

static int by_place(const void *a, const void *b)
{
    const struct gguf_target *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    const int c = strcmp(x->place, y->place);
    if (c)
        return c;
    /* Of one place: keys before values, ffn_down_exps before gate and up. */
    return x->half != y->half ? (x->half < y->half ? -1 : 1) : strcmp(x->name, y->name);
}

void gguf_map_sort(struct gguf_map *m, enum gguf_order order)
{
    if (m->n)
        qsort(m->targets, m->n, sizeof *m->targets, order == GGUF_QUANTIZER ? by_name : by_place);
}

const struct gguf_target *gguf_map_find(const struct gguf_map *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->targets[i].name, name) == 0)
            return &m->targets[i];
    return NULL;
}

struct gguf_tensor gguf_target_tensor(const struct gguf_target *t)
{
    return (struct gguf_tensor){&t->spec, t->n_cols, t->n_rows, t->fixed_f32};
}

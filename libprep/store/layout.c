/* SPDX-License-Identifier: MIT */
#include "libprep/store/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"

enum {
    LAYERS_PER_SHARD = 2,
    LAYER_SHIFT = 42, /* `order` above this bit: section and layer (names.h) */
    SHARD_NAME = 64,  /* room for two 20-digit numbers */
};

/* Tensors [first, first + n) of `sorted` make one shard, number `number` of its kind. */
struct shard {
    size_t first, n, number;
    int apart;
};

struct builder {
    struct plan *plan;
    const struct layout *l;
    const struct layout_tensor *tensors; /* by (order, name) */
    size_t n_tensors;
    const struct layout_tensor **sorted; /* shard by shard, in file order */
    struct shard *shards;
    size_t n_shards, cap_shards;
    size_t n_kind[2];   /* shards that are not apart, that are */
    uint32_t *shard_of; /* by tensor */
};

/* ---- what is written ---- */

static int by_order(const void *a, const void *b)
{
    const struct layout_tensor *x = a, *y = b;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return strcmp(x->info.name, y->info.name);
}

static int list_tensors(struct builder *b, struct prep_error *err)
{
    const struct layout *l = b->l;
    b->tensors = l->tensors;
    b->n_tensors = l->n_tensors;
    if (l->tensors) {
        qsort(l->tensors, l->n_tensors, sizeof *l->tensors, by_order);
        return 0;
    }
    const struct view *v = l->view;
    struct layout_tensor *list = arena_calloc(&b->plan->arena, v->n_tensors, sizeof *list, err);
    if (!list)
        return -1;
    for (size_t i = 0; i < v->n_tensors; i++) {
        const struct view_tensor *t = &v->tensors[i];
        list[i] = (struct layout_tensor){
            .info = t->info, .order = t->order, .group = t->group, .copy = t};
    }
    b->tensors = list;
    b->n_tensors = v->n_tensors;
    return 0;
}

/* ---- which tensor goes into which shard ---- */

/* A group that goes into the next shard, or into the one begun last. */
static int place_group(struct builder *b, size_t first, size_t end, int begin,
                       struct prep_error *err)
{
    int apart = first < end && b->tensors[first].apart;
    if (begin) {
        if (prep_grow(&b->shards, &b->cap_shards, b->n_shards, sizeof *b->shards, err))
            return -1;
        b->shards[b->n_shards++] = (struct shard){first, 0, ++b->n_kind[apart], apart};
    }
    b->shards[b->n_shards - 1].n += end - first;
    return 0;
}

static int cut_shards(struct builder *b, struct prep_error *err)
{
    uint64_t most = b->l->shard_bytes ? b->l->shard_bytes : LAYOUT_SHARD_BYTES;
    uint64_t bytes = 0, layer = 0;
    int layers = 0, apart = 0;
    for (size_t i = 0, end; i < b->n_tensors; i = end) {
        const struct layout_tensor *t = &b->tensors[i];
        uint64_t group_bytes = 0;
        for (end = i; end < b->n_tensors && b->tensors[end].group == t->group; end++)
            group_bytes += b->tensors[end].info.bytes;
        int another = layers == 0 || t->order >> LAYER_SHIFT != layer;
        int full = layers + another > LAYERS_PER_SHARD || bytes + group_bytes > most;
        int begin = b->n_shards == 0 || t->apart != apart ||
                    (full && bytes && (!b->l->single_file || t->apart));
        if (place_group(b, i, end, begin, err))
            return -1;
        bytes = begin ? group_bytes : bytes + group_bytes;
        layers = begin ? 1 : layers + another;
        layer = t->order >> LAYER_SHIFT;
        apart = t->apart;
    }
    return b->n_shards ? 0 : place_group(b, 0, 0, 1, err); /* no tensors at all: an empty shard */
}

/* Falling element size keeps every tensor aligned; then layout order. */
static int by_place(const void *a, const void *b)
{
    const struct layout_tensor *x = *(const struct layout_tensor *const *)a;
    const struct layout_tensor *y = *(const struct layout_tensor *const *)b;
    unsigned p = dtype_bits((enum dtype)x->info.dtype), q = dtype_bits((enum dtype)y->info.dtype);
    if (p != q)
        return p > q ? -1 : 1;
    return x < y ? -1 : x > y;
}

/*
 * A step's outputs are in memory until the last of them is written: those of a linear should lie
 * together, not its scalars at one end of the shard and its codes at the other. Layout order has
 * them together; it serves when every tensor begins at a multiple of its element.
 */
static int layout_order_serves(const struct builder *b, const struct shard *sh)
{
    uint64_t at = 0;
    for (size_t i = sh->first; i < sh->first + sh->n; i++) {
        const struct layout_tensor *t = &b->tensors[i];
        unsigned element = dtype_bits((enum dtype)t->info.dtype) / 8;
        if (element && at % element)
            return 0;
        at += t->info.bytes;
    }
    return 1;
}

static int sort_shards(struct builder *b, struct prep_error *err)
{
    b->sorted = arena_calloc(&b->plan->arena, b->n_tensors, sizeof *b->sorted, err);
    b->shard_of = arena_calloc(&b->plan->arena, b->n_tensors, sizeof *b->shard_of, err);
    if (!b->sorted || !b->shard_of)
        return -1;
    for (size_t i = 0; i < b->n_tensors; i++)
        b->sorted[i] = &b->tensors[i];
    for (size_t s = 0; s < b->n_shards; s++) {
        const struct shard *sh = &b->shards[s];
        for (size_t i = 0; i < sh->n; i++)
            b->shard_of[sh->first + i] = (uint32_t)s;
        if (sh->n && !layout_order_serves(b, sh))
            qsort(b->sorted + sh->first, sh->n, sizeof *b->sorted, by_place);
    }
    return 0;
}

static void shard_name(const struct builder *b, size_t s, char name[SHARD_NAME])
{
    const struct shard *sh = &b->shards[s];
    if (b->l->single_file && !sh->apart)
        snprintf(name, SHARD_NAME, "model.safetensors");
    else
        snprintf(name, SHARD_NAME, "model%s-%05zu-of-%05zu.safetensors", sh->apart ? "-mtp" : "",
                 sh->number, b->n_kind[sh->apart]);
}

/* ---- steps ---- */

/* Bytes of a view tensor as runs of its source: one, or one per stretch of kept rows. */
static int add_copy(struct builder *b, const struct view_tensor *t, uint32_t *step,
                    struct prep_error *err)
{
    const struct checkpoint_tensor *src = view_source(b->l->view, t);
    struct plan_range whole = {b->l->first_source[t->source] + src->file, src->info.offset,
                               src->info.bytes};
    if (!t->rows)
        return plan_add_copy(b->plan, &whole, 1, step, err);
    uint64_t row = t->n_rows ? t->info.bytes / t->n_rows : 0;
    struct plan_range *runs = malloc((t->n_rows + 1) * sizeof *runs);
    if (!runs)
        return prep_fail(err, PREP_ENOMEM, "out of memory planning %s", t->info.name);
    size_t n = 0;
    for (uint32_t i = 0; i < t->n_rows; i++) {
        if (i && t->rows[i] == t->rows[i - 1] + 1)
            runs[n - 1].bytes += row;
        else
            runs[n++] =
                (struct plan_range){whole.source, whole.offset + (uint64_t)t->rows[i] * row, row};
    }
    int rc = plan_add_copy(b->plan, runs, n, step, err);
    free(runs);
    return rc;
}

/* The step that makes a tensor; its outputs are numbered as they are appended. */
static int find_step(struct builder *b, const struct layout_tensor *t, uint32_t *step,
                     struct prep_error *err)
{
    if (t->copy)
        return add_copy(b, t->copy, step, err);
    *step = t->step;
    *t->output = b->plan->steps[t->step].n_outputs;
    return 0;
}

static int add_text(struct plan *p, const void *bytes, size_t n, struct prep_error *err)
{
    uint32_t step;
    return plan_add_bytes(p, bytes, n, &step, err) || plan_append(p, step, n, err) ? -1 : 0;
}

static int add_shard(struct builder *b, size_t s, struct prep_error *err)
{
    const struct shard *sh = &b->shards[s];
    const struct metadata_pair pt = {"format", "pt"}; /* loaders look for it */
    char name[SHARD_NAME];
    shard_name(b, s, name);
    struct tensor_info *infos = calloc(sh->n + 1, sizeof *infos);
    if (!infos)
        return prep_fail(err, PREP_ENOMEM, "out of memory planning %s", name);
    for (size_t i = 0; i < sh->n; i++)
        infos[i] = b->sorted[sh->first + i]->info;
    struct span header;
    int rc = safetensors_layout(infos, sh->n, &pt, 1, &b->plan->arena, &header, err) ||
             plan_add_file(b->plan, name, PLAN_SHARD, err) ||
             add_text(b->plan, header.p, header.n, err);
    free(infos);
    for (size_t i = 0; i < sh->n && !rc; i++) {
        const struct layout_tensor *t = b->sorted[sh->first + i];
        const struct view_tensor *whole = t->copy && !t->copy->rows ? t->copy : NULL;
        uint32_t step;
        rc = find_step(b, t, &step, err) ||
             plan_tensor_here(b->plan, t->info.name,
                              whole ? view_source(b->l->view, whole)->info.name : NULL,
                              t->info.bytes, err) ||
             plan_append(b->plan, step, t->info.bytes, err);
    }
    return rc ? -1 : 0;
}

/* ---- the index ---- */

static int by_name(const void *a, const void *b)
{
    const struct layout_tensor *x = *(const struct layout_tensor *const *)a;
    const struct layout_tensor *y = *(const struct layout_tensor *const *)b;
    return strcmp(x->info.name, y->info.name);
}

static int index_map(const struct builder *b, struct json_out *o, struct prep_error *err)
{
    const struct layout_tensor **names = malloc((b->n_tensors + 1) * sizeof *names);
    if (!names)
        return prep_fail(err, PREP_ENOMEM, "out of memory writing the index");
    for (size_t i = 0; i < b->n_tensors; i++)
        names[i] = &b->tensors[i];
    qsort(names, b->n_tensors, sizeof *names, by_name);
    json_out_open(o, '{');
    for (size_t i = 0; i < b->n_tensors; i++) {
        char shard[SHARD_NAME];
        shard_name(b, b->shard_of[names[i] - b->tensors], shard);
        json_out_key(o, names[i]->info.name);
        json_out_string(o, shard);
    }
    json_out_close(o);
    free(names);
    return 0;
}

/* A member of the input's index, copied as it stands. */
static int copy_member(struct json_out *o, const struct json *d, uint32_t key, struct arena *tmp,
                       struct prep_error *err)
{
    size_t n;
    char *name = json_string(d, key, tmp, &n, err);
    if (!name)
        return -1;
    uint32_t value = json_next(d, key);
    json_out_key(o, name);
    json_out_raw(o, d->text + d->nodes[value].start, d->nodes[value].end - d->nodes[value].start);
    return 0;
}

/* total_size counts tensor bytes, not file bytes; other metadata is kept. */
static int index_metadata(struct json_out *o, const struct json *d, uint32_t metadata,
                          uint64_t total, struct arena *tmp, struct prep_error *err)
{
    int rc = 0;
    json_out_open(o, '{');
    uint32_t k = metadata == JSON_NONE ? JSON_NONE : json_first(d, metadata);
    for (; k != JSON_NONE && !rc; k = json_next(d, json_next(d, k)))
        if (!json_equal(d, k, "total_size"))
            rc = copy_member(o, d, k, tmp, err);
    json_out_key(o, "total_size");
    json_out_u64(o, total);
    json_out_close(o);
    return rc;
}

static int write_index(const struct builder *b, struct json_out *o, const struct json *d,
                       struct arena *tmp, struct prep_error *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < b->n_tensors; i++)
        total += b->tensors[i].info.bytes;
    int had = d->n_nodes > 0 && json_type(d, 0) == JSON_OBJECT, rc = 0;
    uint32_t metadata = had ? json_get(d, 0, "metadata") : JSON_NONE;
    if (metadata != JSON_NONE && json_type(d, metadata) != JSON_OBJECT)
        metadata = JSON_NONE;
    json_out_open(o, '{');
    json_out_key(o, "metadata");
    rc = index_metadata(o, d, metadata, total, tmp, err);
    for (uint32_t k = had ? json_first(d, 0) : JSON_NONE; k != JSON_NONE && !rc;
         k = json_next(d, json_next(d, k)))
        if (!json_equal(d, k, "metadata") && !json_equal(d, k, "weight_map"))
            rc = copy_member(o, d, k, tmp, err);
    json_out_key(o, "weight_map");
    if (!rc)
        rc = index_map(b, o, err);
    json_out_close(o);
    return rc;
}

static int add_index(struct builder *b, struct prep_error *err)
{
    static const char name[] = "model.safetensors.index.json";
    struct json doc = {0};
    struct json_out o;
    struct arena tmp;
    struct span text, copy;
    arena_init(&tmp, 0);
    json_out_init(&o, 2);
    int rc = -1;
    if (b->l->index.n && json_parse(&doc, (const char *)b->l->index.p, b->l->index.n, name, err))
        goto out;
    if (write_index(b, &o, &doc, &tmp, err) || json_out_finish(&o, &text, err))
        goto out;
    copy.n = text.n;
    copy.p = (unsigned char *)arena_strndup(&b->plan->arena, (const char *)text.p, text.n, err);
    if (!copy.p || plan_add_file(b->plan, name, PLAN_INDEX, err) ||
        add_text(b->plan, copy.p, copy.n, err))
        goto out;
    rc = 0;
out:
    json_out_free(&o);
    json_free(&doc);
    arena_fini(&tmp);
    return rc;
}

/* ---- the files around them ---- */

static int add_sidecars(struct builder *b, struct prep_error *err)
{
    for (size_t i = 0; i < b->l->n_sidecars; i++) {
        const struct layout_sidecar *s = &b->l->sidecars[i];
        uint32_t source = b->l->first_source[s->source] + s->file, step;
        uint64_t bytes = b->l->view->sources[s->source]->files[s->file].bytes;
        struct plan_range whole = {source, 0, bytes};
        if (plan_add_file(b->plan, s->name, PLAN_SIDECAR, err) ||
            plan_add_copy(b->plan, &whole, 1, &step, err) || plan_append(b->plan, step, bytes, err))
            return -1;
    }
    return 0;
}

static int add_texts(struct builder *b, enum file_stage stage, struct prep_error *err)
{
    for (size_t i = 0; i < b->l->n_texts; i++) {
        const struct layout_text *t = &b->l->texts[i];
        if (t->stage == stage && (plan_add_file(b->plan, t->name, stage, err) ||
                                  add_text(b->plan, t->text.p, t->text.n, err)))
            return -1;
    }
    return 0;
}

int layout_plan(struct plan *plan, const struct layout *l, struct report *report,
                struct prep_error *err)
{
    if (l->shard_bytes > LAYOUT_SHARD_MOST)
        return prep_fail(err, PREP_EUSAGE,
                         "--max-shard-size %llu: the hub refuses files over %llu bytes",
                         (unsigned long long)l->shard_bytes, (unsigned long long)LAYOUT_SHARD_MOST);
    if (l->shard_bytes > LAYOUT_SHARD_WARN)
        report_warn(report, "SHARD_SIZE", "the hub recommends files under 20 GB");
    struct builder b = {.plan = plan, .l = l};
    int rc = list_tensors(&b, err) || cut_shards(&b, err) || sort_shards(&b, err);
    for (size_t s = 0; s < b.n_shards && !rc; s++)
        rc = add_shard(&b, s, err);
    if (!rc)
        rc = add_texts(&b, PLAN_SIDECAR, err) || add_sidecars(&b, err) ||
             add_texts(&b, PLAN_CONFIG, err);
    if (!rc && (!l->single_file || b.n_shards > 1))
        rc = add_index(&b, err);
    free(b.shards);
    return rc ? -1 : 0;
}

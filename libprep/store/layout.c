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

/* Tensors [first, first + n) of `sorted` make one shard. */
struct shard {
    size_t first, n;
};

struct builder {
    struct plan *plan;
    const struct layout *l;
    const struct view_tensor **sorted; /* shard by shard, in file order */
    struct shard *shards;
    size_t n_shards, cap_shards;
    uint32_t *shard_of; /* by view tensor */
};

/* ---- which tensor goes into which shard ---- */

static int cut_shards(struct builder *b, struct prep_error *err)
{
    const struct view *v = b->l->view;
    uint64_t most = b->l->shard_bytes ? b->l->shard_bytes : LAYOUT_SHARD_BYTES;
    uint64_t bytes = 0, layer = 0;
    int layers = 0;
    for (size_t i = 0; i < v->n_tensors || b->n_shards == 0;) {
        size_t end = i;
        uint64_t group_bytes = 0;
        while (end < v->n_tensors && v->tensors[end].group == v->tensors[i].group)
            group_bytes += v->tensors[end++].info.bytes;
        uint64_t here = i < v->n_tensors ? v->tensors[i].order >> LAYER_SHIFT : 0;
        int another = layers == 0 || here != layer;
        int full = layers + another > LAYERS_PER_SHARD || bytes + group_bytes > most;
        if (b->n_shards == 0 || (full && bytes && !b->l->single_file)) {
            if (prep_grow(&b->shards, &b->cap_shards, b->n_shards, sizeof *b->shards, err))
                return -1;
            b->shards[b->n_shards++] = (struct shard){i, 0};
            bytes = 0;
            layers = 0;
            another = 1;
        }
        b->shards[b->n_shards - 1].n += end - i;
        bytes += group_bytes;
        layers += another;
        layer = here;
        if (end == i)
            break; /* no tensors at all: one empty shard */
        i = end;
    }
    return 0;
}

/* Falling element size keeps every tensor aligned; then layout order. */
static int by_place(const void *a, const void *b)
{
    const struct view_tensor *x = *(const struct view_tensor *const *)a;
    const struct view_tensor *y = *(const struct view_tensor *const *)b;
    unsigned p = dtype_bits((enum dtype)x->info.dtype), q = dtype_bits((enum dtype)y->info.dtype);
    if (p != q)
        return p > q ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int sort_shards(struct builder *b, struct prep_error *err)
{
    const struct view *v = b->l->view;
    b->sorted = arena_calloc(&b->plan->arena, v->n_tensors, sizeof *b->sorted, err);
    b->shard_of = arena_calloc(&b->plan->arena, v->n_tensors, sizeof *b->shard_of, err);
    if (!b->sorted || !b->shard_of)
        return -1;
    for (size_t i = 0; i < v->n_tensors; i++)
        b->sorted[i] = &v->tensors[i];
    for (size_t s = 0; s < b->n_shards; s++) {
        const struct shard *sh = &b->shards[s];
        for (size_t i = 0; i < sh->n; i++)
            b->shard_of[sh->first + i] = (uint32_t)s;
        if (sh->n)
            qsort(b->sorted + sh->first, sh->n, sizeof *b->sorted, by_place);
    }
    return 0;
}

static void shard_name(const struct builder *b, size_t s, char name[SHARD_NAME])
{
    if (b->l->single_file)
        snprintf(name, SHARD_NAME, "model.safetensors");
    else
        snprintf(name, SHARD_NAME, "model-%05zu-of-%05zu.safetensors", s + 1, b->n_shards);
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
        const struct view_tensor *t = b->sorted[sh->first + i];
        uint32_t step;
        rc = add_copy(b, t, &step, err) ||
             plan_tensor_here(b->plan, t->info.name,
                              t->rows ? NULL : view_source(b->l->view, t)->info.name, t->info.bytes,
                              err) ||
             plan_append(b->plan, step, t->info.bytes, err);
    }
    return rc ? -1 : 0;
}

/* ---- the index ---- */

static int by_name(const void *a, const void *b)
{
    const struct view_tensor *x = *(const struct view_tensor *const *)a;
    const struct view_tensor *y = *(const struct view_tensor *const *)b;
    return strcmp(x->info.name, y->info.name);
}

static int index_map(const struct builder *b, struct json_out *o, struct prep_error *err)
{
    const struct view *v = b->l->view;
    const struct view_tensor **names = malloc((v->n_tensors + 1) * sizeof *names);
    if (!names)
        return prep_fail(err, PREP_ENOMEM, "out of memory writing the index");
    for (size_t i = 0; i < v->n_tensors; i++)
        names[i] = &v->tensors[i];
    qsort(names, v->n_tensors, sizeof *names, by_name);
    json_out_open(o, '{');
    for (size_t i = 0; i < v->n_tensors; i++) {
        char shard[SHARD_NAME];
        shard_name(b, b->shard_of[names[i] - v->tensors], shard);
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
    const struct view *v = b->l->view;
    uint64_t total = 0;
    for (size_t i = 0; i < v->n_tensors; i++)
        total += v->tensors[i].info.bytes;
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
    int rc = cut_shards(&b, err) || sort_shards(&b, err);
    for (size_t s = 0; s < b.n_shards && !rc; s++)
        rc = add_shard(&b, s, err);
    if (!rc)
        rc = add_texts(&b, PLAN_SIDECAR, err) || add_sidecars(&b, err) ||
             add_texts(&b, PLAN_CONFIG, err);
    if (!rc && !l->single_file)
        rc = add_index(&b, err);
    free(b.shards);
    return rc ? -1 : 0;
}

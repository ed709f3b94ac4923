/* SPDX-License-Identifier: MIT */
/*
 * Files, parts and headers, and the steps that fill them.
 *
 * The headers of a ladder are 10 MB each and differ at the end alone: what a header has in common
 * with the first one is stored once.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/release/gguf.h"

static const unsigned char zeros[GGUF_ALIGNMENT];

struct planner {
    struct gguf_result *r;
    struct gguf_pass *pass;
    const struct gguf_output *out;
    struct report *report;
    struct span first;              /* header of the first file */
    struct gguf_tensor_info *infos; /* [map->n] of the file at hand */
    struct arena scratch;           /* of one file */
    uint32_t band, strand;
    struct prep_error *err;
};

/* ---- steps ---- */

static int hash_types(struct planner *p)
{
    struct plan *plan = p->r->plan;
    for (size_t o = 0; o < p->pass->n_outputs; o++) {
        const struct gguf_output *out = &p->pass->outputs[o];
        char hex[17];
        uint64_t h = hash64(out->types, p->pass->map.n * sizeof *out->types);
        for (int i = 0; i < 16; i++)
            hex[i] = "0123456789abcdef"[h >> (60 - 4 * i) & 15];
        hex[16] = 0;
        if (plan_option(plan, out->stem, hex, p->err))
            return -1;
    }
    return 0;
}

static int add_work(struct planner *p, const struct gguf_work_request *request)
{
    struct gguf_work *w = &p->pass->work;
    linear_codec_init(&w->decode, p->r->job->isa);
    w->isa = p->r->job->isa;
    w->map = &p->pass->map;
    w->weights = p->pass->weights;
    w->n_files = p->pass->n_outputs;
    for (size_t i = 0; i < p->pass->n_outputs; i++)
        w->types[i] = p->pass->outputs[i].types;
    return hash_types(p) || gguf_work_plan(w, p->r->plan, request, p->err) ? -1 : 0;
}

/* ---- one file ---- */

static int list_infos(struct planner *p)
{
    const struct gguf_map *m = &p->pass->map;
    p->infos = arena_calloc(&p->scratch, m->n, sizeof *p->infos, p->err);
    if (!p->infos)
        return -1;
    for (size_t i = 0; i < m->n; i++) {
        const struct gguf_target *t = &m->targets[i];
        const struct gguf_tensor g = gguf_target_tensor(t);
        struct gguf_tensor_info *info = &p->infos[i];
        *info = (struct gguf_tensor_info){
            .name = t->name, .type = p->out->types[i], .n_dims = t->n_dims};
        memcpy(info->dims, t->dims, sizeof info->dims);
        info->bytes = gguf_tensor_bytes(&g, p->out->types[i]);
        /* The quantizer's writer drops trailing dimensions of 1. */
        while (p->pass->order == GGUF_QUANTIZER && info->n_dims > 1 &&
               info->dims[info->n_dims - 1] == 1)
            info->n_dims--;
    }
    return 0;
}

/* Where parts begin: first[0..n_parts], by the converter's rule. */
static int cut_parts(struct planner *p, size_t **first, size_t *n_parts)
{
    const struct gguf_job *job = p->r->job;
    const size_t n = p->pass->map.n;
    size_t *at = arena_calloc(&p->scratch, n + 3, sizeof *at, p->err), parts = 0, in_part = 0;
    uint64_t bytes = 0;
    if (!at)
        return -1;
    const int split = job->split_bytes || job->split_tensors;
    if (split && job->first_empty)
        at[parts++] = 0;
    at[parts++] = 0;
    for (size_t i = 0; i < n && split; i++) {
        const uint64_t b = p->infos[i].bytes;
        const int full = (job->split_bytes && bytes + b > job->split_bytes) ||
                         (job->split_tensors && in_part == job->split_tensors);
        if (in_part && full) {
            at[parts++] = i;
            bytes = in_part = 0;
        }
        bytes += b;
        in_part++;
    }
    at[parts] = n;
    /* What fits one part is no set. */
    if (parts == (job->first_empty ? 2u : 1u)) {
        at[0] = 0;
        at[parts = 1] = n;
    }
    if (parts > GGUF_MAX_PARTS)
        return prep_fail(p->err, PREP_EUSAGE, "%s: %zu parts, want at most %d", p->out->stem, parts,
                         GGUF_MAX_PARTS);
    *first = at;
    *n_parts = parts;
    return 0;
}

static int set_split(struct gguf_keys *k, size_t no, size_t count, size_t n_tensors,
                     struct prep_error *err)
{
    return gguf_set_u16(k, "split.no", (uint16_t)no, err) ||
                   gguf_set_u16(k, "split.count", (uint16_t)count, err) ||
                   gguf_set_i32(k, "split.tensors.count", (int32_t)n_tensors, err)
               ? -1
               : 0;
}

/* The header's bytes, the beginning shared with that of the first file. */
static int append_header(struct planner *p, struct span header)
{
    struct plan *plan = p->r->plan;
    uint32_t step;
    size_t same = 0;
    if (!p->first.n) {
        unsigned char *copy = arena_alloc(&plan->arena, header.n, p->err);
        if (!copy)
            return -1;
        memcpy(copy, header.p, header.n);
        p->first = (struct span){copy, header.n};
    }
    while (same < header.n && same < p->first.n && header.p[same] == p->first.p[same])
        same++;
    unsigned char *rest = arena_alloc(&plan->arena, header.n - same + 1, p->err);
    if (!rest)
        return -1;
    memcpy(rest, header.p + same, header.n - same);
    return plan_add_bytes(plan, p->first.p, same, &step, p->err) ||
                   plan_append(plan, step, same, p->err) ||
                   plan_add_bytes(plan, rest, header.n - same, &step, p->err) ||
                   plan_append(plan, step, header.n - same, p->err)
               ? -1
               : 0;
}

static int append_tensor(struct planner *p, size_t i)
{
    const struct gguf_work *w = &p->pass->work;
    const struct gguf_target *t = &w->map->targets[i];
    struct plan *plan = p->r->plan;
    uint64_t sum = 0;
    /* Rungs have tensors of the same names: the manifest tells them apart. */
    const char *name = arena_printf(&plan->arena, p->err, "%s:%s", p->out->stem, t->name);
    if (!name || plan_tensor_here(plan, name, NULL, p->infos[i].bytes, p->err))
        return -1;
    for (uint32_t k = 0; k < w->n_of[i]; k++) {
        const struct gguf_unit *u = &w->units[w->first_unit[i] + k];
        const uint64_t bytes = gguf_unit_bytes(w, u, t, p->out->types[i]);
        if (plan_append(plan, u->step, bytes, p->err))
            return -1;
        sum += bytes;
    }
    if (sum != p->infos[i].bytes)
        return prep_fail(p->err, PREP_EBUG, "%s: pieces of %" PRIu64 " bytes, want %" PRIu64,
                         t->name, sum, p->infos[i].bytes);
    const uint64_t pad = gguf_pad(sum, GGUF_ALIGNMENT) - sum;
    uint32_t step;
    return pad && (plan_add_bytes(plan, zeros, (size_t)pad, &step, p->err) ||
                   plan_append(plan, step, pad, p->err))
               ? -1
               : 0;
}

/* Outputs are numbered as they are appended: those of kv_b_proj, keys first, follow each other in
 * every file, whatever else comes between. */
static int add_part(struct planner *p, const struct gguf_keys *keys, const char *name, size_t from,
                    size_t to)
{
    struct span header;
    uint64_t bytes;
    struct gguf_output *out = (struct gguf_output *)(uintptr_t)p->out;
    if (gguf_layout(&header, &bytes, keys, p->infos + from, to - from, &p->scratch, p->err) ||
        plan_add_file(p->r->plan, name, PLAN_SHARD, p->err) ||
        plan_strand(p->r->plan, p->band, p->strand, p->err) || append_header(p, header))
        return -1;
    for (size_t i = from; i < to; i++)
        if (append_tensor(p, i))
            return -1;
    out->file_bytes += bytes;
    out->n_parts++;
    return 0;
}

static int add_parts(struct planner *p, struct gguf_keys *keys, const size_t *first, size_t n_parts)
{
    struct gguf_keys rest = {.arena = &p->scratch};
    int rc = 0;
    for (size_t i = 0; i < n_parts && !rc; i++) {
        struct gguf_keys *k = i ? &rest : keys;
        char *name = n_parts == 1 ? arena_printf(&p->scratch, p->err, "%s.gguf", p->out->stem)
                                  : gguf_part_name(&p->scratch, p->out->stem, (uint32_t)i,
                                                   (uint32_t)n_parts, p->err);
        rc = !name || (n_parts > 1 && set_split(k, i, n_parts, p->pass->map.n, p->err)) ||
             add_part(p, k, name, first[i], first[i + 1]);
    }
    gguf_keys_free(&rest);
    return rc ? -1 : 0;
}

static int add_file(struct planner *p, const struct gguf_keys *shared)
{
    struct gguf_keys keys;
    size_t *first = NULL, n_parts = 0;
    arena_init(&p->scratch, 0);
    int rc = gguf_keys_copy(&keys, shared, &p->scratch, p->err);
    if (!rc) {
        rc = gguf_file_keys(&keys, p->r, p->pass, p->out, p->err) || list_infos(p) ||
             cut_parts(p, &first, &n_parts) || add_parts(p, &keys, first, n_parts);
        gguf_keys_free(&keys);
    }
    arena_fini(&p->scratch);
    return rc ? -1 : 0;
}

/* ---- the whole ---- */

static int add_pass(struct planner *p, const struct gguf_work_request *request)
{
    struct gguf_keys keys = {0};
    struct arena arena;
    arena_init(&arena, 0);
    keys.arena = &arena;
    p->band++;
    p->strand = 0;
    p->first = (struct span){0};
    int rc = add_work(p, request) ||
             gguf_pass_keys(&keys, p->r, p->pass, p->band == 1 ? p->report : NULL, p->err);
    for (size_t i = 0; i < p->pass->n_outputs && !rc; i++) {
        p->out = &p->pass->outputs[i];
        p->strand++;
        rc = add_file(p, &keys);
    }
    gguf_keys_free(&keys);
    arena_fini(&arena);
    return rc ? -1 : 0;
}

static int add_sources(struct gguf_result *r, struct gguf_work_request *request, uint32_t *first,
                       struct prep_error *err)
{
    const struct view *view = &r->pruned.output.view;
    for (size_t i = 0; i < view->n_sources; i++)
        if (plan_add_checkpoint(r->plan, view->sources[i], &first[i], err))
            return -1;
    request->view = view;
    request->first_source = first;
    if (!r->job->imatrix)
        return 0;
    request->imatrix = &r->imatrix;
    return plan_add_checkpoint(r->plan, &r->imatrix_source, &request->imatrix_source, err);
}

int gguf_make_plan(struct gguf_result *r, struct report *report, struct prep_error *err)
{
    struct planner p = {.r = r, .report = report, .err = err};
    struct gguf_work_request request = {0};
    uint32_t first[VIEW_MAX_SOURCES];
    if (plan_new(&r->plan, r->job->tool, PREP_VERSION, err) || add_sources(r, &request, first, err))
        return -1;
    for (size_t i = 0; i < r->n_passes; i++) {
        p.pass = &r->passes[i];
        if (add_pass(&p, &request))
            return -1;
    }
    r->plan->manifest = gguf_manifest;
    r->plan->manifest_arg = r;
    return plan_finish(r->plan, err);
}

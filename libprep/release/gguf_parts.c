/* SPDX-License-Identifier: MIT */
#include "libprep/release/gguf_parts.h"

#include <inttypes.h>
#include <string.h>

static const unsigned char zeros[4096];

static const char *const split_keys[] = {"split.no", "split.count", "split.tensors.count"};

/* A tensor of the set, and where it is. */
struct piece {
    const struct gguf_tensor_info *info;
    uint32_t part;
};

struct cutter {
    struct gguf_parts *out;
    const struct gguf_parts_job *job;
    struct piece *pieces;
    struct gguf_tensor_info *infos; /* for the new headers */
    size_t n;
    uint32_t alignment, first_source;
    struct prep_error *err;
};

static int list_pieces(struct cutter *c)
{
    const struct gguf_set *s = c->job->set;
    c->pieces = arena_calloc(&c->out->arena, (size_t)s->n_tensors, sizeof *c->pieces, c->err);
    c->infos = arena_calloc(&c->out->arena, (size_t)s->n_tensors, sizeof *c->infos, c->err);
    if (!c->pieces || !c->infos)
        return -1;
    for (size_t i = 0; i < s->n_parts; i++)
        for (size_t t = 0; t < s->parts[i].n_tensors; t++) {
            c->pieces[c->n] = (struct piece){&s->parts[i].tensors[t], (uint32_t)i};
            c->infos[c->n++] = s->parts[i].tensors[t];
        }
    c->alignment = s->parts[0].alignment;
    return 0;
}

/* Where parts begin: first[0..n_parts]. */
static int cut(struct cutter *c, size_t **first)
{
    const struct gguf_parts_job *job = c->job;
    size_t *at = arena_calloc(&c->out->arena, c->n + 3, sizeof *at, c->err), n = 0, in_part = 0;
    uint64_t bytes = 0;
    if (!at)
        return -1;
    const int split = job->split_bytes || job->split_tensors;
    if (split && job->first_empty)
        at[n++] = 0;
    at[n++] = 0;
    for (size_t i = 0; i < c->n && split; i++) {
        const uint64_t b =
            job->strict_parity ? gguf_pad(c->infos[i].bytes, c->alignment) : c->infos[i].bytes;
        if (in_part && ((job->split_bytes && bytes + b > job->split_bytes) ||
                        (job->split_tensors && in_part == job->split_tensors))) {
            at[n++] = i;
            bytes = in_part = 0;
        }
        bytes += b;
        in_part++;
    }
    at[n] = c->n;
    if (n > GGUF_MAX_PARTS)
        return prep_fail(c->err, PREP_EUSAGE, "%zu parts, want at most %d", n, GGUF_MAX_PARTS);
    *first = at;
    c->out->n_parts = n;
    return 0;
}

static int set_split(struct cutter *c, struct gguf_keys *k, size_t no)
{
    const uint16_t count = (uint16_t)c->out->n_parts;
    const int parity = c->job->strict_parity;
    if (gguf_set_u16(k, "split.no", (uint16_t)no, c->err) ||
        (!parity && gguf_set_u16(k, "split.count", count, c->err)) ||
        gguf_set_i32(k, "split.tensors.count", (int32_t)c->n, c->err))
        return -1;
    return parity ? gguf_set_u16(k, "split.count", count, c->err) : 0;
}

/* The keys of a part: all in the first, those of the set in each; none of a set in a whole file. */
static int part_keys(struct cutter *c, struct gguf_keys *k, size_t no)
{
    const struct gguf *g = &c->job->set->parts[0];
    const int merge = c->out->n_parts == 1;
    for (size_t i = 0; i < g->n_kvs && no == 0; i++)
        if (gguf_set(k, &g->kvs[i], c->err))
            return -1;
    /* The reference leaves the keys in, and says there are 0 parts. */
    if (merge && c->job->strict_parity && gguf_keys_find(k, split_keys[1]))
        return gguf_set_u16(k, split_keys[1], 0, c->err);
    for (size_t i = 0; i < 3; i++)
        gguf_unset(k, split_keys[i]);
    if (no > 0 && c->alignment != GGUF_ALIGNMENT &&
        gguf_set_u32(k, "general.alignment", c->alignment, c->err))
        return -1;
    return merge ? 0 : set_split(c, k, no);
}

static int append_tensor(struct cutter *c, size_t i)
{
    struct plan *plan = c->out->plan;
    const struct piece *p = &c->pieces[i];
    const struct plan_range range = {c->first_source + p->part, p->info->offset, p->info->bytes};
    const uint64_t pad = gguf_pad(range.bytes, c->alignment) - range.bytes;
    uint32_t step;
    if (plan_add_copy(plan, &range, 1, &step, c->err) ||
        plan_tensor_here(plan, p->info->name, p->info->name, range.bytes, c->err) ||
        plan_append(plan, step, range.bytes, c->err))
        return -1;
    for (uint64_t left = pad; left;) {
        const size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        if (plan_add_bytes(plan, zeros, n, &step, c->err) || plan_append(plan, step, n, c->err))
            return -1;
        left -= n;
    }
    return 0;
}

static int add_part(struct cutter *c, size_t no, size_t from, size_t to)
{
    struct plan *plan = c->out->plan;
    struct arena *arena = &c->out->arena;
    struct gguf_keys keys = {.arena = arena};
    struct span header;
    uint32_t step;
    char *name = c->out->n_parts == 1 ? arena_printf(arena, c->err, "%s.gguf", c->job->stem)
                                      : gguf_part_name(arena, c->job->stem, (uint32_t)no,
                                                       (uint32_t)c->out->n_parts, c->err);
    int rc = !name || part_keys(c, &keys, no) ||
             gguf_layout(&header, NULL, &keys, c->infos + from, to - from, arena, c->err) ||
             plan_add_file(plan, name, PLAN_SHARD, c->err) ||
             plan_add_bytes(plan, header.p, header.n, &step, c->err) ||
             plan_append(plan, step, header.n, c->err);
    gguf_keys_free(&keys);
    for (size_t i = from; i < to && !rc; i++)
        rc = append_tensor(c, i);
    return rc ? -1 : 0;
}

int gguf_parts_plan(struct gguf_parts *out, const struct gguf_parts_job *job,
                    struct prep_error *err)
{
    struct cutter c = {.out = out, .job = job, .err = err};
    size_t *first = NULL;
    *out = (struct gguf_parts){0};
    arena_init(&out->arena, 0);
    if (plan_new(&out->plan, job->tool, PREP_VERSION, err) ||
        plan_add_checkpoint(out->plan, &job->set->source, &c.first_source, err) ||
        list_pieces(&c) || cut(&c, &first))
        return -1;
    for (size_t i = 0; i < out->n_parts; i++)
        if (add_part(&c, i, first[i], first[i + 1]))
            return -1;
    return plan_finish(out->plan, err);
}

void gguf_parts_free(struct gguf_parts *p)
{
    plan_free(p->plan);
    arena_fini(&p->arena);
    *p = (struct gguf_parts){0};
}

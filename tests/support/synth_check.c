/* SPDX-License-Identifier: MIT */
#include "tests/support/synth_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/names.h"
#include "libprep/store/synth.h"

enum { SAMPLE = 4096, STRIDE = (256 << 10) - 7 * SAMPLE /* in no step with rows */ };

/* What tensor `name` of the output is made of. */
static int find_origin(struct synth_origin *o, const struct plan_tensor *t,
                       const struct keep_map *map, struct arena *tmp, struct prep_error *err)
{
    const char *name = t->name;
    struct name_parts p = name_parse(name, strlen(name));
    const struct keep_layer *l = p.layer < 0 ? NULL : keep_map_layer(map, p.layer);
    if (l && p.role == ROLE_EXPERT) {
        if (p.expert >= l->n_kept)
            return prep_fail(err, PREP_EBUG, "%s: only %d experts are kept", name, l->n_kept);
        name = name_with_expert(tmp, name, &p, l->kept_parent[p.expert], err);
        if (!name)
            return -1;
    }
    if (l && p.role == ROLE_ROUTER) {
        o->rows = l->kept_parent;
        o->row_bytes = t->bytes / (unsigned)l->n_kept;
    }
    o->seed = synth_seed(name, strlen(name));
    return 0;
}

int synth_check_init(struct synth_check *c, const struct plan *plan, const struct keep_map *map,
                     struct prep_error *err)
{
    struct arena tmp;
    int rc = 0;
    *c = (struct synth_check){.plan = plan};
    c->origins = calloc(plan->n_tensors + 1, sizeof *c->origins);
    if (!c->origins)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    arena_init(&tmp, 0);
    for (size_t i = 0; i < plan->n_tensors && !rc; i++) {
        rc = find_origin(&c->origins[i], &plan->tensors[i], map, &tmp, err);
        arena_reset(&tmp);
    }
    arena_fini(&tmp);
    return rc;
}

void synth_check_fini(struct synth_check *c)
{
    free(c->origins);
}

/* The file of the plan that becomes `path`, or NULL. */
static const struct plan_file *find_file(const struct plan *plan, const char *path)
{
    const char *name = strrchr(path, '/') + 1, *end = strstr(name, ".partial");
    size_t n = end ? (size_t)(end - name) : strlen(name);
    for (size_t i = 0; i < plan->n_files; i++)
        if (strncmp(plan->files[i].name, name, n) == 0 && plan->files[i].name[n] == 0)
            return &plan->files[i];
    return NULL;
}

/* The last tensor of the file that begins at or before offset. */
static uint32_t find_tensor(const struct plan *plan, const struct plan_file *f, uint64_t offset)
{
    uint32_t lo = f->first_tensor, hi = lo + f->n_tensors;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (plan->tensors[mid].offset <= offset)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Bytes [at, at + n) of a tensor as they must be; n is cut at the end of a row. */
static size_t expected(const struct synth_origin *o, unsigned char *want, uint64_t at, size_t n)
{
    if (o->rows) {
        uint64_t in_row = at % o->row_bytes, row = (uint64_t)o->rows[at / o->row_bytes];
        if (n > o->row_bytes - in_row)
            n = (size_t)(o->row_bytes - in_row);
        at = row * o->row_bytes + in_row;
    }
    synth_bytes(want, o->seed, at, n);
    return n;
}

static int check_sample(struct synth_check *c, const struct plan_file *f, uint64_t offset,
                        const unsigned char *bytes, size_t n)
{
    unsigned char want[SAMPLE];
    for (size_t done = 0, take; done < n; done += take) {
        uint32_t i = find_tensor(c->plan, f, offset + done);
        const struct plan_tensor *t = &c->plan->tensors[i];
        take = n - done;
        if (offset + done < t->offset) { /* the header */
            if (take > t->offset - offset - done)
                take = (size_t)(t->offset - offset - done);
            continue;
        }
        uint64_t at = offset + done - t->offset;
        if (at >= t->bytes)
            break; /* padding of direct I/O */
        if (take > t->bytes - at)
            take = (size_t)(t->bytes - at);
        take = expected(&c->origins[i], want, at, take);
        if (memcmp(bytes + done, want, take) != 0) {
            snprintf(c->wrong, sizeof c->wrong, "%s: %s is wrong at byte %llu", f->name, t->name,
                     (unsigned long long)at);
            return -EILSEQ;
        }
        __atomic_fetch_add(&c->checked_bytes, take, __ATOMIC_RELAXED);
    }
    return 0;
}

int synth_check_write(void *arg, const char *path, uint64_t offset, const void *bytes, size_t n)
{
    struct synth_check *c = arg;
    const struct plan_file *f = find_file(c->plan, path);
    if (!f || f->n_tensors == 0 || n == 0)
        return 0;
    for (size_t at = 0; at < n; at += STRIDE) {
        size_t take = n - at < SAMPLE ? n - at : SAMPLE;
        int rc = check_sample(c, f, offset + at, (const unsigned char *)bytes + at, take);
        if (rc)
            return rc;
    }
    size_t last = n < SAMPLE ? 0 : n - SAMPLE;
    return check_sample(c, f, offset + last, (const unsigned char *)bytes + last, n - last);
}

/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"
#include "libprep/model/source.h"
#include "libprep/release/lint_job.h"

enum { MAX_NAMED = 8 };
#define MAX_ROUTER_BYTES ((uint64_t)1 << 30)

/* ---- the correction bias ---- */

static float value_at(const unsigned char *p, enum dtype t, size_t i)
{
    switch (t) {
    case DTYPE_F32:
        return f32_from_bits(load_le32(p + 4 * i));
    case DTYPE_BF16:
        return f32_from_bf16(load_le16(p + 2 * i));
    case DTYPE_F16:
        return f32_from_f16(load_le16(p + 2 * i));
    default:
        return 0.0f;
    }
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

struct bias {
    size_t n, distinct, nonfinite;
    float least, largest; /* when all are finite */
};

static int read_bias(struct bias *b, const struct checkpoint *ckpt,
                     const struct checkpoint_tensor *t, struct prep_error *err)
{
    const enum dtype dtype = (enum dtype)t->info.dtype;
    *b = (struct bias){0};
    if ((dtype != DTYPE_F32 && dtype != DTYPE_BF16 && dtype != DTYPE_F16) ||
        t->info.bytes > MAX_ROUTER_BYTES || !t->info.bytes)
        return 0;
    size_t n = (size_t)t->info.bytes / (dtype_bits(dtype) / 8);
    unsigned char *bytes = malloc((size_t)t->info.bytes);
    float *values = calloc(n, sizeof *values);
    int rc = -1;
    if (!bytes || !values) {
        prep_fail(err, PREP_ENOMEM, "%s: out of memory", t->info.name);
        goto out;
    }
    if (checkpoint_read(ckpt, t, 0, bytes, (size_t)t->info.bytes, err))
        goto out;
    for (size_t i = 0; i < n; i++) {
        values[i] = value_at(bytes, dtype, i);
        b->nonfinite += isfinite(values[i]) ? 0 : 1;
    }
    if (!b->nonfinite)
        qsort(values, n, sizeof *values, by_value);
    for (size_t i = 0; i < n; i++)
        b->distinct += i == 0 || values[i] != values[i - 1];
    b->n = n;
    b->least = values[0];
    b->largest = values[n - 1];
    rc = 0;
out:
    free(values);
    free(bytes);
    return rc;
}

/* The routers whose bias is large and nearly constant, and the worst of them. */
struct spread {
    size_t n, n_of;
    double steps; /* of BF16 between its least and largest value */
    const struct lint_module *worst;
    struct bias bias;
};

/* BF16 has steps of 2^-8 of a number, 2^-7 at worst: are there fewer than values to tell apart? */
static void judge_spread(struct spread *s, const struct lint_module *m, const struct bias *b)
{
    const double low = fabs((double)b->least), high = fabs((double)b->largest);
    const double step = (low > high ? low : high) * 0x1p-8;
    if (b->nonfinite || b->n < 2)
        return;
    s->n_of++;
    if (b->distinct < 2 || !(((double)b->largest - (double)b->least) / step < (double)b->n))
        return;
    const double steps = ((double)b->largest - (double)b->least) / step;
    if (s->n++ && steps >= s->steps)
        return;
    s->steps = steps;
    s->worst = m;
    s->bias = *b;
}

static void say_spread(struct lint_job *j, const struct spread *s)
{
    char place[48];
    if (!s->n)
        return;
    lint_add(
        j->out, "BIAS_SPREAD", LINT_ENGINES, layer_place(place, s->worst->layer),
        "%zu correction biases from %.6g to %.6g, spread %.3g: about %.0f steps of BF16; %zu of "
        "%zu layers are so",
        s->bias.n, (double)s->bias.least, (double)s->bias.largest,
        (double)s->bias.largest - (double)s->bias.least, s->steps, s->n, s->n_of);
}

static int lint_bias(struct lint_job *j, const struct source *source, const struct lint_module *m,
                     struct spread *spread, struct prep_error *err)
{
    const struct checkpoint_tensor *t = m->tensors[SUFFIX_CORRECTION_BIAS], *was = NULL;
    struct bias now, before = {0};
    char told[96] = "";
    if (!t)
        return 0;
    if (read_bias(&now, j->ckpt, t, err))
        return -1;
    if (now.nonfinite)
        lint_add(j->out, "ROUTER_NONFINITE", LINT_ENGINES, t->info.name,
                 "%zu of %zu values are NaN or infinite", now.nonfinite, now.n);
    if (t->info.dtype == DTYPE_F32) {
        judge_spread(spread, m, &now);
        return 0;
    }
    if (source)
        was = checkpoint_find(source->ckpt, t->info.name);
    if (was && read_bias(&before, source->ckpt, was, err))
        return -1;
    if (before.n)
        snprintf(told, sizeof told, " (the source has %zu distinct ones)", before.distinct);
    lint_add(j->out, "BIAS_DTYPE", LINT_ENGINES, t->info.name,
             "layer %d is %s, want F32: of %zu values %zu are distinct%s, so %zu selections can "
             "change at ties",
             m->layer, dtype_name((enum dtype)t->info.dtype), now.n, now.distinct, told,
             (before.n ? before.distinct : now.n) - now.distinct);
    return 0;
}

/* ---- rows against the source ---- */

/* A router's rows, hashed. */
struct rows {
    size_t n;
    uint64_t bytes; /* of one */
    struct hash128 *hash;
};

static int read_rows(struct rows *r, const struct checkpoint *ckpt,
                     const struct checkpoint_tensor *t, struct arena *arena, struct prep_error *err)
{
    *r = (struct rows){0};
    if (t->info.n_dims != 2 || !t->info.shape[0] || t->info.bytes > MAX_ROUTER_BYTES ||
        !t->info.bytes)
        return 0;
    size_t n = (size_t)t->info.shape[0];
    r->bytes = t->info.bytes / n;
    unsigned char *bytes = malloc((size_t)t->info.bytes);
    r->hash = arena_calloc(arena, n, sizeof *r->hash, err);
    int rc = -1;
    if (!bytes) {
        prep_fail(err, PREP_ENOMEM, "%s: out of memory", t->info.name);
        goto out;
    }
    if (!r->hash || checkpoint_read(ckpt, t, 0, bytes, (size_t)t->info.bytes, err))
        goto out;
    for (size_t i = 0; i < n; i++)
        r->hash[i] = hash128(bytes + i * r->bytes, (size_t)r->bytes);
    r->n = n;
    rc = 0;
out:
    free(bytes);
    return rc;
}

static int same_hash(struct hash128 a, struct hash128 b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* The source's id of a row, or -1. */
static int find_row(const struct rows *source, struct hash128 h)
{
    for (size_t i = 0; i < source->n; i++)
        if (same_hash(source->hash[i], h))
            return (int)i;
    return -1;
}

/* What row i should be, by the keep-map or, without one, by ascending order; -1: anything. */
static int wanted_row(const int *kept, int n_kept, const int *found, size_t i)
{
    if (kept)
        return i < (size_t)n_kept ? kept[i] : -1;
    return i > 0 && found[i] >= 0 && found[i] <= found[i - 1] ? found[i - 1] + 1 : found[i];
}

static void say_rows(struct lint_job *j, const struct lint_module *m, const int *kept, int n_kept,
                     const int *found, const struct rows *pruned)
{
    char text[1024];
    size_t at = 0, wrong = 0;
    text[0] = 0;
    for (size_t i = 0; i < pruned->n; i++) {
        int want = wanted_row(kept, n_kept, found, i);
        if (want == found[i] && found[i] >= 0)
            continue;
        if (wrong++ >= MAX_NAMED)
            continue;
        const char *comma = at ? "; " : "";
        if (found[i] < 0)
            at += (size_t)snprintf(text + at, sizeof text - at,
                                   "%snew id %zu is no row of the source", comma, i);
        else if (kept)
            at += (size_t)snprintf(text + at, sizeof text - at,
                                   "%snew id %zu has the row of original id %d, want %d", comma, i,
                                   found[i], want);
        else
            at += (size_t)snprintf(text + at, sizeof text - at,
                                   "%snew id %zu has the row of original id %d, out of order",
                                   comma, i, found[i]);
    }
    char place[48];
    if (wrong)
        lint_add(j->out, "ROUTER_ROWS", LINT_ENGINES, layer_place(place, m->layer), "%s%s", text,
                 wrong > MAX_NAMED ? "; and more" : "");
}

/* The list that leads from the source's experts to ours. */
static const int *kept_list(const struct lint_job *j, int layer, size_t n_source, int *n)
{
    const struct keep_layer *l = j->it->has_map ? keep_map_layer(&j->it->map, layer) : NULL;
    *n = l ? l->n_kept : 0;
    if (!l)
        return NULL;
    int from_base = !j->it->map.full || (size_t)j->it->map.base_n_routed_experts == n_source;
    return from_base ? l->kept_source : l->kept_parent;
}

static int lint_rows(struct lint_job *j, const struct source *source, const struct lint_module *m,
                     struct prep_error *err)
{
    const struct checkpoint_tensor *t = m->tensors[SUFFIX_WEIGHT];
    const struct checkpoint_tensor *was = t ? checkpoint_find(source->ckpt, t->info.name) : NULL;
    struct rows ours, theirs;
    int n_kept;
    if (!was || was->info.dtype != t->info.dtype)
        return 0;
    if (read_rows(&ours, j->ckpt, t, &j->arena, err) ||
        read_rows(&theirs, source->ckpt, was, &j->arena, err))
        return -1;
    if (!ours.n || !theirs.n || ours.bytes != theirs.bytes)
        return 0; /* ROUTER_SHAPE says so, or this is no source */
    int *found = arena_calloc(&j->arena, ours.n, sizeof *found, err);
    if (!found)
        return -1;
    const int *kept = kept_list(j, m->layer, theirs.n, &n_kept);
    for (size_t i = 0; i < ours.n; i++) {
        /* Rows may repeat: the one that should be here is the one. */
        int want = kept && i < (size_t)n_kept ? kept[i] : -1;
        int hit =
            want >= 0 && (size_t)want < theirs.n && same_hash(theirs.hash[want], ours.hash[i]);
        found[i] = hit ? want : find_row(&theirs, ours.hash[i]);
    }
    say_rows(j, m, kept, n_kept, found, &ours);
    return 0;
}

int lint_routers(struct lint_job *j, struct prep_error *err)
{
    struct source source = {0};
    struct spread spread = {0};
    int rc = -1;
    if (j->opt->source && source_open(&source, j->io, j->opt->source, NULL, err)) {
        prep_note(err, "--source");
        goto out;
    }
    const struct source *s = j->opt->source ? &source : NULL;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        if (m->role != ROLE_ROUTER)
            continue;
        if (lint_bias(j, s, m, &spread, err) || (s && lint_rows(j, s, m, err)))
            goto out;
    }
    say_spread(j, &spread);
    rc = 0;
out:
    source_close(&source);
    return rc;
}

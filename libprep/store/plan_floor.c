/* SPDX-License-Identifier: MIT */
/*
 * The least memory that the calls of a plan need: the peak over a run with one worker.
 *
 * Files for themselves are walked one after the other. The strands of a band grow side by side:
 * its calls run in order, and an output waits until each strand that takes from it is a block
 * further.
 */
#include <stdlib.h>

#include "libprep/store/plan.h"

/* Outputs that are copied to their end, in the order in which they get there. */
struct leaving {
    uint64_t end, bytes; /* offset in the file at hand; of the memory */
};

struct floor_walk {
    const struct plan *plan;
    uint64_t block, held, peak;
    uint32_t *left; /* extents of each step still to come */
    struct leaving *leaving;
    size_t first, n;       /* of leaving */
    unsigned char *wanted; /* [n_steps] calls of the band at hand */
};

static void begin_call(struct floor_walk *w, uint32_t step)
{
    const struct plan_step *s = &w->plan->steps[step];
    const uint64_t output = plan_output_memory(s);
    const uint64_t need = w->held + plan_run_memory(s) + output;
    w->peak = need > w->peak ? need : w->peak;
    w->held += output;
    w->left[step] = s->n_outputs;
}

/* ---- files for themselves ---- */

static void walk_extent(struct floor_walk *w, const struct plan_extent *x)
{
    const struct plan_step *s = &w->plan->steps[x->step];
    for (; w->first < w->n && w->leaving[w->first].end + w->block <= x->offset; w->first++)
        w->held -= w->leaving[w->first].bytes;
    if (s->kind != PLAN_CALL)
        return;
    if (w->left[x->step] == 0)
        begin_call(w, x->step);
    if (--w->left[x->step] == 0)
        w->leaving[w->n++] = (struct leaving){x->offset + x->bytes, plan_output_memory(s)};
}

static void walk_file(struct floor_walk *w, const struct plan_file *f)
{
    for (uint32_t x = 0; x < f->n_extents; x++)
        walk_extent(w, &w->plan->extents[f->first_extent + x]);
    for (; w->first < w->n; w->first++)
        w->held -= w->leaving[w->first].bytes;
}

/* ---- bands ---- */

/* How far the bytes of a strand are there, and how far they are in blocks for certain. */
struct strand {
    size_t file, end;      /* of the plan: the current one, one past the last */
    uint32_t ready, freed; /* extents of the current file */
};

static void free_extent(struct floor_walk *w, const struct plan_extent *x)
{
    const struct plan_step *s = &w->plan->steps[x->step];
    if (s->kind == PLAN_CALL && w->left[x->step] && --w->left[x->step] == 0)
        w->held -= plan_output_memory(s);
}

/* All calls below next_step have run: fill what blocks can be filled. */
static void advance(struct floor_walk *w, struct strand *s, uint32_t next_step)
{
    while (s->file < s->end) {
        const struct plan_file *f = &w->plan->files[s->file];
        const struct plan_extent *x = &w->plan->extents[f->first_extent];
        while (s->ready < f->n_extents &&
               (w->plan->steps[x[s->ready].step].kind != PLAN_CALL || x[s->ready].step < next_step))
            s->ready++;
        const int whole = s->ready == f->n_extents;
        while (s->freed < s->ready &&
               (whole || x[s->freed].offset + x[s->freed].bytes + w->block <= x[s->ready].offset))
            free_extent(w, &x[s->freed++]);
        if (!whole)
            return;
        s->file++;
        s->ready = s->freed = 0;
    }
}

/* Files [first, end) of one band. */
static void walk_band(struct floor_walk *w, size_t first, size_t end)
{
    struct strand strands[PLAN_MAX_STRANDS];
    uint32_t n = 0, low = UINT32_MAX, high = 0;
    for (size_t i = first; i < end; i++) {
        const struct plan_file *f = &w->plan->files[i];
        if (f->strand > n)
            strands[n++] = (struct strand){.file = i};
        strands[n - 1].end = i + 1;
        for (uint32_t e = f->first_extent; e < f->first_extent + f->n_extents; e++) {
            const uint32_t step = w->plan->extents[e].step;
            if (w->plan->steps[step].kind != PLAN_CALL)
                continue;
            w->wanted[step] = 1;
            low = step < low ? step : low;
            high = step > high ? step : high;
        }
    }
    for (uint32_t step = low; step <= high && low != UINT32_MAX; step++) {
        if (!w->wanted[step])
            continue;
        w->wanted[step] = 0;
        begin_call(w, step);
        for (uint32_t i = 0; i < n; i++)
            advance(w, &strands[i], step + 1);
    }
}

int plan_floor(const struct plan *p, uint64_t block, uint64_t *floor, struct prep_error *err)
{
    const size_t n = p->n_steps ? p->n_steps : 1;
    struct floor_walk w = {.plan = p,
                           .block = block,
                           .left = calloc(n, sizeof *w.left),
                           .leaving = calloc(n, sizeof *w.leaving),
                           .wanted = calloc(n, 1)};
    const int ok = w.left && w.leaving && w.wanted;
    for (size_t i = 0, end; i < p->n_files && ok; i = end) {
        const uint32_t band = p->files[i].band;
        for (end = i + 1; band && end < p->n_files && p->files[end].band == band;)
            end++;
        if (band)
            walk_band(&w, i, end);
        else
            walk_file(&w, &p->files[i]);
    }
    *floor = w.peak;
    free(w.left);
    free(w.leaving);
    free(w.wanted);
    return ok ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory planning %zu steps", p->n_steps);
}

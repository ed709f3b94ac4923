/* SPDX-License-Identifier: MIT */
/*
 * The least memory that the steps of a plan need: the peak over a run with one worker.
 *
 * A call holds inputs, work and outputs while it runs, and its outputs until their last byte is in
 * a block. Files for themselves are walked one after the other. The strands of a band grow side by
 * side: its calls run in order, and an output waits until each strand can fill the block in which
 * it ends.
 */
#include <stdlib.h>

#include "libprep/store/plan.h"

/* The smallest block, as in exec_engine.c. */
enum { BLOCK_LEAST = 256 << 10 };

struct walk {
    struct plan *p;
    uint32_t *left; /* [n_steps] outputs not yet released */
    uint64_t held;
};

static void begin_call(struct walk *w, uint32_t step)
{
    const struct plan_step *s = &w->p->steps[step];
    const uint64_t peak = w->held + s->input_bytes + s->work_bytes + s->output_bytes;
    if (peak > w->p->floor_bytes)
        w->p->floor_bytes = peak;
    w->held += s->output_bytes;
    w->left[step] = s->n_outputs;
}

static void release_extent(struct walk *w, const struct plan_extent *x)
{
    const struct plan_step *s = &w->p->steps[x->step];
    if (s->kind == PLAN_CALL && w->left[x->step] && --w->left[x->step] == 0)
        w->held -= s->output_bytes;
}

static void walk_file(struct walk *w, const struct plan_file *f)
{
    for (uint32_t e = f->first_extent; e < f->first_extent + f->n_extents; e++) {
        const struct plan_extent *x = &w->p->extents[e];
        if (w->p->steps[x->step].kind != PLAN_CALL)
            continue;
        if (w->left[x->step] == 0)
            begin_call(w, x->step);
        release_extent(w, x);
    }
}

/* One strand of a band: how far its bytes are there, and how far they are in blocks. */
struct strand {
    size_t file, end;      /* of the plan: the current one, one past the last */
    uint32_t ready, freed; /* extents of the current file */
};

static int is_there(const struct plan *p, const struct plan_extent *x, uint32_t next_step)
{
    return p->steps[x->step].kind != PLAN_CALL || x->step < next_step;
}

/* All calls below next_step have run: fill what blocks can be filled. */
static void advance(struct walk *w, struct strand *s, uint32_t next_step)
{
    while (s->file < s->end) {
        const struct plan_file *f = &w->p->files[s->file];
        const struct plan_extent *x = &w->p->extents[f->first_extent];
        while (s->ready < f->n_extents && is_there(w->p, &x[s->ready], next_step))
            s->ready++;
        const int whole = s->ready == f->n_extents;
        const uint64_t at = whole ? f->bytes : x[s->ready].offset / BLOCK_LEAST * BLOCK_LEAST;
        for (; s->freed < s->ready && x[s->freed].offset + x[s->freed].bytes <= at; s->freed++)
            release_extent(w, &x[s->freed]);
        if (!whole)
            return;
        s->file++;
        s->ready = s->freed = 0;
    }
}

/* Files [first, end) of one band. */
static void walk_band(struct walk *w, size_t first, size_t end, unsigned char *used)
{
    struct strand strands[PLAN_MAX_STRANDS];
    uint32_t n = 0, low = UINT32_MAX, high = 0;
    for (size_t i = first; i < end; i++) {
        const struct plan_file *f = &w->p->files[i];
        if (f->strand > n)
            strands[n++] = (struct strand){.file = i};
        strands[n - 1].end = i + 1;
        for (uint32_t e = f->first_extent; e < f->first_extent + f->n_extents; e++) {
            const uint32_t step = w->p->extents[e].step;
            used[step] = w->p->steps[step].kind == PLAN_CALL;
            low = step < low ? step : low;
            high = step > high ? step : high;
        }
    }
    if (n > w->p->most_strands)
        w->p->most_strands = n;
    for (uint32_t step = low; step <= high && low != UINT32_MAX; step++) {
        if (!used[step])
            continue;
        used[step] = 0;
        begin_call(w, step);
        for (uint32_t i = 0; i < n; i++)
            advance(w, &strands[i], step + 1);
    }
}

int plan_compute_floor(struct plan *p, struct prep_error *err)
{
    const size_t n = p->n_steps ? p->n_steps : 1;
    struct walk w = {.p = p, .left = calloc(n, sizeof *w.left)};
    unsigned char *used = calloc(n, 1);
    int rc = w.left && used
                 ? 0
                 : prep_fail(err, PREP_ENOMEM, "out of memory planning %zu steps", p->n_steps);
    for (size_t i = 0, end; i < p->n_files && !rc; i = end) {
        const uint32_t band = p->files[i].band;
        for (end = i + 1; band && end < p->n_files && p->files[end].band == band;)
            end++;
        if (band)
            walk_band(&w, i, end, used);
        else
            walk_file(&w, &p->files[i]);
    }
    free(w.left);
    free(used);
    return rc;
}

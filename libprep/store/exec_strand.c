/* SPDX-License-Identifier: MIT */
/* Files that grow side by side (plan_strand): which of them may be opened, and their calls. */
#include <stdlib.h>

#include "libprep/store/exec_engine.h"

static const struct plan_file *queued(const struct engine *e, size_t i)
{
    return &e->plan->files[e->queue[i]];
}

/* Does a file in flight keep this one from being opened? */
static int must_wait(const struct engine *e, const struct plan_file *f)
{
    for (int i = 0; i < e->n_lanes; i++) {
        if (!e->lanes[i].active)
            continue;
        const struct plan_file *other = &e->plan->files[e->lanes[i].file];
        /* Files of a later stage wait until every file of the earlier ones has its final name. */
        if (other->stage != f->stage || other->band != f->band ||
            (f->band && other->strand == f->strand))
            return 1;
    }
    return 0;
}

size_t engine_next_file(const struct engine *e)
{
    if (e->next_queue >= e->n_queue)
        return e->n_queue;
    const uint32_t band = queued(e, e->next_queue)->band;
    uint32_t waiting = 0; /* the strand whose next file cannot be opened yet */
    for (size_t i = e->next_queue; i < e->n_queue && queued(e, i)->band == band; i++) {
        const struct plan_file *f = queued(e, i);
        if (e->opened[i] || (band && f->strand == waiting))
            continue;
        if (!must_wait(e, f))
            return i;
        if (!band)
            break;
        waiting = f->strand;
    }
    return e->n_queue;
}

int engine_most_strands(const struct engine *e)
{
    int most = 0, n = 0;
    for (size_t i = 0; i < e->n_queue; i++) {
        const struct plan_file *f = queued(e, i), *last = i ? queued(e, i - 1) : NULL;
        if (!f->band)
            n = 0;
        else if (!last || last->band != f->band)
            n = 1;
        else
            n += f->strand != last->strand;
        most = n > most ? n : most;
    }
    return most;
}

static int by_step(const void *a, const void *b)
{
    const struct call *x = a, *y = b;
    return x->step < y->step ? -1 : x->step > y->step;
}

void engine_sort_band(struct engine *e, size_t first_call)
{
    if (e->n_calls - first_call < 2)
        return;
    qsort(e->calls + first_call, e->n_calls - first_call, sizeof *e->calls, by_step);
    for (size_t i = first_call; i < e->n_calls; i++)
        e->call_of_step[e->calls[i].step] = (uint32_t)i;
}

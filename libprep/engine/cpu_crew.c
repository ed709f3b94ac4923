/* SPDX-License-Identifier: MIT */
#include "libprep/engine/cpu_crew.h"

#include <stdatomic.h>
#include <stdint.h>

#include "libprep/base/parallel.h"

struct crew {
    struct cpu *c;
    cpu_task_fn fn;
    const void *arg;
    size_t n_tasks;
    atomic_size_t next;
};

static int work(size_t i, void *arg, struct prep_error *err)
{
    struct crew *crew = arg;
    struct cpu_worker *w = &crew->c->workers[i];
    (void)err;
    for (;;) {
        const size_t task = atomic_fetch_add(&crew->next, 1);
        if (task >= crew->n_tasks)
            return 0;
        if (crew->fn(crew->c, w, task, crew->arg, &w->err)) {
            w->failed = task;
            return 0;
        }
    }
}

int cpu_run(struct cpu *c, size_t n_tasks, cpu_task_fn fn, const void *arg, size_t *bad,
            struct prep_error *err)
{
    struct crew crew = {.c = c, .fn = fn, .arg = arg, .n_tasks = n_tasks};
    const size_t n = n_tasks < (size_t)c->n_threads ? n_tasks : (size_t)c->n_threads;
    atomic_init(&crew.next, 0);
    for (size_t i = 0; i < n; i++) {
        c->workers[i].bad = OPS_ALL_FINITE;
        c->workers[i].failed = SIZE_MAX;
        c->workers[i].counts = (struct linear_counts){0};
    }
    /* One worker is this thread; a team of one would cost more than many a task. */
    if (n == 1 ? work(0, &crew, err) : prep_parallel_for(n, (int)n, work, &crew, err))
        return -1;
    const struct cpu_worker *first = NULL;
    for (size_t i = 0; i < n; i++) {
        struct cpu_worker *w = &c->workers[i];
        if (w->failed != SIZE_MAX && (!first || w->failed < first->failed))
            first = w;
        if (bad && w->bad < *bad)
            *bad = w->bad;
        c->counts.zero_scales += w->counts.zero_scales;
        c->counts.overflows += w->counts.overflows;
    }
    if (!first)
        return 0;
    if (err->code == PREP_OK)
        *err = first->err;
    for (size_t i = 0; i < n; i++)
        prep_error_clear(&c->workers[i].err);
    return -1;
}

void cpu_check_rows(const struct cpu *c, struct cpu_worker *w, const float *y, size_t ld,
                    size_t row, size_t n, size_t cols)
{
    for (size_t i = 0; i < n && row + i < w->bad; i++)
        if (!c->forward->all_finite(y + i * ld, cols))
            w->bad = row + i;
}

void cpu_nt(const struct cpu *c, struct cpu_worker *w, struct matmul *p)
{
    p->work = w->work;
    c->matmul->nt(p);
}

void cpu_nn(const struct cpu *c, struct cpu_worker *w, struct matmul *p)
{
    p->work = w->work;
    c->matmul->nn(p);
}

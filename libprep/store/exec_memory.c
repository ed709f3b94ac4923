/* SPDX-License-Identifier: MIT */
#include "libprep/store/exec_memory.h"

#include <stdlib.h>

#include "libprep/base/arena.h"
#include "libprep/base/pages.h"
#include "libprep/store/plan.h"

void exec_memory_init(struct exec_memory *m, uint64_t limit)
{
    *m = (struct exec_memory){.limit = limit};
    pthread_mutex_init(&m->lock, NULL);
}

static void unmap_piece(struct exec_memory *m, size_t i)
{
    struct exec_piece *piece = &m->pieces[i];
    pages_give(piece->p, piece->bytes);
    m->mapped -= piece->bytes;
    *piece = m->pieces[--m->n];
}

/* Idle pieces go, those idle for longest first, until this many bytes can be mapped. */
static void make_room(struct exec_memory *m, uint64_t bytes)
{
    while (m->mapped + bytes > m->limit) {
        size_t oldest = m->n;
        for (size_t i = 0; i < m->n; i++)
            if (m->pieces[i].idle_since &&
                (oldest == m->n || m->pieces[i].idle_since < m->pieces[oldest].idle_since))
                oldest = i;
        if (oldest == m->n)
            return;
        unmap_piece(m, oldest);
    }
}

static unsigned char *take_idle(struct exec_memory *m, uint64_t bytes)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->pieces[i].idle_since && m->pieces[i].bytes == bytes) {
            m->pieces[i].idle_since = 0;
            return m->pieces[i].p;
        }
    }
    return NULL;
}

static unsigned char *take_new(struct exec_memory *m, uint64_t bytes, struct prep_error *err)
{
    make_room(m, bytes);
    if (prep_grow(&m->pieces, &m->cap, m->n, sizeof *m->pieces, err))
        return NULL;
    unsigned char *p = pages_take(bytes);
    if (!p) {
        prep_fail(err, PREP_ENOMEM, "out of memory for a step, asking for %llu bytes",
                  (unsigned long long)bytes);
        return NULL;
    }
    m->pieces[m->n++] = (struct exec_piece){p, bytes, 0};
    m->mapped += bytes;
    if (m->mapped > m->peak)
        m->peak = m->mapped;
    return p;
}

unsigned char *exec_memory_take(struct exec_memory *m, uint64_t bytes, struct prep_error *err)
{
    bytes = plan_pages(bytes ? bytes : 1);
    pthread_mutex_lock(&m->lock);
    unsigned char *p = take_idle(m, bytes);
    if (!p)
        p = take_new(m, bytes, err);
    pthread_mutex_unlock(&m->lock);
    return p;
}

void exec_memory_give(struct exec_memory *m, unsigned char *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&m->lock);
    size_t i = 0;
    while (i < m->n && m->pieces[i].p != p)
        i++;
    if (i < m->n) {
        m->pieces[i].idle_since = ++m->clock;
        if (PAGES_WATCHED || m->mapped > m->limit)
            unmap_piece(m, i);
    }
    pthread_mutex_unlock(&m->lock);
}

void exec_memory_fini(struct exec_memory *m)
{
    while (m->n)
        unmap_piece(m, m->n - 1);
    free(m->pieces);
    pthread_mutex_destroy(&m->lock);
}

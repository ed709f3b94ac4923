/* SPDX-License-Identifier: MIT */
/* Steps with a function: their order, their memory, and how blocks wait for them. */
#include <string.h>

#include "libprep/store/exec_engine.h"

static uint64_t aligned(uint64_t n)
{
    return (n + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN;
}

/* Bytes of this extent that are still to be written. */
static uint64_t open_bytes(const struct engine *e, uint32_t file, const struct plan_extent *x)
{
    const struct journal_file *j = &e->journal->files[file];
    uint64_t end = x->offset + x->bytes;
    uint64_t from = x->offset > j->durable ? x->offset : j->durable;
    return j->complete || end <= from ? 0 : end - from;
}

/* Put a call into the list, those it must follow before it. */
static void list_call(struct engine *e, uint32_t step)
{
    const struct plan_step *s = &e->plan->steps[step];
    if (s->kind != PLAN_CALL || e->call_of_step[step] != UINT32_MAX)
        return;
    /* Earlier steps have lower numbers, so this ends; its depth is the longest chain. */
    for (uint32_t i = 0; i < s->n_after; i++)
        list_call(e, e->plan->after[s->first_after + i]);
    e->call_of_step[step] = (uint32_t)e->n_calls;
    e->calls[e->n_calls++] = (struct call){.step = step, .skip = 1};
}

/* Lists the calls of a file in the order in which its bytes first need them. */
static void list_calls(struct engine *e, uint32_t file)
{
    const struct plan *p = e->plan;
    const struct plan_file *f = &p->files[file];
    for (uint32_t x = f->first_extent; x < f->first_extent + f->n_extents; x++) {
        const struct plan_extent *ext = &p->extents[x];
        uint64_t bytes = open_bytes(e, file, ext);
        if (p->steps[ext->step].kind != PLAN_CALL || bytes == 0)
            continue;
        list_call(e, ext->step);
        struct call *c = &e->calls[e->call_of_step[ext->step]];
        c->skip = 0;
        c->left += bytes;
    }
}

/* The calls of the queued files, file after file; those of a band in their own order, because a
 * resumed strand may be ahead of another that needs earlier ones. */
int engine_init_calls(struct engine *e, struct prep_error *err)
{
    const struct plan *p = e->plan;
    e->call_of_step = arena_calloc(&e->arena, p->n_steps, sizeof *e->call_of_step, err);
    if (!e->call_of_step)
        return -1;
    size_t n = 0;
    for (size_t i = 0; i < p->n_steps; i++) {
        e->call_of_step[i] = UINT32_MAX;
        n += p->steps[i].kind == PLAN_CALL;
    }
    e->calls = arena_calloc(&e->arena, n, sizeof *e->calls, err);
    if (!e->calls)
        return -1;
    size_t band_calls = 0;
    for (size_t q = 0; q < e->n_queue && n; q++) {
        const uint32_t band = p->files[e->queue[q]].band;
        if (q == 0 || band != p->files[e->queue[q - 1]].band)
            band_calls = e->n_calls;
        list_calls(e, e->queue[q]);
        if (band && (q + 1 == e->n_queue || p->files[e->queue[q + 1]].band != band))
            engine_sort_band(e, band_calls);
    }
    return 0;
}

/* Outputs of which this run writes anything. Calls that only others follow want nothing said. */
static void mark_wanted(struct engine *e, uint32_t file)
{
    const struct plan *p = e->plan;
    const struct plan_file *f = &p->files[file];
    for (uint32_t x = f->first_extent; x < f->first_extent + f->n_extents; x++) {
        const uint32_t i = e->call_of_step[p->extents[x].step];
        if (i != UINT32_MAX && open_bytes(e, file, &p->extents[x]))
            e->calls[i].wanted[p->extents[x].output] = 1;
    }
}

/* Where each output lies in the call's memory, and which are wanted. */
int engine_place_outputs(struct engine *e, struct prep_error *err)
{
    const struct plan *p = e->plan;
    for (size_t i = 0; i < e->n_calls; i++) {
        struct call *c = &e->calls[i];
        size_t n = p->steps[c->step].n_outputs;
        uint64_t *at = arena_calloc(&e->arena, n, sizeof *at, err);
        uint64_t *bytes = arena_calloc(&e->arena, n, sizeof *bytes, err);
        c->wanted = arena_calloc(&e->arena, n, 1, err);
        if (!at || !bytes || !c->wanted)
            return -1;
        c->output_at = at;
        c->output_bytes = bytes;
    }
    for (size_t x = 0; x < p->n_extents; x++) {
        const struct plan_extent *ext = &p->extents[x];
        if (e->call_of_step[ext->step] == UINT32_MAX)
            continue;
        struct call *c = &e->calls[e->call_of_step[ext->step]];
        ((uint64_t *)(uintptr_t)c->output_bytes)[ext->output] = ext->bytes;
    }
    for (size_t i = 0; i < e->n_calls; i++) {
        struct call *c = &e->calls[i];
        uint64_t *at = (uint64_t *)(uintptr_t)c->output_at, total = 0;
        for (uint32_t o = 0; o < p->steps[c->step].n_outputs; o++) {
            at[o] = total;
            total += aligned(c->output_bytes[o]);
        }
    }
    for (size_t q = 0; q < e->n_queue && e->n_calls; q++)
        mark_wanted(e, e->queue[q]);
    return 0;
}

uint64_t engine_call_need(const struct engine *e, const struct call *c)
{
    const struct plan_step *s = &e->plan->steps[c->step];
    return plan_run_memory(s) + plan_output_memory(s);
}

int engine_call_is_ready(const struct engine *e, const struct call *c)
{
    const struct plan_step *s = &e->plan->steps[c->step];
    for (uint32_t i = 0; i < s->n_after; i++) {
        uint32_t before = e->call_of_step[e->plan->after[s->first_after + i]];
        if (before != UINT32_MAX && !e->calls[before].skip && e->calls[before].state < CALL_DONE)
            return 0;
    }
    return 1;
}

int engine_run_call(struct engine *e, struct call *c, struct prep_error *err)
{
    const struct plan_step *s = &e->plan->steps[c->step];
    unsigned char *mem = exec_memory_take(&e->memory, plan_run_memory(s), err);
    unsigned char *out = mem ? exec_memory_take(&e->memory, plan_output_memory(s), err) : NULL;
    int rc = -1;
    if (!out)
        goto out;
    unsigned char *at = mem;
    void *work = mem + s->input_room;
    struct span *inputs = (struct span *)(void *)(mem + s->input_room + aligned(s->work_bytes));
    unsigned char **outputs = (unsigned char **)(void *)(inputs + s->n_inputs);
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        const struct plan_range *r = &e->plan->inputs[s->first_input + i];
        if (engine_read_range(e, r, 0, at, (size_t)r->bytes, err))
            goto out;
        inputs[i] = (struct span){at, (size_t)r->bytes};
        at += aligned(r->bytes);
    }
    for (uint32_t i = 0; i < s->n_outputs; i++)
        outputs[i] = out + c->output_at[i];
    void *note = s->note_bytes ? e->journal->notes + s->note_at : NULL;
    const struct step_memory m = {inputs, outputs, c->output_bytes, work, note, c->wanted};
    if (note)
        memset(note, 0, s->note_bytes);
    rc = s->fn(&m, s->arg, err);
    if (rc || !note)
        goto out;
    pthread_mutex_lock(&e->journal_lock);
    rc = journal_add_note(e->journal, s->note_at, s->note_bytes, err);
    pthread_mutex_unlock(&e->journal_lock);
out:
    exec_memory_give(&e->memory, mem);
    if (rc)
        exec_memory_give(&e->memory, out);
    else
        c->memory = out;
    return rc;
}

/* Are the outputs of all calls in this block there? Blocks of copies are always ready. */
int engine_block_is_ready(const struct engine *e, const struct lane *l, uint64_t number,
                          size_t bytes)
{
    const struct plan_file *f = &e->plan->files[l->file];
    if (e->n_calls == 0)
        return 1;
    uint64_t from = lane_offset(e, l, number), to = from + bytes;
    for (uint32_t x = engine_find_extent(e->plan, f, from); x < f->first_extent + f->n_extents;
         x++) {
        const struct plan_extent *ext = &e->plan->extents[x];
        if (ext->offset >= to)
            break;
        uint32_t c = e->call_of_step[ext->step];
        if (c != UINT32_MAX && e->calls[c].state != CALL_DONE)
            return 0;
    }
    return 1;
}

/* A block is filled: release the outputs of calls of which it held the last bytes. Blocks are
 * filled in any order, so bytes are counted, not places. */
void engine_release_calls(struct engine *e, const struct lane *l, const struct block *b)
{
    const struct plan_file *f = &e->plan->files[l->file];
    uint64_t from = lane_offset(e, l, b->number), to = from + b->bytes;
    if (e->n_calls == 0)
        return;
    for (uint32_t x = engine_find_extent(e->plan, f, from); x < f->first_extent + f->n_extents;
         x++) {
        const struct plan_extent *ext = &e->plan->extents[x];
        if (ext->offset >= to)
            break;
        uint64_t end = ext->offset + ext->bytes;
        uint64_t low = ext->offset > from ? ext->offset : from, high = end < to ? end : to;
        uint32_t i = e->call_of_step[ext->step];
        if (i == UINT32_MAX || high <= low)
            continue;
        struct call *c = &e->calls[i];
        c->left -= high - low;
        if (c->left == 0) {
            exec_memory_give(&e->memory, c->memory);
            c->memory = NULL;
            c->state = CALL_FREED;
            e->call_memory -= plan_output_memory(&e->plan->steps[c->step]);
        }
    }
}

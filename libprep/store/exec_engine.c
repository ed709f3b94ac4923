/* SPDX-License-Identifier: MIT */
#include "libprep/store/exec_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BLOCK_DEFAULT = 8 << 20,
    PAGE = 4096,
    USUAL_LANES = 8,
    MAX_WORKERS = 40, /* fewer than ENGINE_OPEN_SOURCES: each uses one source at a time */
    RECORD_SECONDS = 30,
    PROGRESS_MS = 100,
};

enum task_kind {
    TASK_NONE,
    TASK_OPEN,
    TASK_FILL,
    TASK_HASH,
    TASK_WRITE,
    TASK_RECORD,
    TASK_FINISH,
    TASK_CALL,
};

struct task {
    enum task_kind kind;
    struct lane *lane;
    struct block *block;
    struct call *call;
};

/* ---- memory ---- */

uint64_t engine_floor(const struct plan *plan)
{
    const uint64_t blocks = plan->most_strands > 2 ? plan->most_strands : 2;
    return plan->floor_bytes + blocks * PLAN_BLOCK_LEAST;
}

struct sizes {
    int lanes, window;
    int least;             /* lanes: a strand without one would hold up the others */
    uint64_t block, steps; /* steps: what they need with such blocks */
};

static uint64_t blocks_bytes(const struct sizes *s)
{
    return (uint64_t)s->lanes * (unsigned)s->window * s->block;
}

/* At most half of mem for blocks, and the rest enough for the steps. */
static int sizes_fit(const struct sizes *s, uint64_t mem)
{
    uint64_t blocks = blocks_bytes(s);
    return s->steps == 0 ? blocks <= mem : blocks <= mem / 2 && blocks + s->steps <= mem;
}

/* First fewer lanes, then a smaller window, then smaller blocks. */
static int shrink(const struct engine *e, struct sizes *s, struct prep_error *err)
{
    if (s->lanes > 2 && s->lanes > s->least)
        s->lanes--;
    else if (s->window > 2)
        s->window--;
    else if (s->block > PLAN_BLOCK_LEAST && !e->opt->block_bytes)
        return plan_floor(e->plan, s->block /= 2, &s->steps, err) ? -1 : 1;
    else if (s->lanes > 1 && s->lanes > s->least)
        s->lanes--;
    else if (s->window > 1 && s->least > 2)
        s->window--;
    else
        return 0;
    return 1;
}

static int size_blocks(struct engine *e, struct prep_error *err)
{
    uint64_t mem = e->opt->mem ? e->opt->mem : UINT64_C(4) << 30;
    uint64_t floor = engine_floor(e->plan);
    if (mem < floor)
        return prep_fail(err, PREP_EUSAGE,
                         "--mem %llu is too little, this plan needs at least %llu bytes",
                         (unsigned long long)mem, (unsigned long long)floor);
    struct sizes s = {.lanes = e->opt->n_threads > 2 ? e->opt->n_threads : 2,
                      .window = ENGINE_MAX_WINDOW,
                      .block = e->opt->block_bytes ? e->opt->block_bytes : BLOCK_DEFAULT};
    s.least = engine_most_strands(e);
    if (s.lanes > USUAL_LANES)
        s.lanes = USUAL_LANES;
    if (s.lanes < s.least)
        s.lanes = s.least;
    int more = plan_floor(e->plan, s.block, &s.steps, err) ? -1 : 1;
    while (more > 0 && !sizes_fit(&s, mem))
        more = shrink(e, &s, err);
    if (more < 0)
        return -1;
    if ((size_t)s.lanes > e->n_queue)
        s.lanes = e->n_queue ? (int)e->n_queue : 1;
    e->n_lanes = s.lanes;
    e->window = s.window;
    e->block_bytes = s.block = s.block / PAGE * PAGE;
    e->call_budget = mem > blocks_bytes(&s) ? mem - blocks_bytes(&s) : 0;
    e->memory.limit = e->call_budget;
    return 0;
}

static int init_lanes(struct engine *e, struct prep_error *err)
{
    for (int i = 0; i < e->n_lanes; i++) {
        struct lane *l = &e->lanes[i];
        l->fd = -1;
        l->tensor_hash = xxh128_new();
        l->extent_hash = xxh128_new();
        if (!l->tensor_hash || !l->extent_hash)
            return prep_fail(err, PREP_ENOMEM, "out of memory");
        for (int b = 0; b < e->window; b++) {
            l->blocks[b].data = aligned_alloc(PAGE, (size_t)e->block_bytes);
            if (!l->blocks[b].data)
                return prep_fail(err, PREP_ENOMEM, "out of memory for blocks of %llu bytes",
                                 (unsigned long long)e->block_bytes);
        }
    }
    return 0;
}

uint64_t engine_peak(const struct engine *e)
{
    return (uint64_t)e->n_lanes * (unsigned)e->window * e->block_bytes + e->memory.peak;
}

/* ---- choosing the next task, under the lock ---- */

static size_t block_size(const struct engine *e, const struct lane *l, uint64_t number)
{
    uint64_t left = e->plan->files[l->file].bytes - lane_offset(e, l, number);
    return left < e->block_bytes ? (size_t)left : (size_t)e->block_bytes;
}

static int all_written_below(const struct engine *e, const struct lane *l, uint64_t number)
{
    for (int i = 0; i < e->window; i++) {
        const struct block *b = &l->blocks[i];
        if (b->state != BLOCK_EMPTY && b->number < number && !b->written)
            return 0;
    }
    return 1;
}

/* Something to do in this lane's file, most urgent first. */
static struct task lane_task(struct engine *e, struct lane *l)
{
    if (!l->active || l->busy)
        return (struct task){TASK_NONE, NULL, NULL, NULL};
    if (l->n_written == l->n_blocks && l->next_hash == l->n_blocks && !l->hashing)
        return (struct task){TASK_FINISH, l, NULL, NULL};
    if (l->snap_set && all_written_below(e, l, l->snap_block))
        return (struct task){TASK_RECORD, l, NULL, NULL};
    for (int i = 0; i < e->window; i++) {
        struct block *b = &l->blocks[i];
        if (b->state == BLOCK_FULL && !b->written && !b->writing)
            return (struct task){TASK_WRITE, l, b, NULL};
    }
    if (!l->hashing && l->next_hash < l->n_blocks) {
        struct block *b = &l->blocks[l->next_hash % (unsigned)e->window];
        if (b->state == BLOCK_FULL && b->number == l->next_hash)
            return (struct task){TASK_HASH, l, b, NULL};
    }
    if (!e->stopping && l->next_fill < l->n_blocks) {
        struct block *b = &l->blocks[l->next_fill % (unsigned)e->window];
        size_t bytes = block_size(e, l, l->next_fill);
        if (b->state == BLOCK_EMPTY && engine_block_is_ready(e, l, l->next_fill, bytes)) {
            b->number = l->next_fill;
            b->bytes = bytes;
            return (struct task){TASK_FILL, l, b, NULL};
        }
    }
    return (struct task){TASK_NONE, NULL, NULL, NULL};
}

static struct task call_task(struct engine *e)
{
    while (e->next_call < e->n_calls && e->calls[e->next_call].skip)
        e->next_call++;
    if (e->stopping || e->next_call >= e->n_calls)
        return (struct task){TASK_NONE, NULL, NULL, NULL};
    struct call *c = &e->calls[e->next_call];
    int fits = e->call_memory + engine_call_need(e, c) <= e->call_budget;
    /* When nothing moves, the head of the line is let in: the floor check made it fit. */
    if (!engine_call_is_ready(e, c) || (!fits && e->running > 0))
        return (struct task){TASK_NONE, NULL, NULL, NULL};
    return (struct task){TASK_CALL, NULL, NULL, c};
}

static struct task next_task(struct engine *e)
{
    struct task t = {TASK_NONE, NULL, NULL, NULL};
    if (e->failed)
        return t;
    if (e->opt->stop && __atomic_load_n(e->opt->stop, __ATOMIC_RELAXED))
        e->stopping = 1;
    for (int i = 0; i < e->n_lanes && t.kind == TASK_NONE; i++)
        t = lane_task(e, &e->lanes[i]);
    for (int i = 0; i < e->n_lanes && t.kind == TASK_NONE && !e->stopping; i++)
        if (!e->lanes[i].active && engine_next_file(e) < e->n_queue)
            t = (struct task){TASK_OPEN, &e->lanes[i], NULL, NULL};
    /* A call whose memory does not fit is let in only when there is nothing else to do. */
    if (t.kind == TASK_NONE)
        t = call_task(e);
    return t;
}

/* ---- beginning and ending a task, under the lock ---- */

static void begin_file(struct engine *e, struct lane *l)
{
    const size_t i = engine_next_file(e);
    l->active = l->busy = 1;
    l->file = e->queue[i];
    e->opened[i] = 1;
    while (e->next_queue < e->n_queue && e->opened[e->next_queue])
        e->next_queue++;
}

static void begin_task(struct engine *e, struct task *t)
{
    e->running++;
    struct lane *l = t->lane;
    switch (t->kind) {
    case TASK_OPEN:
        begin_file(e, l);
        break;
    case TASK_FILL:
        t->block->state = BLOCK_FILLING;
        t->block->written = t->block->writing = t->block->hashed = 0;
        l->next_fill++;
        break;
    case TASK_WRITE:
        t->block->writing = 1;
        break;
    case TASK_HASH:
        l->hashing = 1;
        break;
    case TASK_RECORD:
    case TASK_FINISH:
        l->busy = 1;
        break;
    case TASK_CALL:
        t->call->state = CALL_RUNNING;
        e->call_memory += engine_call_need(e, t->call);
        e->next_call++;
        break;
    case TASK_NONE:
        break;
    }
}

/* The hash stands at the end of block l->next_hash - 1: worth a record? */
static void take_snapshot(struct engine *e, struct lane *l, int force)
{
    uint64_t end = lane_offset(e, l, l->next_hash);
    uint64_t sync_bytes = e->opt->sync_bytes ? e->opt->sync_bytes : UINT64_C(256) << 20;
    int due = end - l->recorded >= sync_bytes || time(NULL) - l->recorded_at >= RECORD_SECONDS;
    if (l->snap_set || end <= l->recorded || l->next_hash >= l->n_blocks || !(due || force))
        return;
    l->snap = (struct journal_file){.durable = end, .extent_offset = l->recorded};
    if (!e->opt->no_hashes) {
        l->snap.extent_hash = xxh128_digest(l->extent_hash).lo;
        sha256_save(&l->sha, l->snap.sha_state);
        xxh128_reset(l->extent_hash);
    }
    l->snap_tensor = l->tensor;
    l->snap_block = l->next_hash;
    l->snap_set = 1;
    l->recorded = end;
    l->recorded_at = time(NULL);
}

static void release_block(struct block *b)
{
    if (b->written && b->hashed)
        b->state = BLOCK_EMPTY;
}

static void end_task(struct engine *e, const struct task *t)
{
    struct lane *l = t->lane;
    e->running--;
    switch (t->kind) {
    case TASK_OPEN:
        l->busy = 0;
        e->resumed_bytes += l->base;
        break;
    case TASK_FILL:
        t->block->state = BLOCK_FULL;
        engine_release_calls(e, l, t->block);
        break;
    case TASK_WRITE:
        t->block->writing = 0;
        t->block->written = 1;
        l->n_written++;
        e->written_bytes += t->block->bytes;
        release_block(t->block);
        break;
    case TASK_HASH:
        l->hashing = 0;
        l->next_hash++;
        t->block->hashed = 1;
        take_snapshot(e, l, 0);
        release_block(t->block);
        break;
    case TASK_RECORD:
        l->busy = 0;
        l->snap_set = 0;
        break;
    case TASK_FINISH:
        l->busy = l->active = 0;
        e->n_finished++;
        e->written_files++;
        break;
    case TASK_CALL:
        t->call->state = CALL_DONE;
        e->call_memory -= plan_run_memory(&e->plan->steps[t->call->step]);
        break;
    case TASK_NONE:
        break;
    }
}

static int run_task(struct engine *e, const struct task *t, struct prep_error *err)
{
    switch (t->kind) {
    case TASK_OPEN:
        return engine_open_lane(e, t->lane, err);
    case TASK_FILL:
        return engine_fill(e, t->lane, t->block, err);
    case TASK_WRITE:
        return engine_write(e, t->lane, t->block, err);
    case TASK_HASH:
        if (!e->opt->no_hashes)
            engine_hash(e, t->lane, t->block);
        return 0;
    case TASK_RECORD:
        return engine_record(e, t->lane, err);
    case TASK_FINISH:
        return engine_finish_lane(e, t->lane, err);
    case TASK_CALL:
        return engine_run_call(e, t->call, err);
    case TASK_NONE:
        break;
    }
    return prep_fail(err, PREP_EBUG, "no such task");
}

/* The error that stands first in the plan is the one reported, whatever the timing. */
static void keep_error(struct engine *e, const struct task *t, const struct prep_error *err)
{
    uint64_t at = t->lane ? (uint64_t)t->lane->file << 32 : 0;
    if (t->lane && t->block)
        at |= t->block->number & UINT32_MAX;
    if (!e->failed || at < e->failed_at) {
        e->error = *err;
        e->failed_at = at;
    }
    e->failed = 1;
}

static int idle(const struct engine *e)
{
    return e->running == 0;
}

static void *worker(void *arg)
{
    struct engine *e = arg;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        struct task t = next_task(e);
        if (t.kind == TASK_NONE) {
            if (idle(e))
                break; /* nothing runs, so nothing can become ready */
            pthread_cond_wait(&e->changed, &e->lock);
            continue;
        }
        begin_task(e, &t);
        pthread_mutex_unlock(&e->lock);
        struct prep_error err = PREP_ERROR_INIT;
        int rc = run_task(e, &t, &err);
        pthread_mutex_lock(&e->lock);
        if (rc) {
            keep_error(e, &t, &err);
            e->running--;
        } else {
            end_task(e, &t);
        }
        pthread_cond_broadcast(&e->changed);
    }
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- the run ---- */

static struct progress progress_now(const struct engine *e)
{
    uint64_t total = 0;
    for (size_t i = 0; i < e->n_queue; i++)
        total += e->plan->files[e->queue[i]].bytes;
    return (struct progress){
        "write", e->written_bytes + e->resumed_bytes, total, e->n_finished, e->n_queue, NULL};
}

static void show_progress(const struct engine *e, const struct progress *p)
{
    if (e->opt->progress)
        e->opt->progress(e->opt->progress_arg, p);
}

/* The calling thread shows progress while the workers work. */
static void watch(struct engine *e, const int *n_alive)
{
    pthread_mutex_lock(&e->lock);
    while (*n_alive > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        while (*n_alive > 0 && pthread_cond_timedwait(&e->changed, &e->lock, &until) == 0)
            ;
        struct progress p = progress_now(e);
        pthread_mutex_unlock(&e->lock); /* a slow terminal must not hold up the workers */
        show_progress(e, &p);
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
}

struct crew {
    struct engine *e;
    int n_alive;
};

static void *crew_member(void *arg)
{
    struct crew *crew = arg;
    worker(crew->e);
    pthread_mutex_lock(&crew->e->lock);
    crew->n_alive--;
    pthread_cond_broadcast(&crew->e->changed);
    pthread_mutex_unlock(&crew->e->lock);
    return NULL;
}

/* After a stop every block in memory has been hashed and written: make that durable. */
static int park_lanes(struct engine *e, struct prep_error *err)
{
    for (int i = 0; i < e->n_lanes; i++) {
        struct lane *l = &e->lanes[i];
        if (!l->active)
            continue;
        take_snapshot(e, l, 1);
        if (l->snap_set && engine_record(e, l, err))
            return -1;
    }
    return 0;
}

int engine_run(struct engine *e, struct prep_error *err)
{
    struct crew crew = {e, 0};
    pthread_t threads[MAX_WORKERS];
    int started = 0;
    pthread_mutex_lock(&e->lock);
    while (started < e->n_workers && !pthread_create(&threads[started], NULL, crew_member, &crew))
        started++;
    crew.n_alive = started;
    pthread_mutex_unlock(&e->lock);
    if (started == 0)
        return prep_fail(err, PREP_ENOMEM, "cannot start a thread");
    watch(e, &crew.n_alive);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);

    if (e->failed) {
        if (err->code == PREP_OK)
            *err = e->error;
        return -1;
    }
    if (e->stopping && e->n_finished < e->n_queue) {
        if (park_lanes(e, err))
            return -1;
        return prep_fail(err, PREP_ESTOPPED, "stopped; give the same command again to go on");
    }
    if (e->n_finished < e->n_queue)
        return prep_fail(err, PREP_EBUG, "%zu of %zu files finished, and nothing to do",
                         e->n_finished, e->n_queue);
    struct progress p = progress_now(e);
    show_progress(e, &p);
    return 0;
}

int engine_init(struct engine *e, const struct plan *plan, const struct exec_options *opt,
                struct journal *journal, const uint32_t *queue, size_t n_queue,
                struct prep_error *err)
{
    *e = (struct engine){.plan = plan,
                         .opt = opt,
                         .io = opt->io,
                         .journal = journal,
                         .queue = queue,
                         .n_queue = n_queue};
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->journal_lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    arena_init(&e->arena, 0);
    exec_memory_init(&e->memory, 0);
    for (int i = 0; i < ENGINE_OPEN_SOURCES; i++)
        e->sources[i].users = -1;
    e->opened = arena_calloc(&e->arena, n_queue, 1, err);
    if (!e->opened || size_blocks(e, err) || init_lanes(e, err) || engine_init_calls(e, err) ||
        engine_place_outputs(e, err))
        return -1;
    /* Readers and writers wait for the disk while hashing keeps the cores busy. */
    e->n_workers = 2 * opt->n_threads + 2;
    if (e->n_workers > MAX_WORKERS)
        e->n_workers = MAX_WORKERS;
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    e->drop_behind = plan->input_bytes > ram / 2;
    return 0;
}

void engine_fini(struct engine *e)
{
    for (int i = 0; i < ENGINE_MAX_LANES; i++) {
        struct lane *l = &e->lanes[i];
        if (l->active && l->fd >= 0)
            e->io->close(e->io->self, l->fd);
        xxh128_free(l->tensor_hash);
        xxh128_free(l->extent_hash);
        for (int b = 0; b < ENGINE_MAX_WINDOW; b++)
            free(l->blocks[b].data);
    }
    exec_memory_fini(&e->memory);
    for (int i = 0; i < ENGINE_OPEN_SOURCES; i++)
        if (e->sources[i].users >= 0) {
            const struct io *io = e->plan->sources[e->sources[i].source].io;
            io->close(io->self, e->sources[i].fd);
        }
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->journal_lock);
    pthread_mutex_destroy(&e->lock);
    arena_fini(&e->arena);
}

/* SPDX-License-Identifier: MIT */
#include "tests/support/ranks_threads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Where all ranks lay down what the others read. */
struct table {
    pthread_barrier_t barrier;
    const void **bytes; /* [size] */
    atomic_int raised;
};

struct self {
    struct table *table;
};

static struct table *table_of(const struct ranks *r)
{
    return ((const struct self *)r->self)->table;
}

/* Everybody's bytes are there until the second call. */
static void lay_down(const struct ranks *r, const void *bytes)
{
    table_of(r)->bytes[r->rank] = bytes;
    pthread_barrier_wait(&table_of(r)->barrier);
}

static void take_up(const struct ranks *r)
{
    pthread_barrier_wait(&table_of(r)->barrier);
}

static int barrier(struct ranks *r, struct prep_error *err)
{
    (void)err;
    take_up(r);
    return 0;
}

static int no_send(struct ranks *r, const void *bytes, size_t n, int to, struct prep_error *err)
{
    (void)bytes;
    (void)n;
    return prep_fail(err, PREP_EUNSUP, "rank %d: threads do not send to %d", r->rank, to);
}

static int no_receive(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err)
{
    (void)bytes;
    (void)n;
    return prep_fail(err, PREP_EUNSUP, "rank %d: threads do not receive from %d", r->rank, from);
}

static int broadcast(struct ranks *r, void *bytes, size_t n, int from, struct prep_error *err)
{
    (void)err;
    lay_down(r, bytes);
    if (r->rank != from)
        memcpy(bytes, table_of(r)->bytes[from], n);
    take_up(r);
    return 0;
}

static int all_gather(struct ranks *r, void *to, const void *bytes, size_t n,
                      struct prep_error *err)
{
    (void)err;
    lay_down(r, bytes);
    for (size_t i = 0; i < (size_t)r->size; i++)
        memcpy((char *)to + i * n, table_of(r)->bytes[i], n);
    take_up(r);
    return 0;
}

static int gather(struct ranks *r, void *to, const void *bytes, size_t n, int at,
                  struct prep_error *err)
{
    (void)err;
    lay_down(r, bytes);
    for (size_t i = 0; i < (size_t)r->size && r->rank == at; i++)
        memcpy((char *)to + i * n, table_of(r)->bytes[i], n);
    take_up(r);
    return 0;
}

static int exchange(struct ranks *r, void *to, const void *bytes, size_t n, struct prep_error *err)
{
    (void)err;
    lay_down(r, bytes);
    for (size_t i = 0; i < (size_t)r->size; i++)
        memcpy((char *)to + i * n, (const char *)table_of(r)->bytes[i] + (size_t)r->rank * n, n);
    take_up(r);
    return 0;
}

static void raise_note(struct ranks *r)
{
    atomic_store(&table_of(r)->raised, 1);
}

static int raised(struct ranks *r)
{
    return atomic_load(&table_of(r)->raised);
}

static int settle(struct ranks *r, const unsigned char *did_raise, struct prep_error *err)
{
    (void)r;
    (void)did_raise;
    (void)err;
    return 0;
}

static void close_rank(struct ranks *r)
{
    (void)r;
}

static void end_all(struct ranks *r, int exit_code)
{
    (void)r;
    abort();
    (void)exit_code;
}

static const struct ranks_calls CALLS = {
    barrier,  no_send,    no_receive, broadcast, gather,     all_gather,
    exchange, raise_note, raised,     settle,    close_rank, end_all,
};

struct thread {
    pthread_t id;
    struct self self;
    int rank, size;
    rank_fn fn;
    void *arg;
    struct prep_error *err;
};

static void *run(void *arg)
{
    struct thread *t = arg;
    struct ranks r = {.size = 1};
    struct prep_error *err = t->err;
    prep_error_clear(err);
    if (t->size > 1 && ranks_init(&r, &CALLS, &t->self, t->rank, t->size, err))
        abort(); /* the others would wait for ever */
    const int rc = t->fn(&r, t->arg, err);
    (void)!ranks_agree(&r, rc, err);
    /* Agreement keeps the tag of another rank's error in the ranks, which end here. */
    if (err->tag == r.tag)
        err->tag = "ANOTHER";
    ranks_close(&r);
    return NULL;
}

void ranks_run_threads(int size, rank_fn fn, void *arg, struct prep_error *errs)
{
    struct table table = {.bytes = calloc((size_t)size, sizeof *table.bytes)};
    struct thread *threads = calloc((size_t)size, sizeof *threads);
    assert_true(table.bytes && threads);
    assert_int_equal(pthread_barrier_init(&table.barrier, NULL, (unsigned)size), 0);
    for (int i = 0; i < size; i++) {
        threads[i] = (struct thread){
            .self = {&table}, .rank = i, .size = size, .fn = fn, .arg = arg, .err = &errs[i]};
        assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
    }
    for (int i = 0; i < size; i++)
        pthread_join(threads[i].id, NULL);
    pthread_barrier_destroy(&table.barrier);
    free(table.bytes);
    free(threads);
}

/* SPDX-License-Identifier: MIT */
/*
 * What is the same for every transport, on one that is played here: the other ranks' bytes lie in
 * an array. tests/mpi has real ones.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/base/ranks.h"
#include "tests/support/support.h"

enum { N = 150001 }; /* three pieces of 3 * 16384 and a rest */

/* Alone */

static void one_process_is_rank_0_of_1(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct ranks r;
    assert_int_equal(ranks_open(&r, &err), 0);
    assert_true(r.rank == 0 && r.size == 1);
    char to[6] = "", from[6] = "bytes";
    assert_int_equal(ranks_barrier(&r, &err), 0);
    assert_int_equal(ranks_broadcast(&r, from, 6, 0, &err), 0);
    assert_int_equal(ranks_gather(&r, to, from, 6, 0, &err), 0);
    assert_string_equal(to, "bytes");
    to[0] = 0;
    assert_int_equal(ranks_all_gather(&r, to, from, 6, &err), 0);
    assert_string_equal(to, "bytes");
    to[0] = 0;
    assert_int_equal(ranks_exchange(&r, to, from, 6, &err), 0);
    assert_string_equal(to, "bytes");
    float x[2] = {-0.0F, 3.0F};
    assert_int_equal(ranks_sum_f32(&r, x, 2, &err), 0);
    assert_true(signbit(x[0]) && x[1] == 3.0F);
    ranks_raise(&r);
    assert_false(ranks_raised(&r));
    assert_int_equal(ranks_agree(&r, 0, &err), 0);
    assert_int_equal(err.code, PREP_OK);
    prep_fail(&err, PREP_EIO, "broken");
    assert_int_equal(ranks_agree(&r, -1, &err), -1);
    assert_string_equal(err.msg, "broken");
    ranks_close(&r);
    ranks_close(&(struct ranks){0});
}

static void nobody_talks_to_a_rank_that_is_not_there(void **state)
{
    (void)state;
    struct ranks r = {0};
    char byte = 0;
    for (int peer = -1; peer <= 1; peer++) {
        struct prep_error err = PREP_ERROR_INIT;
        assert_int_equal(ranks_send(&r, &byte, 1, peer, &err), -1);
        assert_int_equal(err.code, PREP_EBUG);
        prep_error_clear(&err);
        assert_int_equal(ranks_receive(&r, &byte, 1, peer, &err), -1);
        prep_error_clear(&err);
        assert_int_equal(ranks_broadcast(&r, &byte, 1, peer, &err), peer == 0 ? 0 : -1);
    }
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(ranks_gather(&r, &byte, &byte, RANKS_MOST + 1, 0, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
}

/* One of three, the others played */

struct played {
    float x[3][N]; /* what each rank adds */
    size_t done;   /* elements added so far */
    int summing;
    int said[3];        /* verdicts: enum prep_code */
    const char *words;  /* of the rank that broadcasts */
    int fail_at, calls; /* the fail_at-th call fails */
    int n_raised, n_aborted;
};

static int call(struct ranks *r, struct prep_error *err)
{
    struct played *p = r->self;
    return ++p->calls == p->fail_at ? prep_fail(err, PREP_EIO, "the network is down") : 0;
}

/* The slices of the piece that begins at `done`, of all ranks, as rank r->rank would get them. */
static int played_exchange(struct ranks *r, void *to, const void *bytes, size_t n,
                           struct prep_error *err)
{
    struct played *p = r->self;
    const size_t slice = n / sizeof(float);
    float *out = to;
    (void)bytes;
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < slice; i++) {
            const size_t at = p->done + (size_t)r->rank * slice + i;
            out[k * slice + i] = at < N ? p->x[k][at] : 0.0F;
        }
    return call(r, err);
}

static float in_order(const struct played *p, size_t i)
{
    return (p->x[0][i] + p->x[1][i]) + p->x[2][i];
}

/* Sums of the other ranks' slices, or their verdicts. */
static int played_all_gather(struct ranks *r, void *to, const void *bytes, size_t n,
                             struct prep_error *err)
{
    struct played *p = r->self;
    memcpy((char *)to + (size_t)r->rank * n, bytes, n);
    for (int k = 0; k < 3; k++) {
        if (k == r->rank)
            continue;
        if (!p->summing) { /* a verdict */
            memset((char *)to + (size_t)k * n, 0, n);
            memcpy((char *)to + (size_t)k * n, &p->said[k], sizeof(int32_t));
            continue;
        }
        const size_t slice = n / sizeof(float);
        for (size_t i = 0; i < slice; i++) {
            const size_t at = p->done + (size_t)k * slice + i;
            ((float *)to)[(size_t)k * slice + i] = at < N ? in_order(p, at) : 0.0F;
        }
    }
    if (p->summing)
        p->done += 3 * (n / sizeof(float));
    return call(r, err);
}

/* An error's message begins with its code; its text is at the end of the struct. */
static int played_broadcast(struct ranks *r, void *bytes, size_t n, int from,
                            struct prep_error *err)
{
    struct played *p = r->self;
    const size_t text = sizeof((struct prep_error *)0)->msg;
    if (from != r->rank) {
        memset(bytes, 0, n);
        memcpy(bytes, &p->said[from], sizeof(int32_t));
        strcpy((char *)bytes + n - text, p->words);
    }
    return call(r, err);
}

static void played_raise(struct ranks *r)
{
    ((struct played *)r->self)->n_raised++;
}

static int played_settle(struct ranks *r, const unsigned char *did_raise, struct prep_error *err)
{
    (void)did_raise;
    return call(r, err);
}

static void played_close(struct ranks *r)
{
    (void)r;
}

static void played_abort(struct ranks *r, int exit_code)
{
    ((struct played *)r->self)->n_aborted = exit_code;
}

static const struct ranks_calls PLAYED = {
    .exchange = played_exchange,
    .all_gather = played_all_gather,
    .broadcast = played_broadcast,
    .raise = played_raise,
    .settle = played_settle,
    .close = played_close,
    .end_all = played_abort,
};

static struct played world;

static struct ranks join(int rank)
{
    struct ranks r;
    struct prep_error err = PREP_ERROR_INIT;
    world = (struct played){.words = ""};
    assert_int_equal(ranks_init(&r, &PLAYED, &world, rank, 3, &err), 0);
    return r;
}

static void sums_are_added_in_rank_order_whatever_the_length(void **state)
{
    (void)state;
    static const size_t LENGTHS[] = {0, 1, 2, 3, 4, 100, 49152, 49153, N};
    static float x[N];
    for (int rank = 0; rank < 3; rank++) {
        for (size_t l = 0; l < sizeof LENGTHS / sizeof *LENGTHS; l++) {
            struct prep_error err = PREP_ERROR_INIT;
            struct test_random random;
            struct ranks r = join(rank);
            size_t differs = 0;
            test_random_init(&random);
            for (size_t i = 0; i < N; i++)
                for (int k = 0; k < 3; k++)
                    world.x[k][i] = ldexpf((float)(int32_t)test_random_u64(&random),
                                           (int)test_random_below(&random, 20));
            world.x[0][0] = world.x[1][0] = world.x[2][0] = -0.0F; /* stays -0 */
            memcpy(x, world.x[rank], sizeof x);
            world.summing = 1;
            assert_int_equal(ranks_sum_f32(&r, x, LENGTHS[l], &err), 0);
            for (size_t i = 0; i < N; i++) {
                const float want = i < LENGTHS[l] ? in_order(&world, i) : world.x[rank][i];
                assert_memory_equal(&x[i], &want, sizeof want);
                differs += want != world.x[0][i] + (world.x[1][i] + world.x[2][i]);
            }
            assert_true(differs > N / 10);
            ranks_close(&r);
        }
    }
}

static void all_take_the_error_of_the_lowest_rank_that_failed(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct ranks r = join(0);
    assert_int_equal(ranks_agree(&r, 0, &err), 0);
    world.said[1] = PREP_ESTOPPED; /* counts only where nobody failed */
    world.said[2] = PREP_EDATA;
    world.words = "bad data";
    assert_int_equal(ranks_agree(&r, 0, &err), -1);
    assert_int_equal(err.code, PREP_EDATA);
    assert_string_equal(err.msg, "rank 2: bad data");
    const int calls = world.calls;
    assert_int_equal(ranks_agree(&r, 0, &err), -1); /* they do not meet again */
    assert_int_equal(world.calls, calls);
    prep_error_clear(&err);
    assert_int_equal(ranks_barrier(&r, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    ranks_close(&r);

    r = join(1);
    world.said[2] = PREP_ESTOPPED;
    prep_error_clear(&err);
    ranks_raise(&r);
    ranks_raise(&r);
    assert_int_equal(world.n_raised, 1);
    const int rc = prep_fail_tag(&err, PREP_EIO, "OWN", "a disk broke");
    assert_int_equal(ranks_agree(&r, rc, &err), -1);
    assert_string_equal(err.msg, "rank 1: a disk broke");
    assert_string_equal(err.tag, "OWN");
    ranks_close(&r);

    r = join(0);
    world.said[2] = PREP_EDATA; /* rank 0's own comes first, and needs no name */
    prep_error_clear(&err);
    assert_int_equal(ranks_agree(&r, prep_fail(&err, PREP_EUSAGE, "no"), &err), -1);
    assert_string_equal(err.msg, "no");
    ranks_close(&r);
}

static void a_broken_transport_ends_in_abort(void **state)
{
    (void)state;
    for (int at = 1; at <= 3; at++) { /* verdicts, notes, words */
        struct prep_error err = PREP_ERROR_INIT;
        struct ranks r = join(0);
        world.said[1] = PREP_EDATA;
        world.fail_at = at;
        assert_int_equal(ranks_agree(&r, 0, &err), -1);
        assert_int_equal(err.code, PREP_EIO);
        assert_true(r.broken);
        ranks_abort(&r, 74);
        assert_int_equal(world.n_aborted, 74);
        ranks_close(&r);
    }
    struct prep_error err = PREP_ERROR_INIT;
    struct ranks r = join(2);
    float x[5] = {0};
    world.fail_at = 2;
    world.summing = 1;
    assert_int_equal(ranks_sum_f32(&r, x, 5, &err), -1);
    assert_string_equal(err.msg, "the network is down");
    assert_true(r.broken);
    ranks_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process_is_rank_0_of_1),
        cmocka_unit_test(nobody_talks_to_a_rank_that_is_not_there),
        cmocka_unit_test(sums_are_added_in_rank_order_whatever_the_length),
        cmocka_unit_test(all_take_the_error_of_the_lowest_rank_that_failed),
        cmocka_unit_test(a_broken_transport_ends_in_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

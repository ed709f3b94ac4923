/* SPDX-License-Identifier: MIT */
/*
 * ranks - every call of base/ranks.h, made by all ranks of mpirun.
 *
 *   mpirun -n N ranks           rank 0 prints "ok NAME" or "not ok NAME"
 *   mpirun -n N ranks fail      rank N - 1 fails, the others wait for its note and agree; rank 0
 *                               prints the error
 *   mpirun -n N ranks die       rank N - 1 kills itself, the others wait for it
 */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libprep/base/random.h"
#include "libprep/base/ranks.h"

enum { N_SUM = 300007, N_BYTES = 100003, N_WAITS = 2000 };

typedef int (*check_fn)(struct ranks *r, struct prep_error *err);

static unsigned char byte_of(int rank, int to, size_t i)
{
    return (unsigned char)(31 * rank + 7 * to + (int)(i % 251));
}

static int wrong(struct prep_error *err, const char *what)
{
    return prep_fail(err, PREP_EVERIFY, "%s", what);
}

static int check_exchange(struct ranks *r, unsigned char *a, unsigned char *b,
                          struct prep_error *err)
{
    for (int to = 0; to < r->size; to++)
        for (size_t i = 0; i < N_BYTES; i++)
            a[(size_t)to * N_BYTES + i] = byte_of(r->rank, to, i);
    if (ranks_exchange(r, b, a, N_BYTES, err))
        return -1;
    for (int from = 0; from < r->size; from++)
        for (size_t i = 0; i < N_BYTES; i++)
            if (b[(size_t)from * N_BYTES + i] != byte_of(from, r->rank, i))
                return wrong(err, "exchange: a byte came from elsewhere");
    return 0;
}

static int check_gathers(struct ranks *r, unsigned char *a, unsigned char *b,
                         struct prep_error *err)
{
    const int last = r->size - 1;
    for (size_t i = 0; i < N_BYTES; i++)
        a[i] = byte_of(r->rank, 0, i);
    memset(b, 0, (size_t)r->size * N_BYTES);
    if (ranks_gather(r, b, a, N_BYTES, last, err))
        return -1;
    if (r->rank != last && ranks_all_gather(r, b, a, 0, err))
        return -1;
    if (r->rank == last && ranks_all_gather(r, a, b, 0, err))
        return -1;
    for (int from = 0; from < r->size && r->rank == last; from++)
        for (size_t i = 0; i < N_BYTES; i++)
            if (b[(size_t)from * N_BYTES + i] != byte_of(from, 0, i))
                return wrong(err, "gather: a byte is another rank's");
    if (ranks_all_gather(r, b, a, N_BYTES, err))
        return -1;
    for (int from = 0; from < r->size; from++)
        if (b[(size_t)from * N_BYTES + 5] != byte_of(from, 0, 5))
            return wrong(err, "all_gather: a byte is another rank's");
    if (ranks_broadcast(r, a, N_BYTES, last, err))
        return -1;
    return a[77] == byte_of(last, 0, 77) ? 0 : wrong(err, "broadcast: a byte is not the sender's");
}

/* A ring: each rank sends to the next, the last one first so that nobody waits in a circle. */
static int check_pairs(struct ranks *r, unsigned char *a, unsigned char *b, struct prep_error *err)
{
    if (r->size == 1)
        return 0;
    const int next = (r->rank + 1) % r->size, before = (r->rank + r->size - 1) % r->size;
    for (size_t i = 0; i < N_BYTES; i++)
        a[i] = byte_of(r->rank, next, i);
    if (r->rank ? ranks_receive(r, b, N_BYTES, before, err) || ranks_send(r, a, N_BYTES, next, err)
                : ranks_send(r, a, N_BYTES, next, err) || ranks_receive(r, b, N_BYTES, before, err))
        return -1;
    for (size_t i = 0; i < N_BYTES; i++)
        if (b[i] != byte_of(before, r->rank, i))
            return wrong(err, "receive: a byte is not what was sent");
    return 0;
}

static int moves_bytes(struct ranks *r, struct prep_error *err)
{
    unsigned char *a = malloc((size_t)r->size * N_BYTES), *b = malloc((size_t)r->size * N_BYTES);
    int rc = a && b ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory");
    rc = rc || check_exchange(r, a, b, err) || check_gathers(r, a, b, err) ||
         check_pairs(r, a, b, err) || ranks_barrier(r, err);
    free(a);
    free(b);
    return rc ? -1 : 0;
}

/* Of very different sizes, so that every order of adding gives other bits. */
static float number(int rank, size_t i)
{
    struct prep_random random = {(uint64_t)rank << 32 | i};
    const uint64_t x = prep_random_u64(&random);
    return ldexpf((float)(int32_t)x, (int)(x >> 60) - 30);
}

static int sums_in_rank_order(struct ranks *r, struct prep_error *err)
{
    static const size_t SIZES[] = {0, 1, 3, 4, 5, 65536, 65537, N_SUM};
    float *x = malloc(N_SUM * sizeof *x);
    size_t differs = 0;
    int rc = x ? 0 : prep_fail(err, PREP_ENOMEM, "out of memory");
    for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES && !rc; s++) {
        for (size_t i = 0; i < SIZES[s]; i++)
            x[i] = number(r->rank, i);
        rc = ranks_sum_f32(r, x, SIZES[s], err);
        for (size_t i = 0; i < SIZES[s] && !rc; i++) {
            float want = number(0, i), other = number(r->size - 1, i);
            for (int k = 1; k < r->size; k++) {
                want += number(k, i);
                other += number(r->size - 1 - k, i);
            }
            if (memcmp(&x[i], &want, sizeof want) != 0)
                rc = wrong(err, "a sum was added in another order");
            differs += want != other;
        }
    }
    free(x);
    if (!rc && r->size > 2 && !differs)
        rc = wrong(err, "the numbers do not tell the order");
    return rc;
}

static int agrees_when_all_is_well(struct ranks *r, struct prep_error *err)
{
    for (int i = 0; i < 3; i++)
        if (ranks_agree(r, 0, err))
            return -1;
    return ranks_raised(r) ? wrong(err, "nobody raised") : 0;
}

static int meets(struct ranks *r, struct prep_error *err)
{
    const uint64_t n = (uint64_t)r->size;
    uint64_t least = 100 - (uint64_t)r->rank, x[3] = {1, n, UINT64_MAX};
    if (ranks_least(r, &least, err) || ranks_add_u64(r, x, 3, err) ||
        ranks_same(r, &n, sizeof n, "counts other ranks", err))
        return -1;
    const int good = least == 101 - n && x[0] == n && x[1] == n * n && x[2] == 0 - n;
    return good ? 0 : wrong(err, "least or sum of counts");
}

static int run_checks(struct ranks *r)
{
    static const struct {
        const char *name;
        check_fn check;
    } CHECKS[] = {
        {"moves bytes between ranks", moves_bytes},
        {"sums in rank order", sums_in_rank_order},
        {"agrees when all is well", agrees_when_all_is_well},
        {"takes the least and adds counts", meets},
    };
    int bad = 0;
    for (size_t i = 0; i < sizeof CHECKS / sizeof *CHECKS && !bad; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        bad = ranks_agree(r, CHECKS[i].check(r, &err), &err) != 0;
        if (r->rank == 0)
            printf("%s %d ranks: %s%s%s\n", bad ? "not ok" : "ok", r->size, CHECKS[i].name,
                   bad ? ": " : "", err.msg);
    }
    return bad;
}

static int wait_for_note(struct ranks *r)
{
    const struct timespec pause = {0, 10000000};
    for (int i = 0; i < N_WAITS; i++) {
        if (ranks_raised(r))
            return 1;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* The last rank has a disk that is full; the others notice and stop, and all say the same. */
static int run_failure(struct ranks *r)
{
    struct prep_error err = PREP_ERROR_INIT;
    int rc;
    if (r->rank == r->size - 1) {
        rc = prep_fail_tag(&err, PREP_ECREATE, "NO_ROOM", "the disk is full");
        ranks_raise(r);
    } else if (wait_for_note(r)) {
        rc = prep_fail(&err, PREP_ESTOPPED, "stopped");
    } else {
        rc = prep_fail(&err, PREP_EVERIFY, "no note came");
    }
    rc = ranks_agree(r, rc, &err);
    const int again = ranks_agree(r, 0, &err); /* returns at once */
    char want[64];
    snprintf(want, sizeof want, r->size > 1 ? "rank %d: the disk is full" : "the disk is full",
             r->size - 1);
    const int good = rc && (again || r->size == 1) && strcmp(err.msg, want) == 0 &&
                     strcmp(err.tag, "NO_ROOM") == 0 && err.code == PREP_ECREATE;
    if (!good || r->rank == 0)
        printf("%s %s: %s\n", good ? "rank" : "not ok rank", err.tag, err.msg);
    return good ? prep_exit_code(err.code) : 1;
}

static int run_death(struct ranks *r)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (r->rank == r->size - 1)
        raise(SIGKILL);
    return ranks_barrier(r, &err) ? 3 : 4;
}

int main(int argc, char **argv)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct ranks r;
    if (ranks_open(&r, &err)) {
        printf("not ok %s\n", err.msg);
        return prep_exit_code(err.code);
    }
    int code = argc < 2                      ? run_checks(&r)
               : strcmp(argv[1], "die") == 0 ? run_death(&r)
                                             : run_failure(&r);
    fflush(stdout);
    ranks_close(&r);
    return code;
}

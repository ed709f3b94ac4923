/* SPDX-License-Identifier: MIT */
/*
 * bench_hash - what this machine hashes per second, and whether it is idle enough to measure on.
 *
 * SHA-256 is the yardstick of writing with hashes: it is serial within a file. Two processors
 * that are free hash twice as fast as one; a machine that falls short of 1.9 is busy, and so are
 * all other figures taken now.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libprep/base/hash.h"
#include "libprep/base/parallel.h"

enum { BLOCK = 8 << 20, ROUNDS = 96 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct job {
    const unsigned char *block;
    int sha;
};

static int hash_rounds(size_t i, void *arg, struct prep_error *err)
{
    const struct job *j = arg;
    struct sha256 sha;
    struct xxh128 *xxh = xxh128_new();
    (void)i;
    if (!xxh)
        return prep_fail(err, PREP_ENOMEM, "out of memory");
    sha256_init(&sha);
    for (int r = 0; r < ROUNDS; r++) {
        if (j->sha)
            sha256_update(&sha, j->block, BLOCK);
        else
            xxh128_update(xxh, j->block, BLOCK);
    }
    xxh128_free(xxh);
    return 0;
}

/* GB/s of n threads, the best of three. */
static double rate(struct job *j, int n)
{
    struct prep_error err = PREP_ERROR_INIT;
    double best = 0;
    for (int i = 0; i < 3; i++) {
        double t = now();
        if (prep_parallel_for((size_t)n, n, hash_rounds, j, &err)) {
            fprintf(stderr, "bench_hash: %s\n", err.msg);
            exit(71);
        }
        double gbs = (double)n * ROUNDS * BLOCK / (now() - t) / 1e9;
        best = gbs > best ? gbs : best;
    }
    return best;
}

int main(void)
{
    unsigned char *block = malloc(BLOCK);
    if (!block)
        return 71;
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (unsigned char)(i * 2654435761U >> 13);
    struct job sha = {block, 1}, xxh = {block, 0};
    double one = rate(&sha, 1), two = rate(&sha, 2);
    printf("SHA-256 %.2f GB/s on one thread, %.2f on two; XXH3-128 %.2f and %.2f\n", one, two,
           rate(&xxh, 1), rate(&xxh, 2));
    if (two / one < 1.9)
        printf("two threads are only %.2f times as fast as one: the machine is busy, or its "
               "processors share a core\n",
               two / one);
    free(block);
    return 0;
}

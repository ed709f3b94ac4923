/* SPDX-License-Identifier: MIT */
/*
 * random.h - random numbers that are the same on every machine: splitmix64 (Steele, Lea, Flood,
 * "Fast splittable pseudorandom number generators", 2014). For shuffles, not for secrets.
 *
 * Ownership  a plain struct; set state to the seed
 * Errors     none
 * Threads    one state, one thread at a time
 */
#ifndef PREP_BASE_RANDOM_H
#define PREP_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct prep_random {
    uint64_t state;
};

static inline uint64_t prep_random_u64(struct prep_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Uniform in [0, n), n > 0. */
static inline uint64_t prep_random_below(struct prep_random *r, uint64_t n)
{
    const uint64_t skip = (0 - n) % n; /* 2^64 mod n: these would make low results likelier */
    uint64_t v;
    do
        v = prep_random_u64(r);
    while (v < skip);
    return v % n;
}

/* Put the numbers of a list into random order (Fisher-Yates, from the end). */
static inline void prep_random_shuffle(struct prep_random *r, size_t *list, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)prep_random_below(r, i), t = list[i - 1];
        list[i - 1] = list[k];
        list[k] = t;
    }
}

#ifdef __cplusplus
}
#endif
#endif

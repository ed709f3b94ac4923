/* SPDX-License-Identifier: MIT */
/*
 * guard.h - buffers with watched bytes around them, at any address, and numbers that hurt.
 *
 * Ownership  guard_new / guard_free
 * Errors     guard_check() fails the running cmocka test when a byte outside was written
 */
#ifndef PREP_TESTS_GUARD_H
#define PREP_TESTS_GUARD_H

#include <stddef.h>
#include <stdint.h>

#include "tests/support/support.h"

#ifdef __cplusplus
extern "C" {
#endif

struct guard {
    unsigned char *p; /* n bytes, `off` bytes past a multiple of 64 */
    size_t n;
    unsigned char *base;
    size_t off;
};

struct guard guard_new(size_t n, size_t off);
/* A copy of n bytes. */
struct guard guard_of(const void *bytes, size_t n, size_t off);
void guard_check(const struct guard *g);
/* Checks, too. */
void guard_free(struct guard *g);

/*
 * Bits of a float: one in four any bits at all, one in eight a special value (zeros, infinities,
 * NaNs, the ends of the normal and subnormal ranges), the rest about as large as weights.
 */
uint32_t test_random_f32_bits(struct test_random *r);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * support.h - what tests share: fixtures, temporary folders, whole files, random numbers.
 *
 * Ownership  paths returned live until the process ends; bytes are freed by the caller
 * Errors     a function that cannot do its work fails the running cmocka test, saying why
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_SUPPORT_H
#define PREP_TESTS_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The folder with glm-nano/, observations/, hostile/...: PREP_TEST_DATA, else build/data. */
const char *test_data(void);
/* Is this file or folder there? For fixtures that are not always carried: skip() otherwise. */
int test_exists(const char *path);

/* A formatted string that lives until the process ends. */
const char *test_path(const char *fmt, ...) PREP_PRINTF(1, 2);
/* A new empty folder under TMPDIR, removed with everything in it when the process ends. */
const char *test_temp_dir(void);
void test_remove_tree(const char *path);

struct test_bytes {
    unsigned char *p; /* NUL-terminated after n; free() it */
    size_t n;
};

struct test_bytes test_read(const char *path);
/* Makes the folders above path. */
void test_write(const char *path, const void *bytes, size_t n);
void test_mkdirs(const char *path);
/* Files and folders, symbolic links followed. */
void test_copy_tree(const char *from, const char *to);
struct test_bytes test_base64(const char *text);

/*
 * Compare two folders by names and bytes, leaving out entries called `ignore` (may be NULL).
 * NULL when they are equal, else what differs first.
 */
const char *test_folder_difference(const char *a, const char *b, const char *ignore);

/* splitmix64: small, good enough, the same on every machine. */
struct test_random {
    uint64_t state;
};

/* Seeded with PREP_TEST_SEED, else a fixed number; prints the seed. */
void test_random_init(struct test_random *r);
uint64_t test_random_u64(struct test_random *r);
/* Uniform in [0, n), n > 0. */
uint64_t test_random_below(struct test_random *r, uint64_t n);

#ifdef __cplusplus
}
#endif
#endif
